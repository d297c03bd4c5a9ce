//! Ctrl-C, SIGTERM and a closed terminal: noticed, then obeyed where it is safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Tells whether somebody asked us to stop.
#[derive(Clone, Debug)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    /// Of the whole, where this one is for a part of it, and of what that is a part of.
    wholes: Vec<Arc<AtomicBool>>,
}

impl Interrupt {
    /// From now on the signals only set a flag; a second Ctrl-C while the first is being obeyed changes nothing.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn watch() -> Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .context("cannot watch for signals")?;
        }
        Ok(Interrupt {
            flag,
            wholes: Vec::new(),
        })
    }

    /// One for a part: it can be stopped by itself, and stops with the whole.
    #[must_use]
    pub fn part(&self) -> Interrupt {
        let mut wholes = self.wholes.clone();
        wholes.push(Arc::clone(&self.flag));
        Interrupt {
            flag: Arc::default(),
            wholes,
        }
    }

    /// The flag itself, for somebody who stops at the same signals.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Asks, as a signal would.
    pub fn request(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Somebody asked.
    #[must_use]
    pub fn requested(&self) -> bool {
        let set = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        set(&self.flag) || self.wholes.iter().any(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stops_by_itself_and_with_the_whole() {
        let whole = Interrupt {
            flag: Arc::default(),
            wholes: Vec::new(),
        };
        let (one, other) = (whole.part(), whole.part());
        let within = one.part();
        within.request();
        assert!(within.requested() && !one.requested());
        let within = one.part();
        one.request();
        assert!(within.requested());
        assert!(one.requested() && !other.requested() && !whole.requested());
        whole.request();
        assert!(other.requested());
        let within = other.part().part();
        assert!(within.requested(), "a part of a part stops with the whole");
    }
}
