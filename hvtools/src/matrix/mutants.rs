//! `hv matrix --mutants N`: small random changes to labvisor's exit handlers, one at a time, in a copy of the tree.
//!
//! A change replaces an operator or a constant on one line, or takes a statement away. Lines that only a planted defect
//! or a quirk reaches are left alone: without it nobody runs them. A mutant that does not compile is replaced by another.
//! A mutant is caught when an experiment says of it what none says of labvisor itself, and says so again alone on a new
//! machine: a busy host makes a timing fail once, not twice. The search ends there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::slice;

use anyhow::{Context, Result, ensure};
use experiments::{Catalogue, ResultLine, catalogue_folder, table};
use harness::{Hypervisor, MachineConfig, Outcome};
use trace_record::verdict::Verdict;

use super::crew::{Crew, Order};
use crate::interrupt::Interrupt;
use crate::workspace::Workspace;
use crate::{disk, guest, image};

/// What is changed.
const HANDLERS: &str = "experiments/labvisor/src/exits";
/// A file of it that only a quirk reaches.
const QUIRKS: &str = "interrupt.rs";
/// Columns of a line.
const WIDTH: usize = 150;

/// What becomes of what, where it stands between blanks or as a word of its own.
const OPERATORS: [(&str, &str); 16] = [
    (" == ", " != "),
    (" != ", " == "),
    (" < ", " <= "),
    (" <= ", " < "),
    (" > ", " >= "),
    (" >= ", " > "),
    (" && ", " || "),
    (" || ", " && "),
    (" + ", " - "),
    (" - ", " + "),
    (" & ", " | "),
    (" | ", " & "),
    (" << ", " >> "),
    (" >> ", " << "),
    ("true", "false"),
    ("false", "true"),
];

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mutant {
    /// Below the top folder.
    file: String,
    /// From 0.
    line: usize,
    before: String,
    after: String,
}

/// Makes `count` mutants and runs the catalogue on each, all of it on one machine.
///
/// # Errors
/// When the tree cannot be copied or a machine cannot be set up.
pub fn run(workspace: &Workspace, count: usize, seed: u64, folder: &Path) -> Result<Outcome> {
    let interrupt = Interrupt::watch()?;
    let tree = workspace.path("target/mutants/tree");
    copy_tree(workspace.root(), &tree)?;
    let mut mutants = shuffled(candidates(workspace)?, seed);
    ensure!(!mutants.is_empty(), "{HANDLERS} holds nothing to change");
    let catalogue = Catalogue::load(&catalogue_folder())?;
    let (mut caught, mut survived, mut unviable) = (0, Vec::new(), 0);
    while caught + survived.len() < count && !interrupt.requested() {
        let Some(mutant) = mutants.pop() else { break };
        let path = tree.join(&mutant.file);
        let original = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        std::fs::write(&path, applied(&original, &mutant))?;
        let elf = build(workspace, &tree);
        std::fs::write(&path, original)?;
        let Some(elf) = elf? else {
            unviable += 1;
            continue;
        };
        let number = caught + survived.len() + 1;
        let disk = folder.join(format!("mutant{number}.img"));
        let mut contents = image::collect(workspace)?;
        contents.labvisor = Some(guest::stripped(&elf)?);
        std::fs::write(&disk, disk::make(&contents)?)?;
        let found = notice(workspace, &catalogue, &disk, folder, number, &interrupt)?;
        std::fs::remove_file(&disk)?;
        if interrupt.requested() {
            break;
        }
        let place = format!("{}:{}", mutant.file, mutant.line + 1);
        let change = format!("`{}` -> `{}`", mutant.before.trim(), mutant.after.trim());
        let word = match &found {
            Some(by) => format!("caught by {by}"),
            None => "SURVIVED".to_owned(),
        };
        let line = format!("[{number:>3}/{count}] {place}: {change}: {word}");
        println!("{}", table::one_line(&line, 3 * WIDTH));
        match found {
            Some(_) => caught += 1,
            None => survived.push((place, change)),
        }
    }
    let done = caught + survived.len();
    println!("\n{caught} of {done} mutants caught, {unviable} did not compile");
    for (place, change) in &survived {
        println!("survived: {place}: {}", table::one_line(change, WIDTH));
    }
    Ok(if interrupt.requested() {
        Outcome::Interrupted
    } else {
        Outcome::AsExpected
    })
}

/// The first experiment that notices the mutant twice, and what it says.
fn notice(
    workspace: &Workspace,
    catalogue: &Catalogue,
    disk: &Path,
    folder: &Path,
    number: usize,
    interrupt: &Interrupt,
) -> Result<Option<String>> {
    let crew = Crew {
        workspace,
        machine: MachineConfig::new(Hypervisor::Labvisor, disk.to_owned(), PathBuf::new()),
        kept: None,
        catalogue,
        folder,
        jobs: 1,
        interrupt,
    };
    let mut left = in_order(catalogue);
    while !left.is_empty() && !interrupt.requested() {
        let Some(first) = first_notice(&crew, &format!("mutant-{number:03}"), &left)? else {
            break;
        };
        let again = format!("mutant-{number:03}-{}", first.id);
        if first_notice(&crew, &again, slice::from_ref(&first.id))?.is_some() {
            return Ok(Some(format!(
                "{} {}: {}",
                first.id,
                first.raw_verdict.word(),
                first.reason
            )));
        }
        let at = left.iter().position(|id| *id == first.id);
        left.drain(..=at.unwrap_or(left.len() - 1));
    }
    Ok(None)
}

/// Those that may take the machine down come late, and those that look at time last: they are slow.
fn in_order(catalogue: &Catalogue) -> Vec<String> {
    let mut all: Vec<_> = catalogue.experiments.iter().collect();
    all.sort_by_key(|one| (one.head.group == "time", one.may_crash()));
    all.into_iter().map(|one| one.id.clone()).collect()
}

/// Runs the experiments on one machine up to the first that notices something.
fn first_notice(crew: &Crew, name: &str, experiments: &[String]) -> Result<Option<ResultLine>> {
    let order = Order {
        // A second search of the same mutant begins further behind.
        name: format!("{name}-{}", experiments.len()),
        labvisor: String::new(),
        experiments: experiments.to_vec(),
        shared: true,
        until_found: true,
    };
    let mut found = None;
    crew.work(vec![order], |_, run| {
        let mut lines = run.results.into_iter();
        found = lines.find(|line| is_notice(line.raw_verdict));
    })?;
    Ok(found)
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

/// Every change that can be made.
fn candidates(workspace: &Workspace) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    let mut folders = vec![workspace.path(HANDLERS)];
    let mut files = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.ends_with(QUIRKS) {
                continue;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.insert(path);
            }
        }
    }
    for path in files {
        let text = std::fs::read_to_string(&path)?;
        let below = path.strip_prefix(workspace.root()).unwrap_or(&path);
        mutants.extend(changes(&below.to_string_lossy(), &text));
    }
    Ok(mutants)
}

/// Every change of one file, up to its tests.
fn changes(file: &str, text: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut depth = 0i32;
    // Where the block of a planted defect began.
    let mut planted: Option<i32> = None;
    for (line, before) in text.lines().enumerate() {
        let code = before.trim();
        if code == "#[cfg(test)]" {
            break;
        }
        let opened = count(before, '{') - count(before, '}');
        let about_defect = before.contains("planted(") || before.contains("quirk(");
        if about_defect && opened > 0 && planted.is_none() {
            planted = Some(depth);
        }
        let left_alone = about_defect
            || planted.is_some()
            || code.starts_with("//")
            || code.starts_with("#[")
            || code.starts_with("use ")
            || code.contains("fn ");
        depth += opened;
        if planted.is_some_and(|outer| depth <= outer) {
            planted = None;
        }
        if left_alone {
            continue;
        }
        let mut add = |after: String| {
            mutants.push(Mutant {
                file: file.to_owned(),
                line,
                before: before.to_owned(),
                after,
            });
        };
        for (from, to) in OPERATORS {
            for (at, _) in before.match_indices(from) {
                if is_word(before, at, from) {
                    add(format!(
                        "{}{to}{}",
                        &before[..at],
                        &before[at + from.len()..]
                    ));
                }
            }
        }
        // A statement that is a call or an assignment.
        let begins = code.starts_with(|c: char| c.is_ascii_lowercase());
        let statement =
            code.ends_with(';') && !code.starts_with("let ") && !code.starts_with("return");
        if begins && statement && count(code, '(') == count(code, ')') {
            add(String::new());
        }
    }
    mutants
}

fn count(text: &str, wanted: char) -> i32 {
    text.chars()
        .filter(|&c| c == wanted)
        .fold(0, |sum, _| sum + 1)
}

/// `true` and `false` must not be parts of names; what has blanks around it cannot be.
fn is_word(text: &str, at: usize, word: &str) -> bool {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    word.starts_with(' ')
        || (!text[..at].ends_with(name) && !text[at + word.len()..].starts_with(name))
}

fn applied(text: &str, mutant: &Mutant) -> String {
    let mut out = String::new();
    for (line, old) in text.lines().enumerate() {
        out += if line == mutant.line {
            &mutant.after
        } else {
            old
        };
        out.push('\n');
    }
    out
}

/// A permutation that the seed alone decides (Fisher and Yates; the numbers are SplitMix64's).
fn shuffled(mut mutants: Vec<Mutant>, seed: u64) -> Vec<Mutant> {
    let mut state = seed;
    for last in (1..mutants.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let at = (z ^ (z >> 31)) % (last as u64 + 1);
        mutants.swap(last, usize::try_from(at).unwrap_or(0));
    }
    mutants
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

    #[test]
    fn operators_constants_and_statements_are_changed() {
        let text = "fn f(a: u64) -> bool {\n    g(a);\n    a == 1 && is_true(a)\n}\n#[cfg(test)]\nmod tests { a == 1; }\n";
        let after: Vec<String> = changes("x", text)
            .into_iter()
            .map(|mutant| mutant.after.trim().to_owned())
            .collect();
        assert_eq!(after, ["", "a != 1 && is_true(a)", "a == 1 || is_true(a)"]);
    }

    #[test]
    fn what_only_a_defect_reaches_is_left_alone() {
        let text = "fn f() {\n    if planted(Defect::X) {\n        a = 1 + 1;\n        if a == 2 {\n            b();\n        }\n    }\n    c();\n}\n";
        let lines: Vec<usize> = changes("x", text)
            .iter()
            .map(|mutant| mutant.line)
            .collect();
        assert_eq!(lines, [7]);
    }

    #[test]
    fn the_seed_alone_decides() {
        let all = changes(
            "x",
            "fn f() {\n    a();\n    b();\n    c();\n    d();\n    e();\n}\n",
        );
        assert_eq!(shuffled(all.clone(), 1), shuffled(all.clone(), 1));
        assert_ne!(shuffled(all.clone(), 1), shuffled(all.clone(), 2));
        let mutant = &all[1];
        assert!(
            applied(
                "a\nb\nc",
                &Mutant {
                    line: 1,
                    after: String::new(),
                    ..mutant.clone()
                }
            ) == "a\n\nc\n"
        );
    }

    #[test]
    fn our_own_handlers_hold_enough_to_change() {
        let workspace = Workspace::find().unwrap();
        assert!(candidates(&workspace).unwrap().len() > 100);
    }
}
