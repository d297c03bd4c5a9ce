//! The boot disk: one raw image for every hypervisor.
//!
//! ```text
//! sector 0        GRUB's boot.img and the partition table
//! sector 1..      GRUB's core image (made by grub-mkimage, modules and all)
//! sector 2048..   FAT partition: /grub/grub.cfg, /boot/kernel, /boot/labvisor, /boot/fs.img, further modules
//! ```
//! No loop device, no mount, no root. The content depends on nothing but the files put in, so the same files give
//! the same image, and the image is never written to by a machine.
//!
//! **Which entry boots** is decided by the machine, not by the disk: GRUB reads the product name in the SMBIOS
//! system table; QEMU is told to say `hvlab-labvisor` there. Everything else, a real PC included, boots the kernel,
//! under whatever is below it.

use std::io::{Cursor, Write};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use harness::LABVISOR_PRODUCT;

use crate::needs::GRUB_FOLDER;

const SECTOR: usize = 512;
const PARTITION_START: usize = 2048;
const PARTITION_TABLE: usize = 446;
/// boot.img jumps over its floppy probe unless this jump is two NOPs (GRUB's own installer writes them).
const DRIVE_CHECK: usize = 0x66;
const VOLUME_ID: u32 = 0x4856_4c42;

const MODULES: [&str; 11] = [
    "biosdisk",
    "part_msdos",
    "fat",
    "multiboot2",
    "smbios",
    "test",
    "normal",
    "echo",
    "boot",
    "halt",
    "reboot",
];

/// A file that GRUB loads beside the kernel.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its name: the first word of the module's command line.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// What is on the disk.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The kernel's ELF file.
    pub kernel: Vec<u8>,
    /// Labvisor's ELF file; without it the image has no entry for labvisor.
    pub labvisor: Option<Vec<u8>>,
    /// `fs.img` and the programs too big for it.
    pub modules: Vec<Module>,
}

/// Makes the image.
///
/// # Errors
/// When GRUB's files are missing or do not fit.
pub fn make(contents: &Contents) -> Result<Vec<u8>> {
    let boot = read_grub("boot.img")?;
    let core = grub_core()?;
    ensure!(
        boot.len() == SECTOR,
        "GRUB's boot.img has {} bytes instead of {SECTOR}",
        boot.len()
    );
    ensure!(
        SECTOR + core.len() <= PARTITION_START * SECTOR,
        "GRUB's core image does not fit before the partition"
    );

    let partition = fat_partition(contents)?;
    let mut disk = vec![0u8; PARTITION_START * SECTOR];
    disk[..SECTOR].copy_from_slice(&boot);
    disk[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
    disk[PARTITION_TABLE..SECTOR].fill(0); // boot.img has code for floppies there
    disk[PARTITION_TABLE..PARTITION_TABLE + 16]
        .copy_from_slice(&partition_entry(partition.len() / SECTOR)?);
    disk[SECTOR - 2..SECTOR].copy_from_slice(&[0x55, 0xaa]);
    disk[SECTOR..SECTOR + core.len()].copy_from_slice(&core);
    disk.extend_from_slice(&partition);
    Ok(disk)
}

fn read_grub(name: &str) -> Result<Vec<u8>> {
    let path = std::path::Path::new(GRUB_FOLDER).join(name);
    std::fs::read(&path).with_context(|| {
        format!(
            "cannot read GRUB's {} (Debian package grub-pc-bin)",
            path.display()
        )
    })
}

/// GRUB's core image. `(,msdos1)` is the first partition of whatever disk the BIOS booted.
fn grub_core() -> Result<Vec<u8>> {
    // grub-mkimage syncs what it wrote, which a pipe refuses.
    let file = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
    let output = Command::new("grub-mkimage")
        .args([
            "--format",
            "i386-pc",
            "--prefix",
            "(,msdos1)/grub",
            "--output",
        ])
        .arg(file.path())
        .args(MODULES)
        .output()
        .context("cannot run grub-mkimage (Debian package grub-common)")?;
    ensure!(
        output.status.success(),
        "grub-mkimage failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    std::fs::read(file.path()).context("cannot read what grub-mkimage made")
}

fn partition_entry(sectors: usize) -> Result<[u8; 16]> {
    const ACTIVE: u8 = 0x80;
    const FAT16_LBA: u8 = 0x0e;
    // Cylinder, head and sector as "beyond what they can say": everybody reads the LBA fields.
    const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];
    let mut entry = [0u8; 16];
    entry[0] = ACTIVE;
    entry[1..4].copy_from_slice(&NO_CHS);
    entry[4] = FAT16_LBA;
    entry[5..8].copy_from_slice(&NO_CHS);
    entry[8..12].copy_from_slice(&u32::try_from(PARTITION_START)?.to_le_bytes());
    entry[12..16].copy_from_slice(&u32::try_from(sectors)?.to_le_bytes());
    Ok(entry)
}

fn fat_partition(contents: &Contents) -> Result<Vec<u8>> {
    const MIB: usize = 1 << 20;
    let bytes: usize = files(contents)
        .iter()
        .map(|(_, content)| content.len())
        .sum();
    let size = (bytes + bytes / 16 + 2 * MIB)
        .next_multiple_of(MIB)
        .max(16 * MIB);
    let mut image = Cursor::new(vec![0u8; size]);
    let options = fatfs::FormatVolumeOptions::new()
        .volume_id(VOLUME_ID)
        .volume_label(*b"HVLAB      ")
        .fat_type(fatfs::FatType::Fat16)
        .bytes_per_cluster(4096);
    fatfs::format_volume(&mut image, options).context("cannot format the boot partition")?;
    {
        let volume = fatfs::FileSystem::new(&mut image, fatfs::FsOptions::new())?;
        let root = volume.root_dir();
        root.create_dir("grub")?;
        root.create_dir("boot")?;
        for (path, content) in files(contents) {
            let mut file = root
                .create_file(&path)
                .with_context(|| format!("cannot create {path} on the boot disk"))?;
            file.write_all(&content)?;
        }
    }
    Ok(image.into_inner())
}

fn files(contents: &Contents) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("grub/grub.cfg".to_owned(), grub_cfg(contents).into_bytes()),
        ("boot/kernel".to_owned(), contents.kernel.clone()),
    ];
    files.extend(
        contents
            .labvisor
            .iter()
            .map(|elf| ("boot/labvisor".to_owned(), elf.clone())),
    );
    files.extend(
        contents
            .modules
            .iter()
            .map(|module| (format!("boot/{}", module.name), module.content.clone())),
    );
    files
}

fn grub_cfg(contents: &Contents) -> String {
    let modules: String = contents
        .modules
        .iter()
        .map(|module| format!("    module2 /boot/{0} {0}\n", module.name))
        .collect();
    let mut text = String::from("set timeout=0\nset default=none\n");
    if contents.labvisor.is_some() {
        text += "smbios --type 1 --get-string 5 --set product\n";
        text += &format!(
            "if [ \"$product\" = \"{LABVISOR_PRODUCT}\" ]; then\n    set default=labvisor\nfi\n"
        );
    }
    text += &format!(
        "menuentry \"HvLab guest\" --id none {{\n    multiboot2 /boot/kernel\n{modules}}}\n"
    );
    if contents.labvisor.is_some() {
        text += "menuentry \"HvLab guest on labvisor\" --id labvisor {\n";
        text += &format!(
            "    multiboot2 /boot/labvisor\n    module2 /boot/kernel kernel\n{modules}}}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        Contents {
            kernel: b"kernel".to_vec(),
            labvisor: Some(b"labvisor".to_vec()),
            modules: vec![
                Module {
                    name: "fs.img".into(),
                    content: vec![7; 5000],
                },
                Module {
                    name: "usertests".into(),
                    content: vec![8],
                },
            ],
        }
    }

    #[test]
    fn the_partition_holds_every_file_and_is_reproducible() {
        let image = fat_partition(&contents()).unwrap();
        assert_eq!(image, fat_partition(&contents()).unwrap());
        let volume = fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).unwrap();
        for (path, content) in files(&contents()) {
            let mut file = volume.root_dir().open_file(&path).unwrap();
            let mut read = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut read).unwrap();
            assert_eq!(read, content, "{path}");
        }
    }

    #[test]
    fn the_menu_is_the_expected_one() {
        assert_eq!(
            grub_cfg(&contents()),
            "set timeout=0\n\
             set default=none\n\
             smbios --type 1 --get-string 5 --set product\n\
             if [ \"$product\" = \"hvlab-labvisor\" ]; then\n    set default=labvisor\nfi\n\
             menuentry \"HvLab guest\" --id none {\n    multiboot2 /boot/kernel\n    module2 /boot/fs.img fs.img\n    module2 /boot/usertests usertests\n}\n\
             menuentry \"HvLab guest on labvisor\" --id labvisor {\n    multiboot2 /boot/labvisor\n    module2 /boot/kernel kernel\n    module2 /boot/fs.img fs.img\n    module2 /boot/usertests usertests\n}\n"
        );
    }

    #[test]
    fn the_partition_entry_is_active_and_begins_at_one_mebibyte() {
        let entry = partition_entry(0x8000).unwrap();
        assert_eq!((entry[0], entry[4]), (0x80, 0x0e));
        assert_eq!(entry[8..16], [0, 8, 0, 0, 0, 0x80, 0, 0]);
    }
}
