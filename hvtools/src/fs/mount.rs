//! `hv fs mount`: builds `snfs-mount` and lets it work until Ctrl-C.

use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::{Outcome, Secret};
use rustix::process::{Pid, Signal, kill_process};

use super::Door;
use crate::access;
use crate::interrupt::Interrupt;
use crate::needs::{self, Consent};
use crate::service;

/// Mounts until somebody stops it.
pub fn run(door: &Door<'_>, consent: Consent, place: &str, folder: &Path) -> Result<Outcome> {
    if !Path::new("/dev/fuse").exists() {
        bail!(
            "this machine has no /dev/fuse: load the kernel's module with `modprobe fuse` as root"
        );
    }
    needs::ensure_mount(consent)?;
    build(door)?;
    let interrupt = Interrupt::watch()?;
    let mut command = std::process::Command::new(door.workspace.path("target/debug/snfs-mount"));
    // Kept until the mount ends, for nobody else to read.
    let mut file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let (secret, url) = if place.starts_with("snfs://") {
        let secret = access::secret(door.token_file, door.key)?;
        (secret, place.to_owned())
    } else {
        let found = service::whereabouts(door.workspace)?;
        let url = format!("snfs://{}/{place}", found.address);
        (found.secret, url)
    };
    let (option, text) = match &secret {
        Secret::Token(text) => ("--token-file", text),
        Secret::Key(text) => ("--key", text),
    };
    file.write_all(text.as_bytes())?;
    command.arg(url).arg(option).arg(file.path());
    let mut child = command
        .arg(folder)
        .spawn()
        .context("cannot start snfs-mount")?;
    wait(&mut child, &interrupt)
}

fn build(door: &Door<'_>) -> Result<()> {
    let mut cargo = door.workspace.cargo();
    cargo.args(["build", "--quiet", "--package", "nfs-server"]);
    cargo.args(["--features", "fuse", "--bin", "snfs-mount"]);
    if !cargo.status().context("cannot run cargo")?.success() {
        bail!("snfs-mount does not compile (see above)");
    }
    Ok(())
}

fn wait(child: &mut Child, interrupt: &Interrupt) -> Result<Outcome> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() {
                Outcome::AsExpected
            } else {
                Outcome::Setup
            });
        }
        if interrupt.requested() && !told {
            // Ctrl-C reached it by itself; a signal for us alone did not.
            let _ = kill_process(Pid::from_child(child), Signal::INT);
            told = true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
