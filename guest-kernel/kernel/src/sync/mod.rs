//! Locks and sleeping.
//!
//! Lock order, outermost first; a lock is taken only while holding locks above it:
//! 1. sleep locks (file system, remote session, sockets);
//! 2. `file` and `pipe` objects, the console, and other condition locks that `WaitQueue::wait` releases;
//! 3. a process's address space, its descriptor table;
//! 4. the process tree (`proc::table`);
//! 5. one process's state;
//! 6. the run queue, timers;
//! 7. frames, kernel tables, heap, `irq`, `pic`, serial line.
//!
//! No lock of 2 to 7 is held over anything that sleeps or talks to a device for long.

mod sleep;
mod spin;
mod wait;

pub use sleep::{SleepGuard, SleepLock};
pub use spin::{SpinGuard, SpinLock};
pub use wait::{Interrupted, WaitQueue, WaitResult, WaitSet};
