//! How often each kind of exit happened and how long labvisor took.

use core::fmt;

use super::Exit;

const NAMES: [&str; 10] = [
    "cpuid",
    "io",
    "msr",
    "hypercall",
    "svm-instruction",
    "general-protection",
    "nested-fault",
    "shutdown",
    "other",
    "invalid-opcode",
];

#[derive(Clone, Copy, Default)]
struct Counter {
    count: u64,
    ticks: u64,
    longest: u64,
}

/// One counter for each kind of exit.
#[derive(Default)]
pub struct Counters([Counter; NAMES.len()]);

impl Counters {
    /// Counts an exit that took `ticks`.
    pub fn add(&mut self, exit: Exit, ticks: u64) {
        let counter = &mut self.0[number(exit)];
        counter.count += 1;
        counter.ticks += ticks;
        counter.longest = counter.longest.max(ticks);
    }
}

/// A small number for each kind of exit, in the order of the text's lines.
pub fn number(exit: Exit) -> usize {
    match exit {
        Exit::Cpuid => 0,
        Exit::Io => 1,
        Exit::Msr => 2,
        Exit::Hypercall => 3,
        Exit::SvmInstruction => 4,
        Exit::GeneralProtection => 5,
        Exit::NestedFault => 6,
        Exit::Shutdown => 7,
        Exit::Other(_) => 8,
        Exit::InvalidOpcode => 9,
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, counter) in NAMES.iter().zip(&self.0) {
            let Counter {
                count,
                ticks,
                longest,
            } = counter;
            writeln!(f, "exits.{name}: {count} ticks: {ticks} longest: {longest}")?;
        }
        Ok(())
    }
}
