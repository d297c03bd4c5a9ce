//! The story of `hv run`, from the catalogue to the table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use experiments::{Catalogue, Expectations, ResultLine, RunInfo, table};
use harness::{Accelerator, Hypervisor, MachineConfig, Outcome};
use monitor_ui::Runs;
use trace_record::run::PlanItem;

use super::boot::End;
use super::culprit;
use super::folder::RunFolder;
use super::kept::Kept;
use super::plan::{self, Choice};
use super::progress::Reporter;
use super::record::Recorder;
use super::replay;
use super::{Job, Planned, RunReport, execute};
use crate::access::{self, Access};
use crate::build::Freshness;
use crate::doctor;
use crate::interrupt::Interrupt;
use crate::service::{self, Note};
use crate::workspace::{Workspace, from_here};

/// Columns of the table where the terminal does not say.
const WIDTH: usize = 120;

/// What to run, where, and for how long.
#[derive(Debug)]
pub struct Request {
    /// The experiments.
    pub choice: Choice,
    /// The whole run's limit.
    pub time_limit: Option<Duration>,
    /// Whether to build the server, too.
    pub freshness: Freshness,
    /// How the server listens.
    pub access: Access,
    /// Whether the terminal shows the monitor.
    pub monitor: bool,
    /// Where run folders are made.
    pub runs: PathBuf,
}

/// Reads the catalogue, so that a script that is wrong is said before anything is built.
///
/// # Errors
/// As [`plan::choose`].
pub fn check(folder: &Path, choice: &Choice) -> Result<Catalogue> {
    let catalogue = Catalogue::load(folder)?;
    if plan::choose(&catalogue, choice)?.is_empty() {
        bail!("nothing to run: no experiment was chosen (`cargo hv experiments list` shows all)");
    }
    Ok(catalogue)
}

/// Runs the request, writes the run folder, prints the table; tells the results, too.
///
/// # Errors
/// When the run cannot be set up.
pub fn run(
    workspace: &Workspace,
    catalogue: Catalogue,
    machine: MachineConfig,
    request: &Request,
) -> Result<(Outcome, Vec<ResultLine>)> {
    let plan = plan::choose(&catalogue, &request.choice)?;
    let expectations = Expectations::load(
        &workspace.path("experiments/expectations"),
        machine.hypervisor.name(),
    )?;
    let interrupt = Interrupt::watch()?;
    let mut server = service::start_at(
        workspace,
        &request.runs,
        &catalogue.folder,
        request.freshness,
        &request.access,
    )?;
    let folder = RunFolder::create(&request.runs, SystemTime::now())?;
    let _note = Note::leave(workspace, &server, Some(folder.id()))?;
    let mut info = describe(&folder, &machine, request.choice.seed, plan.len());

    let (mut reporter, screen) = if request.monitor {
        let (notes, lines) = mpsc::channel();
        let runs = Runs::Named(vec![folder.id().to_owned()]);
        let mut screen = access::screen(server.address(), server.secret(), runs)?;
        screen.notes = Some(lines);
        screen.stop = Some(interrupt.flag());
        (Reporter::beside_monitor(plan.len(), notes), Some(screen))
    } else {
        (Reporter::new(plan.len()), None)
    };
    reporter.note(&format!(
        "run {} of {} experiments on {}",
        folder.id(),
        plan.len(),
        machine.hypervisor
    ));
    let mut recorder =
        Recorder::of_catalogue(reporter, catalogue.clone(), expectations, folder.path())?;
    let kept = Kept::of(workspace, &machine)?;
    let mut job = Job {
        machine: machine.clone(),
        program: "hx",
        folder: &folder,
        server: &mut server,
        interrupt: &interrupt,
        kept: kept.as_ref(),
        first_boots: true,
        deadline: request.time_limit.map(|limit| Instant::now() + limit),
        recorder: &mut recorder,
    };
    let report = match screen {
        None => carry_out(&mut job, plan, &mut info),
        Some(screen) => beside_monitor(&mut job, plan, &mut info, screen, &interrupt),
    };
    let report = report?;
    tell(&recorder, &report, &info, folder.path());
    let lab = culprit::Lab {
        workspace,
        machine,
        catalogue: &catalogue,
        folder: folder.path(),
        seed: request.choice.seed,
        interrupt: &interrupt,
        kept: kept.as_ref(),
    };
    let lines = recorder.lines().to_vec();
    let culprits = lab
        .all(&lines, |text| recorder.note(text))
        .context("no reproducer could be made")?;
    for culprit in &culprits {
        println!("{}", culprit::line(culprit));
    }
    Ok((outcome(&report, &recorder), recorder.lines().to_vec()))
}

/// Runs the plan; keeps its scripts, and what `run.json` says, in the run folder. The run ends here, however long a
/// monitor is still looked at.
///
/// # Errors
/// When a machine cannot be set up or the run folder cannot be written.
pub(crate) fn carry_out(
    job: &mut Job<'_>,
    plan: Vec<Planned>,
    info: &mut RunInfo,
) -> Result<RunReport> {
    let write = |info: &RunInfo, folder: &RunFolder| {
        experiments::write_run(folder.path(), info).context("cannot write run.json")
    };
    write(info, job.folder)?;
    let items: Vec<PlanItem> = plan.iter().map(|planned| planned.item.clone()).collect();
    if let Some(catalogue) = job.recorder.catalogue() {
        replay::keep_scripts(catalogue, &items, job.folder.path())?;
    }
    let start = Instant::now();
    let report = execute(job, plan).context("the run stopped")?;
    info.took_ms = u64::try_from(start.elapsed().as_millis()).ok();
    info.machines = report.machines;
    info.mbr_retries = report.mbr_retries;
    info.server_restarts = report.server_restarts;
    info.exit_status = Some(outcome(&report, job.recorder) as u8);
    write(info, job.folder)?;
    Ok(report)
}

/// Runs while the monitor has the terminal. It stays when the run is over, until the person leaves it; leaving it earlier
/// ends the run.
fn beside_monitor(
    job: &mut Job<'_>,
    plan: Vec<Planned>,
    info: &mut RunInfo,
    screen: monitor_ui::Options,
    interrupt: &Interrupt,
) -> Result<RunReport> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| carry_out(job, plan, info));
        let shown = monitor_ui::run(screen);
        if !worker.is_finished() {
            interrupt.request();
        }
        let report = worker
            .join()
            .map_err(|_| anyhow!("the run's thread panicked"))?;
        shown.context("the monitor ended")?;
        report
    })
}

fn tell(recorder: &Recorder, report: &RunReport, info: &RunInfo, folder: &Path) {
    println!("\n{}", table::end_table(recorder.lines(), WIDTH));
    let seconds = info.took_ms.unwrap_or(0) as f64 / 1000.0;
    println!(
        "{} in {seconds:.1} s on {} machine(s)",
        table::counts(recorder.lines()),
        report.machines
    );
    if !report.left.is_empty() {
        let why = match report.end {
            End::Interrupted => "the run was interrupted",
            End::OutOfTime => "the run's time limit was reached",
            _ => "the first machine did not start",
        };
        println!(
            "not run, because {why}: {}",
            report
                .left
                .iter()
                .map(|item| item.id.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    if report.mbr_retries > 0 {
        println!(
            "BitVisor stopped at \"Loading MBR.\" and was started again: {} time(s)",
            report.mbr_retries
        );
    }
    if report.server_restarts > 0 {
        println!(
            "the file server was started again: {} time(s)",
            report.server_restarts
        );
    }
    println!("run folder: {}", from_here(folder).display());
}

fn outcome(report: &RunReport, recorder: &Recorder) -> Outcome {
    let worst = experiments::exit_status(recorder.verdicts().into_iter());
    let verdicts = Outcome::of_verdicts(worst);
    match report.end {
        End::Interrupted => Outcome::Interrupted,
        _ if !report.left.is_empty() => verdicts.worst(Outcome::Ours),
        _ => verdicts,
    }
}

/// What `run.json` says at the beginning.
pub(crate) fn describe(
    folder: &RunFolder,
    machine: &MachineConfig,
    seed: u64,
    planned: usize,
) -> RunInfo {
    let accelerator = match (machine.by_hand.is_some(), machine.accelerator) {
        (true, _) => "started by hand",
        (_, Accelerator::Emulation) => "tcg",
        (_, Accelerator::Kvm) => "kvm",
    };
    let mut environment = BTreeMap::from([
        ("accelerator".to_owned(), accelerator.to_owned()),
        ("memory_mib".to_owned(), machine.memory_mib.to_string()),
        ("cpus".to_owned(), machine.cpus.to_string()),
    ]);
    if let Some(version) = doctor::version("qemu-system-x86_64") {
        environment.insert("qemu".to_owned(), version);
    }
    RunInfo {
        id: folder.id().to_owned(),
        hypervisor: machine.hypervisor.name().to_owned(),
        hypervisor_detail: match &machine.hypervisor {
            Hypervisor::BitVisor(elf) => elf.display().to_string(),
            Hypervisor::Labvisor => machine.labvisor.clone(),
            Hypervisor::None => String::new(),
        },
        started: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        seed,
        planned: planned as u64,
        emulated: machine.by_hand.is_none() && machine.accelerator == Accelerator::Emulation,
        environment,
        ..RunInfo::default()
    }
}
