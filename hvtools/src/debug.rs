//! `hv gdb`: the guest under a debugger.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Machine, MachineConfig, Outcome};

use crate::interrupt::Interrupt;
use crate::needs;
use crate::workspace::Workspace;

/// Starts the machine stopped, with QEMU's gdb server on a free loopback port, and runs gdb on it where there is one.
///
/// # Errors
/// When no port is free, the machine does not start, or gdb cannot be run.
pub fn run(
    workspace: &Workspace,
    mut config: MachineConfig,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let port = free_port()?;
    config.gdb = Some(port);
    let mut machine = Machine::start(config)?;
    let kernel = workspace.guest_binary("kernel");
    let Some(gdb) = needs::program("gdb") else {
        println!(
            "the machine waits for a debugger:\n  gdb {} -ex 'target remote 127.0.0.1:{port}'",
            kernel.display()
        );
        while !interrupt.requested() && machine.wait(Duration::from_millis(200))?.is_none() {}
        return Ok(Outcome::AsExpected);
    };
    // Ctrl-C is gdb's now; it comes back here when gdb ends.
    let status = Command::new(gdb)
        .arg(kernel)
        .args([
            "-ex",
            &format!("target remote 127.0.0.1:{port}"),
            "-ex",
            "hbreak kernel_main",
        ])
        .status()
        .context("cannot run gdb")?;
    Ok(if status.success() {
        Outcome::AsExpected
    } else {
        Outcome::Unexpected
    })
}

/// A loopback port that nobody uses at this moment.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback port is free")?;
    Ok(listener.local_addr()?.port())
}
