//! `hv doctor`: what this machine has, what it lacks, and how to get it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use harness::Outcome;

use crate::needs;
use crate::workspace::Workspace;

/// Prints the state of every need and of what is merely useful.
///
/// # Errors
/// None so far; the signature is that of every command.
pub fn run(workspace: &Workspace) -> Result<Outcome> {
    let needs = needs::survey(workspace);
    for need in &needs {
        let (mark, found) = need
            .found
            .as_ref()
            .map_or(("missing", "-"), |path| ("ok", path.as_str()));
        println!("{mark:8} {:34} {:36} {found}", need.what, need.purpose);
    }
    for (what, purpose, found) in useful() {
        let mark = if found.is_some() { "ok" } else { "absent" };
        println!(
            "{mark:8} {what:34} {purpose:36} {}",
            found.as_deref().unwrap_or("-")
        );
    }
    Ok(match needs::command_for(&needs) {
        None => {
            println!("\neverything that `hv run` and `hv test` need is here");
            Outcome::AsExpected
        }
        Some(command) => {
            println!("\nto install what is missing:\n  {command}");
            Outcome::Setup
        }
    })
}

/// Not needed, but good to know about.
fn useful() -> [(&'static str, &'static str, Option<String>); 4] {
    let bitvisor = std::env::var("HV_BITVISOR_ELF")
        .ok()
        .filter(|path| Path::new(path).is_file());
    [
        (
            "QEMU's version",
            "its emulation runs every machine",
            version("qemu-system-x86_64"),
        ),
        (
            "cargo-nextest",
            "faster `hv test` (else cargo test)",
            needs::program("cargo-nextest"),
        ),
        ("gdb", "`hv gdb`", needs::program("gdb")),
        ("HV_BITVISOR_ELF", "`hv test` on a real BitVisor", bitvisor),
    ]
}

/// The first line of what a program says about its version.
#[must_use]
pub fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}
