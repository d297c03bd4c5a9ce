//! `hv replay RUN ID`: one experiment of a run once more, from what its folder holds: the same script bytes, parameters,
//! seed, hypervisor, and planted defects.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use experiments::{Catalogue, Run};
use harness::{Hypervisor, MachineConfig, Outcome};
use trace_record::run::{PLAN, PlanItem, machine_dir};
use trace_record::verdict::Verdict;

use super::command::{self, Request};
use super::plan::Choice;
use crate::build::{self, Freshness};
use crate::needs::Consent;
use crate::results;
use crate::workspace::Workspace;

/// Where a run keeps the scripts that it ran.
pub const SCRIPTS: &str = "scripts";

/// What to repeat.
#[derive(Debug, Args)]
pub struct Options {
    /// The run folder, its name below `runs`, `latest` or `previous`.
    run: PathBuf,
    /// The experiment.
    id: String,
    /// Take the binaries that are there, without asking cargo.
    #[arg(long)]
    no_build: bool,
    /// Where the new run folder is made, instead of `runs`.
    #[arg(long, value_name = "FOLDER")]
    runs: Option<PathBuf>,
    /// Watch it on the monitor's screen.
    #[arg(long)]
    monitor: bool,
}

/// Repeats it, and tells whether it came out as before.
///
/// # Errors
/// When the run folder does not hold what is needed, or the machine cannot be set up.
pub fn run(workspace: &Workspace, consent: Consent, options: &Options) -> Result<Outcome> {
    let folder = results::folder(workspace, &options.run)?;
    let old = Run::load(&folder)?;
    let Some(line) = old.results.iter().find(|line| line.id == options.id) else {
        bail!("the run has no result of `{}`", options.id);
    };
    let item = planned(&folder, line.machine, &options.id)?;
    let catalogue = Catalogue::load(&folder.join(SCRIPTS))
        .context("the run folder holds no scripts to repeat")?;
    let script = catalogue
        .get(&options.id)
        .with_context(|| format!("the run folder holds no script of `{}`", options.id))?;
    ensure!(
        format!("{:08x}", script.checksum()) == line.script,
        "{SCRIPTS}/{} was changed since the run",
        script.file
    );

    let freshness = Freshness::of(options.no_build);
    let disk = build::boot_disk(workspace, consent, freshness)?;
    let mut machine = MachineConfig::new(hypervisor(&old)?, disk, PathBuf::new());
    if machine.hypervisor == Hypervisor::Labvisor {
        machine.labvisor.clone_from(&old.info.hypervisor_detail);
    }
    let number = |name: &str| old.info.environment.get(name)?.parse().ok();
    machine.memory_mib = number("memory_mib").unwrap_or(machine.memory_mib);
    machine.cpus = number("cpus").unwrap_or(machine.cpus);

    let choice = Choice {
        only: vec![item.id.clone()],
        seed: item.seed,
        exactly: vec![item],
        ..Choice::default()
    };
    let request = Request {
        choice,
        time_limit: None,
        freshness,
        access: crate::access::Access::default(),
        monitor: options.monitor,
        runs: match &options.runs {
            Some(runs) => runs.clone(),
            None => workspace.path("runs"),
        },
    };
    let (before, id) = (line.verdict, &options.id);
    println!(
        "before: {} {id}: {}",
        before.word(),
        harness::escaped(&line.reason)
    );
    let (outcome, lines) = command::run(workspace, catalogue, machine, &request)?;
    let after = lines.iter().find(|line| &line.id == id);
    println!("{}", told(before, after.map(|line| line.verdict)));
    Ok(outcome)
}

fn told(before: Verdict, after: Option<Verdict>) -> String {
    match after {
        Some(after) if after == before => format!("the same verdict as before: {}", after.word()),
        Some(after) => format!(
            "another verdict: {} before, {} now",
            before.word(),
            after.word()
        ),
        None => format!("no verdict: {} before", before.word()),
    }
}

fn hypervisor(old: &Run) -> Result<Hypervisor> {
    let name = match old.info.hypervisor.as_str() {
        "bitvisor" => format!("bitvisor:{}", old.info.hypervisor_detail),
        other => other.to_owned(),
    };
    Ok(name.parse::<Hypervisor>()?)
}

/// The experiment's line of the plan, as the guest read it.
fn planned(folder: &Path, machine: u32, id: &str) -> Result<PlanItem> {
    let path = folder.join(machine_dir(machine)).join(PLAN);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the plan {}", path.display()))?;
    for line in text.lines() {
        let item: PlanItem =
            serde_json::from_str(line).with_context(|| format!("{} is damaged", path.display()))?;
        if item.id == id {
            return Ok(item);
        }
    }
    bail!("{} does not name `{id}`", path.display());
}

/// Puts the scripts that a run needs into its folder: those planned, and what they may import.
///
/// # Errors
/// When a file cannot be read or written.
pub fn keep_scripts(catalogue: &Catalogue, plan: &[PlanItem], folder: &Path) -> Result<()> {
    let scripts = folder.join(SCRIPTS);
    let write = |name: &Path, content: &[u8]| -> Result<()> {
        let path = scripts.join(name);
        let parent = path.parent().unwrap_or(&scripts);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, content))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    for experiment in &catalogue.experiments {
        if plan.iter().any(|item| item.id == experiment.id) {
            write(Path::new(&experiment.file), experiment.source.as_bytes())?;
        }
    }
    let library = catalogue.folder.join("lib");
    // A catalogue without a library has nothing to import.
    for entry in std::fs::read_dir(&library).into_iter().flatten().flatten() {
        if entry.path().is_file() {
            let content = std::fs::read(entry.path())?;
            write(&Path::new("lib").join(entry.file_name()), &content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_run_is_kept_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::load(&experiments::catalogue_folder()).unwrap();
        let experiment = catalogue.get("virtio-loop").unwrap();
        let item = experiment.plan(7, &[]).unwrap();
        keep_scripts(&catalogue, std::slice::from_ref(&item), folder.path()).unwrap();
        let kept = Catalogue::load(&folder.path().join(SCRIPTS)).unwrap();
        assert_eq!(kept.experiments.len(), 1);
        assert_eq!(
            kept.get("virtio-loop").unwrap().checksum(),
            experiment.checksum()
        );
        assert_eq!(kept.check(), [], "what it imports is there, too");

        let boot = folder.path().join(machine_dir(2));
        std::fs::create_dir(&boot).unwrap();
        let line = serde_json::to_string(&item).unwrap();
        std::fs::write(boot.join(PLAN), line + "\n").unwrap();
        assert_eq!(planned(folder.path(), 2, "virtio-loop").unwrap(), item);
        assert!(planned(folder.path(), 2, "other").is_err());
    }
}
