//! What a run does by itself with a fuzzer that took a machine down: trials on new machines, and a script that does so
//! again. Everything lies in the run's folder below `culprits`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use experiments::{Catalogue, Expectations, Experiment, ResultLine};
use harness::{MachineConfig, Server};
use trace_record::run;
use trace_record::verdict::Verdict;

use super::folder::RunFolder;
use super::kept::Kept;
use super::minimise::{self, Cases, REPETITIONS, Trial};
use super::plan::planned;
use super::progress::Reporter;
use super::record::Recorder;
use super::{Job, execute};
use crate::build::Freshness;
use crate::interrupt::Interrupt;
use crate::service;
use crate::workspace::Workspace;

/// What the trials need.
pub struct Lab<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// The machine of the run.
    pub machine: MachineConfig,
    /// The experiments.
    pub catalogue: &'a Catalogue,
    /// The run's folder.
    pub folder: &'a Path,
    /// The run's seed.
    pub seed: u64,
    /// Ctrl-C and the like.
    pub interrupt: &'a Interrupt,
    /// From what machines are resumed.
    pub kept: Option<&'a Kept>,
}

/// What became of one fuzzer.
#[derive(Debug)]
pub struct Culprit {
    /// The fuzzer.
    pub id: String,
    /// The cases that are left; nothing if it did not happen again.
    pub found: Option<Found>,
    /// How many machines the search took.
    pub machines: usize,
}

/// A reproducer.
#[derive(Debug)]
pub struct Found {
    /// The cases that are left.
    pub cases: Cases,
    /// The script.
    pub script: PathBuf,
    /// How many of [`REPETITIONS`] machines it took down.
    pub died: usize,
}

impl Lab<'_> {
    /// Minimises every fuzzer that unexpectedly took its machine down.
    ///
    /// # Errors
    /// When a machine cannot be set up or a file not written.
    pub fn all(&self, lines: &[ResultLine], mut say: impl FnMut(&str)) -> Result<Vec<Culprit>> {
        let mut culprits = Vec::new();
        for line in lines.iter().filter(|line| died(line.verdict)) {
            let Some(experiment) = self.catalogue.get(&line.id) else {
                continue;
            };
            let Some(all_parts) = minimise::is_fuzzer(&experiment.head) else {
                continue;
            };
            if self.interrupt.requested() {
                break;
            }
            say(&format!("looking for the case of {} that did it", line.id));
            culprits.push(self.one(line, experiment, all_parts)?);
        }
        Ok(culprits)
    }

    fn one(&self, line: &ResultLine, experiment: &Experiment, all_parts: i64) -> Result<Culprit> {
        let value = |name: &str| {
            line.parameters
                .get(name)
                .and_then(serde_json::Value::as_i64)
        };
        let default = |name: &str| {
            let param = experiment.head.params.iter().find(|one| one.name == name);
            match param.map(|param| &param.default) {
                Some(run::Parameter::Int(value)) => *value,
                _ => 0,
            }
        };
        let parameter = |name: &str| value(name).unwrap_or_else(|| default(name));
        let first = parameter("from");
        let trace = self
            .folder
            .join(run::machine_dir(line.machine))
            .join(run::TRACE);
        let (from, count) =
            minimise::last_checkpoint(&trace)?.unwrap_or((first, parameter("count")));
        let window = Cases {
            from,
            count,
            keep: all_parts,
        };

        let culprits = self.folder.join("culprits");
        fs::create_dir_all(&culprits)
            .with_context(|| format!("cannot create {}", culprits.display()))?;
        let mut bench = Bench::new(self, &culprits, self.catalogue)?;
        let cases = minimise::minimise(window, first, all_parts, |cases| {
            let mut item = experiment.plan(self.seed, &[])?;
            item.parameters.extend(minimise::words(cases, all_parts));
            bench.trial(experiment, &item)
        })?;
        let mut machines = bench.trials;
        let found = match cases {
            None => None,
            Some(cases) => {
                let found = self.confirm(experiment, cases, &culprits)?;
                machines += REPETITIONS;
                Some(found)
            }
        };
        Ok(Culprit {
            id: line.id.clone(),
            found,
            machines,
        })
    }

    /// Writes the script and runs it, each time on a new machine.
    fn confirm(&self, experiment: &Experiment, cases: Cases, culprits: &Path) -> Result<Found> {
        let scripts = culprits.join("scripts");
        let library = scripts.join("lib");
        fs::create_dir_all(&library)
            .with_context(|| format!("cannot create {}", library.display()))?;
        copy_scripts(&self.catalogue.folder.join("lib"), &library)?;
        let id = format!("reproduce-{}", experiment.id);
        let script = scripts.join(format!("{id}.rhai"));
        let text = minimise::script(&experiment.source, cases, self.seed);
        fs::write(&script, text).with_context(|| format!("cannot write {}", script.display()))?;

        let catalogue = Catalogue::load(&scripts)?;
        let Some(reproducer) = catalogue.get(&id) else {
            bail!("{} is no experiment", script.display());
        };
        let mut bench = Bench::new(self, culprits, &catalogue)?;
        let mut died = 0;
        for _ in 0..REPETITIONS {
            let item = reproducer.plan(self.seed, &[])?;
            died += usize::from(bench.trial(reproducer, &item)? != Trial::Lived);
        }
        Ok(Found {
            cases,
            script,
            died,
        })
    }
}

/// Where trials are made: a server and a folder for each.
struct Bench<'a> {
    lab: &'a Lab<'a>,
    culprits: &'a Path,
    catalogue: &'a Catalogue,
    server: Server,
    trials: usize,
}

impl<'a> Bench<'a> {
    fn new(lab: &'a Lab<'a>, culprits: &'a Path, catalogue: &'a Catalogue) -> Result<Bench<'a>> {
        let server = service::start(
            lab.workspace,
            culprits,
            &catalogue.folder,
            Freshness::AsBuilt,
        )?;
        Ok(Bench {
            lab,
            culprits,
            catalogue,
            server,
            trials: 0,
        })
    }

    fn trial(&mut self, experiment: &Experiment, item: &run::PlanItem) -> Result<Trial> {
        self.trials += 1;
        let name = format!("{}-{:02}", experiment.id, self.trials);
        let folder = RunFolder::named(self.culprits, &name)?;
        let mut recorder = Recorder::of_catalogue(
            Reporter::silent(),
            self.catalogue.clone(),
            Expectations::default(),
            folder.path(),
        )?;
        let mut job = Job {
            machine: self.lab.machine.clone(),
            program: "hx",
            folder: &folder,
            server: &mut self.server,
            interrupt: self.lab.interrupt,
            kept: self.lab.kept,
            first_boots: false,
            deadline: None,
            recorder: &mut recorder,
        };
        execute(&mut job, vec![planned(experiment, item.clone())])?;
        let verdict = recorder.lines().first().map(|line| line.raw_verdict);
        if self.lab.interrupt.requested() {
            bail!("interrupted while a fuzzer's case was looked for");
        }
        if !verdict.is_some_and(died) {
            return Ok(Trial::Lived);
        }
        let trace = folder.path().join(run::machine_dir(0)).join(run::TRACE);
        let last = minimise::last_checkpoint(&trace)?;
        Ok(Trial::Died(last.map(|(from, _)| from)))
    }
}

/// The machine, or what it is good for, was gone.
fn died(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Crash | Verdict::Hang | Verdict::Wedged)
}

fn copy_scripts(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let path = entry?.path();
        if let Some(name) = path.file_name() {
            fs::copy(&path, to.join(name))
                .with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// One line for the person.
pub fn line(culprit: &Culprit) -> String {
    let Culprit {
        id,
        found,
        machines,
    } = culprit;
    let Some(found) = found else {
        return format!("{id}: it did not happen again ({machines} machines)");
    };
    let Cases { from, count, .. } = found.cases;
    let what = if count == 1 {
        format!("case {from} alone does it")
    } else {
        format!("cases {from} to {} do it", from + count - 1)
    };
    format!(
        "{id}: {what}, {} times of {REPETITIONS} ({machines} machines): {}",
        found.died,
        found.script.display()
    )
}
