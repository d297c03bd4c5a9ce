//! `hv run`: the catalogue on a machine, its verdicts in a run folder.
//!
//! The plan is cut into batches: everything safe shares a machine, everything that may take the machine down has one of
//! its own. A batch whose machine dies goes on with what is left of it on the next machine; the culprit keeps its verdict.

pub mod boot;
pub mod command;
pub mod culprit;
pub mod folder;
pub mod kept;
pub mod minimise;
pub mod plan;
pub mod progress;
pub mod pulse;
pub mod record;
pub mod replay;
pub mod tests;
pub mod verdicts;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::Result;
use harness::{Hypervisor, MachineConfig, Server};
use trace_record::run::{PlanItem, machine_dir};

use self::boot::{End, Surroundings, Task};
use self::folder::RunFolder;
use self::kept::Kept;
use self::record::Recorder;
use crate::interrupt::Interrupt;

/// Makes the folder of a boot that belongs to no run of experiments, for its trace.
///
/// # Errors
/// When it cannot be made.
pub fn traced_boot(runs: &Path, config: &mut MachineConfig) -> Result<PathBuf> {
    let folder = RunFolder::create(runs, SystemTime::now())?;
    let boot = folder.create_boot(0)?;
    let name = format!("{}/{}", folder.id(), machine_dir(0));
    config.settings = config.settings.clone().with("run", &name);
    Ok(boot)
}

/// An experiment and where it may run.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What the guest is told.
    pub item: PlanItem,
    /// It may take the machine down, so it gets one of its own.
    pub alone: bool,
    /// It needs a second network device.
    pub second_network: bool,
}

/// What a run needs besides the plan.
pub struct Job<'a> {
    /// The machine, without what differs from boot to boot.
    pub machine: MachineConfig,
    /// The program that the guest runs: `hx`, or `usertests` with arguments.
    pub program: &'a str,
    /// Where everything is written.
    pub folder: &'a RunFolder,
    /// The file server.
    pub server: &'a mut Server,
    /// Ctrl-C and the like.
    pub interrupt: &'a Interrupt,
    /// From what machines may be resumed instead of booted.
    pub kept: Option<&'a Kept>,
    /// The first one is booted all the same.
    pub first_boots: bool,
    /// When the run must end.
    pub deadline: Option<Instant>,
    /// Who writes down and tells what was found.
    pub recorder: &'a mut Recorder,
}

/// What a run gave.
#[derive(Debug)]
pub struct RunReport {
    /// What never began.
    pub left: Vec<PlanItem>,
    /// Done, interrupted or out of time.
    pub end: End,
    /// How many machines it took.
    pub machines: u32,
    /// How often BitVisor stopped at "Loading MBR." and was started again.
    pub mbr_retries: u32,
    /// How often the file server had to be started again.
    pub server_restarts: u32,
}

/// Runs the whole plan.
///
/// # Errors
/// When a machine cannot be set up. What experiments do to machines is in the findings.
pub fn execute(job: &mut Job<'_>, plan: Vec<Planned>) -> Result<RunReport> {
    let mut batches = batches(plan);
    let mut report = RunReport {
        left: Vec::new(),
        end: End::Done,
        machines: 0,
        mbr_retries: 0,
        server_restarts: 0,
    };
    while let Some(batch) = batches.pop_front() {
        let number = report.machines;
        report.machines += 1;
        let second_network = batch.iter().any(|planned| planned.second_network);
        let items = batch.iter().map(|planned| planned.item.clone()).collect();
        let boot = job.boot(number, second_network, Task::Plan(items))?;
        report.mbr_retries += boot.mbr_retries;
        report.server_restarts += boot.server_restarts;
        match boot.end {
            End::Done => {}
            End::Died => {
                let left = batch
                    .into_iter()
                    .filter(|planned| boot.left.contains(&planned.item))
                    .collect();
                batches.push_front(left);
            }
            End::NeverBegan => {
                // If the very first machine does not start, no other will.
                if number == 0 {
                    report.left = batches
                        .into_iter()
                        .flatten()
                        .map(|planned| planned.item)
                        .collect();
                    break;
                }
            }
            End::Interrupted | End::OutOfTime => {
                report.end = boot.end;
                report.left = boot.left;
                report
                    .left
                    .extend(batches.into_iter().flatten().map(|planned| planned.item));
                break;
            }
        }
    }
    Ok(report)
}

/// Runs the job's program once, whatever it reports: `usertests` in the guest.
///
/// # Errors
/// As [`execute`].
pub fn execute_open(mut job: Job<'_>) -> Result<boot::BootReport> {
    job.boot(0, false, Task::Open)
}

/// PCI address of the second network card: QEMU gives slots in the order of its command line, behind the VGA card.
const PASSED_THROUGH: &str = "00:04.0";

impl Job<'_> {
    /// The machine without settings: a kept state holds none.
    fn alike(&self, second_network: bool) -> MachineConfig {
        let mut config = self.machine.clone();
        config.second_network |= second_network;
        config.settings = harness::Settings::default();
        config.labvisor.clear();
        config
    }

    fn boot(&mut self, number: u32, second_network: bool, task: Task) -> Result<boot::BootReport> {
        let logs = self.folder.create_boot(number)?;
        let mut config = self.machine.clone();
        config.second_network |= second_network;
        config.settings = self
            .server
            .settings(config.settings)
            .with(
                "run",
                &format!("{}/{}", self.folder.id(), machine_dir(number)),
            )
            .with("start", self.program);
        // Of a machine that is started by hand nobody here knows the slots.
        if config.second_network
            && config.by_hand.is_none()
            && matches!(config.hypervisor, Hypervisor::BitVisor(_))
        {
            // BitVisor's own card is the device under test, QEMU's, which it passes through, the transport.
            config.settings = config.settings.with("nic", PASSED_THROUGH);
        }
        config.logs = logs.clone();
        if let Some(kept) = self.kept.filter(|_| number > 0 || !self.first_boots) {
            match kept.state(&self.alike(second_network)) {
                Ok(state) => config.resume = state,
                Err(error) => self
                    .recorder
                    .note(&format!("each machine boots: {error:#}")),
            }
        }
        let mut around = Surroundings {
            server: self.server,
            interrupt: self.interrupt,
            deadline: self.deadline,
            recorder: self.recorder,
        };
        boot::run(&config, number, &logs, task, &mut around)
    }
}

/// Everything safe in one batch, in the plan's order; then each of the others alone.
fn batches(plan: Vec<Planned>) -> VecDeque<Vec<Planned>> {
    let (alone, shared): (Vec<Planned>, Vec<Planned>) =
        plan.into_iter().partition(|planned| planned.alone);
    let shared = (!shared.is_empty()).then_some(shared);
    shared
        .into_iter()
        .chain(alone.into_iter().map(|planned| vec![planned]))
        .collect()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    fn planned(id: &str, alone: bool) -> Planned {
        let item = PlanItem {
            id: id.into(),
            file: format!("{id}.rhai"),
            parameters: std::collections::BTreeMap::new(),
            seed: 1,
            time_limit_s: 10,
        };
        Planned {
            item,
            alone,
            second_network: false,
        }
    }

    #[test]
    fn the_safe_share_a_machine_and_the_risky_have_their_own() {
        let plan = vec![
            planned("a", false),
            planned("b", true),
            planned("c", false),
            planned("d", true),
        ];
        let ids: Vec<Vec<String>> = batches(plan)
            .into_iter()
            .map(|batch| batch.into_iter().map(|planned| planned.item.id).collect())
            .collect();
        assert_eq!(ids, [vec!["a", "c"], vec!["b"], vec!["d"]]);
        assert!(batches(Vec::new()).is_empty());
    }
}
