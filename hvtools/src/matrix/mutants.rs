//! `hv matrix --mutants N`: small random changes to labvisor's exit handlers, one at a time, in a copy of the tree.
//!
//! A mutant that does not compile is replaced by another. The experiments are dealt out to several machines. A mutant is
//! caught when an experiment says of it what it does not say of labvisor itself, and says so again alone on a new machine: a
//! busy host makes a timing fail once, not twice. The search ends there. A SKIP that labvisor itself does not get is the
//! weakest catch: it counts when there is no other, and is counted apart. What is known stands in `mutants.json` of the
//! run folder after every mutant.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use experiments::{Catalogue, ResultLine, catalogue_folder, table};
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
    /// Of these, by nothing but a SKIP.
    caught_by_skip: usize,
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

impl Said {
    fn is_skip(&self) -> bool {
        self.verdict == Verdict::Skip.word()
    }
}

impl Report {
    fn add(&mut self, judged: Judged) {
        match &judged.caught_by {
            Some(said) => {
                self.caught += 1;
                self.caught_by_skip += usize::from(said.is_skip());
            }
            None => self.survived += 1,
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
    let mut order = in_order(&catalogue);
    eprintln!(
        "hv: {} mutants of labvisor, {jobs} machines at a time, run folders in {}",
        report.wanted,
        folder.display()
    );
    let disk = folder.join("clean.img");
    std::fs::write(&disk, disk::make(&image::collect(workspace)?)?)?;
    let machine =
        |disk: &Path| MachineConfig::new(Hypervisor::Labvisor, disk.to_owned(), PathBuf::new());
    let crew = Crew {
        workspace,
        machine: machine(&disk),
        kept: None,
        catalogue: &catalogue,
        folder,
        jobs,
        interrupt: &interrupt,
    };
    let skipped = clean(&crew, &mut order)?;
    std::fs::remove_file(&disk)?;
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
                machine: machine(&disk),
                interrupt: &search,
                ..crew
            };
            let results = results(&crew, &name, hands, true)?;
            let judge = |lines| Judgement::of(lines, &skipped);
            Ok(results.into_iter().map(judge).collect())
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
        "\n{} of {} mutants caught ({} of these by a SKIP only), {} did not compile; {} holds all",
        report.caught,
        report.done(),
        report.caught_by_skip,
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
/// each hand has one finding at most, and a SKIP comes after all others. Behind one that does not come again the search goes on with what nobody judged.
fn notice(
    mut left: Vec<String>,
    jobs: usize,
    mut search: impl FnMut(Vec<Vec<String>>) -> Result<Vec<Judgement>>,
) -> Result<Option<Said>> {
    while !left.is_empty() {
        let judged = search(dealt(&left, jobs))?;
        let mut found: Vec<&Said> = judged.iter().filter_map(|one| one.found.as_ref()).collect();
        if found.is_empty() {
            return Ok(None);
        }
        found.sort_by_key(|said| said.is_skip());
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

/// What a machine gave: the experiments that it judged, and its finding, which ended it unless it is a SKIP.
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

/// What is skipped on labvisor itself. Experiments that notice something there are left out, and told.
fn clean(crew: &Crew<'_>, order: &mut Vec<String>) -> Result<BTreeSet<String>> {
    let mut skipped = BTreeSet::new();
    for line in results(crew, "clean", dealt(order, crew.jobs), false)?.concat() {
        if is_notice(line.raw_verdict) {
            let (verdict, reason) = (line.raw_verdict.word(), &line.reason);
            let told = format!(
                "hv: {} is left out, it says of labvisor itself: {verdict}: {reason}",
                line.id
            );
            eprintln!("{}", table::one_line(&told, WIDTH));
            order.retain(|id| *id != line.id);
        } else if line.raw_verdict == Verdict::Skip {
            skipped.insert(line.id);
        }
    }
    Ok(skipped)
}

/// Runs each hand on a machine of its own.
fn results(
    crew: &Crew<'_>,
    name: &str,
    hands: Vec<Vec<String>>,
    until_found: bool,
) -> Result<Vec<Vec<ResultLine>>> {
    let numbered = hands.into_iter().enumerate();
    let orders = numbered.map(|(number, experiments)| Order {
        name: format!("{name}-{number}"),
        labvisor: String::new(),
        experiments,
        shared: true,
        until_found,
    });
    let mut all = Vec::new();
    crew.work(orders.collect(), |_, run| all.push(run.results))?;
    Ok(all)
}

impl Judgement {
    /// Of a machine's results, as far as they go; `skipped` are those that labvisor itself gets a SKIP of.
    fn of(results: Vec<ResultLine>, skipped: &BTreeSet<String>) -> Judgement {
        let mut judgement = Judgement::default();
        for line in results {
            judgement.experiments.push(line.id.clone());
            let is_notice = is_notice(line.raw_verdict);
            let is_new_skip = line.raw_verdict == Verdict::Skip && !skipped.contains(&line.id);
            if is_notice || is_new_skip && judgement.found.is_none() {
                judgement.found = Some(Said {
                    experiment: line.id,
                    verdict: line.raw_verdict.word().to_owned(),
                    reason: line.reason,
                });
            }
            if is_notice {
                // What was blamed together with the first is not judged.
                break;
            }
        }
        judgement
    }
}

/// Says something that no experiment says of labvisor itself. LOST is that, too: a guest that no longer finds its card or
/// its disk is worth noticing.
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
    fn a_skip_that_labvisor_itself_does_not_get_is_the_last_to_count() {
        let said_so = |id: &str, verdict| Said {
            verdict: Verdict::word(verdict).to_owned(),
            ..said(id)
        };
        let line = |id: &str, verdict| {
            let line = serde_json::json!({
                "id": id, "title": "", "group": "", "risk": "safe", "verdict": Verdict::word(verdict),
                "raw_verdict": Verdict::word(verdict), "reason": "so",
                "seed": 1, "script": "", "machine": 0, "took_ms": 0,
            });
            serde_json::from_value::<ResultLine>(line).unwrap()
        };
        let of = |verdicts: &[(&str, Verdict)]| {
            let lines = verdicts.iter().map(|(id, verdict)| line(id, *verdict));
            let skipped = BTreeSet::from(["known".to_owned()]);
            Judgement::of(lines.collect(), &skipped)
        };
        let (pass, skip, fail) = (Verdict::Pass, Verdict::Skip, Verdict::Fail);
        let quiet = of(&[("known", skip), ("a", pass), ("b", Verdict::Info)]);
        assert_eq!((quiet.found, quiet.experiments.len()), (None, 3));
        let skips = of(&[("a", skip), ("b", skip), ("c", pass)]);
        assert_eq!(skips.found, Some(said_so("a", skip)));
        assert_eq!(skips.experiments, words("a b c"));
        let fails = of(&[("a", skip), ("b", fail), ("c", pass)]);
        assert_eq!(fails.found, Some(said_so("b", fail)));
        assert_eq!(fails.experiments, words("a b"));

        // Each is asked for again; the FAIL first.
        let mut asked = Vec::new();
        let found = notice(words("a b"), 2, |hands| {
            asked.push(hands.concat().join(" "));
            let all = [of(&[("a", skip)]), of(&[("b", fail)])];
            let of_it = |one: &Judgement| hands.concat().contains(&one.experiments[0]);
            Ok(all.into_iter().filter(of_it).collect())
        });
        assert_eq!(found.unwrap(), Some(said_so("b", fail)));
        assert_eq!(asked, ["a b", "b"]);
        let mut report = Report::default();
        for caught_by in [Some(said_so("a", skip)), Some(said("b"))] {
            let mutant = Mutant {
                file: String::new(),
                line: 1,
                before: String::new(),
                after: String::new(),
            };
            report.add(Judged { mutant, caught_by });
        }
        assert_eq!((report.caught, report.caught_by_skip), (2, 1));
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
