//! Labvisor's table of planted defects and quirks, and whether what an experiment found is a catch.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use trace_record::verdict::Verdict;

use crate::expectations::failing_word;

/// What is planted: a defect that experiments must catch, or one of BitVisor's traps, reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `defect=ID` on labvisor's command line.
    Defect,
    /// `quirk=ID`.
    Quirk,
}

impl Kind {
    /// The word on labvisor's command line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Defect => "defect",
            Kind::Quirk => "quirk",
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planted {
    /// What the command line says.
    pub id: String,
    /// As the experiments' groups.
    pub group: String,
    /// What labvisor does wrong.
    pub title: String,
    /// What a real bug of this kind was.
    pub real: String,
    /// A public advisory, where one is known.
    #[serde(default)]
    pub advisory: String,
    /// Experiments, each of which must catch it.
    pub caught_by: Vec<String>,
    /// What they must say: FAIL, CRASH, HANG or WEDGED.
    #[serde(deserialize_with = "failing_word")]
    pub verdict: Verdict,
    /// A text that the reason, or a finding of that verdict, must hold.
    #[serde(default)]
    pub contains: String,
    /// Which of the two lists it stands in.
    #[serde(skip, default = "defect")]
    pub kind: Kind,
}

fn defect() -> Kind {
    Kind::Defect
}

impl Planted {
    /// What chooses it on labvisor's command line: `defect=ID` or `quirk=ID`. Unique in the table.
    pub fn option(&self) -> String {
        format!("{}={}", self.kind.word(), self.id)
    }

    /// Whether a word names it: its id, its option, `group:NAME`, or an experiment of its row.
    pub fn is_named(&self, word: &str) -> bool {
        match word.strip_prefix("group:") {
            Some(group) => self.group == group,
            None => {
                crate::catalogue::matches(word, &self.id)
                    || crate::catalogue::matches(word, &self.option())
                    || self.caught_by.iter().any(|id| id == word)
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defect: Vec<Planted>,
    #[serde(default)]
    quirk: Vec<Planted>,
    #[serde(default)]
    trap: Vec<Trap>,
}

/// A quirk that no experiment can see: a guest must stand it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trap {
    /// What the command line says: `quirk=ID`.
    pub id: String,
    /// As the experiments' groups.
    pub group: String,
    /// What labvisor does.
    pub title: String,
    /// Where it was met.
    pub real: String,
    /// The test in `labvisor/src/exits/tests` that shows what a guest gets.
    pub test: String,
}

/// Why the table could not be read, or a word names nothing in it.
#[derive(Debug, thiserror::Error)]
pub enum DefectsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is wrong.
    #[error("{}: {source}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// Nothing in the table has this name.
    #[error("no planted defect is called `{0}`; `cargo hv matrix --list` shows all")]
    Unknown(String),
}

/// Reads the table: the defects, then the quirks.
///
/// # Errors
/// The file cannot be read or is wrong.
pub fn load(path: &Path) -> Result<Vec<Planted>, DefectsError> {
    let mut file = read(path)?;
    file.quirk
        .iter_mut()
        .for_each(|quirk| quirk.kind = Kind::Quirk);
    Ok(file.defect.into_iter().chain(file.quirk).collect())
}

/// Reads the quirks that no experiment sees.
///
/// # Errors
/// As [`load`].
pub fn load_traps(path: &Path) -> Result<Vec<Trap>, DefectsError> {
    Ok(read(path)?.trap)
}

fn read(path: &Path) -> Result<File, DefectsError> {
    let text = fs::read_to_string(path).map_err(|source| DefectsError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| DefectsError::Parse {
        path: path.to_path_buf(),
        source: Box::new(source),
    })
}

/// The rows that any of the words names; all of them without words.
///
/// # Errors
/// A word that names nothing.
pub fn select(table: Vec<Planted>, words: &[String]) -> Result<Vec<Planted>, DefectsError> {
    if let Some(word) = words
        .iter()
        .find(|word| !table.iter().any(|one| one.is_named(word)))
    {
        return Err(DefectsError::Unknown(word.clone()));
    }
    let chosen = |one: &Planted| words.is_empty() || words.iter().any(|word| one.is_named(word));
    Ok(table.into_iter().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Vec<Planted> {
        load(&crate::defects_file()).unwrap()
    }

    #[test]
    fn the_table_of_this_tree_names_real_groups_and_each_option_once() {
        let table = ours();
        assert!(table.len() >= 45, "{}", table.len());
        let mut options: Vec<String> = table.iter().map(Planted::option).collect();
        options.sort();
        options.dedup();
        assert_eq!(options.len(), table.len());
        for one in &table {
            assert!(
                engine::head::GROUPS.contains(&one.group.as_str()),
                "{}: group {}",
                one.id,
                one.group
            );
            assert!(!one.caught_by.is_empty(), "{} is caught by nobody", one.id);
        }
    }

    #[test]
    fn every_row_names_experiments_of_the_catalogue() {
        let catalogue = crate::Catalogue::load(&crate::catalogue_folder()).unwrap();
        for one in &ours() {
            for id in &one.caught_by {
                assert!(
                    catalogue.get(id).is_some(),
                    "{} is caught by `{id}`, which does not exist",
                    one.id
                );
            }
        }
    }

    #[test]
    fn every_experiment_has_a_defect_or_says_why_it_cannot() {
        let table = ours();
        let catalogue = crate::Catalogue::load(&crate::catalogue_folder()).unwrap();
        for experiment in &catalogue.experiments {
            let id = &experiment.id;
            let is_caught = table.iter().any(|row| row.caught_by.contains(id));
            match &experiment.head.no_defect {
                None => assert!(
                    is_caught,
                    "{id}: no row of defects.toml names it, and its head lacks `no_defect`"
                ),
                Some(why) => assert!(!is_caught, "{id}: it has a defect, its head says: {why}"),
            }
        }
    }

    #[test]
    fn every_trap_has_a_test() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("labvisor/src/exits/tests");
        let text: String = fs::read_dir(tests)
            .unwrap()
            .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
            .collect();
        for trap in load_traps(&crate::defects_file()).unwrap() {
            assert!(
                text.contains(&format!("fn {}()", trap.test))
                    && text.contains(&format!("quirk={}", trap.id)),
                "{}: no test `{}` that uses quirk={}",
                trap.id,
                trap.test,
                trap.id
            );
        }
    }

    #[test]
    fn words_choose_rows() {
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.into()).collect();
            select(ours(), &words).map(|rows| rows.len())
        };
        assert_eq!(names(&["svm-bit-shown"]).unwrap(), 1);
        assert!(names(&["svm-hidden"]).unwrap() >= 4, "by experiment");
        assert!(names(&["quirk=*"]).unwrap() < names(&[]).unwrap());
        assert!(names(&["group:virtio"]).unwrap() > 1);
        let error = names(&["nonsense"]).unwrap_err().to_string();
        assert!(error.contains("nonsense"), "{error}");
    }

    #[test]
    fn a_pass_catches_nothing() {
        let row = "[[defect]]\nid = \"a\"\ngroup = \"time\"\ntitle = \"t\"\nreal = \"r\"\ncaught_by = [\"x\"]\n\
                   verdict = \"PASS\"\n";
        let error = toml::from_str::<File>(row).err().unwrap().to_string();
        assert!(error.contains("`PASS` is none of"), "{error}");
    }
}
