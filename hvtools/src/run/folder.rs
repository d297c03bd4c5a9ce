//! The run folder: `runs/<id>`, named by the time the run began.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// A run's folder on the host.
#[derive(Clone, Debug)]
pub struct RunFolder {
    id: String,
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder of a new run below `runs`. The id is the time in UTC, and a letter where two runs share a second.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn create(runs: &Path, now: SystemTime) -> Result<RunFolder> {
        std::fs::create_dir_all(runs)
            .with_context(|| format!("cannot create {}", runs.display()))?;
        let seconds = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        for suffix in std::iter::once(String::new()).chain(('a'..='z').map(String::from)) {
            let id = format!("{}{suffix}", timestamp(seconds));
            let path = runs.join(&id);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(RunFolder { id, path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot create {}", path.display()));
                }
            }
        }
        bail!(
            "too many runs began within this second in {}",
            runs.display()
        );
    }

    /// Makes the folder `name` below `runs`: for one of many runs that belong together.
    ///
    /// # Errors
    /// When it is there already or cannot be made.
    pub fn named(runs: &Path, name: &str) -> Result<RunFolder> {
        let path = runs.join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(RunFolder {
            id: name.to_owned(),
            path,
        })
    }

    /// The run's id. The trace's header holds its first 16 characters.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder of the run's `machine`-th boot.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_boot(&self, machine: u32) -> Result<PathBuf> {
        let path = self.path.join(trace_record::run::machine_dir(machine));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }
}

/// `YYYYMMDD-HHMMSS` in UTC.
fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The Gregorian date of a day counted from 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timestamps_are_the_calendars() {
        assert_eq!(timestamp(0), "19700101-000000");
        assert_eq!(timestamp(951_782_399), "20000228-235959");
        assert_eq!(timestamp(951_782_400), "20000229-000000");
        assert_eq!(timestamp(1_795_435_200), "20261123-120000");
    }

    #[test]
    fn two_runs_of_a_second_have_two_folders() {
        let runs = tempfile::tempdir().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1);
        let first = RunFolder::create(runs.path(), now).unwrap();
        let second = RunFolder::create(runs.path(), now).unwrap();
        assert_eq!(
            (first.id(), second.id()),
            ("19700101-000001", "19700101-000001a")
        );
        assert!(second.id().len() <= 16 && second.path().is_dir());
    }
}
