//! Faults of a user program end that program and nothing else; registers are its own.

use crate::check::{Check, KILLED, Test, child, child_is_killed, quick, same};
use crate::ensure;
use ulib::prelude::*;
use ulib::sys::wild;

pub const TESTS: &[Test] = &[
    quick("uio", ports_are_forbidden),
    quick("privileged", privileged_instructions_are_forbidden),
    quick("exceptions", exceptions_kill),
    quick("fpustate", sse_registers_are_kept),
];

fn ports_are_forbidden() -> Check {
    child_is_killed("reading a port", wild::port_in)?;
    child_is_killed("writing a port", wild::port_out)
}

fn privileged_instructions_are_forbidden() -> Check {
    child_is_killed("hlt", wild::hlt)?;
    child_is_killed("cli", wild::cli)?;
    child_is_killed("rdmsr", wild::rdmsr)?;
    child_is_killed("mov from cr3", wild::read_cr3)?;
    child_is_killed("int 14", wild::int_page_fault)?;
    child_is_killed("return to the kernel's selector", wild::kernel_selector)
}

fn exceptions_kill() -> Check {
    child_is_killed("divide error", wild::divide)?;
    child_is_killed("invalid opcode", wild::ud2)?;
    child_is_killed("non-canonical address", wild::non_canonical)?;
    child_is_killed("jump to a non-canonical address", || wild::execute(1 << 47))?;
    // Breakpoint and single step may be ignored; they must not harm anybody else.
    for (what, trap) in [
        ("int3", wild::int3 as fn()),
        ("single step", wild::single_step),
    ] {
        let status = process::fork(|| {
            trap();
            0
        })?
        .wait()?;
        ensure!(status == 0 || status == KILLED, "{what}: status {status}");
    }
    Ok(())
}

fn sse_registers_are_kept() -> Check {
    const PROCESSES: u64 = 4;
    for index in 1..=PROCESSES {
        child(|| {
            for round in 0..200 {
                let value = index << 32 | round;
                ensure!(
                    wild::sse_survives(value, 20_000),
                    "round {round}: another value"
                );
            }
            Ok(())
        })?;
    }
    for _ in 0..PROCESSES {
        same("status", sys::wait()?.1, 0)?;
    }
    Ok(())
}
