//! `hv bench-snfs`: how fast the file server is, beside a floor and a peer that are measured in the same run.

use std::process::Command as Process;

use anyhow::{Context, Result, bail};
use clap::Args;
use harness::Outcome;

use crate::needs::{self, Consent};
use crate::workspace::Workspace;

/// How long, and how much.
#[derive(Debug, Args)]
pub struct Options {
    /// Time for each row.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Idle clients, for the memory that one takes.
    #[arg(long, default_value_t = 1000)]
    clients: u32,
}

/// Measures.
///
/// # Errors
/// When something is missing or does not compile.
pub fn run(workspace: &Workspace, consent: Consent, options: &Options) -> Result<Outcome> {
    needs::ensure_diod(consent)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--quiet", "--release", "--package", "nfs-server"]);
    cargo.args(["--bin", "nfs-server", "--bin", "snfs-bench"]);
    if !cargo.status().context("cannot run cargo")?.success() {
        bail!("snfs-bench does not compile (see above)");
    }
    let status = Process::new(workspace.path("target/release/snfs-bench"))
        .args(["--seconds", &options.seconds.to_string()])
        .args(["--clients", &options.clients.to_string()])
        .status()
        .context("cannot start snfs-bench")?;
    Ok(if status.success() {
        Outcome::AsExpected
    } else {
        Outcome::Setup
    })
}
