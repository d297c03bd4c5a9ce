//! Expected failures: one TOML file for each kind of machine, every entry with reason and reference.

use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use trace_record::verdict::Verdict;

/// An expected failure.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The experiment.
    pub id: String,
    /// What it says there: FAIL, CRASH, HANG or WEDGED.
    #[serde(deserialize_with = "failing_word")]
    pub verdict: Verdict,
    /// Text that the reason must hold, so that another failure is not taken for this one.
    #[serde(default)]
    pub contains: String,
    /// Why this is so.
    pub reason: String,
    /// Where to read about it: source, issue, advisory.
    pub reference: String,
}

/// The word of a verdict that somebody may count on: FAIL, CRASH, HANG or WEDGED.
pub(crate) fn failing_word<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Verdict, D::Error> {
    let word = String::deserialize(deserializer)?;
    match Verdict::from_word(&word) {
        Some(verdict @ (Verdict::Fail | Verdict::Crash | Verdict::Hang | Verdict::Wedged)) => {
            Ok(verdict)
        }
        _ => Err(serde::de::Error::custom(format!(
            "`{word}` is none of FAIL, CRASH, HANG, WEDGED"
        ))),
    }
}

/// The expectations for one kind of machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    /// All of them.
    #[serde(default)]
    pub expect: Vec<Expectation>,
}

/// Why expectations could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ExpectationsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("{}: {source}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
}

impl Expectations {
    /// Reads `<folder>/<hypervisor>.toml`: none, labvisor or bitvisor.
    ///
    /// # Errors
    /// The file cannot be read or is wrong.
    pub fn load(folder: &Path, hypervisor: &str) -> Result<Expectations, ExpectationsError> {
        let path = folder.join(format!("{hypervisor}.toml"));
        let text = fs::read_to_string(&path).map_err(|source| ExpectationsError::Read {
            path: path.clone(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ExpectationsError::Parse {
            path,
            source: Box::new(source),
        })
    }

    /// The verdict with expectations applied, and the expectation that changed it.
    pub fn apply(
        &self,
        id: &str,
        verdict: Verdict,
        reason: &str,
    ) -> (Verdict, Option<&Expectation>) {
        let Some(expected) = self.expect.iter().find(|one| one.id == id) else {
            return (verdict, None);
        };
        if verdict == expected.verdict && reason.contains(&expected.contains) {
            (Verdict::XFail, Some(expected))
        } else if matches!(verdict, Verdict::Pass | Verdict::Info) {
            (Verdict::XPass, Some(expected))
        } else {
            (verdict, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Expectations {
        toml::from_str(
            "[[expect]]\nid = \"a\"\nverdict = \"FAIL\"\ncontains = \"SVM bit\"\nreason = \"r\"\nreference = \"x.c\"\n",
        )
        .unwrap()
    }

    #[test]
    fn only_the_failure_that_was_expected_is_excused() {
        let expectations = sample();
        let of = |verdict, reason| expectations.apply("a", verdict, reason).0;
        assert_eq!(of(Verdict::Fail, "the SVM bit is set"), Verdict::XFail);
        assert_eq!(of(Verdict::Fail, "something else"), Verdict::Fail);
        assert_eq!(of(Verdict::Pass, ""), Verdict::XPass);
        assert_eq!(of(Verdict::Crash, "the SVM bit"), Verdict::Crash);
        assert_eq!(of(Verdict::Skip, ""), Verdict::Skip);
        assert_eq!(expectations.apply("b", Verdict::Fail, "").0, Verdict::Fail);
    }

    #[test]
    fn a_pass_cannot_be_an_expected_failure() {
        let text =
            "[[expect]]\nid = \"a\"\nverdict = \"PASS\"\nreason = \"r\"\nreference = \"x\"\n";
        let error = toml::from_str::<Expectations>(text).unwrap_err();
        assert!(error.to_string().contains("`PASS` is none of"), "{error}");
    }

    #[test]
    fn every_file_in_the_tree_is_sound_and_names_real_experiments() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let catalogue = crate::Catalogue::load(&root.join("catalogue")).unwrap();
        for hypervisor in ["none", "labvisor", "bitvisor"] {
            let expectations = Expectations::load(&root.join("expectations"), hypervisor).unwrap();
            for one in &expectations.expect {
                assert!(
                    catalogue.get(&one.id).is_some(),
                    "{hypervisor}.toml: no experiment `{}`",
                    one.id
                );
                assert!(
                    !one.reason.is_empty() && !one.reference.is_empty(),
                    "{hypervisor}.toml: {}",
                    one.id
                );
            }
        }
    }
}
