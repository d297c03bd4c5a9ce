//! What a relay does to frames, as a person writes it down.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Parts in a whole: rates are counted in millionths.
const WHOLE: u32 = 1_000_000;
/// A longer delay is a mistake.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// How likely something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate(u32);

impl Rate {
    /// So many of a hundred; more than all is all.
    #[must_use]
    pub fn percent(percent: u32) -> Rate {
        Rate(percent.min(100) * (WHOLE / 100))
    }

    /// Whether it happens, for a number drawn at random.
    pub(super) fn hits(self, random: u64) -> bool {
        random % u64::from(WHOLE) < u64::from(self.0)
    }

    /// `1%`, `0.25%`.
    fn parse(text: &str) -> Option<Rate> {
        let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
        let within = (0.0..=100.0).contains(&percent);
        within.then(|| Rate((percent * f64::from(WHOLE) / 100.0).round() as u32))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) * 100.0 / f64::from(WHOLE))
    }
}

/// What happens to the frames of each direction. Written as `drop=1%,delay=20ms,seed=7`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Frames that are lost.
    pub drop: Rate,
    /// Frames that arrive twice.
    pub double: Rate,
    /// Frames that the next one overtakes.
    pub reorder: Rate,
    /// IPv4 frames in which a bit behind the Ethernet header is turned over. Other frames are spared: ARP has no
    /// checksum, and on a real wire Ethernet's would have caught it.
    pub corrupt: Rate,
    /// How much later each frame arrives.
    pub delay: Duration,
    /// Where the random numbers begin: the same frames meet the same faults.
    pub seed: u64,
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut faults = Faults::default();
        for word in text.split(',') {
            let done = word.split_once('=').and_then(|(name, value)| {
                match name {
                    "drop" => faults.drop = Rate::parse(value)?,
                    "double" => faults.double = Rate::parse(value)?,
                    "reorder" => faults.reorder = Rate::parse(value)?,
                    "corrupt" => faults.corrupt = Rate::parse(value)?,
                    "delay" => faults.delay = delay(value)?,
                    "seed" => faults.seed = value.parse().ok()?,
                    _ => return None,
                }
                Some(())
            });
            done.ok_or_else(|| {
                format!(
                    "`{}` is no fault: use drop, double, reorder or corrupt with a rate as in drop=1%, delay=20ms \
                     (each way), seed=7",
                    word.escape_debug()
                )
            })?;
        }
        Ok(faults)
    }
}

fn delay(text: &str) -> Option<Duration> {
    let ms = text.strip_suffix("ms")?.parse().ok()?;
    Some(Duration::from_millis(ms)).filter(|delay| *delay <= DELAY_MAX)
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults {
            drop,
            double,
            reorder,
            corrupt,
            delay,
            seed,
        } = self;
        write!(
            f,
            "drop={drop},double={double},reorder={reorder},corrupt={corrupt},delay={}ms,seed={seed}",
            delay.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_parse_and_print_back() {
        let faults: Faults = "drop=1%,corrupt=0.25%,delay=20ms,seed=7".parse().unwrap();
        assert_eq!(
            (faults.drop, faults.delay, faults.seed),
            (Rate::percent(1), Duration::from_millis(20), 7)
        );
        assert_eq!(
            faults.to_string(),
            "drop=1%,double=0%,reorder=0%,corrupt=0.25%,delay=20ms,seed=7"
        );
        assert_eq!(faults.to_string().parse(), Ok(faults));
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_words() {
        for text in [
            "",
            "drop",
            "drop=1",
            "drop=101%",
            "drop=-1%",
            "drop=NaN%",
            "delay=1s",
            "delay=70000ms",
            "lose=1%",
        ] {
            let error = text.parse::<Faults>().unwrap_err();
            assert!(error.contains("drop=1%"), "{text}: {error}");
        }
    }
}
