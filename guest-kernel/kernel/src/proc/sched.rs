//! The scheduler: one run queue, round robin; sleeping and waking.
//!
//! As in xv6 each CPU has a scheduler of its own flow of control. A process gives the CPU away by
//! switching to it while holding its own `state` lock, which the scheduler then releases: nobody
//! can run a process before it has really stopped.

use super::NPROC;
use super::table::{self, Process, RunState, State, Wake};
use crate::arch::{apic, cpu, paging, switch};
use crate::mm::kernel_space;
use crate::sync::{SpinGuard, SpinLock, WaitQueue, WaitResult};
use crate::time::{self, Instant};
use crate::trace;
use ::x86_64::instructions::interrupts;
use core::sync::atomic::{AtomicU64, Ordering};
use trace_record::{Class, Payload};

/// What ends a sleep besides its queues and its deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Interruptible {
    /// `kill` does.
    Yes,
    /// Nothing else.
    No,
    /// `kill`, and a wake-up since `clear_wake_flag` (for `WaitSet`).
    UnlessWoken,
}

struct RunQueue {
    slots: [u16; NPROC],
    first: usize,
    len: usize,
}

impl RunQueue {
    fn push(&mut self, slot: usize) {
        assert!(self.len < NPROC, "a process is in the run queue twice");
        self.slots[(self.first + self.len) % NPROC] = slot as u16;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let slot = self.slots[self.first];
        self.first = (self.first + 1) % NPROC;
        self.len -= 1;
        Some(usize::from(slot))
    }
}

static QUEUE: SpinLock<RunQueue> = SpinLock::new(
    "run queue",
    RunQueue {
        slots: [0; NPROC],
        first: 0,
        len: 0,
    },
);

/// No deadline of a sleeper is earlier.
static EARLIEST: AtomicU64 = AtomicU64::new(u64::MAX);

/// Slot of the calling process.
pub fn current_slot() -> usize {
    table::current().slot()
}

/// Puts a process into the run queue.
pub(super) fn make_runnable(process: &Process, state: &mut State) {
    state.run = RunState::Runnable;
    QUEUE.lock().push(process.slot());
    let own = cpu::number();
    let idle = cpu::all().iter().enumerate().find(|(number, other)| {
        *number != own
            && other.online.load(Ordering::Relaxed)
            && other.idle.swap(false, Ordering::SeqCst)
    });
    if let Some((_, other)) = idle {
        apic::send_interrupt(other.apic_id.load(Ordering::Relaxed), apic::WAKE_VECTOR);
    }
}

/// This CPU's scheduler; never returns. Everything else this CPU does happens in processes and interrupts.
pub fn run() -> ! {
    cpu::this().online.store(true, Ordering::SeqCst);
    time::arm();
    loop {
        interrupts::enable();
        let next = QUEUE.lock().pop();
        match next {
            Some(slot) => run_process(table::get(slot)),
            None => idle(),
        }
    }
}

/// Sleeps until an interrupt, unless work has come meanwhile.
fn idle() {
    interrupts::disable();
    let cpu = cpu::this();
    cpu.idle.store(true, Ordering::SeqCst);
    if QUEUE.lock_len() == 0 {
        paging::load_root(kernel_space::root());
        interrupts::enable_and_hlt();
    }
    cpu.idle.store(false, Ordering::SeqCst);
}

impl SpinLock<RunQueue> {
    fn lock_len(&self) -> usize {
        self.lock().len
    }
}

fn run_process(process: &'static Process) {
    let mut state = process.state.lock();
    debug_assert!(
        state.run == RunState::Runnable,
        "the run queue holds what is not runnable"
    );
    let cpu = cpu::this();
    state.run = RunState::Running;
    state.cpu = cpu.number.load(Ordering::Relaxed);
    state.since = time::read_tsc();
    let user = !state.kernel;
    cpu::set_current(Some(process.slot()), state.pid.0);
    let previous = cpu.previous_pid.swap(state.pid.0, Ordering::Relaxed);
    if trace::enabled(Class::Sched) && previous != state.pid.0 {
        trace::emit(&Payload::Switch {
            from: previous as u16,
            to: state.pid.0 as u16,
        });
    }
    cpu::set_kernel_stack(process.stack().top());
    cpu.reschedule.store(false, Ordering::Relaxed);
    if user {
        let root = process
            .space
            .lock()
            .as_ref()
            .map_or_else(kernel_space::root, |space| space.root());
        paging::load_root(root);
        process.fpu.lock().restore();
    }
    state.leak();
    switch::switch(&cpu.scheduler, &process.context);
    // The process stopped; it passed its lock to us. Interrupts were on when we took it.
    cpu.irq_were_on.store(true, Ordering::Relaxed);
    let mut state = process.state.adopt();
    // Looked at anew: the first thread turns into a program.
    if !state.kernel {
        process.fpu.lock().save();
    }
    state.cpu_ticks += time::read_tsc().saturating_sub(state.since);
    cpu::set_current(None, 0);
    if cpu::online_count() > 1 {
        // Another CPU may run the process next, let it exit and free the tables loaded here.
        paging::load_root(kernel_space::root());
    }
    drop(state);
}

/// Gives the CPU to the scheduler. The caller has set `run`; the guard must be the only lock held.
pub(super) fn switch_away(
    state: SpinGuard<'static, State>,
    process: &'static Process,
) -> SpinGuard<'static, State> {
    let cpu = cpu::this();
    assert!(
        cpu.irq_depth.load(Ordering::Relaxed) == 1,
        "giving the CPU away while holding a lock"
    );
    assert!(
        state.run != RunState::Running,
        "giving the CPU away while running"
    );
    // Whether interrupts were on belongs to this flow of control, not to the CPU.
    let irq_were_on = cpu.irq_were_on.load(Ordering::Relaxed);
    state.leak();
    switch::switch(&process.context, &cpu.scheduler);
    cpu::this()
        .irq_were_on
        .store(irq_were_on, Ordering::Relaxed);
    process.state.adopt()
}

/// First thing a new process or thread does: releases the lock the scheduler passed on.
pub fn first_run() {
    // entry.s goes on with interrupts off.
    cpu::this().irq_were_on.store(false, Ordering::Relaxed);
    drop(table::current().state.adopt());
}

/// Lets others run.
pub fn yield_now() {
    let process = table::current();
    let mut state = process.state.lock();
    make_runnable(process, &mut state);
    drop(switch_away(state, process));
}

/// Sleeps on queues and a deadline; `release` is called when the sleeper is registered, so no wake-up is lost.
pub fn park(
    queues: &[&WaitQueue],
    deadline: Option<Instant>,
    interruptible: Interruptible,
    release: impl FnOnce(),
) -> WaitResult {
    let process = table::current();
    let slot = process.slot();
    let mut state = process.state.lock();
    if interruptible != Interruptible::No && process.killed.load(Ordering::SeqCst) {
        release();
        return WaitResult::Killed;
    }
    if interruptible == Interruptible::UnlessWoken && state.wake_flag {
        release();
        return WaitResult::Woken;
    }
    for queue in queues {
        queue.insert(slot);
    }
    state.run = RunState::Sleeping;
    state.interruptible = interruptible != Interruptible::No;
    release();
    if let Some(deadline) = deadline {
        process.deadline.store(deadline.0, Ordering::SeqCst);
        if EARLIEST.fetch_min(deadline.0, Ordering::SeqCst) > deadline.0 {
            time::arm();
        }
    }
    let state = switch_away(state, process);
    process.deadline.store(u64::MAX, Ordering::SeqCst);
    for queue in queues {
        queue.remove(slot);
    }
    match state.wake {
        Wake::Event => WaitResult::Woken,
        Wake::Deadline => WaitResult::TimedOut,
        Wake::Killed => WaitResult::Killed,
    }
}

/// Wakes the process in a slot, or tells it that it need not go to sleep.
pub fn unpark(slot: usize) {
    let process = table::get(slot);
    let mut state = process.state.lock();
    state.wake_flag = true;
    if state.run == RunState::Sleeping {
        state.wake = Wake::Event;
        make_runnable(process, &mut state);
    }
}

/// Forgets wake-ups so far.
pub fn clear_wake_flag(slot: usize) {
    table::get(slot).state.lock().wake_flag = false;
}

/// When the next sleeper wants to wake, in nanoseconds since boot.
pub fn next_deadline() -> u64 {
    EARLIEST.load(Ordering::SeqCst)
}

/// Wakes all whose deadline has passed.
pub fn wake_expired(now: Instant) {
    if EARLIEST.load(Ordering::SeqCst) > now.0 {
        return;
    }
    // Sleepers that register from here on lower it again.
    EARLIEST.store(u64::MAX, Ordering::SeqCst);
    for process in table::all() {
        let deadline = process.deadline.load(Ordering::SeqCst);
        if deadline == u64::MAX {
            continue;
        }
        if deadline > now.0 {
            EARLIEST.fetch_min(deadline, Ordering::SeqCst);
            continue;
        }
        let mut state = process.state.lock();
        // Looked at again under the lock: it may be another sleep by now.
        let expired = process.deadline.load(Ordering::SeqCst) <= now.0;
        if expired && state.run == RunState::Sleeping {
            process.deadline.store(u64::MAX, Ordering::SeqCst);
            state.wake = Wake::Deadline;
            make_runnable(process, &mut state);
        }
    }
}
