//! An export as a folder of this host, for ordinary programs.
//!
//! ```text
//! snfs-mount snfs://127.0.0.1:7049/home /mnt --token-file token
//! ```
//! Every write goes to the server before the program's `write` returns; fsync is the server's fsync. While
//! the server is away programs wait, at most `--patience` seconds, then they get ETIMEDOUT. Owner, permission bits
//! and times are the server's: what would change them is refused (EPERM), except that setting times is ignored.

mod nodes;
mod remote;
mod system;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use fuser::{Config, MountOption, Session};
use nfs_server::config;
use protocol::host::{Options, Url};
use protocol::message::Access;
use tokio::signal::unix::{SignalKind, signal};

use remote::Remote;
use system::System;

/// Shows an export of a server as a folder, until Ctrl-C.
#[derive(Debug, Parser)]
struct Arguments {
    /// snfs://host[:port]/export[/folder]
    url: Url,
    /// An empty folder of this host
    folder: PathBuf,
    /// The token of a server in plain mode
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    token_file: Option<PathBuf>,
    /// Our key, for a server in noise mode: the line that `nfs-server keygen` wrote for us
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Seconds that programs wait for a server that is away
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

impl Arguments {
    fn options(&self) -> anyhow::Result<Options> {
        let address = self.url.address();
        let address = address.with_context(|| format!("cannot look up {}", self.url.host))?;
        let options = match (&self.token_file, &self.key) {
            (Some(file), _) => Options::new(address, &config::read_secret(file)?),
            (None, Some(file)) => match &config::read_keys(file)?[..] {
                [key] => Options::with_key(address, key.clone()),
                _ => bail!(
                    "{} holds several keys: give a file with ours alone",
                    file.display()
                ),
            },
            (None, None) => bail!("give --token-file FILE (plain mode) or --key FILE (noise mode)"),
        };
        let patience = Duration::from_secs(self.patience.max(1));
        Ok(options.named("snfs-mount").patient(Some(patience)))
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if !arguments.folder.is_dir() {
        bail!("{} is no folder: make it first", arguments.folder.display());
    }
    let remote = Remote::connect(arguments.options()?, &arguments.url.path)
        .with_context(|| format!("cannot use {}", arguments.url))?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(arguments.url.to_string()),
        MountOption::Subtype("snfs".to_owned()),
        MountOption::NoDev,
        MountOption::NoSuid,
    ];
    if remote.access() == Access::ReadOnly {
        config.mount_options.push(MountOption::RO);
    }
    let mut session = Session::new(System::new(remote), &arguments.folder, &config)
        .with_context(|| {
            let folder = arguments.folder.display();
            format!("cannot mount on {folder}: is /dev/fuse there? Without root, fusermount3 (package fuse3) is needed")
        })?;
    let mut unmounter = session.unmount_callable();
    let folder = arguments.folder.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    runtime.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if unmounter.unmount().is_err() {
            eprintln!("snfs-mount: still in use; it ends when the last program lets go of it");
            detach(&folder);
        }
    });
    println!("{} is on {}", arguments.url, arguments.folder.display());
    session.run().context("the connection to the kernel broke")
}

/// Takes the folder out of the tree although somebody works in it: root by umount, others by fusermount3.
fn detach(folder: &Path) {
    let run = |program: &str, option: &str| {
        let done = Command::new(program).arg(option).arg(folder).status();
        done.is_ok_and(|status| status.success())
    };
    let detached = if rustix::process::geteuid().is_root() {
        run("umount", "-l")
    } else {
        run("fusermount3", "-uz")
    };
    if !detached {
        eprintln!("snfs-mount: cannot unmount {}", folder.display());
    }
}
