//! Builds the guest by running cargo with the guest's target, profile and target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::needs::GUEST_TARGET;
use crate::workspace::Workspace;

/// The packages whose binaries run in the guest.
pub const PACKAGES: [&str; 3] = ["kernel", "programs", "labvisor"];

/// Builds `packages`; cargo decides what is stale.
///
/// # Errors
/// When cargo cannot be run or the guest does not compile.
pub fn build(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let status = cargo(workspace, packages, &workspace.guest_target())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the guest does not compile (see above)");
    }
    Ok(())
}

/// The cargo that builds `packages` for the guest, below `target`.
#[must_use]
pub fn cargo(workspace: &Workspace, packages: &[&str], target: &Path) -> Command {
    let mut cargo = workspace.cargo();
    cargo
        .args([
            "build",
            "--target",
            GUEST_TARGET,
            "--profile",
            "guest",
            "--target-dir",
        ])
        .arg(target);
    // Our own environment's flags are for the host; the guest's stand in `.cargo/config.toml`.
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    for package in packages {
        cargo.args(["--package", package]);
    }
    cargo
}

/// The C programs of `guest-kernel/user/c`.
pub const C_PROGRAMS: [&str; 1] = ["table1"];

/// Where a built C program lies.
#[must_use]
pub fn c_program(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.guest_target().join("c").join(name)
}

/// Builds the C programs by the system's gcc; make decides what is stale.
///
/// # Errors
/// When make cannot be run or a program does not compile.
pub fn build_c(workspace: &Workspace) -> Result<()> {
    let mut out = std::ffi::OsString::from("OUT=");
    out.push(workspace.guest_target().join("c"));
    let status = Command::new("make")
        .args(["--silent", "--directory"])
        .arg(workspace.path("guest-kernel/user/c"))
        .arg(out)
        // What a make above us wants is not meant for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .status()
        .context("cannot run make (Debian package make)")?;
    if !status.success() {
        bail!("the guest's C programs do not compile (see above)");
    }
    Ok(())
}

/// Reads a guest binary without what only a debugger wants.
///
/// # Errors
/// When it was not built or is no ELF64.
pub fn stripped(path: &Path) -> Result<Vec<u8>> {
    let elf = std::fs::read(path).with_context(|| format!("{} is not built", path.display()))?;
    strip(elf).with_context(|| format!("cannot strip {}", path.display()))
}

/// Cuts an ELF64 file behind its last loaded byte and drops the section table.
fn strip(mut elf: Vec<u8>) -> Result<Vec<u8>> {
    ensure!(
        elf.len() >= 64 && elf.starts_with(b"\x7fELF\x02\x01"),
        "not a little-endian ELF64 file"
    );
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let u64_at = |at: usize| -> Result<usize> {
        let bytes: [u8; 8] = elf
            .get(at..at + 8)
            .context("program header outside the file")?
            .try_into()?;
        Ok(usize::try_from(u64::from_le_bytes(bytes))?)
    };
    let (table, size, count) = (u64_at(0x20)?, u16_at(0x36), u16_at(0x38));
    let mut end = table.saturating_add(size * count);
    for header in 0..count {
        let at = table + header * size;
        end = end.max(u64_at(at + 0x08)?.saturating_add(u64_at(at + 0x20)?));
    }
    ensure!(end <= elf.len(), "a segment lies outside the file");
    elf.truncate(end);
    elf[0x28..0x30].fill(0); // e_shoff
    elf[0x3a..0x40].fill(0); // e_shentsize, e_shnum, e_shstrndx
    Ok(elf)
}

/// The names of the user programs, from their source files.
///
/// # Errors
/// When the folder cannot be read.
pub fn programs(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.path("guest-kernel/user/programs/src/bin");
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        let program = path.extension().is_some_and(|extension| extension == "rs")
            || path.join("main.rs").is_file();
        if let (true, Some(stem)) = (program, path.file_stem().and_then(|stem| stem.to_str())) {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(segment: (u64, u64), tail: usize) -> Vec<u8> {
        let mut file = vec![0u8; 64 + 56 + tail];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x20] = 64; // e_phoff
        file[0x28] = 99; // e_shoff
        file[0x36] = 56; // e_phentsize
        file[0x38] = 1; // e_phnum
        file[0x3c] = 7; // e_shnum
        file[64 + 8..64 + 16].copy_from_slice(&segment.0.to_le_bytes());
        file[64 + 32..64 + 40].copy_from_slice(&segment.1.to_le_bytes());
        file
    }

    #[test]
    fn what_is_loaded_stays_and_the_rest_goes() {
        let stripped = strip(elf((120, 10), 100)).unwrap();
        assert_eq!(stripped.len(), 130);
        assert_eq!((stripped[0x28], stripped[0x3c]), (0, 0));
    }

    #[test]
    fn damaged_files_are_refused() {
        assert!(strip(b"#!/bin/sh".to_vec()).is_err());
        assert!(strip(elf((120, 1000), 100)).is_err());
        let mut far = elf((120, 10), 100);
        far[0x20..0x28].copy_from_slice(&0x1000u64.to_le_bytes());
        assert!(strip(far).is_err());
    }
}
