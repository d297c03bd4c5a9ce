//! System calls: from the table in `abi` to one handler each.

mod files;
mod info;
mod names;
mod probes;
mod process;
mod select;
mod sockets;

use crate::arch::trap::TrapFrame;
use abi::Errno;

/// The handlers, by the names of the calls.
mod handlers {
    pub(super) use super::files::{
        close, dup, fstat, fsync, ftruncate, pipe, read, readdir, seek, ttymode, write,
    };
    pub(super) use super::info::{getconf, gettime, klog, meminfo, poweroff, ps, uptime};
    pub(super) use super::names::{chdir, link, mkdir, mknod, open, rename, unlink};
    pub(super) use super::probes::{probe, tracectl, traceevent};
    pub(super) use super::process::{exec, exit, fork, getpid, kill, sbrk, sleep, wait, yield_};
    pub(super) use super::select::select;
    pub(super) use super::sockets::{
        accept, bind, connect, getpeername, getsockname, listen, netinfo, recv, recvfrom, resolve,
        send, sendto, setsockopt, shutdown, socket,
    };
}

/// What a handler gets.
pub(crate) struct Call<'a> {
    /// The caller's registers; exec replaces them, fork copies them.
    frame: &'a mut TrapFrame,
    /// The frame was replaced: all registers must be restored.
    full_return: bool,
}

impl Call<'_> {
    /// Argument 0 to 5, as it stands in the register.
    fn argument(&self, index: usize) -> u64 {
        let frame = &self.frame;
        [
            frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9,
        ][index]
    }

    /// An `int` argument: the lower half of the register, signed.
    fn int(&self, index: usize) -> i32 {
        self.argument(index) as i32
    }

    /// A length: an `int` that must not be negative.
    fn length(&self, index: usize) -> Result<usize, Errno> {
        usize::try_from(self.int(index)).map_err(|_| Errno::EINVAL)
    }
}

/// What a handler returns: the value for rax.
type CallResult = Result<usize, Errno>;

macro_rules! dispatcher {
    ($($number:literal $name:ident($arguments:literal) $prototype:literal;)*) => {
        fn run(number: u64, call: &mut Call<'_>) -> CallResult {
            match number {
                $($number => handlers::$name(call),)*
                _ => Err(Errno::ENOSYS),
            }
        }
    };
}

abi::with_syscalls!(dispatcher);

/// Runs a system call; returns whether all registers must be restored. Interrupts are on.
pub fn dispatch(frame: &mut TrapFrame) -> bool {
    let number = frame.rax;
    crate::proc::exit_if_killed();
    let mut call = Call {
        frame,
        full_return: false,
    };
    let result = run(number, &mut call);
    let full_return = call.full_return;
    if result == Err(Errno::ENOSYS) && abi::syscall::by_number(number as usize).is_none() {
        crate::println!(
            "{} (pid {}): unknown system call {number}",
            crate::proc::current_name(),
            crate::proc::current_pid()
        );
    }
    if !full_return {
        frame.rax = Errno::to_raw(result) as u64;
    }
    full_return
}
