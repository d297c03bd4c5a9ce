//! Small random changes to labvisor's exit handlers: which there are, and what becomes of a file.
//!
//! A change replaces an operator or a constant on one line, or takes a statement away. Lines that only a planted defect
//! or a quirk reaches are left alone: without it nobody runs them. So are panics of labvisor itself: each is a defect's.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::workspace::Workspace;

/// What is changed.
const HANDLERS: &str = "experiments/labvisor/src/exits";
/// A file of it that only a quirk reaches.
const QUIRKS: &str = "interrupt.rs";
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutant {
    /// Below the top folder.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// The line as it is.
    pub before: String,
    /// The line as it becomes; empty where it is taken away.
    pub after: String,
}

/// Every change that can be made.
///
/// # Errors
/// When a handler cannot be read, or there is nothing to change.
pub fn candidates(workspace: &Workspace) -> Result<Vec<Mutant>> {
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
    ensure!(!mutants.is_empty(), "{HANDLERS} holds nothing to change");
    Ok(mutants)
}

/// Every change of one file, up to its tests.
fn changes(file: &str, text: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut depth = 0i32;
    // Where the block of a planted defect began.
    let mut planted: Option<i32> = None;
    // In a condition that names a defect, and goes on.
    let mut in_condition = false;
    for (line, before) in text.lines().enumerate() {
        let code = before.trim();
        if code == "#[cfg(test)]" {
            break;
        }
        let opened = count(before, '{') - count(before, '}');
        // Between the `}` and the `{` of an `} else {`.
        let outside = depth - i32::from(code.starts_with('}'));
        if planted.is_some_and(|outer| outside <= outer) {
            planted = None;
        }
        let about_defect = in_condition || before.contains("planted(") || before.contains("quirk(");
        in_condition = about_defect && !code.ends_with(['{', '}', ';', ',']);
        if about_defect && depth + opened > outside && planted.is_none() {
            planted = Some(outside);
        }
        let left_alone = about_defect
            || planted.is_some()
            || code.contains("panic = Some(")
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
                line: line + 1,
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

impl Mutant {
    /// The file's text with the change.
    ///
    /// # Errors
    /// When the line is no longer what it was.
    pub fn applied(&self, text: &str) -> Result<String> {
        let mut lines: Vec<&str> = text.lines().collect();
        let line = self.line.checked_sub(1).and_then(|at| lines.get_mut(at));
        match line {
            Some(line) if *line == self.before => *line = &self.after,
            _ => bail!(
                "{}:{} is no longer `{}`: make new mutants with --mutants",
                self.file,
                self.line,
                self.before.trim()
            ),
        }
        Ok(lines.join("\n") + "\n")
    }
}

/// A permutation that the seed alone decides (Fisher and Yates; the numbers are SplitMix64's).
#[must_use]
pub fn shuffled(mut mutants: Vec<Mutant>, seed: u64) -> Vec<Mutant> {
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
        assert_eq!(lines, [8]);
        let text = "fn f() {\n    if x {\n        a();\n    } else if planted(Defect::X) {\n        b();\n    } else {\n        c();\n    }\n}\n";
        let lines: Vec<usize> = changes("x", text)
            .iter()
            .map(|mutant| mutant.line)
            .collect();
        assert_eq!(lines, [3, 7], "the other branches are everybody's");
    }

    #[test]
    fn a_condition_on_several_lines_is_left_alone_and_so_are_panics() {
        let text = "fn f() {\n    match x {\n        1 if planted(X)\n            && a == 1 =>\n        {\n            b();\n        }\n        2 => c(),\n    }\n    d();\n    self.panic = Some(\"e\");\n}\n";
        let lines: Vec<usize> = changes("x", text)
            .iter()
            .map(|mutant| mutant.line)
            .collect();
        assert_eq!(lines, [10]);
    }

    #[test]
    fn the_seed_alone_decides() {
        let all = changes(
            "x",
            "fn f() {\n    a();\n    b();\n    c();\n    d();\n    e();\n}\n",
        );
        assert_eq!(shuffled(all.clone(), 1), shuffled(all.clone(), 1));
        assert_ne!(shuffled(all.clone(), 1), shuffled(all.clone(), 2));
        let second = Mutant {
            after: String::new(),
            ..all[1].clone()
        };
        let text = "fn f() {\n    a();\n    b();\n}\n";
        assert_eq!(second.line, 3);
        assert_eq!(second.applied(text).unwrap(), "fn f() {\n    a();\n\n}\n");
        assert!(second.applied("fn f() {\n").is_err(), "no such line");
        assert!(second.applied(&text.replace("b()", "g()")).is_err());
    }

    #[test]
    fn our_own_handlers_hold_enough_to_change() {
        let workspace = Workspace::find().unwrap();
        assert!(candidates(&workspace).unwrap().len() > 100);
    }
}
