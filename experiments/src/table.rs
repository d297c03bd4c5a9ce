//! What a terminal shows of a run: the end table and the measurements.
//!
//! Text from guest, hypervisor or script is escaped: control bytes never reach the terminal.

use crate::result::{ResultLine, Row, Run};
use std::fmt::Write;
use trace_record::{escape, verdict::Verdict};

/// Counts per verdict in words: `12 PASS, 1 FAIL`.
pub fn counts(results: &[ResultLine]) -> String {
    let words: Vec<String> = Verdict::ALL
        .into_iter()
        .filter_map(|verdict| {
            let count = results
                .iter()
                .filter(|line| line.verdict == verdict)
                .count();
            (count > 0).then(|| format!("{count} {}", verdict.word()))
        })
        .collect();
    if words.is_empty() {
        "nothing was run".into()
    } else {
        words.join(", ")
    }
}

/// Text in one line of at most `width` characters, control characters escaped.
pub fn one_line(text: &str, width: usize) -> String {
    let escaped = escape(text.as_bytes());
    if escaped.chars().count() <= width {
        return escaped;
    }
    let mut short: String = escaped.chars().take(width.saturating_sub(3)).collect();
    short.push_str("...");
    short
}

/// The table at the end of a run, `width` columns wide.
pub fn end_table(results: &[ResultLine], width: usize) -> String {
    let id_width = results
        .iter()
        .map(|line| line.id.len())
        .max()
        .unwrap_or(0)
        .clamp(10, 40);
    let mut text = String::new();
    let mut group = "";
    for line in results {
        if line.group != group {
            group = &line.group;
            let _ = writeln!(text, "{}", escape(group.as_bytes()));
        }
        let seconds = format!("{}.{} s", line.took_ms / 1000, line.took_ms % 1000 / 100);
        let left = format!(
            "  {:<6} {:<id_width$} {seconds:>8}  ",
            line.verdict.word(),
            one_line(&line.id, id_width)
        );
        let reason = match &line.expectation {
            Some(expected) if line.verdict == Verdict::XFail => {
                format!("{} [{}]", line.reason, expected.reason)
            }
            Some(expected) => format!("{} [expected to fail: {}]", line.reason, expected.reason),
            None => line.reason.clone(),
        };
        let room = width.saturating_sub(left.chars().count()).max(20);
        let _ = writeln!(text, "{left}{}", one_line(&reason, room));
    }
    text
}

/// The measurements of a run. In software emulation they are labelled so: they say nothing about real machines.
pub fn measurements(run: &Run) -> String {
    let mut text = String::new();
    for line in run
        .results
        .iter()
        .filter(|line| !line.measurements.is_empty())
    {
        let note = if run.info.emulated {
            "  (software emulation: ticks are shown, never compared)"
        } else {
            ""
        };
        let _ = writeln!(text, "{}{note}", escape(line.id.as_bytes()));
        let _ = writeln!(
            text,
            "  {:<22} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>12}",
            "row", "n", "min", "p5", "median", "p95", "p99", "max", "net of empty"
        );
        let empty = line
            .measurements
            .iter()
            .find(|row| row.name == "empty")
            .map(|row| row.median);
        for row in &line.measurements {
            let _ = writeln!(text, "  {}", measurement(row, empty));
        }
    }
    text
}

fn measurement(row: &Row, empty: Option<u64>) -> String {
    let net = match empty {
        Some(empty) if row.unit == "ticks" && row.name != "empty" => {
            row.median.saturating_sub(empty).to_string()
        }
        _ => String::new(),
    };
    format!(
        "{:<22} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {net:>12}",
        one_line(&row.name, 22),
        row.n,
        row.min,
        row.p5,
        row.median,
        row.p95,
        row.p99,
        row.max
    )
}

/// Everything about one result, for `hv results show`.
pub fn details(line: &ResultLine) -> String {
    let mut text = format!(
        "{} {}: {}\n",
        line.verdict.word(),
        one_line(&line.id, 60),
        one_line(&line.title, 120)
    );
    let _ = writeln!(text, "  reason: {}", one_line(&line.reason, 4000));
    for part in line.detail.lines() {
        let _ = writeln!(text, "  {}", one_line(part, 4000));
    }
    if let Some(expected) = &line.expectation {
        let _ = writeln!(
            text,
            "  expected: {} ({})",
            expected.reason, expected.reference
        );
    }
    let _ = writeln!(
        text,
        "  machine m{:02}, seed {}, script {}, {} ms",
        line.machine, line.seed, line.script, line.took_ms
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verdict: Verdict, reason: &str) -> ResultLine {
        ResultLine {
            id: "hypercall-map".into(),
            reason: reason.into(),
            took_ms: 1234,
            ..ResultLine::sample(verdict)
        }
    }

    #[test]
    fn escape_sequences_from_the_guest_never_reach_the_terminal() {
        let table = end_table(
            &[line(Verdict::Fail, "\u{1b}]0;evil\u{7}\u{9b}31m\r\nPASS")],
            100,
        );
        assert!(
            table.chars().all(|c| c == '\n' || !c.is_control()),
            "{table:?}"
        );
        assert_eq!(
            table.lines().count(),
            2,
            "a line break in a reason makes no new line"
        );
    }

    #[test]
    fn the_table_fits_its_width() {
        let table = end_table(&[line(Verdict::Pass, &"long ".repeat(50))], 80);
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{table}"
        );
    }

    #[test]
    fn counts_name_what_there_is() {
        assert_eq!(
            counts(&[
                line(Verdict::Pass, ""),
                line(Verdict::Crash, ""),
                line(Verdict::Pass, "")
            ]),
            "2 PASS, 1 CRASH"
        );
        assert_eq!(counts(&[]), "nothing was run");
    }
}
