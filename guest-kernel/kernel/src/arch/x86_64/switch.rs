//! Switching between kernel stacks.
#![expect(unsafe_code, reason = "context switch and first stack frames")]

use crate::arch::trap::TrapFrame;
use core::sync::atomic::{AtomicU64, Ordering};

unsafe extern "C" {
    #[link_name = "context_switch"]
    fn raw_switch(old: *mut u64, new: u64);
    fn process_start();
    fn thread_start();
}

/// A stopped flow of control: its stack pointer, everything else lies on the stack.
pub struct Context(AtomicU64);

impl Context {
    /// Not runnable yet.
    pub const fn empty() -> Self {
        Self(AtomicU64::new(0))
    }
}

/// Stops here, storing into `from`, and goes on where `to` stopped. Interrupts are off, and the
/// caller holds the lock of the process involved, which the other side releases (see `proc::sched`).
pub fn switch(from: &Context, to: &Context) {
    let target = to.0.load(Ordering::Relaxed);
    assert!(target != 0, "switching to a context that was never set up");
    // SAFETY: 1. a non-zero context was stored by `raw_switch` itself or by `prepare_*` below, on a
    // stack that belongs to it alone. 2. Holding the process lock keeps it from being entered twice.
    unsafe { raw_switch(from.0.as_ptr(), target) };
}

/// Words popped by `context_switch`: r15 r14 r13 r12 rbp rbx, then the return address.
#[repr(C)]
struct Start {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbp: u64,
    rbx: u64,
    rip: u64,
}

/// Prepares a new process: it will return to user mode with `frame`.
pub fn prepare_process(
    context: &Context,
    stack: crate::mm::stacks::KernelStack,
    frame: &TrapFrame,
) {
    let frame_at = stack.top() - size_of::<TrapFrame>() as u64;
    let start_at = frame_at - size_of::<Start>() as u64;
    let start = Start {
        r15: 0,
        r14: 0,
        r13: 0,
        r12: 0,
        rbp: 0,
        rbx: 0,
        rip: process_start as *const () as u64,
    };
    // SAFETY: the stack is mapped, belongs to the slot being set up, and nobody runs on it.
    unsafe {
        (frame_at as *mut TrapFrame).write(*frame);
        (start_at as *mut Start).write(start);
    }
    context.0.store(start_at, Ordering::Relaxed);
}

/// Prepares a kernel thread: it will call `entry`.
pub fn prepare_thread(context: &Context, stack: crate::mm::stacks::KernelStack, entry: fn()) {
    // One word below the top, so that the stack is aligned to 16 when `thread_start` calls.
    let start_at = stack.top() - 16 - size_of::<Start>() as u64;
    let start = Start {
        r15: 0,
        r14: 0,
        r13: 0,
        r12: 0,
        rbp: 0,
        rbx: entry as usize as u64,
        rip: thread_start as *const () as u64,
    };
    // SAFETY: as in `prepare_process`.
    unsafe { (start_at as *mut Start).write(start) };
    context.0.store(start_at, Ordering::Relaxed);
}

/// First call of every new process and thread, from entry.s.
#[unsafe(no_mangle)]
extern "C" fn first_run() {
    crate::proc::sched::first_run();
}

/// Last call of a kernel thread, from entry.s.
#[unsafe(no_mangle)]
extern "C" fn thread_finished() -> ! {
    crate::proc::thread::finish()
}
