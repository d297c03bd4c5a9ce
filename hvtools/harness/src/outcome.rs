//! How a run ended, as an exit status.

use std::process::ExitCode;

/// One exit status per outcome; a larger discriminant of the same run wins, see [`Outcome::worst`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Everything came out as expected.
    AsExpected = 0,
    /// An experiment gave FAIL or XPASS.
    Unexpected = 1,
    /// ERROR or LOST: our own defect, or a result that is missing.
    Ours = 2,
    /// CRASH, HANG or WEDGED.
    Died = 3,
    /// The run could not be set up.
    Setup = 4,
    /// Ctrl-C, SIGTERM or a closed terminal.
    Interrupted = 130,
}

impl Outcome {
    /// Of verdicts whose worst has this exit status.
    #[must_use]
    pub fn of_verdicts(status: u8) -> Outcome {
        match status {
            0 => Outcome::AsExpected,
            1 => Outcome::Unexpected,
            2 => Outcome::Ours,
            _ => Outcome::Died,
        }
    }

    /// The worse of two outcomes.
    #[must_use]
    pub fn worst(self, other: Outcome) -> Outcome {
        if other as u8 > self as u8 {
            other
        } else {
            self
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_outcome_wins_from_either_side() {
        assert_eq!(Outcome::AsExpected.worst(Outcome::Died), Outcome::Died);
        assert_eq!(Outcome::Died.worst(Outcome::Unexpected), Outcome::Died);
        assert_eq!(
            Outcome::Died.worst(Outcome::Interrupted),
            Outcome::Interrupted
        );
    }

    #[test]
    fn statuses_are_the_documented_ones() {
        let all = [
            Outcome::AsExpected,
            Outcome::Unexpected,
            Outcome::Ours,
            Outcome::Died,
            Outcome::Setup,
            Outcome::Interrupted,
        ];
        assert_eq!(all.map(|outcome| outcome as u8), [0, 1, 2, 3, 4, 130]);
    }
}
