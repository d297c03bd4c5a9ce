//! Other people's formats: JUnit XML and KTAP. Every verdict survives in each of them.
//!
//! | verdict | JUnit | KTAP |
//! |---|---|---|
//! | PASS, INFO | passed | `ok` |
//! | XFAIL | skipped, with the expectation | `ok ... # XFAIL` |
//! | SKIP | skipped | `ok ... # SKIP` |
//! | FAIL, XPASS | failure | `not ok` |
//! | others | error | `not ok` |
//!
//! The verdict's own word stands in the `type` attribute, in a property, and in the KTAP line.

use crate::result::{ResultLine, Run};
use std::fmt::Write;
use trace_record::verdict::Verdict;

/// Text for XML and HTML: markup escaped, control characters shown, never passed on.
pub fn escape_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

enum Kind {
    Passed,
    Skipped,
    Failure,
    Error,
}

fn kind(verdict: Verdict) -> Kind {
    match verdict {
        Verdict::Pass | Verdict::Info => Kind::Passed,
        Verdict::Skip | Verdict::XFail => Kind::Skipped,
        Verdict::Fail | Verdict::XPass => Kind::Failure,
        Verdict::Lost | Verdict::Error | Verdict::Wedged | Verdict::Hang | Verdict::Crash => {
            Kind::Error
        }
    }
}

/// The run as JUnit XML, one test suite per group.
pub fn junit(run: &Run) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites name=\"{}\">", escape_markup(&run.info.id));
    for group in groups(run) {
        let lines: Vec<&ResultLine> = run
            .results
            .iter()
            .filter(|line| line.group == group)
            .collect();
        let count = |wanted: fn(&Kind) -> bool| {
            lines
                .iter()
                .filter(|line| wanted(&kind(line.verdict)))
                .count()
        };
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\">",
            escape_markup(group),
            lines.len(),
            count(|kind| matches!(kind, Kind::Failure)),
            count(|kind| matches!(kind, Kind::Error)),
            count(|kind| matches!(kind, Kind::Skipped)),
            seconds(lines.iter().map(|line| line.took_ms).sum()),
        );
        lines
            .iter()
            .for_each(|line| junit_case(&mut out, &run.info.hypervisor, line));
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn junit_case(out: &mut String, hypervisor: &str, line: &ResultLine) {
    let word = line.verdict.word();
    let _ = writeln!(
        out,
        "    <testcase classname=\"{}.{}\" name=\"{}\" time=\"{}\">",
        escape_markup(hypervisor),
        escape_markup(&line.group),
        escape_markup(&line.id),
        seconds(line.took_ms)
    );
    let _ = writeln!(
        out,
        "      <properties><property name=\"verdict\" value=\"{word}\"/></properties>"
    );
    let reason = escape_markup(&line.reason);
    let detail = escape_markup(&line.detail);
    let _ = match kind(line.verdict) {
        Kind::Passed => writeln!(
            out,
            "      <system-out>{word}: {reason}\n{detail}</system-out>"
        ),
        Kind::Skipped => writeln!(out, "      <skipped message=\"{word}: {reason}\"/>"),
        Kind::Failure => writeln!(
            out,
            "      <failure type=\"{word}\" message=\"{reason}\">{detail}</failure>"
        ),
        Kind::Error => writeln!(
            out,
            "      <error type=\"{word}\" message=\"{reason}\">{detail}</error>"
        ),
    };
    out.push_str("    </testcase>\n");
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

fn groups(run: &Run) -> Vec<&str> {
    let mut groups: Vec<&str> = Vec::new();
    for line in &run.results {
        if !groups.contains(&line.group.as_str()) {
            groups.push(&line.group);
        }
    }
    groups
}

/// The run as KTAP, version 1 (Documentation/dev-tools/ktap.rst of Linux).
pub fn ktap(run: &Run) -> String {
    let mut out = format!("KTAP version 1\n1..{}\n", run.results.len());
    for (index, line) in run.results.iter().enumerate() {
        for part in line.detail.lines() {
            let _ = writeln!(out, "# {}", trace_record::escape(part.as_bytes()));
        }
        let good = matches!(kind(line.verdict), Kind::Passed | Kind::Skipped);
        // `#` would begin a directive.
        let reason = trace_record::escape(line.reason.as_bytes()).replace('#', "\\#");
        let directive = match line.verdict {
            Verdict::Skip => "SKIP",
            Verdict::XFail => "XFAIL",
            Verdict::Hang => "TIMEOUT",
            other => other.word(),
        };
        let _ = writeln!(
            out,
            "{}ok {} {} # {directive} {reason}",
            if good { "" } else { "not " },
            index + 1,
            line.id
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunInfo;

    fn all() -> Run {
        let results = Verdict::ALL.into_iter().map(|verdict| ResultLine {
            id: format!("x-{}", verdict.word().to_lowercase()),
            reason: "<script>alert(1)</script> \u{1b}[31m # x".into(),
            detail: "a \"quoted\" & <b>\n".into(),
            took_ms: 1500,
            ..ResultLine::sample(verdict)
        });
        Run {
            folder: "x".into(),
            info: RunInfo::default(),
            results: results.collect(),
        }
    }

    #[test]
    fn every_verdict_survives_junit() {
        let text = junit(&all());
        for verdict in Verdict::ALL {
            assert!(
                text.contains(&format!("value=\"{}\"", verdict.word())),
                "{}",
                verdict.word()
            );
        }
        assert!(
            text.contains("tests=\"11\" failures=\"2\" errors=\"5\" skipped=\"2\" time=\"16.500\""),
            "{text}"
        );
        assert!(!text.contains("<script>") && !text.contains('\u{1b}'));
    }

    #[test]
    fn every_verdict_survives_ktap() {
        let text = ktap(&all());
        assert!(text.starts_with("KTAP version 1\n1..11\n"));
        for (word, start) in [
            ("PASS", "ok"),
            ("XFAIL", "ok"),
            ("SKIP", "ok"),
            ("FAIL", "not ok"),
            ("XPASS", "not ok"),
            ("CRASH", "not ok"),
            ("LOST", "not ok"),
        ] {
            let id = format!("x-{}", word.to_lowercase());
            let line = text
                .lines()
                .find(|line| line.contains(&format!(" {id} ")))
                .unwrap();
            assert!(
                line.starts_with(start) && line.contains(&format!("# {word} ")),
                "{line}"
            );
            assert_eq!(line.matches(" # ").count(), 1, "{line}");
        }
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
