//! `hv doctor`: what this machine has, what it lacks, and how to get it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use bitvisor_config::check::Level;
use harness::Outcome;

use crate::needs;
use crate::testing::BITVISOR_VARIABLE;
use crate::virtualisation::{Host, Line};
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
    println!("\nfor BitVisor:");
    for (wished, what, found) in Host::survey().lines().into_iter().chain(for_bitvisor()) {
        let mark = if wished { "ok" } else { "absent" };
        println!("{mark:8} {what:34} {found}");
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

/// UEFI firmware for QEMU, where Debian's package ovmf puts it: code and variables.
pub const OVMF: [&str; 2] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
];

/// What a medium for UEFI needs, and the BitVisor that the environment names.
fn for_bitvisor() -> Vec<Line> {
    let grub = needs::grub_for_uefi();
    let ovmf = OVMF.iter().all(|file| Path::new(file).is_file());
    let mut lines = vec![
        (
            grub.found.is_some(),
            grub.what,
            grub.found.unwrap_or_else(|| {
                "for `hv media --uefi`: Debian package grub-efi-amd64-bin".into()
            }),
        ),
        (
            ovmf,
            "UEFI firmware for QEMU",
            match ovmf {
                true => OVMF[0].to_owned(),
                false => "to try such a medium: Debian package ovmf".to_owned(),
            },
        ),
    ];
    let Some(elf) = std::env::var_os(BITVISOR_VARIABLE) else {
        let text = "not set: `hv test` leaves BitVisor out".to_owned();
        lines.push((false, BITVISOR_VARIABLE, text));
        return lines;
    };
    match bitvisor_config::check::check(Path::new(&elf)) {
        Err(error) => lines.push((false, BITVISOR_VARIABLE, error.to_string())),
        Ok(report) => {
            let sound = report.worst() != Level::Bad;
            lines.push((sound, BITVISOR_VARIABLE, elf.to_string_lossy().into_owned()));
            let worth_saying = report
                .findings
                .into_iter()
                .filter(|one| one.level != Level::Good);
            lines.extend(worth_saying.map(|one| {
                let text = format!("{}: {}", one.subject, one.text);
                (one.level != Level::Bad, "", harness::escaped(&text))
            }));
        }
    }
    lines
}

/// Not needed, but good to know about.
fn useful() -> [(&'static str, &'static str, Option<String>); 3] {
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
    ]
}

/// The first line of what a program says about its version.
#[must_use]
pub fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}
