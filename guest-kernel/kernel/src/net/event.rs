//! An event counter to sleep on.
//!
//! The stack is behind a sleep lock, which a wait queue cannot release. So whoever wants to wait
//! reads the counter first, looks at the stack, and then sleeps only while the counter has not moved.

use crate::sync::{SpinLock, WaitQueue, WaitResult};
use crate::time::Instant;
use abi::Errno;
use alloc::sync::Arc;

/// Counts what happened.
pub struct Event {
    count: SpinLock<u64>,
    queue: WaitQueue,
}

/// How far an [`Event`] had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen(u64);

impl Event {
    /// Nothing happened yet.
    pub const fn new() -> Self {
        Self {
            count: SpinLock::new("event", 0),
            queue: WaitQueue::new(),
        }
    }

    /// How far it has come; read it before looking at what is waited for.
    pub fn seen(&self) -> Seen {
        Seen(*self.count.lock())
    }

    /// Something happened. Callable from interrupt handlers.
    pub fn signal(&self) {
        *self.count.lock() += 1;
        self.queue.wake_all();
    }

    /// Sleeps until something happened that `seen` did not see; EINTR if killed.
    pub fn wait(&self, seen: Seen) -> Result<(), Errno> {
        match self.wait_until(seen, None) {
            WaitResult::Killed => Err(Errno::EINTR),
            WaitResult::Woken | WaitResult::TimedOut => Ok(()),
        }
    }

    /// As `wait`, but no longer than to `deadline`.
    pub fn wait_until(&self, seen: Seen, deadline: Option<Instant>) -> WaitResult {
        let mut count = self.count.lock();
        while *count == seen.0 {
            let result;
            (count, result) = self.queue.wait_until(count, deadline);
            if result != WaitResult::Woken {
                return result;
            }
        }
        WaitResult::Woken
    }

    /// For `select`.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

/// An event that a socket of the stack signals.
#[derive(Clone)]
pub struct SharedEvent(pub Arc<Event>);

impl kcore::net::stack::Notify for SharedEvent {
    fn notify(&self) {
        self.0.signal();
    }
}
