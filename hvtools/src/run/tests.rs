//! Tests that run in the guest, on a machine of their own: `usertests`.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use experiments::Raw;
use harness::MachineConfig;

use super::folder::RunFolder;
use super::progress::Reporter;
use super::record::Recorder;
use super::{Job, execute_open};
use crate::build::Freshness;
use crate::interrupt::Interrupt;
use crate::service;
use crate::workspace::Workspace;

/// What came of a test program.
#[derive(Debug)]
pub struct Tested {
    /// One for each test, from the program's verdict records.
    pub findings: Vec<Raw>,
    /// The status that the guest ended with, if it did.
    pub status: Option<u8>,
}

/// Runs `program` (a command line) instead of the shell and collects the verdict records that it writes.
///
/// # Errors
/// When the machine or the server cannot be set up.
pub fn run(
    workspace: &Workspace,
    machine: MachineConfig,
    program: &str,
    limit: Duration,
) -> Result<Tested> {
    let runs = tempfile::tempdir()?;
    let interrupt = Interrupt::watch()?;
    let catalogue = workspace.path("experiments/catalogue");
    let mut server = service::start(workspace, runs.path(), &catalogue, Freshness::AsBuilt)?;
    let folder = RunFolder::create(runs.path(), SystemTime::now())?;
    let mut recorder = Recorder::of_tests(Reporter::new(0));
    let job = Job {
        machine,
        program,
        folder: &folder,
        server: &mut server,
        interrupt: &interrupt,
        kept: None,
        first_boots: true,
        deadline: Some(Instant::now() + limit),
        recorder: &mut recorder,
    };
    let status = execute_open(job)?.status;
    Ok(Tested {
        findings: recorder.findings().to_vec(),
        status,
    })
}
