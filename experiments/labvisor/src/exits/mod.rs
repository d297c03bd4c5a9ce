//! The story of an exit: the guest stopped, labvisor finds out why, does what is due, and lets
//! it go on. One file for each kind of exit.

mod bus;
mod counters;
mod cpuid;
mod exception;
mod hypercall;
mod interrupt;
mod io;
mod msr;
mod nested_fault;
mod trace;

use core::fmt;

use bus::GuestBus;
pub use counters::Counters;

use crate::defects::{self, Defect, Quirk};
use crate::guest_memory::{Access, GuestMemory};
use crate::log::Log;
use crate::machine::Machine;
use crate::net_device::NetDevice;
use crate::paging::{PAGE, PageTables};
use crate::vcpu::{Exception, Vcpu};

pub use io::INTERCEPTED_PORTS;
pub use msr::INTERCEPTED as INTERCEPTED_MSRS;

/// Why the guest stopped (APM vol. 2, appendix C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// CPUID.
    Cpuid,
    /// IN, OUT, INS or OUTS.
    Io,
    /// RDMSR or WRMSR.
    Msr,
    /// VMMCALL.
    Hypercall,
    /// VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT or INVLPGA.
    SvmInstruction,
    /// #UD, before the guest sees it; only a defect asks for it.
    InvalidOpcode,
    /// #GP, before the guest sees it.
    GeneralProtection,
    /// An access that the nested page table refuses.
    NestedFault,
    /// A triple fault.
    Shutdown,
    /// The processor refused the VMCB, or an exit nobody asked for.
    Other(u64),
}

const INVLPGA: u64 = 0x7a;

impl Exit {
    fn from_code(code: u64) -> Self {
        match code {
            0x46 => Exit::InvalidOpcode,
            0x4d => Exit::GeneralProtection,
            0x72 => Exit::Cpuid,
            0x7b => Exit::Io,
            0x7c => Exit::Msr,
            0x7f => Exit::Shutdown,
            0x81 => Exit::Hypercall,
            INVLPGA | 0x80 | 0x82..=0x86 => Exit::SvmInstruction,
            0x400 => Exit::NestedFault,
            other => Exit::Other(other),
        }
    }
}

/// Why the guest cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ended in a triple fault.
    TripleFault,
    /// It uses page tables or an interrupt table that it does not have, while an exception is
    /// being delivered.
    NoTables,
    /// Labvisor met what it cannot serve: its own fault.
    Panic(&'static str),
}

impl Stop {
    /// The answer to a triple fault.
    fn of_shutdown() -> Stop {
        if defects::quirk(Quirk::TripleFaultPanics) {
            return Stop::Panic("the guest shut down");
        }
        Stop::TripleFault
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::TripleFault => "guest shutdown (triple fault)",
            Stop::NoTables => "guest shutdown (its page tables are not in its memory)",
            Stop::Panic(text) => text,
        })
    }
}

/// What labvisor knows about its guest.
pub struct Vmm {
    /// The guest's address space.
    pub memory: GuestMemory,
    /// The nested page table.
    pub nested: PageTables,
    /// The log.
    pub log: Log,
    /// Exits counted and timed.
    pub counters: Counters,
    /// The network device, where the machine has room for it.
    pub net: Option<NetDevice>,
    /// Whether the processor saves the next RIP.
    pub has_next_rip: bool,
    shell: hypercall::Shell,
    tsc_adjust: u64,
    ring: Option<trace::Ring>,
    last_cpuid: [u32; 4],
    /// Only a defect leaves it held.
    names_locked: bool,
    /// Exits with the guest's interrupts off; only a quirk counts them.
    exits_without_interrupts: u64,
    /// Whether the exit before this one was a hypercall that does not exist; only a defect looks.
    after_unknown_hypercall: bool,
    /// A quirk wants labvisor to panic after this exit.
    panic: Option<&'static str>,
}

impl Vmm {
    /// A labvisor about to run its guest for the first time.
    pub fn new(memory: GuestMemory, nested: PageTables, log: Log, has_next_rip: bool) -> Self {
        Self {
            memory,
            nested,
            log,
            counters: Counters::default(),
            has_next_rip,
            shell: hypercall::Shell::default(),
            tsc_adjust: 0,
            ring: None,
            last_cpuid: [0; 4],
            names_locked: false,
            exits_without_interrupts: 0,
            after_unknown_hypercall: false,
            panic: None,
            net: None,
        }
    }

    /// Adds the network device, if the machine has room for it.
    pub fn add_net_device(&mut self, m: &mut dyn Machine) {
        let Some(mut net) = NetDevice::place(m, &self.memory) else {
            self.log
                .line(m, format_args!("no room for the network device"));
            return;
        };
        if net.follow_bar(&self.memory, &mut self.nested).is_ok() {
            self.net = Some(net);
        }
    }

    /// Handles one exit.
    pub fn handle(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) -> Result<(), Stop> {
        let start = m.ticks();
        let exit = Exit::from_code(vcpu.vmcb.control.exit_code);
        let mut seen = trace_record::payload::Exit {
            code: vcpu.vmcb.control.exit_code,
            info1: vcpu.vmcb.control.exit_info_1,
            info2: vcpu.vmcb.control.exit_info_2,
            rip: vcpu.vmcb.save.rip,
            rax: vcpu.vmcb.save.rax,
            ticks: 0,
        };
        // An exit in the middle of the delivery of an event: deliver it again, unless what
        // follows is an exception of its own (APM vol. 2, 15.7.2).
        vcpu.vmcb.control.event_injection = vcpu.interrupted_delivery();
        vcpu.vmcb.control.tlb_control = 0;
        let left_behind = core::mem::take(&mut self.after_unknown_hypercall);
        if left_behind && exit == Exit::Io && defects::planted(Defect::ExitStateLeft) {
            self.panic = Some("assertion failed: no other exit is in progress");
        }
        match exit {
            Exit::Cpuid => self.cpuid(vcpu, m),
            Exit::Io => self.io(vcpu, m),
            Exit::Msr => self.msr(vcpu, m),
            Exit::Hypercall => self.hypercall(vcpu, m),
            Exit::SvmInstruction
                if defects::planted(Defect::InvlpgaPanics)
                    && vcpu.vmcb.control.exit_code == INVLPGA =>
            {
                return Err(Stop::Panic("INVLPGA not implemented"));
            }
            Exit::SvmInstruction => self.svm_instruction(vcpu, m),
            Exit::InvalidOpcode => self.invalid_opcode(vcpu, m),
            Exit::GeneralProtection => self.general_protection(vcpu, m)?,
            Exit::NestedFault => self.nested_fault(vcpu, m)?,
            Exit::Shutdown => return Err(Stop::of_shutdown()),
            Exit::Other(_) => return Err(Stop::Panic("unexpected exit code")),
        }
        seen.ticks = m.ticks().wrapping_sub(start);
        let has_device = matches!(exit, Exit::Io | Exit::NestedFault);
        if has_device || !defects::planted(Defect::ExitsUncounted) {
            self.counters.add(exit, seen.ticks);
        }
        self.record(m, seen);
        self.hide_time(vcpu, seen.ticks);
        if defects::quirk(Quirk::InterruptRepeated) {
            self.repeat_interrupt(vcpu, m);
        }
        self.panic
            .take()
            .map_or(Ok(()), |text| Err(Stop::Panic(text)))
    }

    /// Sound: the guest sees all the time that passes.
    fn hide_time(&self, vcpu: &mut Vcpu, ticks: u64) {
        let hidden = if defects::planted(Defect::ExitTimeHiddenTwice) {
            2 * ticks
        } else if defects::planted(Defect::ExitTimeHidden) {
            ticks
        } else {
            0
        };
        let offset = &mut vcpu.vmcb.control.tsc_offset;
        *offset = offset.wrapping_sub(hidden);
    }

    /// The guest has no SVM, so its instructions do not exist (APM vol. 3: #UD when EFER.SVME
    /// is 0).
    fn svm_instruction(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        if defects::planted(Defect::SvmInstructionsSkipped) {
            let length = self.instruction_length(vcpu, m, 3);
            vcpu.finish_instruction(length);
        } else {
            vcpu.inject(Exception::InvalidOpcode);
        }
    }

    /// The bytes at the guest's RIP, as many as are mapped, up to 15.
    fn fetch(&self, vcpu: &Vcpu, m: &mut dyn Machine) -> ([u8; 15], usize) {
        let mut bytes = [0; 15];
        let address = vcpu.instruction_address();
        let access = Access::fetch(vcpu);
        let this_page = if defects::planted(Defect::FetchNeedsNextPage) {
            15
        } else {
            (PAGE - address % PAGE).min(15) as usize
        };
        let mut length = 0;
        for end in [this_page, 15] {
            let at = address.wrapping_add(length as u64);
            let piece = &mut bytes[length..end];
            if self.memory.read_linear(m, vcpu, at, piece, access).is_err() {
                break;
            }
            length = end;
        }
        (bytes, length)
    }

    /// The length of the current instruction, whose opcode has `opcode` bytes and no operands
    /// in memory: the prefixes and the opcode. Processors without NRIP save leave this to us
    /// (APM vol. 2, 15.7.1).
    fn instruction_length(&self, vcpu: &Vcpu, m: &mut dyn Machine, opcode: u64) -> u64 {
        if defects::planted(Defect::PrefixesIgnored) {
            return opcode;
        }
        if self.has_next_rip {
            return vcpu.vmcb.control.next_rip.wrapping_sub(vcpu.vmcb.save.rip);
        }
        let (bytes, length) = self.fetch(vcpu, m);
        self.prefixes(vcpu, &bytes[..length]) as u64 + opcode
    }

    /// How many prefix bytes an instruction begins with.
    fn prefixes(&self, vcpu: &Vcpu, bytes: &[u8]) -> usize {
        let long = vcpu.code_bits() == 64;
        let is_prefix = |byte: &&u8| {
            matches!(
                byte,
                0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65
            ) || long && matches!(byte, 0x40..=0x4f)
        };
        bytes.iter().take_while(is_prefix).count()
    }
}

#[cfg(test)]
mod tests;
