//! The deferred interrupt of a level-triggered line.
//!
//! Reading the ISR register inside the handler was seen to hang BitVisor's guests in an endless
//! stream of interrupts. So the handler only masks the line and wakes a thread; the thread reads
//! the register, works, and unmasks. The line is shared: a device that has nothing to say for
//! [`QUIET_LIMIT`] interrupts in a row is not the one that rings, and the thread says so.
//!
//! ```
//! use kcore::net::interrupt::{Deferred, Step};
//! let deferred = Deferred::new();
//! assert_eq!(deferred.next_step(), Step::Idle);
//! assert!(deferred.on_interrupt()); // the handler masks the line
//! assert_eq!(deferred.next_step(), Step::ServeAndUnmask);
//! ```

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Interrupts without work in a row after which the line is called noisy.
pub const QUIET_LIMIT: u64 = 10_000;

/// What the thread has to do with the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing happened.
    Idle,
    /// Read the ISR register, drain the rings, unmask the line.
    ServeAndUnmask,
}

/// State shared by handler and thread; no lock, both sides only exchange flags.
#[derive(Debug, Default)]
pub struct Deferred {
    masked: AtomicBool,
    interrupts: AtomicU64,
    quiet: AtomicU64,
}

impl Deferred {
    /// Nothing pending, line open.
    pub const fn new() -> Self {
        Self {
            masked: AtomicBool::new(false),
            interrupts: AtomicU64::new(0),
            quiet: AtomicU64::new(0),
        }
    }

    /// Called by the handler, which masks the line first. Whether the thread has to be woken: a
    /// second interrupt before the thread ran (a neighbour on the line unmasked it) needs no
    /// second call.
    pub fn on_interrupt(&self) -> bool {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
        !self.masked.swap(true, Ordering::AcqRel)
    }

    /// Called by the thread. Taking the step clears the flag *before* the device is read, so that
    /// an interrupt that comes in between is a new one.
    pub fn next_step(&self) -> Step {
        if self.masked.swap(false, Ordering::AcqRel) {
            Step::ServeAndUnmask
        } else {
            Step::Idle
        }
    }

    /// Called by the thread after it served an interrupt: whether there was work. Returns true at
    /// the moment the line turns out to be noisy.
    pub fn served(&self, worked: bool) -> bool {
        if worked {
            self.quiet.store(0, Ordering::Relaxed);
            return false;
        }
        self.quiet.fetch_add(1, Ordering::Relaxed) + 1 == QUIET_LIMIT
    }

    /// Interrupts since boot.
    pub fn interrupts(&self) -> u64 {
        self.interrupts.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line as hardware sees it: level, masked or not.
    struct Line {
        level: bool,
        masked: bool,
    }

    #[test]
    fn no_order_of_events_loses_an_interrupt() {
        // The device raises the line at every point of the thread's sequence: before the step is
        // taken, before the register is read, before the unmasking, after it.
        for raise_at in 0..4 {
            let deferred = Deferred::new();
            let mut line = Line {
                level: true,
                masked: false,
            };
            let mut served = 0;
            let mut raises = 0;
            let handler = |line: &mut Line| {
                while line.level && !line.masked {
                    line.masked = true;
                    deferred.on_interrupt();
                }
            };
            handler(&mut line);
            for round in 0..3 {
                let mut point = |at: usize, line: &mut Line| {
                    if round == 0 && at == raise_at {
                        line.level = true;
                        raises += 1;
                        handler(line);
                    }
                };
                point(0, &mut line);
                if deferred.next_step() == Step::Idle {
                    continue;
                }
                point(1, &mut line);
                line.level = false; // ISR read
                served += 1;
                point(2, &mut line);
                line.masked = false;
                handler(&mut line);
                point(3, &mut line);
            }
            assert_eq!(raises, 1);
            assert!(!line.level, "raised at {raise_at}: nobody served it");
            assert!(served >= 1);
        }
    }

    #[test]
    fn the_thread_is_woken_once_per_step() {
        let deferred = Deferred::new();
        assert!(deferred.on_interrupt());
        assert!(!deferred.on_interrupt());
        assert_eq!(deferred.next_step(), Step::ServeAndUnmask);
        assert!(deferred.on_interrupt());
        assert_eq!(deferred.interrupts(), 3);
    }

    #[test]
    fn a_noisy_line_is_reported_once() {
        let deferred = Deferred::new();
        let reports = (0..2 * QUIET_LIMIT)
            .filter(|_| deferred.served(false))
            .count();
        assert_eq!(reports, 1);
        assert!(!deferred.served(true));
    }
}
