//! `hv monitor`: watch a run from a second terminal, replay a file, or see a demo.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use harness::{Outcome, Secret};
use monitor_ui::{Output, Runs};

use crate::access;
use crate::service;
use crate::workspace::Workspace;

/// What to watch, and how.
#[derive(Debug, Args)]
pub struct Options {
    /// Runs to follow; without any the newest.
    runs: Vec<String>,
    /// Follow every run of the server.
    #[arg(long, conflicts_with = "runs")]
    all: bool,
    /// Replay a run folder, a boot's folder or a trace file.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["runs", "demo"])]
    file: Option<PathBuf>,
    /// Show invented data: needs no server.
    #[arg(long)]
    demo: bool,
    /// A server's address; by default the one of the run that goes on in this workspace.
    #[arg(long, value_name = "ADDRESS")]
    server: Option<SocketAddr>,
    /// The file with that server's token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The file with a key of that server, if it is in noise mode.
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    key: Option<PathBuf>,
    /// Text lines instead of the screen, until the run ends.
    #[arg(long, group = "output")]
    text: bool,
    /// CSV of the trace records, until the run ends.
    #[arg(long, group = "output")]
    csv: bool,
    /// JSON lines of the trace records, until the run ends.
    #[arg(long, group = "output")]
    json: bool,
}

/// Shows it until `q` or, without a screen, until the run ends.
///
/// # Errors
/// When there is nothing to show, or no terminal to show it on.
pub fn run(workspace: &Workspace, options: &Options) -> Result<Outcome> {
    let mut monitor = match (&options.file, options.demo) {
        (Some(path), _) => monitor_ui::Options::file(path),
        (None, true) => monitor_ui::Options::demo(),
        (None, false) => {
            let (address, secret) = server(workspace, options)?;
            access::screen(address, &secret, chosen(options))?
        }
    };
    monitor.output = match (options.text, options.csv, options.json) {
        (true, ..) => Output::Text,
        (_, true, _) => Output::Csv,
        (_, _, true) => Output::Json,
        _ => Output::Screen,
    };
    monitor_ui::run(monitor)?;
    Ok(Outcome::AsExpected)
}

fn chosen(options: &Options) -> Runs {
    match (options.all, options.runs.as_slice()) {
        (true, _) => Runs::All,
        (false, []) => Runs::Latest,
        (false, names) => Runs::Named(names.to_vec()),
    }
}

fn server(workspace: &Workspace, options: &Options) -> Result<(SocketAddr, Secret)> {
    if let Some(address) = options.server {
        let secret = access::secret(options.token_file.as_deref(), options.key.as_deref())?;
        return Ok((address, secret));
    }
    let found = service::whereabouts(workspace)?;
    Ok((found.address, found.secret))
}
