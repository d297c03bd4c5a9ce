//! The matrix: every planted defect against the experiments that must catch it, and the same experiments without one.
//!
//! A row is caught when each experiment that it names gives the verdict that it names, for its reason: the row's text
//! stands in the reason or in a finding of that verdict.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use trace_record::verdict::Verdict;

use crate::{defects::Planted, result::ResultLine, table::one_line};

/// What became of a defect. The worst of a row's experiments counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Catch {
    /// By the verdict that the table names, for its reason.
    Caught,
    /// Something was found, but another verdict or for another reason.
    Wrong,
    /// The experiment noticed nothing.
    Missed,
    /// There is no result.
    NotRun,
}

impl Catch {
    /// The word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Catch::Caught => "caught",
            Catch::Wrong => "WRONG",
            Catch::Missed => "MISSED",
            Catch::NotRun => "NOT RUN",
        }
    }
}

/// One experiment on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The experiment.
    pub experiment: String,
    /// What follows.
    pub catch: Catch,
    /// What it said; nothing when it did not run.
    pub verdict: Option<&'static str>,
    /// Its reason (untrusted text), or why there is none.
    pub reason: String,
}

/// One planted defect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Labvisor's option: `defect=ID` or `quirk=ID`.
    pub option: String,
    /// Its group.
    pub group: String,
    /// What labvisor does wrong.
    pub title: String,
    /// What the experiments must say.
    pub expected: &'static str,
    /// The text that they must say.
    pub contains: String,
    /// The experiments of its row.
    pub cells: Vec<Cell>,
    /// How long its machines took, in milliseconds.
    pub took_ms: u64,
}

impl Row {
    /// Compares what was found with what the table says.
    pub fn judge(planted: &Planted, results: &[ResultLine], took_ms: u64) -> Row {
        let cell = |id: &String| {
            let line = results.iter().find(|line| &line.id == id);
            Cell {
                experiment: id.clone(),
                catch: line.map_or(Catch::NotRun, |line| judge(planted, line)),
                verdict: line.map(|line| line.raw_verdict.word()),
                reason: line.map_or_else(String::new, |line| line.reason.clone()),
            }
        };
        Row {
            option: planted.option(),
            group: planted.group.clone(),
            title: planted.title.clone(),
            expected: planted.verdict.word(),
            contains: planted.contains.clone(),
            cells: planted.caught_by.iter().map(cell).collect(),
            took_ms,
        }
    }

    /// The worst of its experiments.
    pub fn catch(&self) -> Catch {
        let worst = self.cells.iter().map(|cell| cell.catch).max();
        worst.unwrap_or(Catch::NotRun)
    }
}

fn judge(planted: &Planted, line: &ResultLine) -> Catch {
    match line.raw_verdict {
        Verdict::Pass | Verdict::Info | Verdict::Skip => Catch::Missed,
        verdict if verdict == planted.verdict && says(line, &planted.contains) => Catch::Caught,
        _ => Catch::Wrong,
    }
}

/// The text stands in the reason, or in one of the findings that made the verdict.
fn says(line: &ResultLine, text: &str) -> bool {
    let mut findings = line
        .detail
        .lines()
        .filter(|finding| finding.starts_with(line.raw_verdict.word()));
    line.reason.contains(text) || findings.any(|finding| finding.contains(text))
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// The same experiments on labvisor without a defect: experiments that did not pass there.
    pub clean: Vec<Cell>,
    /// How many experiments passed there.
    pub clean_passed: usize,
    /// The defects, in the table's order.
    pub rows: Vec<Row>,
    /// Experiments that no row of the whole table names.
    pub without_defect: Vec<String>,
    /// Different sets of defects that an experiment caught; see [`Matrix::compare_rows`].
    pub different: usize,
    /// Experiments that caught the same defects and no other: they count as one.
    pub alike: Vec<Vec<String>>,
    /// Machines booted.
    pub machines: u32,
    /// From start to end, in milliseconds.
    pub took_ms: u64,
}

impl Matrix {
    /// Takes in what the experiments said without a defect.
    pub fn add_clean(&mut self, wanted: &[String], results: &[ResultLine]) {
        for id in wanted {
            let line = results.iter().find(|line| &line.id == id);
            match line.map(|line| line.raw_verdict) {
                Some(Verdict::Pass | Verdict::Info) => self.clean_passed += 1,
                verdict => self.clean.push(Cell {
                    experiment: id.clone(),
                    catch: verdict.map_or(Catch::NotRun, |_| Catch::Wrong),
                    verdict: verdict.map(Verdict::word),
                    reason: line.map_or_else(String::new, |line| line.reason.clone()),
                }),
            }
        }
    }

    /// Finds the experiments that caught the same defects, once all rows are there.
    pub fn compare_rows(&mut self) {
        let mut caught: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in &self.rows {
            for cell in row.cells.iter().filter(|cell| cell.catch == Catch::Caught) {
                caught
                    .entry(&cell.experiment)
                    .or_default()
                    .push(&row.option);
            }
        }
        let mut by_defects: BTreeMap<Vec<&str>, Vec<String>> = BTreeMap::new();
        for (experiment, defects) in caught {
            by_defects
                .entry(defects)
                .or_default()
                .push(experiment.to_owned());
        }
        self.different = by_defects.len();
        self.alike = by_defects
            .into_values()
            .filter(|experiments| experiments.len() > 1)
            .collect();
    }

    /// 0 when every defect was caught and everything passed without one, 2 when something did not run, else 1.
    pub fn exit_status(&self) -> u8 {
        let worst = self.rows.iter().map(Row::catch);
        match worst.chain(self.clean.iter().map(|cell| cell.catch)).max() {
            None | Some(Catch::Caught) => 0,
            Some(Catch::NotRun) => 2,
            Some(Catch::Wrong | Catch::Missed) => 1,
        }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a matrix is JSON")
    }

    /// As text for a terminal, `width` columns wide.
    pub fn text(&self, width: usize) -> String {
        let mut out = String::new();
        let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0).min(40);
        let option_width = longest(&mut self.rows.iter().map(|row| row.option.len()));
        let mut cells = self.rows.iter().flat_map(|row| &row.cells);
        let id_width = longest(&mut cells.by_ref().map(|cell| cell.experiment.len()));
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = &row.group;
                let _ = writeln!(out, "{}", one_line(group, width));
            }
            for cell in &row.cells {
                let left = format!(
                    "  {:7} {:option_width$}  {:id_width$}  {:6} ",
                    cell.catch.word(),
                    one_line(&row.option, 40),
                    one_line(&cell.experiment, 40),
                    cell.verdict.unwrap_or("-"),
                );
                let reason = match cell.catch {
                    Catch::Wrong => format!(
                        "expected {} \"{}\", saw: {}",
                        row.expected, row.contains, cell.reason
                    ),
                    _ => cell.reason.clone(),
                };
                let room = width.saturating_sub(left.chars().count()).max(20);
                let _ = writeln!(out, "{left}{}", one_line(&reason, room));
            }
        }
        for cell in &self.clean {
            let line = format!(
                "without a defect: {} {}: {}",
                cell.experiment,
                cell.verdict.unwrap_or("NOT RUN"),
                cell.reason
            );
            let _ = writeln!(out, "{}", one_line(&line, width));
        }
        if !self.without_defect.is_empty() {
            let names = self.without_defect.join(" ");
            let _ = writeln!(
                out,
                "in no row, {}: {}",
                self.without_defect.len(),
                one_line(&names, 4000)
            );
        }
        for experiments in &self.alike {
            let line = format!(
                "the same defects, so they count as one: {}",
                experiments.join(" ")
            );
            let _ = writeln!(out, "{}", one_line(&line, width));
        }
        let _ = writeln!(
            out,
            "the experiments that caught something caught {} different sets of defects",
            self.different
        );
        let _ = writeln!(out, "{}", self.summary());
        out
    }

    /// The last line.
    fn summary(&self) -> String {
        let count = |catch| self.rows.iter().filter(|row| row.catch() == catch).count();
        let mut words = format!("{} of {} caught", count(Catch::Caught), self.rows.len());
        for catch in [Catch::Wrong, Catch::Missed, Catch::NotRun] {
            if count(catch) > 0 {
                let _ = write!(words, ", {} {}", count(catch), catch.word());
            }
        }
        format!(
            "{words}; without a defect {} of {} passed; {} machines in {}.{} s",
            self.clean_passed,
            self.clean_passed + self.clean.len(),
            self.machines,
            self.took_ms / 1000,
            self.took_ms % 1000 / 100
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(contains: &str) -> Planted {
        toml::from_str(&format!(
            "id = \"a\"\ngroup = \"time\"\ntitle = \"t\"\nreal = \"r\"\ncaught_by = [\"x\"]\nverdict = \"FAIL\"\n\
             contains = \"{contains}\"\n"
        ))
        .unwrap()
    }

    fn line(verdict: Verdict, reason: &str, detail: &str) -> ResultLine {
        ResultLine {
            reason: reason.into(),
            detail: detail.into(),
            ..ResultLine::sample(verdict)
        }
    }

    fn catch(contains: &str, line: ResultLine) -> Catch {
        Row::judge(&planted(contains), &[line], 1).catch()
    }

    #[test]
    fn experiments_with_the_same_defects_count_as_one() {
        let cell = |experiment: &str, catch| Cell {
            experiment: experiment.into(),
            catch,
            verdict: None,
            reason: String::new(),
        };
        let row = |option: &str, cells: &[(&str, Catch)]| Row {
            option: option.into(),
            cells: cells.iter().map(|(id, catch)| cell(id, *catch)).collect(),
            ..Row::judge(&planted(""), &[], 1)
        };
        use Catch::{Caught, Missed};
        let mut matrix = Matrix {
            rows: vec![
                row("defect=1", &[("a", Caught), ("b", Caught), ("c", Caught)]),
                row("defect=2", &[("c", Caught), ("d", Missed)]),
            ],
            ..Matrix::default()
        };
        matrix.compare_rows();
        assert_eq!((matrix.different, matrix.alike.len()), (2, 1));
        assert_eq!(matrix.alike[0], ["a", "b"]);
        let text = matrix.text(100);
        assert!(text.contains("count as one: a b"));
        assert!(
            text.contains("caught 2 different sets of defects"),
            "{text}"
        );
    }

    #[test]
    fn only_the_named_verdict_for_its_reason_is_a_catch() {
        let found = |verdict, reason| catch("SVM bit", line(verdict, reason, ""));
        assert_eq!(found(Verdict::Fail, "the SVM bit is set"), Catch::Caught);
        assert_eq!(found(Verdict::Fail, "something else"), Catch::Wrong);
        assert_eq!(found(Verdict::Crash, "the SVM bit is set"), Catch::Wrong);
        assert_eq!(found(Verdict::Error, "the SVM bit is set"), Catch::Wrong);
        for verdict in [Verdict::Pass, Verdict::Info, Verdict::Skip] {
            assert_eq!(found(verdict, "the SVM bit is set"), Catch::Missed);
        }
        assert_eq!(Row::judge(&planted(""), &[], 1).catch(), Catch::NotRun);
    }

    #[test]
    fn a_further_finding_may_hold_the_reason_a_mere_note_may_not() {
        let detail = "PASS line 3: leaf\nFAIL line 4: first\nFAIL line 5: SVM bit\n";
        assert_eq!(
            catch("SVM bit", line(Verdict::Fail, "first (and 1 more)", detail)),
            Catch::Caught
        );
        let detail = "FAIL line 4: first\nnote: SVM bit\n";
        assert_eq!(
            catch("SVM bit", line(Verdict::Fail, "first", detail)),
            Catch::Wrong
        );
    }

    #[test]
    fn one_row_or_one_clean_experiment_decides_the_exit_status() {
        let row = |verdict| Row::judge(&planted(""), &[line(verdict, "", "")], 1);
        let mut matrix = Matrix {
            rows: vec![row(Verdict::Fail)],
            ..Matrix::default()
        };
        matrix.add_clean(&["x".into()], &[line(Verdict::Pass, "", "")]);
        assert_eq!(matrix.exit_status(), 0);
        assert!(
            matrix
                .text(100)
                .contains("1 of 1 caught; without a defect 1 of 1 passed")
        );
        let mut unclean = matrix.clone();
        unclean.add_clean(&["x".into()], &[line(Verdict::Fail, "", "")]);
        assert_eq!(unclean.exit_status(), 1);
        let mut lost = matrix.clone();
        lost.add_clean(&["x".into()], &[]);
        assert_eq!(lost.exit_status(), 2);
        matrix.rows.push(row(Verdict::Pass));
        assert_eq!(matrix.exit_status(), 1);
        assert!(
            matrix.text(100).contains("1 MISSED"),
            "{}",
            matrix.text(100)
        );
    }

    #[test]
    fn what_the_guest_says_stays_in_its_line() {
        let row = Row::judge(
            &planted(""),
            &[line(Verdict::Fail, "\u{1b}[2J\nevil", "")],
            1,
        );
        let matrix = Matrix {
            rows: vec![row],
            ..Matrix::default()
        };
        let text = matrix.text(100);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
