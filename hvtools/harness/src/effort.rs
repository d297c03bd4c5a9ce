//! How long a machine may take, on a computer that is busy with other things, too.
//!
//! A machine that gets a tenth of a CPU needs ten times as long, and is none the worse. So the time for which its QEMU
//! wanted a CPU and had none does not count. The kernel knows it: `/proc/PID/task/TID/schedstat`, second number, in ns
//! (Documentation/scheduler/sched-stats.rst). Where it does not tell, all time counts.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// What a machine had so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Time in which it ran, or slept because it had nothing to do.
    pub own: Duration,
    /// All time since its start.
    pub wall: Duration,
}

impl Effort {
    /// Of a machine that has been there for `wall`, and of that waited `starved` for a CPU.
    #[must_use]
    pub fn new(wall: Duration, starved: Duration) -> Effort {
        Effort {
            own: wall.saturating_sub(starved),
            wall,
        }
    }

    /// What it had since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Effort) -> Effort {
        Effort {
            own: self.own.saturating_sub(earlier.own),
            wall: self.wall.saturating_sub(earlier.wall),
        }
    }
}

/// How much a machine may take for something.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Of its own time.
    pub own: Duration,
    /// Of all time: it ends some day even if nobody lets it run.
    pub wall: Duration,
}

impl Patience {
    /// So many seconds of the machine's own time, and twenty times as many of all time.
    #[must_use]
    pub const fn of_secs(seconds: u64) -> Patience {
        Patience {
            own: Duration::from_secs(seconds),
            wall: Duration::from_secs(seconds * 20),
        }
    }

    /// It is exhausted.
    #[must_use]
    pub fn ends_with(&self, effort: Effort) -> bool {
        effort.own > self.own || effort.wall > self.wall
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, wall) = (self.own.as_secs(), self.wall.as_secs());
        write!(f, "{own} s of its own time, or {wall} s of all time")
    }
}

/// For how long the threads of a process waited for a CPU, added up: a thread that waits for another one, which waits
/// for a CPU, sleeps. Zero when the process is gone.
pub(crate) fn starved(pid: u32) -> Duration {
    waited(Path::new(&format!("/proc/{pid}/task")))
}

fn waited(threads: &Path) -> Duration {
    let Ok(entries) = std::fs::read_dir(threads) else {
        return Duration::ZERO;
    };
    let waits = entries.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waits.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_machine_that_starves_is_waited_for_and_one_that_runs_or_sleeps_is_not() {
        let patience = Patience::of_secs(20);
        assert!(!patience.ends_with(Effort::new(secs(19), secs(0))));
        assert!(patience.ends_with(Effort::new(secs(21), secs(0))));
        assert!(!patience.ends_with(Effort::new(secs(100), secs(85))));
        assert!(patience.ends_with(Effort::new(secs(401), secs(400))));
    }

    #[test]
    fn a_patience_tells_both_of_its_limits() {
        let told = Patience::of_secs(90).to_string();
        assert_eq!(told, "90 s of its own time, or 1800 s of all time");
    }

    #[test]
    fn effort_counts_from_any_moment() {
        let earlier = Effort::new(secs(30), secs(25));
        let since = Effort::new(secs(90), secs(80)).since(earlier);
        assert_eq!((since.own, since.wall), (secs(5), secs(60)));
    }

    #[test]
    fn the_waiting_of_all_threads_of_a_made_up_process_counts() {
        let folder = tempfile::tempdir().unwrap();
        for (thread, text) in [
            ("1", "9 2000000000 1\n"),
            ("2", "5 4000000000 7\n"),
            ("3", "no number\n"),
        ] {
            let thread = folder.path().join(thread);
            std::fs::create_dir(&thread).unwrap();
            std::fs::write(thread.join("schedstat"), text).unwrap();
        }
        assert_eq!(waited(folder.path()), secs(6));
        assert_eq!(waited(&folder.path().join("4")), Duration::ZERO);
        assert_eq!(starved(u32::MAX), Duration::ZERO);
    }
}
