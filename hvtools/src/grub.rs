//! GRUB's pieces, and where on a disk each must lie to be found.
//!
//! A BIOS, and BitVisor after it, reads one sector and jumps into it. GRUB's boot.img is made for that: it holds the
//! sector number of a core image and loads its first sector, which holds the list of the rest. Both numbers are ours to
//! write, so a boot.img fits into the MBR as well as into a partition's first sector, and each may have a core of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::needs::{GRUB_EFI_FOLDER, GRUB_FOLDER};

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// Where the partition table begins in an MBR; boot.img has code for floppies there.
const PARTITION_TABLE: usize = 446;
/// What a FAT volume keeps in its first sector, and boot.img leaves free for it
/// (`GRUB_BOOT_MACHINE_BPB_START` to `..._BPB_END` in GRUB's include/grub/i386/pc/boot.h).
const BPB: std::ops::Range<usize> = 0x03..0x5a;
/// boot.img: the core image's first sector, u64 (`GRUB_BOOT_MACHINE_KERNEL_SECTOR`).
const KERNEL_SECTOR: usize = 0x5c;
/// boot.img jumps over its floppy probe unless this jump is two NOPs (`GRUB_BOOT_MACHINE_DRIVE_CHECK`; GRUB's own
/// installer writes them).
const DRIVE_CHECK: usize = 0x66;
/// Core image: where its second sector and those behind it lie, u64 (the first block list of diskboot.img).
const BLOCK_LIST: usize = 0x1f4;

/// What every GRUB of ours can do, whatever firmware starts it.
const MODULES: [&str; 10] = [
    "gzio",
    "part_msdos",
    "fat",
    "multiboot2",
    "test",
    "normal",
    "echo",
    "boot",
    "halt",
    "reboot",
];
const BIOS_MODULES: [&str; 3] = ["biosdisk", "smbios", "multiboot"];
const EFI_MODULES: [&str; 3] = ["chain", "efi_gop", "all_video"];

/// A core image for legacy BIOS and where it lies.
#[derive(Clone, Debug)]
pub struct Core {
    bytes: Vec<u8>,
    sector: u64,
}

impl Core {
    /// Makes one that reads `grub.cfg` in `folder` of the first partition of the disk that the BIOS booted, to lie at
    /// `sector`.
    ///
    /// # Errors
    /// When grub-mkimage is missing or refuses.
    pub fn make(folder: &str, sector: u64) -> Result<Core> {
        let prefix = format!("(,msdos1){folder}");
        let mut bytes = mkimage("i386-pc", &prefix, &[&MODULES[..], &BIOS_MODULES].concat())?;
        ensure!(
            bytes.len() > SECTOR,
            "grub-mkimage made a core image of {} bytes",
            bytes.len()
        );
        bytes[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(sector + 1).to_le_bytes());
        Ok(Core { bytes, sector })
    }

    /// The first sector behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.sector + self.bytes.len().div_ceil(SECTOR) as u64
    }

    /// Puts it into `disk`, which must reach far enough.
    pub fn write(&self, disk: &mut [u8]) {
        let at = usize::try_from(self.sector).expect("a sector of a disk in memory") * SECTOR;
        disk[at..at + self.bytes.len()].copy_from_slice(&self.bytes);
    }

    /// The sector that loads it, without partition table and without a volume's parameters.
    fn boot_record(&self) -> Result<Vec<u8>> {
        let mut record = read(GRUB_FOLDER, "boot.img", "grub-pc-bin")?;
        ensure!(
            record.len() == SECTOR,
            "GRUB's boot.img has {} bytes instead of {SECTOR}",
            record.len()
        );
        record[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&self.sector.to_le_bytes());
        record[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
        record[PARTITION_TABLE..].fill(0);
        record[SECTOR - 2..].copy_from_slice(&[0x55, 0xaa]);
        Ok(record)
    }

    /// The MBR of a disk with this one partition.
    ///
    /// # Errors
    /// When GRUB's boot.img is missing or strange.
    pub fn mbr(&self, partition: &[u8; 16]) -> Result<Vec<u8>> {
        let mut record = self.boot_record()?;
        record[PARTITION_TABLE..PARTITION_TABLE + 16].copy_from_slice(partition);
        Ok(record)
    }

    /// Makes a FAT volume start this core image; the volume stays what it was.
    ///
    /// # Errors
    /// When GRUB's boot.img is missing or strange.
    pub fn into_volume(&self, volume: &mut [u8]) -> Result<()> {
        let mut record = self.boot_record()?;
        record[BPB].copy_from_slice(&volume[BPB]);
        volume[..SECTOR].copy_from_slice(&record);
        Ok(())
    }
}

/// GRUB as a program for UEFI; it reads `grub.cfg` in `folder` of the volume that it was started from.
///
/// # Errors
/// When grub-mkimage or GRUB's EFI modules are missing.
pub fn efi(folder: &str) -> Result<Vec<u8>> {
    ensure!(
        Path::new(GRUB_EFI_FOLDER).is_dir(),
        "no GRUB for UEFI in {GRUB_EFI_FOLDER} (Debian package grub-efi-amd64-bin)"
    );
    mkimage("x86_64-efi", folder, &[&MODULES[..], &EFI_MODULES].concat())
}

fn mkimage(format: &str, prefix: &str, modules: &[&str]) -> Result<Vec<u8>> {
    // grub-mkimage syncs what it wrote, which a pipe refuses.
    let file = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
    let output = Command::new("grub-mkimage")
        .args(["--format", format, "--prefix", prefix, "--output"])
        .arg(file.path())
        .args(modules)
        .output()
        .context("cannot run grub-mkimage (Debian package grub-common)")?;
    ensure!(
        output.status.success(),
        "grub-mkimage failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    std::fs::read(file.path()).context("cannot read what grub-mkimage made")
}

fn read(folder: &str, name: &str, package: &str) -> Result<Vec<u8>> {
    let path = Path::new(folder).join(name);
    std::fs::read(&path).with_context(|| {
        format!(
            "cannot read GRUB's {} (Debian package {package})",
            path.display()
        )
    })
}
