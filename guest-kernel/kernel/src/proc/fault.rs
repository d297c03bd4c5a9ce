//! Exceptions that a user program caused.

use super::table::{self, Process};
use crate::arch::trap::{PAGE_FAULT, PF_FETCH, PF_WRITE, TrapFrame, exception_name};
use crate::mm::address_space::{Access, FaultError};
use crate::trace;
use core::sync::atomic::Ordering;
use trace_record::{Class, Payload};

/// Page fault error code: an access with the user's rights.
const PF_USER: u64 = 1 << 2;

/// Resolves a page fault, or kills the process and says why on the console.
pub fn user_exception(frame: &mut TrapFrame, address: u64) {
    let process = table::current();
    if frame.vector != PAGE_FAULT {
        kill(
            process,
            frame,
            format_args!("{}", exception_name(frame.vector)),
        );
        return;
    }
    if trace::enabled(Class::PageFault) {
        trace::emit(&Payload::PageFault {
            address,
            rip: frame.rip,
            error_code: frame.error_code,
        });
    }
    let access = if frame.error_code & PF_WRITE != 0 {
        Access::Write
    } else if frame.error_code & PF_FETCH != 0 {
        Access::Execute
    } else {
        Access::Read
    };
    // The CPU itself, not the program, went for a descriptor table. (QEMU's emulation also reads the
    // stack of a far return so, which SMAP then refuses for ever.)
    if frame.error_code & PF_USER == 0 {
        kill(
            process,
            frame,
            format_args!("system access to {address:#x}"),
        );
        return;
    }
    let result = match process.space.lock().as_mut() {
        Some(space) => space.fault(address, access),
        None => Err(FaultError::Unmapped),
    };
    let verb = match access {
        Access::Read => "reading",
        Access::Write => "writing",
        Access::Execute => "executing",
    };
    match result {
        Ok(_) => {}
        Err(FaultError::OutOfMemory) => kill(
            process,
            frame,
            format_args!("out of memory {verb} {address:#x}"),
        ),
        Err(FaultError::Denied) => kill(
            process,
            frame,
            format_args!("{verb} {address:#x} is not allowed"),
        ),
        Err(FaultError::Unmapped) => kill(
            process,
            frame,
            format_args!("{verb} {address:#x}: nothing is there"),
        ),
    }
}

fn kill(process: &Process, frame: &TrapFrame, why: core::fmt::Arguments<'_>) {
    process.killed.store(true, Ordering::SeqCst);
    let (pid, name) = {
        let state = process.state.lock();
        (state.pid, state.name)
    };
    crate::println!(
        "{name} (pid {pid}) killed: {why} (rip {:#x} rsp {:#x} error {:#x})",
        frame.rip,
        frame.rsp,
        frame.error_code
    );
}
