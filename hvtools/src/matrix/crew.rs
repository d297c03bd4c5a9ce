//! Several machines at a time: each worker has a file server of its own and takes one order after the other.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};

use anyhow::{Context, Result};
use experiments::{Catalogue, Expectations, Run};
use harness::{MachineConfig, Server};

use super::mutants;
use crate::build::Freshness;
use crate::interrupt::Interrupt;
use crate::run::Job;
use crate::run::command::{carry_out, describe};
use crate::run::folder::RunFolder;
use crate::run::kept::Kept;
use crate::run::plan::{self, Choice};
use crate::run::progress::Reporter;
use crate::run::record::Recorder;
use crate::service;
use crate::workspace::Workspace;

/// A run that somebody wants.
#[derive(Clone, Debug)]
pub struct Order {
    /// The name of its run folder.
    pub name: String,
    /// Labvisor's command line.
    pub labvisor: String,
    /// The experiments, in the order in which they run.
    pub experiments: Vec<String>,
    /// All share a machine, even those that may take it down: whoever does so is no good anyway.
    pub shared: bool,
    /// The first verdict that labvisor itself never gets ends it, and all the crew's other orders.
    pub until_found: bool,
}

/// What all workers share.
pub struct Crew<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// The machine, without what differs from order to order.
    pub machine: MachineConfig,
    /// From what machines are resumed.
    pub kept: Option<&'a Kept>,
    /// The experiments.
    pub catalogue: &'a Catalogue,
    /// Where the run folders are made.
    pub folder: &'a Path,
    /// How many workers.
    pub jobs: usize,
    /// Ctrl-C and the like: no new order is begun.
    pub interrupt: &'a Interrupt,
}

impl Crew<'_> {
    /// Does all orders, and tells of each when it is done, by its name.
    ///
    /// # Errors
    /// The first set-up that failed; what is running then is still finished.
    pub fn work(&self, orders: Vec<Order>, mut done: impl FnMut(&str, Run)) -> Result<()> {
        let workers = self.jobs.clamp(1, orders.len().max(1));
        let queue = Mutex::new(VecDeque::from(orders));
        let (sender, finished) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (sender, queue) = (sender.clone(), &queue);
                scope.spawn(move || {
                    if let Err(error) = self.worker(queue, &sender) {
                        // The others shall not go on for long with something that cannot be whole.
                        take_all(queue);
                        let _ = sender.send(Err(error));
                    }
                });
            }
            drop(sender);
            for message in finished {
                let (name, run): (String, Run) = message?;
                done(&name, run);
            }
            Ok(())
        })
    }

    /// The server's and the machines' lives end with their thread's.
    fn worker(
        &self,
        queue: &Mutex<VecDeque<Order>>,
        sender: &mpsc::Sender<Result<(String, Run)>>,
    ) -> Result<()> {
        let mut server = service::start(
            self.workspace,
            self.folder,
            &self.catalogue.folder,
            Freshness::AsBuilt,
        )?;
        while !self.interrupt.requested() {
            let Some(order) = take(queue) else {
                return Ok(());
            };
            let run = self
                .run(&order, &mut server)
                .with_context(|| format!("the run `{}` stopped", order.name))?;
            if sender.send(Ok((order.name, run))).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One run, into a folder like that of `hv run`.
    fn run(&self, order: &Order, server: &mut Server) -> Result<Run> {
        let choice = Choice {
            only: order.experiments.clone(),
            seed: 1,
            ..Choice::default()
        };
        let mut plan = plan::choose(self.catalogue, &choice)?;
        let place = |id: &str| order.experiments.iter().position(|one| one == id);
        plan.sort_by_key(|planned| place(&planned.item.id));
        for planned in &mut plan {
            planned.alone &= !order.shared;
        }
        let folder = RunFolder::named(self.folder, &order.name)?;
        let mut machine = self.machine.clone();
        machine.labvisor.clone_from(&order.labvisor);
        let mut info = describe(&folder, &machine, choice.seed, plan.len());
        let mut recorder = Recorder::of_catalogue(
            Reporter::silent(),
            self.catalogue.clone(),
            Expectations::default(),
            folder.path(),
        )?;
        let interrupt = self.interrupt.part();
        if order.until_found {
            recorder.stop_at(mutants::is_notice, self.interrupt.clone());
        }
        let mut job = Job {
            machine,
            program: "hx",
            folder: &folder,
            server,
            interrupt: &interrupt,
            kept: self.kept,
            first_boots: false,
            deadline: None,
            recorder: &mut recorder,
        };
        carry_out(&mut job, plan, &mut info)?;
        Ok(Run {
            folder: folder.path().to_owned(),
            info,
            results: recorder.lines().to_vec(),
        })
    }
}

fn take(queue: &Mutex<VecDeque<Order>>) -> Option<Order> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.pop_front()
}

fn take_all(queue: &Mutex<VecDeque<Order>>) {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.clear();
}
