//! The monitor's command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use monitor_ui::theme::Depth;
use monitor_ui::{Options, Output, Runs, run};
use protocol::noise::Key;

/// Shows runs of a server live, or one from a file.
///
/// Without a terminal --text, --csv or --json print what comes until the run ended. In the screen `?` shows
/// the keys of the view.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address of the server.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7049")]
    server: String,
    /// File with the server's token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with our line of the server's key file, for a server in noise mode.
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    key: Option<PathBuf>,
    /// Follow this run; may be given several times [default: the newest].
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    run: Vec<String>,
    /// Follow all runs, the newest eight of very many.
    #[arg(long)]
    all: bool,
    /// Show a run folder, a boot's folder, or one of their files instead.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["demo", "server", "run", "all", "token_file", "key"])]
    file: Option<PathBuf>,
    /// Show a demo that needs neither server nor machine.
    #[arg(long, conflicts_with_all = ["server", "run", "all", "token_file", "key"])]
    demo: bool,
    /// Print text, a line for each record, log line and verdict.
    #[arg(long, conflicts_with_all = ["csv", "json"])]
    text: bool,
    /// Print the records as CSV.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print JSON, an object a line.
    #[arg(long)]
    json: bool,
    /// Colours [default: what TERM, COLORTERM and NO_COLOR say].
    #[arg(long, value_enum)]
    colour: Option<Depth>,
    /// Draw with ASCII only [default: what the locale says].
    #[arg(long)]
    ascii: bool,
}

impl Arguments {
    fn options(self) -> Result<Options> {
        let mut options = match (&self.file, self.demo) {
            (Some(path), _) => Options::file(path),
            (None, true) => Options::demo(),
            (None, false) => self.server_options()?,
        };
        options.output = match (self.text, self.csv, self.json) {
            (true, ..) => Output::Text,
            (_, true, _) => Output::Csv,
            (.., true) => Output::Json,
            _ => Output::Screen,
        };
        options.colour = self.colour;
        options.ascii = self.ascii.then_some(true);
        Ok(options)
    }

    fn server_options(&self) -> Result<Options> {
        let address = address(&self.server)?;
        let runs = match (self.all, self.run.is_empty()) {
            (true, _) => Runs::All,
            (_, true) => Runs::Latest,
            _ => Runs::Named(self.run.clone()),
        };
        if let Some(file) = &self.key {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the key file {}", file.display()))?;
            let key = Key::parse(&text).with_context(|| {
                format!(
                    "{} holds no key; nfs-server keygen makes one",
                    file.display()
                )
            })?;
            return Ok(Options::server_with_key(address, key, runs));
        }
        let Some(file) = &self.token_file else {
            bail!(
                "--token-file or --key is missing: what the server was started with (or use --file, --demo)"
            );
        };
        let token = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the token file {}", file.display()))?;
        Ok(Options::server(address, token.trim(), runs))
    }
}

fn address(text: &str) -> Result<SocketAddr> {
    let mut found = text
        .to_socket_addrs()
        .with_context(|| format!("--server {text}: expected HOST:PORT"))?;
    found
        .next()
        .with_context(|| format!("--server {text}: the host has no address"))
}

fn main() -> ExitCode {
    match Arguments::parse().options().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("monitor-ui: {error:#}");
            ExitCode::FAILURE
        }
    }
}
