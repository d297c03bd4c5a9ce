//! Wait queues: xv6's `sleep` and `wakeup`, with a queue object in place of a channel address.
//!
//! A queue is a set of process slots, one bit each, so that it needs neither memory nor a lock and
//! can be woken from interrupt handlers. Sleepers may wake without cause and look again.

use super::SpinGuard;
use crate::proc::{NPROC, sched};
use crate::time::Instant;
use core::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = NPROC / 64;

/// The process was killed while it waited, and should unwind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted;

impl From<Interrupted> for abi::Errno {
    fn from(_: Interrupted) -> Self {
        abi::Errno::EINTR
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitResult {
    /// Somebody called `wake_all`, or for no reason.
    Woken,
    /// The deadline passed.
    TimedOut,
    /// The process was killed.
    Killed,
}

/// Processes that wait for one condition.
pub struct WaitQueue {
    waiting: [AtomicU64; WORDS],
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            waiting: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    pub(crate) fn insert(&self, slot: usize) {
        self.waiting[slot / 64].fetch_or(1 << (slot % 64), Ordering::SeqCst);
    }

    pub(crate) fn remove(&self, slot: usize) {
        self.waiting[slot / 64].fetch_and(!(1 << (slot % 64)), Ordering::SeqCst);
    }

    /// Releases the lock, sleeps, takes the lock again.
    pub fn wait<'a, T>(
        &self,
        guard: SpinGuard<'a, T>,
    ) -> (SpinGuard<'a, T>, Result<(), Interrupted>) {
        let (guard, result) = self.wait_until(guard, None);
        (
            guard,
            if result == WaitResult::Killed {
                Err(Interrupted)
            } else {
                Ok(())
            },
        )
    }

    /// As `wait`, but no longer than to `deadline`.
    pub fn wait_until<'a, T>(
        &self,
        guard: SpinGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (SpinGuard<'a, T>, WaitResult) {
        let lock = guard.lock();
        let result = sched::park(&[self], deadline, sched::Interruptible::Yes, || drop(guard));
        (lock.lock(), result)
    }

    /// As `wait`, but a kill does not end it: for short waits that must complete.
    pub fn wait_uninterruptible<'a, T>(&self, guard: SpinGuard<'a, T>) -> SpinGuard<'a, T> {
        let lock = guard.lock();
        sched::park(&[self], None, sched::Interruptible::No, || drop(guard));
        lock.lock()
    }

    /// Makes everybody who waits here look again. Callable from interrupt handlers.
    pub fn wake_all(&self) {
        for (index, word) in self.waiting.iter().enumerate() {
            if word.load(Ordering::SeqCst) == 0 {
                continue;
            }
            let mut slots = word.swap(0, Ordering::SeqCst);
            while slots != 0 {
                sched::unpark(index * 64 + slots.trailing_zeros() as usize);
                slots &= slots - 1;
            }
        }
    }
}

/// Waiting on several queues at once, for `select`.
///
/// Register first, then look at the conditions, then sleep: a wake-up after the registration is
/// not lost, because it sets a flag that `sleep` finds.
pub struct WaitSet<'a> {
    queues: alloc::vec::Vec<&'a WaitQueue>,
    slot: usize,
}

impl<'a> WaitSet<'a> {
    /// Registers the calling process on all queues.
    pub fn register(queues: alloc::vec::Vec<&'a WaitQueue>) -> Self {
        let slot = sched::current_slot();
        sched::clear_wake_flag(slot);
        for queue in &queues {
            queue.insert(slot);
        }
        Self { queues, slot }
    }

    /// Sleeps unless one of the queues was woken since the registration; stays registered.
    pub fn sleep(&self, deadline: Option<Instant>) -> WaitResult {
        let result = sched::park(
            &self.queues,
            deadline,
            sched::Interruptible::UnlessWoken,
            || {},
        );
        sched::clear_wake_flag(self.slot);
        for queue in &self.queues {
            queue.insert(self.slot);
        }
        result
    }
}

impl Drop for WaitSet<'_> {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.remove(self.slot);
        }
    }
}
