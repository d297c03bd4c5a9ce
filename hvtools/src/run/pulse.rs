//! The guest's heartbeat, as the host sees it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trace_record::run;

/// Tells how long a guest has been silent.
///
/// The guest's kernel writes a clock record into its trace every second, whatever its programs do; each is a request
/// that the server answered. So the growth of the files that only this boot writes is its pulse.
#[derive(Debug)]
pub struct Pulse {
    files: [PathBuf; 2],
    sizes: [u64; 2],
    last: Option<Instant>,
}

impl Pulse {
    /// Of the boot with this folder.
    #[must_use]
    pub fn of(folder: &Path) -> Pulse {
        let files = [folder.join(run::TRACE), folder.join(run::VERDICTS)];
        Pulse {
            files,
            sizes: [0; 2],
            last: None,
        }
    }

    /// How long nothing came; `None` before the first sign of life.
    pub fn silence(&mut self) -> Option<Duration> {
        let sizes = self
            .files
            .each_ref()
            .map(|file| std::fs::metadata(file).map_or(0, |meta| meta.len()));
        if sizes != self.sizes {
            self.sizes = sizes;
            self.last = Some(Instant::now());
        }
        self.last.map(|last| last.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_begins_with_the_first_byte_and_anew_with_each_further_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut pulse = Pulse::of(folder.path());
        assert_eq!(pulse.silence(), None);
        std::fs::write(folder.path().join(run::TRACE), b"x").unwrap();
        assert!(pulse.silence().unwrap() < Duration::from_secs(1));
        pulse.last = Instant::now().checked_sub(Duration::from_secs(60));
        assert!(pulse.silence().unwrap() >= Duration::from_secs(60));
        std::fs::write(folder.path().join(run::VERDICTS), b"y").unwrap();
        assert!(pulse.silence().unwrap() < Duration::from_secs(1));
    }
}
