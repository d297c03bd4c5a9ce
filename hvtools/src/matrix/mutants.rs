//! `hv matrix --mutants N`: small random changes to labvisor's exit handlers, one at a time, in a copy of the tree.
//!
//! A mutant that does not compile is replaced by another. The experiments are dealt out to several machines. A mutant is
//! caught when an experiment says of it what none says of labvisor itself, and says so again alone on a new machine: a
//! busy host makes a timing fail once, not twice. The search ends there. What is known stands in `mutants.json` of the run
//! folder after every mutant.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use experiments::{Catalogue, catalogue_folder, table};
use harness::{Hypervisor, MachineConfig, Outcome};
use serde::{Deserialize, Serialize};
use trace_record::verdict::Verdict;

use super::changes::{self, Mutant};
use super::crew::{Crew, Order};
use crate::interrupt::Interrupt;
use crate::workspace::Workspace;
use crate::{disk, guest, image};

/// Columns of a line.
const WIDTH: usize = 150;
/// The file of the run folder.
const REPORT: &str = "mutants.json";

/// Which mutants.
#[derive(Debug)]
pub enum Wanted<'a> {
    /// As many, those that the seed gives.
    Random(usize, u64),
    /// Those that survived in the `mutants.json` of an earlier run.
    Survivors(&'a Path),
}

/// All that is known, as it stands in `mutants.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    seed: u64,
    wanted: usize,
    caught: usize,
    survived: usize,
    /// Did not compile.
    unviable: usize,
    mutants: Vec<Judged>,
}

/// A mutant and who noticed it, if anybody did.
#[derive(Debug, Serialize, Deserialize)]
struct Judged {
    #[serde(flatten)]
    mutant: Mutant,
    caught_by: Option<Said>,
}

/// What an experiment said of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    experiment: String,
    verdict: String,
    reason: String,
}

impl Report {
    fn add(&mut self, judged: Judged) {
        if judged.caught_by.is_some() {
            self.caught += 1;
        } else {
            self.survived += 1;
        }
        self.mutants.push(judged);
    }

    fn done(&self) -> usize {
        self.caught + self.survived
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write down the mutants")?;
        let path = folder.join(REPORT);
        std::fs::write(&path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The report of an earlier run.
    fn read(path: &Path) -> Result<Report> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is no {REPORT} of a run with --mutants", path.display()))
    }

    fn survivors(self) -> impl DoubleEndedIterator<Item = Mutant> {
        let survived = |judged: &Judged| judged.caught_by.is_none();
        let mutants = self.mutants.into_iter().filter(survived);
        mutants.map(|judged| judged.mutant)
    }
}

impl Judged {
    fn line(&self) -> String {
        let Mutant {
            file,
            line,
            before,
            after,
        } = &self.mutant;
        let word = match &self.caught_by {
            Some(said) => format!(
                "caught by {} {}: {}",
                said.experiment, said.verdict, said.reason
            ),
            None => "SURVIVED".to_owned(),
        };
        let change = format!("`{}` -> `{}`", before.trim(), after.trim());
        format!("{file}:{line}: {change}: {word}")
    }
}

/// Makes mutants and runs the catalogue on each, `jobs` machines at a time.
///
/// # Errors
/// When the tree cannot be copied, a machine cannot be set up, or the earlier run's mutants are no longer possible.
pub fn run(
    workspace: &Workspace,
    wanted: &Wanted<'_>,
    jobs: usize,
    folder: &Path,
) -> Result<Outcome> {
    let mut report = Report::default();
    // The next one stands at the end.
    let mut mutants: Vec<Mutant> = match *wanted {
        Wanted::Random(count, seed) => {
            (report.seed, report.wanted) = (seed, count);
            changes::shuffled(changes::candidates(workspace)?, seed)
        }
        Wanted::Survivors(path) => {
            let earlier = Report::read(path)?;
            report.seed = earlier.seed;
            let mutants: Vec<Mutant> = earlier.survivors().rev().collect();
            report.wanted = mutants.len();
            mutants
        }
    };
    let interrupt = Interrupt::watch()?;
    let tree = workspace.path("target/mutants/tree");
    copy_tree(workspace.root(), &tree)?;
    let catalogue = Catalogue::load(&catalogue_folder())?;
    let order = in_order(&catalogue);
    eprintln!(
        "hv: {} mutants of labvisor, {jobs} machines at a time, run folders in {}",
        report.wanted,
        folder.display()
    );
    while report.done() < report.wanted && !interrupt.requested() {
        let Some(mutant) = mutants.pop() else { break };
        let path = tree.join(&mutant.file);
        let original = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        std::fs::write(&path, mutant.applied(&original)?)?;
        let elf = build(workspace, &tree);
        std::fs::write(&path, original)?;
        let Some(elf) = elf? else {
            report.unviable += 1;
            continue;
        };
        let number = report.done() + 1;
        let disk = folder.join(format!("mutant{number}.img"));
        let mut contents = image::collect(workspace)?;
        contents.labvisor = Some(guest::stripped(&elf)?);
        std::fs::write(&disk, disk::make(&contents)?)?;
        let mut searches = 0..;
        let caught_by = notice(order.clone(), jobs, |hands| {
            let name = format!("mutant-{number:03}-{}", searches.next().unwrap_or(0));
            // The first catch stops this search, not the whole.
            let search = interrupt.part();
            let crew = Crew {
                workspace,
                machine: MachineConfig::new(Hypervisor::Labvisor, disk.clone(), PathBuf::new()),
                kept: None,
                catalogue: &catalogue,
                folder,
                jobs,
                interrupt: &search,
            };
            judged(&crew, &name, hands)
        })?;
        std::fs::remove_file(&disk)?;
        if interrupt.requested() {
            break;
        }
        let judged = Judged { mutant, caught_by };
        let line = format!("[{number:>3}/{}] {}", report.wanted, judged.line());
        println!("{}", table::one_line(&line, 3 * WIDTH));
        report.add(judged);
        report.write(folder)?;
    }
    report.write(folder)?;
    println!(
        "\n{} of {} mutants caught, {} did not compile; {} holds all",
        report.caught,
        report.done(),
        report.unviable,
        folder.join(REPORT).display()
    );
    for judged in report.mutants.iter().filter(|one| one.caught_by.is_none()) {
        println!("{}", table::one_line(&judged.line(), WIDTH));
    }
    Ok(if interrupt.requested() {
        Outcome::Interrupted
    } else {
        Outcome::AsExpected
    })
}

/// The first finding that comes again. `search` runs each hand on a machine of its own and tells what was judged there;
/// at most the last of a hand is a finding. Behind one that does not come again the search goes on with what nobody judged.
fn notice(
    mut left: Vec<String>,
    jobs: usize,
    mut search: impl FnMut(Vec<Vec<String>>) -> Result<Vec<Judgement>>,
) -> Result<Option<Said>> {
    while !left.is_empty() {
        let judged = search(dealt(&left, jobs))?;
        let found: Vec<&Said> = judged.iter().filter_map(|one| one.found.as_ref()).collect();
        if found.is_empty() {
            return Ok(None);
        }
        for said in found {
            let again = search(vec![vec![said.experiment.clone()]])?;
            if again.iter().any(|one| one.found.is_some()) {
                return Ok(Some(said.clone()));
            }
        }
        let is_judged = |id: &String| judged.iter().any(|one| one.experiments.contains(id));
        left.retain(|id| !is_judged(id));
    }
    Ok(None)
}

/// What a machine gave: the experiments that it judged, and the finding that ended it.
#[derive(Debug, Default)]
struct Judgement {
    experiments: Vec<String>,
    found: Option<Said>,
}

/// In turns, so that the slow ones at the end are dealt out, too.
fn dealt(experiments: &[String], hands: usize) -> Vec<Vec<String>> {
    let hands = hands.clamp(1, experiments.len().max(1));
    let hand = |first| experiments.iter().skip(first).step_by(hands).cloned();
    (0..hands).map(|first| hand(first).collect()).collect()
}

/// Those that may take the machine down come late, and those that look at time last: they are slow.
fn in_order(catalogue: &Catalogue) -> Vec<String> {
    let mut all: Vec<_> = catalogue.experiments.iter().collect();
    all.sort_by_key(|one| (one.head.group == "time", one.may_crash()));
    all.into_iter().map(|one| one.id.clone()).collect()
}

/// Runs each hand on a machine of its own, all up to the first that notices something.
fn judged(crew: &Crew<'_>, name: &str, hands: Vec<Vec<String>>) -> Result<Vec<Judgement>> {
    let numbered = hands.into_iter().enumerate();
    let orders = numbered.map(|(number, experiments)| Order {
        name: format!("{name}-{number}"),
        labvisor: String::new(),
        experiments,
        shared: true,
        until_found: true,
    });
    let mut all = Vec::new();
    crew.work(orders.collect(), |_, run| {
        let mut judgement = Judgement::default();
        // What was blamed together with the first is not judged.
        for line in run.results {
            judgement.experiments.push(line.id.clone());
            if is_notice(line.raw_verdict) {
                judgement.found = Some(Said {
                    experiment: line.id,
                    verdict: line.raw_verdict.word().to_owned(),
                    reason: line.reason,
                });
                break;
            }
        }
        all.push(judgement);
    })?;
    Ok(all)
}

/// Says something that no experiment says of labvisor itself. Some are skipped there, too, so a SKIP is no notice. LOST
/// is one: a guest that no longer finds its card or its disk is worth noticing.
pub(super) fn is_notice(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Pass | Verdict::Info | Verdict::Skip)
}

/// Builds labvisor from the copy; nothing if it does not compile.
fn build(workspace: &Workspace, tree: &Path) -> Result<Option<PathBuf>> {
    let target = workspace.path("target/mutants/build");
    let mut cargo = guest::cargo(workspace, &["labvisor"], &target);
    cargo
        .current_dir(tree)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let built = cargo.status().context("cannot run cargo")?.success();
    Ok(built.then(|| target.join("x86_64-unknown-none/guest/labvisor")))
}

/// Copies the tree without what is built, and without other people's files in it.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    copy_folder(from, to).with_context(|| format!("cannot copy the tree to {}", to.display()))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_dir() && !matches!(name.to_str(), Some("target" | ".git" | "runs" | "home")) {
            copy_folder(&entry.path(), &to.join(name))?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn said(experiment: &str) -> Said {
        Said {
            experiment: experiment.to_owned(),
            verdict: "FAIL".to_owned(),
            reason: "so".to_owned(),
        }
    }

    fn judgement(experiments: &str, found: Option<&str>) -> Judgement {
        Judgement {
            experiments: words(experiments),
            found: found.map(said),
        }
    }

    #[test]
    fn experiments_are_dealt_out_in_turns() {
        let all = words("a b c d e");
        assert_eq!(dealt(&all, 2), [words("a c e"), words("b d")]);
        assert_eq!(dealt(&all, 1), std::slice::from_ref(&all));
        assert_eq!(dealt(&all, 9).len(), 5);
    }

    #[test]
    fn a_finding_counts_when_it_comes_again_and_only_what_was_judged_is_left_out() {
        // What is asked for, and what comes of it.
        let mut script = vec![
            // b was not begun when c was noticed.
            (
                vec![words("a c"), words("b d")],
                vec![judgement("a c", Some("c")), judgement("", None)],
            ),
            (vec![words("c")], vec![judgement("c", None)]),
            (
                vec![words("b"), words("d")],
                vec![judgement("b", Some("b")), judgement("d", Some("d"))],
            ),
            (vec![words("b")], vec![judgement("b", None)]),
            (vec![words("d")], vec![judgement("d", Some("d"))]),
        ]
        .into_iter();
        let found = notice(words("a b c d"), 2, |hands| {
            let (expected, gives) = script.next().expect("nothing more is asked for");
            assert_eq!(hands, expected);
            Ok(gives)
        });
        assert_eq!(found.unwrap(), Some(said("d")));
        assert!(script.next().is_none(), "all is asked for");
    }

    #[test]
    fn what_nobody_notices_survives() {
        let quiet = |hands: Vec<Vec<String>>| {
            let judged = |experiments| Judgement {
                experiments,
                found: None,
            };
            Ok(hands.into_iter().map(judged).collect())
        };
        assert_eq!(notice(words("a b"), 2, quiet).unwrap(), None);
    }

    #[test]
    fn the_report_holds_all_and_gives_the_survivors_back() {
        let mutant = |line| Mutant {
            file: "x.rs".to_owned(),
            line,
            before: "a < b".to_owned(),
            after: "a <= b".to_owned(),
        };
        let mut report = Report {
            seed: 7,
            wanted: 3,
            unviable: 1,
            ..Report::default()
        };
        for (line, caught_by) in [(1, None), (2, Some(said("a"))), (3, None)] {
            let mutant = mutant(line);
            report.add(Judged { mutant, caught_by });
        }
        let folder = tempfile::tempdir().unwrap();
        report.write(folder.path()).unwrap();
        let path = folder.path().join(REPORT);
        let read = Report::read(&path).unwrap();
        assert_eq!((read.seed, read.wanted, read.unviable), (7, 3, 1));
        assert_eq!((read.caught, read.survived), (1, 2));
        assert_eq!(read.mutants[1].caught_by, Some(said("a")));
        let survivors: Vec<Mutant> = read.survivors().collect();
        assert_eq!(survivors, [mutant(1), mutant(3)]);
        std::fs::write(&path, "{}").unwrap();
        let error = Report::read(&path).unwrap_err().to_string();
        assert!(error.contains("is no mutants.json"), "{error}");
    }
}
