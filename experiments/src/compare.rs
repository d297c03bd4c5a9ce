//! Two runs side by side: changed verdicts, where the traces of those part, and changed times with noise bands.
//!
//! A time counts as changed when the new median lies outside the 5th to 95th percentile of the old run, the old
//! one outside those of the new, and they differ by more than 3 %. In software emulation times are not compared.

use crate::{
    excerpt::Excerpts,
    result::{Row, Run},
    table::one_line,
};
use std::fmt::Write;
use trace_record::{run::machine_dir, verdict::Verdict};

/// A verdict that is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictChange {
    /// The experiment.
    pub id: String,
    /// In the first run, if it ran there.
    pub before: Option<Verdict>,
    /// In the second run, if it ran there.
    pub after: Option<Verdict>,
    /// The second run's reason, or the first's.
    pub reason: String,
}

/// A time that is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeChange {
    /// The experiment.
    pub id: String,
    /// The row.
    pub row: String,
    /// Medians.
    pub before: u64,
    /// Medians.
    pub after: u64,
}

/// Where two traces of an experiment part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceChange {
    /// The experiment.
    pub id: String,
    /// Which of its requests and answers, from 1.
    pub number: usize,
    /// In the first run; nothing where its trace ended before.
    pub before: Option<String>,
    /// In the second run.
    pub after: Option<String>,
}

/// What differs between two runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Verdicts.
    pub verdicts: Vec<VerdictChange>,
    /// Times beyond their noise bands.
    pub times: Vec<TimeChange>,
    /// First requests or answers that differ, of the experiments whose verdict changed.
    pub traces: Vec<TraceChange>,
    /// Why times were not compared.
    pub times_left_out: Option<&'static str>,
}

/// Compares two runs.
pub fn compare(before: &Run, after: &Run) -> Comparison {
    let mut comparison = Comparison::default();
    let find = |run: &Run, id: &str| run.results.iter().find(|line| line.id == id).cloned();
    for line in &after.results {
        let old = find(before, &line.id);
        if old.as_ref().map(|old| old.verdict) != Some(line.verdict) {
            comparison.verdicts.push(VerdictChange {
                id: line.id.clone(),
                before: old.as_ref().map(|old| old.verdict),
                after: Some(line.verdict),
                reason: line.reason.clone(),
            });
        }
    }
    for line in before
        .results
        .iter()
        .filter(|line| find(after, &line.id).is_none())
    {
        comparison.verdicts.push(VerdictChange {
            id: line.id.clone(),
            before: Some(line.verdict),
            after: None,
            reason: line.reason.clone(),
        });
    }
    let changed: Vec<String> = comparison
        .verdicts
        .iter()
        .filter(|change| change.before.is_some() && change.after.is_some())
        .map(|change| change.id.clone())
        .collect();
    for id in changed {
        comparison
            .traces
            .extend(first_difference(before, after, &id));
    }
    if before.info.emulated || after.info.emulated {
        comparison.times_left_out =
            Some("software emulation: ticks say nothing about real machines");
        return comparison;
    }
    for line in &after.results {
        let Some(old) = find(before, &line.id) else {
            continue;
        };
        for row in &line.measurements {
            let Some(old_row) = old.measurements.iter().find(|other| other.name == row.name) else {
                continue;
            };
            if differs(old_row, row) {
                comparison.times.push(TimeChange {
                    id: line.id.clone(),
                    row: row.name.clone(),
                    before: old_row.median,
                    after: row.median,
                });
            }
        }
    }
    comparison
}

fn first_difference(before: &Run, after: &Run, id: &str) -> Option<TraceChange> {
    let dialogue = |run: &Run| -> Option<Vec<String>> {
        let line = run.results.iter().find(|line| line.id == id)?;
        let boot = Excerpts::of_boot(&run.folder.join(machine_dir(line.machine)));
        Some(boot.dialogue(id))
    };
    parting(id, &dialogue(before)?, &dialogue(after)?)
}

fn parting(id: &str, before: &[String], after: &[String]) -> Option<TraceChange> {
    let length = before.len().max(after.len());
    let at = (0..length).find(|&at| before.get(at) != after.get(at))?;
    Some(TraceChange {
        id: id.to_owned(),
        number: at + 1,
        before: before.get(at).cloned(),
        after: after.get(at).cloned(),
    })
}

fn differs(old: &Row, new: &Row) -> bool {
    let outside = |value: u64, row: &Row| value < row.p5 || value > row.p95;
    let apart = old.median.abs_diff(new.median) * 100 > old.median.max(1) * 3;
    apart && outside(new.median, old) && outside(old.median, new)
}

impl Comparison {
    /// As text for a terminal, `width` columns wide.
    pub fn text(&self, width: usize) -> String {
        let mut out = String::new();
        let word = |verdict: Option<Verdict>| verdict.map_or("not run", Verdict::word);
        for change in &self.verdicts {
            let line = format!(
                "{}: {} -> {}: {}",
                change.id,
                word(change.before),
                word(change.after),
                change.reason
            );
            let _ = writeln!(out, "{}", one_line(&line, width));
        }
        for change in &self.traces {
            let line = format!("{}: traces part at record {}", change.id, change.number);
            let _ = writeln!(out, "{}", one_line(&line, width));
            for (sign, text) in [("-", &change.before), ("+", &change.after)] {
                let text = text.as_deref().unwrap_or("(the trace ends)");
                let _ = writeln!(out, "{}", one_line(&format!("  {sign} {text}"), width));
            }
        }
        for change in &self.times {
            let percent = change.after as i128 * 100 / i128::from(change.before.max(1)) - 100;
            let line = format!(
                "{} {}: median {} -> {} ({percent:+} %)",
                change.id, change.row, change.before, change.after
            );
            let _ = writeln!(out, "{}", one_line(&line, width));
        }
        if let Some(why) = self.times_left_out {
            let _ = writeln!(out, "times are not compared: {why}");
        }
        if self.verdicts.is_empty() && self.times.is_empty() {
            out.push_str("no verdict changed\n");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunInfo, result::ResultLine};

    fn run(verdict: Verdict, median: u64, emulated: bool) -> Run {
        let row = Row {
            name: "cpuid".into(),
            unit: "ticks".into(),
            n: 9,
            min: median - 20,
            p5: median - 10,
            median,
            p95: median + 10,
            p99: median + 20,
            max: median + 30,
            samples: Vec::new(),
        };
        let line = ResultLine {
            id: "exit-cost".into(),
            reason: "r".into(),
            measurements: vec![row],
            ..ResultLine::sample(verdict)
        };
        Run {
            folder: "x".into(),
            info: RunInfo {
                emulated,
                ..RunInfo::default()
            },
            results: vec![line],
        }
    }

    #[test]
    fn a_changed_verdict_is_named() {
        let changes = compare(
            &run(Verdict::Pass, 1000, true),
            &run(Verdict::Fail, 9000, true),
        );
        assert_eq!(changes.verdicts.len(), 1);
        assert!(changes.times.is_empty() && changes.times_left_out.is_some());
        assert!(changes.text(80).contains("exit-cost: PASS -> FAIL: r"));
    }

    #[test]
    fn traces_part_where_the_first_answer_differs() {
        let texts = |list: &[&str]| -> Vec<String> { list.iter().map(|&x| x.into()).collect() };
        let same = texts(&["a", "b"]);
        assert_eq!(parting("x", &same, &same), None);
        let change = parting("x", &same, &texts(&["a", "c"])).unwrap();
        assert_eq!((change.number, change.after.as_deref()), (2, Some("c")));
        let change = parting("x", &same, &texts(&["a"])).unwrap();
        assert_eq!((change.number, change.after), (2, None));
    }

    #[test]
    fn noise_is_no_change_and_a_jump_is_one() {
        let base = run(Verdict::Info, 1000, false);
        assert!(
            compare(&base, &run(Verdict::Info, 1009, false))
                .times
                .is_empty()
        );
        assert!(
            compare(&base, &run(Verdict::Info, 1025, false))
                .times
                .is_empty(),
            "less than 3 %"
        );
        assert_eq!(
            compare(&base, &run(Verdict::Info, 1100, false)).times.len(),
            1
        );
    }
}
