//! What came of a script: findings in their order, and the verdict that they add up to.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use trace_record::verdict::{Measurement, Verdict};

/// Findings and notes kept at most; more are counted.
const KEPT: usize = 64;
/// Longest text of one finding.
const TEXT_MAX: usize = 2_000;

/// One thing that a script found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it means for the verdict.
    pub verdict: Verdict,
    /// What was seen, and what was expected.
    pub text: String,
    /// Line of the script, if it has one.
    pub line: Option<usize>,
}

/// The outcome of one script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in one line.
    pub reason: String,
    /// Findings and notes, for people.
    pub detail: String,
    /// Measured rows.
    pub measurements: Vec<Measurement>,
}

/// Collects findings while a script runs.
#[derive(Debug, Default)]
pub struct Findings {
    findings: Vec<Finding>,
    notes: Vec<String>,
    left_out: usize,
    checks: usize,
    /// Measured rows so far.
    pub measurements: Vec<Measurement>,
}

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, verdict: Verdict, text: &str, line: Option<usize>) {
        // Keep the first of the worst: room is made for them by counting the rest.
        if self.findings.len() >= KEPT && self.worst() >= Some(verdict) {
            self.left_out += 1;
            return;
        }
        self.findings.push(Finding {
            verdict,
            text: shorten(text),
            line,
        });
    }

    /// Counts an assertion that held.
    pub fn held(&mut self) {
        self.checks += 1;
    }

    /// Adds a line that says nothing about the verdict.
    pub fn note(&mut self, text: &str) {
        if self.notes.len() < KEPT {
            self.notes.push(shorten(text));
        } else {
            self.left_out += 1;
        }
    }

    fn worst(&self) -> Option<Verdict> {
        self.findings.iter().map(|finding| finding.verdict).max()
    }

    /// Adds everything up. `only_info` turns PASS and FAIL into INFO (no hypervisor to judge).
    pub fn finish(self, only_info: bool) -> Report {
        let (verdict, mut reason) = match self.worst() {
            None if self.checks > 0 => (Verdict::Pass, format!("{} checks held", self.checks)),
            None => (
                Verdict::Error,
                "the script ended without a verdict".to_string(),
            ),
            Some(worst) => {
                let mut same = self
                    .findings
                    .iter()
                    .filter(|finding| finding.verdict == worst);
                let mut reason = same
                    .next()
                    .map_or(String::new(), |finding| finding.text.clone());
                let more = same.count();
                // One PASS or INFO text per check is normal; only defects are counted.
                if more > 0 && worst > Verdict::Skip {
                    reason.push_str(&format!(" (and {more} more)"));
                }
                (worst, reason)
            }
        };
        let mut detail = String::new();
        for finding in &self.findings {
            detail.push_str(finding.verdict.word());
            if let Some(line) = finding.line {
                detail.push_str(&format!(" line {line}"));
            }
            detail.push_str(": ");
            detail.push_str(&finding.text);
            detail.push('\n');
        }
        for note in &self.notes {
            detail.push_str(note);
            detail.push('\n');
        }
        if self.checks > 0 {
            detail.push_str(&format!("{} checks held\n", self.checks));
        }
        if self.left_out > 0 {
            detail.push_str(&format!("{} more lines left out\n", self.left_out));
        }
        let verdict = match verdict {
            Verdict::Pass | Verdict::Fail if only_info => {
                reason = format!("without a hypervisor: {reason}");
                Verdict::Info
            }
            other => other,
        };
        Report {
            verdict,
            reason: reason.replace('\n', " "),
            detail,
            measurements: self.measurements,
        }
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_an_error() {
        assert_eq!(Findings::default().finish(false).verdict, Verdict::Error);
    }

    #[test]
    fn the_worst_finding_wins_and_the_others_are_counted() {
        let mut findings = Findings::default();
        findings.held();
        findings.add(Verdict::Pass, "fine", None);
        findings.add(Verdict::Fail, "first", Some(3));
        findings.add(Verdict::Fail, "second", Some(4));
        let report = findings.finish(false);
        assert_eq!(
            (report.verdict, report.reason.as_str()),
            (Verdict::Fail, "first (and 1 more)")
        );
        assert!(report.detail.contains("FAIL line 4: second"));
    }

    #[test]
    fn a_flood_of_findings_is_bounded_and_hides_no_failure() {
        let mut findings = Findings::default();
        for _ in 0..1000 {
            findings.add(Verdict::Info, "again", None);
            findings.note("note");
        }
        findings.add(Verdict::Fail, "the one", None);
        let report = findings.finish(false);
        assert_eq!(
            (report.verdict, report.reason.as_str()),
            (Verdict::Fail, "the one")
        );
        assert!(report.detail.contains("more lines left out"));
    }

    #[test]
    fn without_a_hypervisor_a_failure_is_a_finding() {
        let mut findings = Findings::default();
        findings.add(Verdict::Fail, "seen", None);
        assert_eq!(findings.finish(true).verdict, Verdict::Info);
    }
}
