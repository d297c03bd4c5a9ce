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
    /// What is known to be wrong: every finding of the result (the reason, where there are no findings) must hold one
    /// of these texts, so that another failure is not taken for this one. A text or several in the file.
    #[serde(deserialize_with = "one_or_more")]
    pub contains: Vec<String>,
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

fn one_or_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        More(Vec<String>),
    }
    let texts = match Texts::deserialize(deserializer)? {
        Texts::One(text) => vec![text],
        Texts::More(texts) => texts,
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(serde::de::Error::custom("`contains` needs a text"));
    }
    Ok(texts)
}

impl Expectation {
    /// Whether all that is wrong is known.
    fn explains(&self, verdict: Verdict, reason: &str, detail: &str) -> bool {
        let known = |text: &str| self.contains.iter().any(|known| text.contains(known));
        // As `engine::report` writes them: the verdict's word, perhaps the line, a colon, the text.
        let mut findings = detail.lines().filter(|line| {
            let rest = line.strip_prefix(verdict.word());
            rest.is_some_and(|rest| rest.starts_with(':') || rest.starts_with(" line "))
        });
        known(reason) && (verdict != Verdict::Fail || findings.all(known))
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
        detail: &str,
    ) -> (Verdict, Option<&Expectation>) {
        let Some(expected) = self.expect.iter().find(|one| one.id == id) else {
            return (verdict, None);
        };
        if verdict == expected.verdict && expected.explains(verdict, reason, detail) {
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
            "[[expect]]\nid = \"a\"\nverdict = \"FAIL\"\ncontains = [\"SVM bit\", \"leaf\"]\nreason = \"r\"\nreference = \"x.c\"\n",
        )
        .unwrap()
    }

    #[test]
    fn only_the_failure_that_was_expected_is_excused() {
        let expectations = sample();
        let of = |verdict, reason| expectations.apply("a", verdict, reason, "").0;
        assert_eq!(of(Verdict::Fail, "the SVM bit is set"), Verdict::XFail);
        assert_eq!(of(Verdict::Fail, "something else"), Verdict::Fail);
        assert_eq!(of(Verdict::Pass, ""), Verdict::XPass);
        assert_eq!(of(Verdict::Crash, "the SVM bit"), Verdict::Crash);
        assert_eq!(of(Verdict::Skip, ""), Verdict::Skip);
        let other = expectations.apply("b", Verdict::Fail, "", "").0;
        assert_eq!(other, Verdict::Fail);
    }

    #[test]
    fn a_failure_beside_the_expected_ones_is_not_excused() {
        let expectations = sample();
        let of = |detail| {
            let reason = "the SVM bit is set (and 1 more)";
            expectations.apply("a", Verdict::Fail, reason, detail).0
        };
        let known = "PASS: VMRUN\nFAIL line 3: the SVM bit is set\nFAIL line 4: the leaf is shown\na note\n";
        assert_eq!(of(known), Verdict::XFail);
        let new = format!("{known}FAIL line 9: STGI did something\n");
        assert_eq!(of(&new), Verdict::Fail);
    }

    #[test]
    fn an_expectation_says_what_it_expects() {
        for contains in ["contains = \"\"\n", "contains = []\n", ""] {
            let text = format!(
                "[[expect]]\nid = \"a\"\nverdict = \"FAIL\"\n{contains}reason = \"r\"\nreference = \"x\"\n"
            );
            assert!(toml::from_str::<Expectations>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pass_cannot_be_an_expected_failure() {
        let text = "[[expect]]\nid = \"a\"\nverdict = \"PASS\"\ncontains = \"x\"\nreason = \"r\"\nreference = \"x\"\n";
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
