//! `hv media`: a medium that starts the guest on a real PC, as an image or written to a USB stick.
//!
//! ```text
//! BIOS ── MBR ── GRUB ── /boot/bitvisor.elf ── (inside its VM) active partition ── GRUB ── /boot/kernel
//! UEFI ── /EFI/BOOT/BOOTX64.EFI = GRUB ── /boot/loadvmm.efi ── /boot/bitvisor.elf ── back to GRUB ── /boot/kernel
//! ```
//! BitVisor takes the machine over and lets it boot once more. From the MBR that would start BitVisor for ever; with
//! `.vmm.boot_active = 1` (profile `lab`) it boots the active partition instead, whose GRUB knows only the guest.
//!
//! A real PC has no fw_cfg, so the guest's settings are its Multiboot command line, in `grub.cfg`.

mod device;
mod layout;

use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bitvisor_config::initialiser::{Initialiser, Setting};
use clap::Args;
use harness::{Outcome, Settings};

use self::layout::{Layout, Uefi};
use crate::build::{self, Freshness};
use crate::image;
use crate::needs::{self, Consent};
use crate::workspace::Workspace;

/// What to put on the medium, and where.
#[derive(Debug, Args)]
pub struct Options {
    /// The image to write, or a whole disk as in /dev/sdX, which is asked for twice.
    #[arg(value_name = "IMAGE|DEVICE")]
    output: PathBuf,
    /// Start the guest on this bitvisor.elf; it needs the runtime setting .vmm.boot_active = 1 (profile lab).
    #[arg(long, value_name = "ELF")]
    bitvisor: Option<PathBuf>,
    /// Let UEFI firmware start it, too.
    #[arg(long)]
    uefi: bool,
    /// BitVisor's loader for UEFI [default: boot/uefi-loader/loadvmm.efi beside the ELF, if it was built].
    #[arg(long, value_name = "EFI", requires = "bitvisor", requires = "uefi")]
    loadvmm: Option<PathBuf>,
    /// A setting of the guest, as in `--set server=192.168.1.5:7049`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = crate::machine::parse_setting)]
    settings: Vec<(String, String)>,
    /// A file with further settings, words as in `key=ID:SECRET`: what others must not see in a command line.
    #[arg(long, value_name = "FILE")]
    settings_file: Option<PathBuf>,
    /// Take the guest binaries that are there, without asking cargo.
    #[arg(long)]
    no_build: bool,
}

/// Makes the medium.
///
/// # Errors
/// When something is missing, does not fit, or the device must not be written to.
pub fn run(workspace: &Workspace, consent: Consent, options: &Options) -> Result<Outcome> {
    let settings = settings(options)?;
    // Before anything is built: a device that is refused is refused at once.
    let device = device::find(&options.output)?;
    let bitvisor = options.bitvisor.as_deref().map(read_bitvisor).transpose()?;
    let uefi = uefi(workspace, consent, options)?;
    build::boot_disk(workspace, consent, Freshness::of(options.no_build))?;
    let contents = image::collect(workspace)?;
    let bytes = layout::make(&Layout {
        contents: &contents,
        settings: &settings.to_string(),
        bitvisor,
        uefi,
    })?;
    match device {
        None => write_image(&options.output, &bytes)?,
        Some(device) => {
            println!("{device}");
            let mut input = std::io::stdin().lock();
            confirm(&mut input, &device.name)?;
            device.write(&bytes)?;
        }
    }
    println!(
        "{}: {} MiB{}",
        options.output.display(),
        bytes.len() >> 20,
        what(options)
    );
    Ok(Outcome::AsExpected)
}

/// Where a BitVisor tree has its loader for UEFI, seen from its ELF.
#[must_use]
pub fn loadvmm_beside(elf: &Path) -> PathBuf {
    elf.with_file_name("boot/uefi-loader/loadvmm.efi")
}

fn what(options: &Options) -> &'static str {
    match (options.bitvisor.is_some(), options.uefi) {
        (true, true) => ", starts BitVisor and the guest on it, from BIOS and UEFI",
        (true, false) => ", starts BitVisor and the guest on it, from BIOS",
        (false, true) => ", starts the guest without a hypervisor, from BIOS and UEFI",
        (false, false) => ", starts the guest without a hypervisor, from BIOS",
    }
}

fn settings(options: &Options) -> Result<Settings> {
    let mut settings = Settings::default();
    for (key, value) in &options.settings {
        if key == "key" || key == "token" {
            bail!(
                "`--set {key}=` would show a secret to everybody on this machine: put it into a file for --settings-file"
            );
        }
        settings = settings.with(key, value);
    }
    if let Some(file) = &options.settings_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the settings in {}", file.display()))?;
        for word in text.split_whitespace() {
            let Ok((key, value)) = crate::machine::parse_setting(word) else {
                bail!("{}: a word is no key=value", file.display());
            };
            settings = settings.with(&key, &value);
        }
    }
    layout::check_settings(&settings.to_string())?;
    Ok(settings)
}

fn read_bitvisor(elf: &Path) -> Result<Vec<u8>> {
    let report = bitvisor_config::check::check(elf)?;
    if report.worst() == bitvisor_config::check::Level::Bad {
        bail!("{} will not do:\n{report}", elf.display());
    }
    // The setting is in the ELF, but nothing in the ELF says where; the tree beside it tells.
    let defconfig = elf.with_file_name("defconfig");
    if let Ok(text) = std::fs::read_to_string(&defconfig) {
        let active = Initialiser::parse(&text)
            .ok()
            .and_then(|runtime| runtime.get("vmm.boot_active").and_then(Setting::from_c));
        if !matches!(active, Some(Setting::Int(1))) {
            eprintln!(
                "hv: {} does not set .vmm.boot_active = 1; a BitVisor built so boots this medium's MBR again, which starts \
                 BitVisor again (`cargo hv bitvisor apply TREE --apply`, then build it)",
                defconfig.display()
            );
        }
    }
    std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))
}

fn uefi(workspace: &Workspace, consent: Consent, options: &Options) -> Result<Option<Uefi>> {
    if !options.uefi {
        return Ok(None);
    }
    needs::ensure_uefi(workspace, consent)?;
    let Some(elf) = &options.bitvisor else {
        return Ok(Some(Uefi { loadvmm: None }));
    };
    let beside = loadvmm_beside(elf);
    let loadvmm = options.loadvmm.as_ref().unwrap_or(&beside);
    let bytes = std::fs::read(loadvmm).with_context(|| {
        format!(
            "cannot read BitVisor's UEFI loader {} (`make` in the tree's boot/uefi-loader makes it; --loadvmm names another)",
            loadvmm.display()
        )
    })?;
    Ok(Some(Uefi {
        loadvmm: Some(bytes),
    }))
}

/// The image may hold the key of a server, so only we can read it.
fn write_image(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Asks for the device's name, twice.
fn confirm(input: &mut impl BufRead, name: &str) -> Result<()> {
    for question in [
        "everything on it will be lost; its name, to go on",
        "once more",
    ] {
        print!("{question}: ");
        std::io::stdout().flush()?;
        let mut line = String::new();
        input
            .read_line(&mut line)
            .context("cannot read the answer")?;
        if !std::io::stdin().is_terminal() {
            println!();
        }
        if line.trim() != name {
            bail!("that is not `{name}`; nothing was written");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_asked_for_twice() {
        let ask = |answers: &str| confirm(&mut answers.as_bytes(), "sdz");
        ask("sdz\nsdz\n").unwrap();
        for wrong in ["", "sdz\n", "sdz\nsdy\n", "sdy\nsdz\n", "y\ny\n"] {
            let error = ask(wrong).unwrap_err().to_string();
            assert!(error.contains("nothing was written"), "{error}");
        }
    }
}
