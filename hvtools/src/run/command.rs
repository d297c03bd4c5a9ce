//! The story of `hv run`, from the catalogue to the table.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use harness::{MachineConfig, Outcome};

use super::folder::RunFolder;
use super::progress::Reporter;
use super::{Job, Planned, RunReport, execute};
use crate::interrupt::Interrupt;
use crate::service::{self, Note};
use crate::workspace::Workspace;

/// What to run, and for how long.
#[derive(Clone, Debug)]
pub struct Request {
    /// The machine.
    pub machine: MachineConfig,
    /// What the guest shall do.
    pub plan: Vec<Planned>,
    /// The whole run's limit.
    pub time_limit: Option<Duration>,
}

/// Runs the request, writes the run folder, prints the table.
///
/// # Errors
/// When the run cannot be set up.
pub fn run(workspace: &Workspace, request: Request) -> Result<Outcome> {
    if request.plan.is_empty() {
        bail!("nothing to run: no experiment was chosen (`hv experiments list` shows all)");
    }
    let interrupt = Interrupt::watch()?;
    let runs = workspace.path("runs");
    let mut server = service::start(workspace, &runs)?;
    let folder = RunFolder::create(&runs, SystemTime::now())?;
    let _note = Note::leave(workspace, &server, Some(folder.id()))?;
    let mut reporter = Reporter::new(request.plan.len());
    reporter.note(&format!(
        "run {} of {} experiments on {}",
        folder.id(),
        request.plan.len(),
        request.machine.hypervisor
    ));
    let deadline = request.time_limit.map(|limit| Instant::now() + limit);
    let job = Job {
        machine: request.machine,
        program: "hx",
        folder: &folder,
        server: &mut server,
        interrupt: &interrupt,
        deadline,
        reporter: &mut reporter,
    };
    let report = execute(job, request.plan).context("the run stopped")?;
    let worst = report
        .findings
        .iter()
        .map(|finding| finding.verdict.exit_status())
        .max();
    println!("run folder: {}", folder.path().display());
    Ok(outcome(&report, worst))
}

fn outcome(report: &RunReport, worst: Option<u8>) -> Outcome {
    match (report.end, worst) {
        (super::boot::End::Interrupted, _) => Outcome::Interrupted,
        (_, Some(3)) => Outcome::Died,
        (_, Some(2)) => Outcome::Ours,
        _ if !report.left.is_empty() => Outcome::Ours,
        (_, Some(1)) => Outcome::Unexpected,
        _ => Outcome::AsExpected,
    }
}
