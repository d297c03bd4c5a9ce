//! The catalogue: every script with its head, and the check that runs each one dry.

use engine::{Head, Job, Risk, fake::Fake, head::HeadError};
use std::{
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};
use trace_record::{run::PlanItem, verdict::Verdict};

/// One script.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// The file's name without `.rhai`.
    pub id: String,
    /// The file's name below the catalogue.
    pub file: String,
    /// The script.
    pub source: String,
    /// What its head says.
    pub head: Head,
}

/// All scripts that could be read, sorted by group and id, and what was wrong with the others.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// The folder.
    pub folder: PathBuf,
    /// The scripts.
    pub experiments: Vec<Experiment>,
    /// Scripts that are no experiments.
    pub mistakes: Vec<Mistake>,
}

/// Something wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `file:line:column`, or the file alone.
    pub place: String,
    /// What.
    pub why: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// Why a catalogue or a selection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No experiment has such a name.
    #[error("no experiment is called `{0}`; `hv experiments list` shows all")]
    Unknown(String),
    /// A parameter is wrong.
    #[error("{0}")]
    Parameter(String),
}

impl Catalogue {
    /// Reads every `*.rhai` directly in the folder; files in `lib/` are for `import`.
    ///
    /// # Errors
    /// The folder cannot be read. A bad script is one of [`Catalogue::mistakes`].
    pub fn load(folder: &Path) -> Result<Catalogue, CatalogueError> {
        let error = |source| CatalogueError::Read {
            path: folder.to_path_buf(),
            source,
        };
        let mut catalogue = Catalogue {
            folder: folder.to_path_buf(),
            experiments: Vec::new(),
            mistakes: Vec::new(),
        };
        for entry in fs::read_dir(folder).map_err(error)? {
            let path = entry.map_err(error)?.path();
            if path.extension().is_none_or(|extension| extension != "rhai") {
                continue;
            }
            match Experiment::load(&path) {
                Ok(experiment) => catalogue.experiments.push(experiment),
                Err(mistake) => catalogue.mistakes.push(mistake),
            }
        }
        let rank = |group: &str| {
            engine::head::GROUPS
                .iter()
                .position(|known| *known == group)
        };
        catalogue
            .experiments
            .sort_by_key(|one| (rank(&one.head.group), one.id.clone()));
        catalogue
            .mistakes
            .sort_by(|one, other| one.place.cmp(&other.place));
        Ok(catalogue)
    }

    /// The experiment of this id.
    pub fn get(&self, id: &str) -> Option<&Experiment> {
        self.experiments.iter().find(|one| one.id == id)
    }

    /// Experiments that any of the words names: an id, a pattern with `*`, or `group:NAME`. All of them
    /// without words.
    ///
    /// # Errors
    /// A word that names nothing.
    pub fn select(&self, words: &[String]) -> Result<Vec<&Experiment>, CatalogueError> {
        if let Some(word) = words
            .iter()
            .find(|word| !self.experiments.iter().any(|one| one.is_named(word)))
        {
            return Err(CatalogueError::Unknown(word.clone()));
        }
        let chosen =
            |one: &&Experiment| words.is_empty() || words.iter().any(|word| one.is_named(word));
        Ok(self.experiments.iter().filter(chosen).collect())
    }

    /// Compiles every script and runs it on the fake machine, with and without a hypervisor.
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.clone();
        for experiment in &self.experiments {
            mistakes.extend(experiment.check(&self.folder));
        }
        mistakes
    }
}

impl Experiment {
    fn load(path: &Path) -> Result<Experiment, Mistake> {
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mistake = |place: String, why: String| Mistake { place, why };
        let source =
            fs::read_to_string(path).map_err(|error| mistake(file.clone(), error.to_string()))?;
        let head = Head::parse(&source)
            .map_err(|HeadError { line, why }| mistake(format!("{file}:{line}:1"), why))?;
        let id = file.trim_end_matches(".rhai").to_string();
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !id.chars().all(good) {
            return Err(mistake(file, "an id has a-z, 0-9 and `-` only".into()));
        }
        Ok(Experiment {
            id,
            file,
            source,
            head,
        })
    }

    fn is_named(&self, word: &str) -> bool {
        match word.strip_prefix("group:") {
            Some(group) => self.head.group == group,
            None => matches(word, &self.id),
        }
    }

    /// Whether it wants a machine of its own.
    pub fn may_crash(&self) -> bool {
        self.head.risk == Risk::MayCrash
    }

    /// CRC-32C of the script: with parameters and seed it says what was run.
    pub fn checksum(&self) -> u32 {
        crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(self.source.as_bytes())
    }

    /// Its line of the plan; `words` are `name=value`.
    ///
    /// # Errors
    /// A parameter that it does not have, or a value out of range.
    pub fn plan(&self, seed: u64, words: &[String]) -> Result<PlanItem, CatalogueError> {
        let parameters = engine::plan::parameters(&self.head, words.iter().map(String::as_str))
            .map_err(|why| CatalogueError::Parameter(format!("{}: {why}", self.id)))?;
        Ok(PlanItem {
            id: self.id.clone(),
            file: self.file.clone(),
            parameters,
            seed,
            time_limit_s: self.head.time_limit_s,
        })
    }

    /// Runs it on the fake machine; no claim follows from the verdict.
    pub fn dry_run(&self, folder: &Path, hypervisor: bool) -> engine::Report {
        let folder = folder.to_path_buf();
        let fake = if hypervisor {
            Fake::labvisor()
        } else {
            Fake::bare()
        };
        let fake = fake.with_files(Rc::new(move |path: &str| fs::read(folder.join(path)).ok()));
        let job = Job {
            file: &self.file,
            source: &self.source,
            parameters: Default::default(),
            seed: 1,
            time_limit_s: 0,
        };
        engine::run(Box::new(fake), &job)
    }

    fn check(&self, folder: &Path) -> Option<Mistake> {
        if let Err(why) = engine::compile(&self.file, &self.source) {
            return Some(split(&self.file, &why));
        }
        for hypervisor in [true, false] {
            let report = self.dry_run(folder, hypervisor);
            if matches!(report.verdict, Verdict::Error | Verdict::Wedged) {
                let machine = if hypervisor {
                    ""
                } else {
                    " (without a hypervisor)"
                };
                let mut mistake = split(&self.file, &report.reason);
                mistake.why.push_str(machine);
                return Some(mistake);
            }
        }
        None
    }
}

/// Takes `file:line:column: ` off the front of a message.
fn split(file: &str, message: &str) -> Mistake {
    match message.split_once(": ") {
        Some((place, why)) if place.starts_with(file) || place.contains(".rhai:") => Mistake {
            place: place.into(),
            why: why.into(),
        },
        _ => Mistake {
            place: file.into(),
            why: message.into(),
        },
    }
}

/// `*` stands for any characters.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            (0..=text.len()).any(|at| text.is_char_boundary(at) && matches(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_anything() {
        assert!(matches("hypercall-*", "hypercall-map"));
        assert!(matches("*-map", "hypercall-map"));
        assert!(matches("*", "x"));
        assert!(!matches("map", "hypercall-map"));
        assert!(!matches("hypercall-*-x", "hypercall-map"));
    }

    #[test]
    fn a_mistake_has_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let bad = "//! title: t\n//! nonsense\n";
        fs::write(folder.path().join("bad.rhai"), bad).unwrap();
        let mistakes = Catalogue::load(folder.path()).unwrap().check();
        assert_eq!(
            mistakes[0].to_string(),
            "bad.rhai:2:1: `nonsense` is not `key: text`"
        );
    }

    #[test]
    fn a_script_that_runs_into_an_error_is_found_dry() {
        let folder = tempfile::tempdir().unwrap();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue/hypercall-map.rhai");
        let source = fs::read_to_string(own).unwrap();
        let lines = source.lines().count() + 1;
        fs::write(
            folder.path().join("late.rhai"),
            format!("{source}nowhere();\n"),
        )
        .unwrap();
        let mistakes = Catalogue::load(folder.path()).unwrap().check();
        assert_eq!(mistakes.len(), 1);
        assert_eq!(mistakes[0].place, format!("late.rhai:{lines}:1"));
        assert!(mistakes[0].why.contains("nowhere"), "{}", mistakes[0]);
    }
}
