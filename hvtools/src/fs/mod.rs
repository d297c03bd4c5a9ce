//! `hv fs`: files of a server, from the host.

mod mount;
mod text;

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use harness::Outcome;
use protocol::host::{Files, Url};
use protocol::message::{FollowEvent, Kind};

use crate::access;
use crate::interrupt::Interrupt;
use crate::needs::Consent;
use crate::service;
use crate::workspace::Workspace;

/// What to do with which server's files.
///
/// A PATH is `export/path` on the server of the run that goes on in this workspace, or `snfs://host:port/export/path`.
#[derive(Debug, Args)]
pub struct Options {
    /// The file with the token of a server named by URL.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// The file with a key of a server in noise mode, named by URL.
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        conflicts_with = "token_file"
    )]
    key: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List a folder; without a path the exports.
    Ls {
        /// The folder.
        #[arg(default_value = "")]
        path: String,
    },
    /// Print a file.
    Cat {
        /// The file.
        path: String,
    },
    /// Copy a file from the server.
    Get {
        /// The file there.
        path: String,
        /// The file here.
        to: PathBuf,
    },
    /// Copy a file to the server.
    Put {
        /// The file here.
        from: PathBuf,
        /// The file there.
        path: String,
    },
    /// Remove a file or an empty folder.
    Rm {
        /// It.
        path: String,
    },
    /// Make a folder.
    Mkdir {
        /// It.
        path: String,
    },
    /// Rename within an export.
    Mv {
        /// What it is called.
        from: String,
        /// What it shall be called.
        to: String,
    },
    /// Say what is known about a file.
    Stat {
        /// It.
        path: String,
    },
    /// Say how much room an export has.
    Df {
        /// The export.
        path: String,
    },
    /// Print what is appended to a file, from its beginning, until Ctrl-C.
    Follow {
        /// The file.
        path: String,
    },
    /// Show an export as a folder of this host, for ordinary programs, until Ctrl-C.
    Mount {
        /// The export, or a folder in it.
        path: String,
        /// An empty folder of this host.
        folder: PathBuf,
    },
    /// Show what every client did so far.
    Clients,
}

/// Does it.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub fn run(workspace: &Workspace, consent: Consent, options: &Options) -> Result<Outcome> {
    let door = Door {
        workspace,
        token_file: options.token_file.as_deref(),
        key: options.key.as_deref(),
    };
    match &options.command {
        Command::Ls { path } => door.visit(path, list)?,
        Command::Cat { path } => door.visit(path, |files, path| {
            files.get(path, &mut std::io::stdout().lock(), &mut |_, _| {})?;
            Ok(())
        })?,
        Command::Get { path, to } => door.visit(path, |files, path| {
            let mut file =
                File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
            files.get(path, &mut file, &mut |done, all| progress(done, Some(all)))?;
            Ok(())
        })?,
        Command::Put { from, path } => {
            let mut file =
                File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
            door.visit(path, |files, path| {
                let all = files.put(path, &mut file, &mut |done| progress(done, None))?;
                progress(all, Some(all));
                Ok(())
            })?;
        }
        Command::Rm { path } => door.visit(path, |files, path| Ok(files.remove(path)?))?,
        Command::Mkdir { path } => door.visit(path, |files, path| Ok(files.mkdir(path)?))?,
        Command::Mv { from, to } => {
            let to = door.path_of(to)?;
            door.visit(from, |files, from| Ok(files.rename(from, &to)?))?;
        }
        Command::Stat { path } => door.visit(path, |files, path| {
            println!("{}", text::stat(&files.stat(path)?));
            Ok(())
        })?,
        Command::Df { path } => door.visit(path, |files, path| {
            println!("{}", text::space(&files.statfs(path)?));
            Ok(())
        })?,
        Command::Follow { path } => door.visit(path, follow)?,
        Command::Mount { path, folder } => return mount::run(&door, consent, path, folder),
        Command::Clients => door.visit("", |files, _| clients(files))?,
    }
    Ok(Outcome::AsExpected)
}

/// How to come to a server.
struct Door<'a> {
    workspace: &'a Workspace,
    token_file: Option<&'a Path>,
    key: Option<&'a Path>,
}

impl Door<'_> {
    /// Does something there and says goodbye, so that the server keeps nothing for a client that will not come back.
    fn visit(&self, place: &str, work: impl FnOnce(&mut Files, &str) -> Result<()>) -> Result<()> {
        let (mut files, path) = self.open(place)?;
        let done = work(&mut files, &path);
        files.goodbye();
        done
    }

    fn open(&self, place: &str) -> Result<(Files, String)> {
        let (address, secret) = if place.starts_with("snfs://") {
            let url: Url = place.parse().map_err(anyhow::Error::msg)?;
            let address = url
                .address()
                .with_context(|| format!("cannot look up {}", url.host))?;
            (address, access::secret(self.token_file, self.key)?)
        } else {
            let found = service::whereabouts(self.workspace)?;
            (found.address, found.secret)
        };
        let files = Files::connect(access::client(address, &secret)?.named("hv fs"))?;
        Ok((files, self.path_of(place)?))
    }

    fn path_of(&self, place: &str) -> Result<String> {
        if !place.starts_with("snfs://") {
            return Ok(place.trim_start_matches('/').to_owned());
        }
        let url: Url = place.parse().map_err(anyhow::Error::msg)?;
        Ok(url.path)
    }
}

fn list(files: &mut Files, path: &str) -> Result<()> {
    for item in files.list(path)? {
        let mark = if item.kind == Kind::Directory {
            'd'
        } else {
            '-'
        };
        println!(
            "{mark} {:>12} {}",
            item.stat.size,
            harness::escaped(&item.name)
        );
    }
    Ok(())
}

fn follow(files: &mut Files, path: &str) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    files.follow(path, 0)?;
    while !interrupt.requested() {
        let Some(followed) = files.next_followed(Duration::from_millis(200))? else {
            continue;
        };
        match followed.event {
            FollowEvent::Gone => eprintln!("hv: {path} is not there"),
            FollowEvent::Truncated => eprintln!(
                "hv: {path} is shorter than the {} bytes shown so far; from its beginning again",
                followed.offset
            ),
            _ => {}
        }
        let mut out = std::io::stdout().lock();
        out.write_all(&followed.data)?;
        out.flush()?;
    }
    Ok(())
}

fn clients(files: &mut Files) -> Result<()> {
    println!(
        "{:16} {:24} {:10} {:>10} {:>8} {:>14} {:>8}",
        "session", "client", "operation", "calls", "refused", "bytes", "ago"
    );
    let lines = files.counters(|count| {
        let name = harness::escaped(&String::from_utf8_lossy(count.name));
        let operation = count.operation.name();
        let (calls, errors, bytes, ago) = (count.calls, count.errors, count.bytes, count.ago_ms);
        format!(
            "{:016x} {name:24} {operation:10} {calls:>10} {errors:>8} {bytes:>14} {ago:>5} ms",
            count.session
        )
    })?;
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Of long transfers, on a terminal.
fn progress(done: u64, all: Option<u64>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    match all {
        Some(all) => eprint!("\r{done} of {all} bytes"),
        None => eprint!("\r{done} bytes"),
    }
    if Some(done) == all {
        eprintln!();
    }
}
