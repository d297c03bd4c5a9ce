//! The program `nfs-server`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use nfs_server::config::{self, Config, ConfigFile, ExportConfig, Security};
use nfs_server::server::Server;
use tokio::signal::unix::{SignalKind, signal};

/// Serves directories over SNFS, the simple network file system.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// A directory to serve, and what clients may do there: ro (default), rw, append
    #[arg(long = "export", value_name = "NAME=DIR[:ro|rw|append]")]
    exports: Vec<ExportConfig>,
    /// Configuration file (TOML); options given here win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7049]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Plain mode, loopback only: file with the token, readable by its owner only
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Noise mode, any address: file with a key for each client, readable by its owner only
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    key: Option<PathBuf>,
    /// Folder where sessions survive a kill of the server
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where Prometheus may ask for counters
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Write the address to this file once clients can connect
    #[arg(long, value_name = "FILE")]
    print_addr_file: Option<PathBuf>,
    /// Logs as JSON, one object a line; RUST_LOG chooses what is logged
    #[arg(long)]
    log_json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a fresh key to a key file, and make the file if need be
    Keygen {
        /// The server's key file; the client gets a copy of the new line in a file of its own
        file: PathBuf,
        /// Whose key it is
        #[arg(default_value = "")]
        name: String,
    },
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(Command::Keygen { file, name }) = &options.command {
        println!("{}", config::add_key(file, name)?);
        return Ok(());
    }
    start_log(options.log_json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(serve(options))
}

fn start_log(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json { log.json().init() } else { log.init() }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let config = configure(&options)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::bind(config).await?;
    announce(&server, options.print_addr_file.as_deref())?;
    let stop = server.stopper();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.stop();
    });
    server.run().await
}

/// Options over file over defaults.
fn configure(options: &Options) -> anyhow::Result<Config> {
    let file = match &options.config {
        Some(path) => ConfigFile::read(path)?,
        None => ConfigFile::default(),
    };
    // What is on the command line wins as a whole: a key there is never talked down by a token in the file.
    let (token_file, key) = match (&options.token_file, &options.key) {
        (None, None) => (file.token_file.as_ref(), file.key.as_ref()),
        (token_file, key) => (token_file.as_ref(), key.as_ref()),
    };
    let security = match (token_file, key) {
        (None, Some(path)) => Security::Noise {
            keys: config::read_keys(path)?,
        },
        (Some(path), None) => Security::Plain {
            token: config::read_secret(path)?,
        },
        (Some(_), Some(_)) => bail!("give a token file or a key file, not both"),
        (None, None) => {
            bail!("give --token-file FILE or --key FILE, so that clients can prove who they are")
        }
    };
    let mut exports = file.export;
    exports.extend(options.exports.iter().cloned());
    let default = SocketAddr::from(([127, 0, 0, 1], protocol::DEFAULT_PORT));
    Ok(Config {
        exports,
        listen: options.listen.or(file.listen).unwrap_or(default),
        security,
        state: options.state.clone().or(file.state),
        limits: file.limits,
        metrics: options.metrics.or(file.metrics),
    })
}

/// `listening on ADDR` on standard output, and the address alone in a file.
fn announce(server: &Server, file: Option<&Path>) -> anyhow::Result<()> {
    let address = server.address()?;
    if let Some(metrics) = server.metrics_address() {
        tracing::info!("metrics on http://{metrics}/metrics");
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {address}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")?;
    if let Some(path) = file {
        // Whole or not at all: whoever waits for the file reads it at once.
        let new = path.with_extension("new");
        std::fs::write(&new, format!("{address}\n"))
            .and_then(|()| std::fs::rename(&new, path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
