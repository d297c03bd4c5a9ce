//! One boot of a run: give a machine its part of the plan, watch it to its end, say what came of each experiment.

use std::collections::VecDeque;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use experiments::Raw;
use harness::{Ended, Machine, MachineConfig, Patience, Server, Sign, Watch};
use trace_record::run::{self, PlanItem};
use trace_record::verdict::{Progress, Verdict, VerdictRecord};

use super::pulse::{self, Pulse};
use super::record::Recorder;
use super::verdicts::VerdictTail;
use crate::interrupt::Interrupt;

/// How often everything is looked at.
const TICK: Duration = Duration::from_millis(25);
/// The guest must begin its first experiment within this.
const BEGIN_LIMIT: Patience = Patience::of_secs(90);
/// No heartbeat for so long is a HANG.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(10);
/// How much longer than its limit an experiment may take before we end the machine: hx ends it by itself first.
const GRACE: Duration = Duration::from_secs(20);
/// How long a machine may take to power off behind its last experiment.
const FAREWELL: Duration = Duration::from_secs(15);
/// No heartbeat for so long, behind the last experiment, is a machine that is off.
const OFF: Duration = Duration::from_secs(3);
/// How long a panic may take to print itself.
const LAST_WORDS: Duration = Duration::from_millis(700);
/// How often BitVisor's boot may stop at "Loading MBR." before we believe that it always does.
pub(crate) const MBR_ATTEMPTS: u32 = 3;

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything planned was run.
    Done,
    /// The machine is gone; what is left of the plan wants another one.
    Died,
    /// The machine was gone before it began anything: another one would not fare better.
    NeverBegan,
    /// Somebody asked us to stop.
    Interrupted,
    /// The run's time is up.
    OutOfTime,
}

/// What a boot gave.
#[derive(Debug)]
pub struct BootReport {
    /// What was not begun.
    pub left: Vec<PlanItem>,
    /// How it ended.
    pub end: End,
    /// The status that the guest ended with, if it did.
    pub status: Option<u8>,
    /// How often BitVisor stopped at "Loading MBR." and was started again.
    pub mbr_retries: u32,
    /// How often the server had to be started again.
    pub server_restarts: u32,
}

/// What a guest shall do.
#[derive(Clone, Debug)]
pub enum Task {
    /// These, in this order; `hx` reads them from the plan.
    Plan(Vec<PlanItem>),
    /// Whatever the program reports: of `usertests` only the guest knows what there is.
    Open,
}

/// Everything a boot shares with the rest of the run.
pub struct Surroundings<'a> {
    /// The file server.
    pub server: &'a mut Server,
    /// Ctrl-C and the like.
    pub interrupt: &'a Interrupt,
    /// The run's end, if it has one.
    pub deadline: Option<Instant>,
    /// Who writes down and tells what was found.
    pub recorder: &'a mut Recorder,
}

/// How long a test that no plan knows may take.
const OPEN_TIME_LIMIT_S: u32 = 300;

/// Does `task` on a machine of its own.
///
/// # Errors
/// When the machine cannot be set up. What an experiment does to it is no error but a finding.
pub fn run(
    config: &MachineConfig,
    machine: u32,
    folder: &Path,
    task: Task,
    around: &mut Surroundings<'_>,
) -> Result<BootReport> {
    let open = matches!(task, Task::Open);
    let plan = match task {
        Task::Plan(plan) => plan,
        Task::Open => Vec::new(),
    };
    write_plan(folder, &plan)?;
    let mut mbr_retries = 0;
    loop {
        let mut boot = Boot::start(config, machine, folder, plan.clone(), open, around.recorder)?;
        let end = loop {
            if let Some(end) = boot.step(around)? {
                break end;
            }
            std::thread::sleep(TICK);
        };
        let ended = boot.machine.ended()?;
        boot.machine.kill();
        if end == Step::StuckLoadingMbr && mbr_retries + 1 < MBR_ATTEMPTS {
            mbr_retries += 1;
            around.recorder.note(&format!(
                "BitVisor stopped at \"Loading MBR.\"; starting it again ({mbr_retries})"
            ));
            keep_log(folder, run::VMM_LOG, mbr_retries)?;
            continue;
        }
        let end = match end {
            Step::End(end) => end,
            Step::StuckLoadingMbr => {
                let reason = format!("BitVisor stopped at \"Loading MBR.\" {MBR_ATTEMPTS} times");
                boot.blame_all(Verdict::Hang, &reason, "", around.recorder)?;
                End::NeverBegan
            }
        };
        return Ok(BootReport {
            status: match ended {
                Some(Ended::Status(status)) => Some(status),
                _ => None,
            },
            left: boot.waiting.into(),
            end,
            mbr_retries,
            server_restarts: boot.server_restarts,
        });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    End(End),
    StuckLoadingMbr,
}

struct Boot {
    machine: Machine,
    number: u32,
    folder: PathBuf,
    watch: Watch,
    verdicts: VerdictTail,
    pulse: Pulse,
    waiting: VecDeque<PlanItem>,
    /// More may come than is waiting.
    open: bool,
    running: Option<(PlanItem, Instant)>,
    /// Whether anything was found on this machine.
    found_any: bool,
    /// When the last planned experiment ended.
    finished: Option<Instant>,
    server_restarts: u32,
}

impl Boot {
    fn start(
        config: &MachineConfig,
        number: u32,
        folder: &Path,
        plan: Vec<PlanItem>,
        open: bool,
        recorder: &mut Recorder,
    ) -> Result<Boot> {
        let machine = Machine::start(config.clone())?;
        if let Some(file) = &config.by_hand {
            recorder.note(&format!(
                "start the machine now (number {number}); its settings are in {}",
                file.display()
            ));
        }
        Ok(Boot {
            watch: Watch::new(
                config.hypervisor.clone(),
                config.vmm_log(),
                config.console_log(),
            ),
            machine,
            number,
            folder: folder.to_owned(),
            verdicts: VerdictTail::new(folder.join(run::VERDICTS)),
            pulse: Pulse::of(folder),
            waiting: plan.into(),
            open,
            running: None,
            found_any: false,
            finished: None,
            server_restarts: 0,
        })
    }

    /// Looks at everything once. The order matters: a verdict that was acknowledged counts even if the machine died behind it.
    fn step(&mut self, around: &mut Surroundings<'_>) -> Result<Option<Step>> {
        let ended = self.machine.ended()?;
        if let Some(status) = around.server.restart_if_dead()? {
            self.server_restarts += 1;
            around.recorder.note(&format!(
                "the file server ended ({status}) and was started again"
            ));
        }
        for record in self.verdicts.new_records() {
            self.take(record, around.recorder)?;
        }
        if let Some(why) = self.verdicts.broken().map(str::to_owned) {
            self.lose_the_rest(&why, around.recorder)?;
            return Ok(Some(Step::End(End::Done)));
        }
        match self.watch.look(self.machine.effort()) {
            Some(Sign::StuckLoadingMbr) => return Ok(Some(Step::StuckLoadingMbr)),
            Some(Sign::HypervisorPanic(words)) => {
                return self.died(
                    Verdict::Crash,
                    &format!("the hypervisor panicked: {words}"),
                    around,
                );
            }
            Some(Sign::GuestPanic(words)) => {
                return self.died(
                    Verdict::Crash,
                    &format!("the guest panicked: {words}"),
                    around,
                );
            }
            None => {}
        }
        if let Some(ended) = ended {
            return self.machine_ended(ended, around);
        }
        if around.interrupt.requested() {
            return Ok(Some(Step::End(End::Interrupted)));
        }
        if around
            .deadline
            .is_some_and(|deadline| Instant::now() > deadline)
        {
            return Ok(Some(Step::End(End::OutOfTime)));
        }
        around.recorder.tick(
            self.running
                .as_ref()
                .map(|(item, since)| (item.id.as_str(), since.elapsed())),
        );
        self.check_clocks(around)
    }

    fn check_clocks(&mut self, around: &mut Surroundings<'_>) -> Result<Option<Step>> {
        if let Some(finished) = self.finished {
            // Of a machine that was started by hand only the trace tells when it is off, and the server must take its end.
            let silence = self.pulse.silence().unwrap_or_default();
            if self.machine.by_hand() && silence > OFF {
                return Ok(Some(Step::End(End::Done)));
            }
            // All verdicts are here; a machine that cannot power off is a nuisance, no finding.
            if finished.elapsed() > FAREWELL {
                around
                    .recorder
                    .note("the machine did not power off by itself");
                return Ok(Some(Step::End(End::Done)));
            }
            return Ok(None);
        }
        let silence = self.pulse.silence();
        let silent = silence.is_some_and(|silence| silence > HEARTBEAT_LIMIT);
        // A declared batch with interrupts off may take until the experiment's own time limit.
        let limit_reached = self.running.as_ref().is_none_or(|(item, since)| {
            since.elapsed() > Duration::from_secs(item.time_limit_s.into())
        });
        if silent && (limit_reached || !pulse::silence_is_declared(&self.folder)) {
            let reason = format!("no heartbeat for {} s", HEARTBEAT_LIMIT.as_secs());
            return self.died(Verdict::Hang, &reason, around);
        }
        match &self.running {
            Some((item, since))
                if since.elapsed() > Duration::from_secs(item.time_limit_s.into()) + GRACE =>
            {
                let reason = format!(
                    "did not end {} s after its time limit of {} s",
                    GRACE.as_secs(),
                    item.time_limit_s
                );
                self.died(Verdict::Error, &reason, around)
            }
            // Who starts a machine by hand takes the time it takes.
            None if !self.found_any
                && !self.machine.by_hand()
                && BEGIN_LIMIT.ends_with(self.machine.effort()) =>
            {
                let reason = format!("the machine began no experiment within {BEGIN_LIMIT}");
                self.died(Verdict::Hang, &reason, around)
            }
            _ => Ok(None),
        }
    }

    fn take(&mut self, record: VerdictRecord, recorder: &mut Recorder) -> Result<()> {
        match record.progress {
            Progress::Started => {
                let planned = self.waiting.pop_front();
                let Some(item) =
                    planned.or_else(|| self.open.then(|| unplanned(&record.experiment)))
                else {
                    return Ok(());
                };
                recorder.started(&item.id);
                self.running = Some((item, Instant::now()));
            }
            Progress::Finished {
                verdict,
                reason,
                detail,
                measurements,
            } => {
                let Some((item, since)) = self.running.take() else {
                    return Ok(());
                };
                let (verdict, reason) = if item.id == record.experiment {
                    (verdict, reason)
                } else {
                    let reason = format!(
                        "the guest reported `{}` instead: {reason}",
                        harness::escaped(&record.experiment)
                    );
                    (Verdict::Error, reason)
                };
                let finding = Raw {
                    item,
                    verdict,
                    reason,
                    detail,
                    measurements,
                    machine: self.number,
                    took: since.elapsed(),
                };
                self.found(finding, recorder)?;
            }
        }
        if !self.open && self.waiting.is_empty() && self.running.is_none() {
            self.finished = Some(Instant::now());
        }
        Ok(())
    }

    fn found(&mut self, finding: Raw, recorder: &mut Recorder) -> Result<()> {
        self.found_any = true;
        recorder.finished(finding)
    }

    fn machine_ended(
        &mut self,
        ended: Ended,
        around: &mut Surroundings<'_>,
    ) -> Result<Option<Step>> {
        if self.finished.is_some() {
            return Ok(Some(Step::End(End::Done)));
        }
        if matches!(ended, Ended::Shutdown | Ended::PoweredOff)
            && let Some((item, since)) = self
                .running
                .take_if(|(item, _)| around.recorder.ends_with_reset(&item.id))
        {
            let finding = Raw {
                item,
                verdict: Verdict::Pass,
                reason: "the machine was reset, as it must be".to_owned(),
                detail: String::new(),
                measurements: Vec::new(),
                machine: self.number,
                took: since.elapsed(),
            };
            self.found(finding, around.recorder)?;
            return Ok(Some(Step::End(if self.waiting.is_empty() {
                End::Done
            } else {
                End::Died
            })));
        }
        let reason = match ended {
            Ended::Status(_) if self.open && self.running.is_none() => {
                return Ok(Some(Step::End(End::Done)));
            }
            Ended::Status(status) => {
                let why = format!("the guest ended with status {status} and without a verdict");
                self.lose_the_rest(&why, around.recorder)?;
                return Ok(Some(Step::End(End::Done)));
            }
            Ended::Panicked => "the guest's kernel panicked".to_owned(),
            Ended::Shutdown => "the guest shut down (triple fault)".to_owned(),
            Ended::PoweredOff => "the machine was reset or powered off".to_owned(),
            Ended::Failed => format!("QEMU ended: {}", self.machine.messages()),
        };
        self.died(Verdict::Crash, &reason, around)
    }

    /// The machine is no use any more: stores the evidence and blames what was running.
    fn died(
        &mut self,
        verdict: Verdict,
        reason: &str,
        around: &mut Surroundings<'_>,
    ) -> Result<Option<Step>> {
        let evidence = self.store_evidence(verdict, reason)?;
        if self.running.is_none() && !self.found_any {
            self.blame_all(
                verdict,
                &format!("{reason} (before the first experiment)"),
                &evidence,
                around.recorder,
            )?;
            return Ok(Some(Step::End(End::NeverBegan)));
        }
        // Between two experiments: the next one would have been the culprit.
        let now = Instant::now();
        let blamed = self
            .running
            .take()
            .or_else(|| Some((self.waiting.pop_front()?, now)));
        if let Some((item, since)) = blamed {
            self.blame(
                item,
                verdict,
                reason,
                &evidence,
                since.elapsed(),
                around.recorder,
            )?;
        }
        Ok(Some(Step::End(if self.waiting.is_empty() {
            End::Done
        } else {
            End::Died
        })))
    }

    fn lose_the_rest(&mut self, why: &str, recorder: &mut Recorder) -> Result<()> {
        let evidence = self.store_evidence(Verdict::Lost, why)?;
        if let Some((item, since)) = self.running.take() {
            self.blame(
                item,
                Verdict::Lost,
                why,
                &evidence,
                since.elapsed(),
                recorder,
            )?;
        }
        self.blame_all(Verdict::Lost, why, &evidence, recorder)
    }

    fn blame_all(
        &mut self,
        verdict: Verdict,
        reason: &str,
        detail: &str,
        recorder: &mut Recorder,
    ) -> Result<()> {
        while let Some(item) = self.waiting.pop_front() {
            self.blame(item, verdict, reason, detail, Duration::ZERO, recorder)?;
        }
        Ok(())
    }

    fn blame(
        &mut self,
        item: PlanItem,
        verdict: Verdict,
        reason: &str,
        detail: &str,
        took: Duration,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let (reason, detail) = (reason.to_owned(), detail.to_owned());
        self.found(
            Raw {
                item,
                verdict,
                reason,
                detail,
                measurements: Vec::new(),
                machine: self.number,
                took,
            },
            recorder,
        )
    }

    fn store_evidence(&mut self, verdict: Verdict, reason: &str) -> Result<String> {
        let evidence = self.evidence(verdict, reason);
        std::fs::write(self.folder.join("evidence.txt"), &evidence)
            .context("cannot write evidence.txt")?;
        Ok(evidence)
    }

    /// What the harness can tell about a machine that died: where it stands, and what its consoles said last.
    fn evidence(&mut self, verdict: Verdict, reason: &str) -> String {
        let deadline = Instant::now() + LAST_WORDS;
        while Instant::now() < deadline && matches!(self.machine.ended(), Ok(None)) {
            std::thread::sleep(TICK);
        }
        let mut text = format!("{}: {reason}\n", verdict.word());
        let alive = matches!(self.machine.ended(), Ok(None)) && !self.machine.by_hand();
        for sample in (1..=3).filter(|_| alive) {
            let rip = self.machine.qmp().and_then(|mut qmp| qmp.rip());
            let _ = match rip {
                Ok(rip) => writeln!(text, "RIP sample {sample}: {rip:#018x}"),
                Err(error) => writeln!(text, "RIP sample {sample}: {error:#}"),
            };
            std::thread::sleep(TICK);
        }
        for (which, log) in [
            ("hypervisor", self.machine.vmm_text()),
            ("guest", self.machine.console_text()),
        ] {
            let _ = writeln!(
                text,
                "\nlast lines of the {which}'s console:\n{}",
                harness::last_lines(&log, 40)
            );
        }
        text
    }
}

fn unplanned(id: &str) -> PlanItem {
    PlanItem {
        id: id.to_owned(),
        file: String::new(),
        parameters: Default::default(),
        seed: 0,
        time_limit_s: OPEN_TIME_LIMIT_S,
    }
}

fn write_plan(folder: &Path, plan: &[PlanItem]) -> Result<()> {
    let mut text = String::new();
    for item in plan {
        text += &serde_json::to_string(item).context("cannot write down the plan")?;
        text.push('\n');
    }
    let path = folder.join(run::PLAN);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Puts a log of a failed start aside, or the next start would overwrite it.
fn keep_log(folder: &Path, log: &str, attempt: u32) -> Result<()> {
    let to = folder.join(format!("{log}.{attempt}"));
    std::fs::rename(folder.join(log), &to).with_context(|| format!("cannot keep {}", to.display()))
}
