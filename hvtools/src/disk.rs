//! Disks that boot: GRUB in the boot records, everything else in one FAT partition.
//!
//! ```text
//! sector 0        GRUB's boot.img and the partition table
//! sector 1..      GRUB's core image (made by grub-mkimage, modules and all); on a medium with BitVisor a second one
//! sector 2048..   the partition, active; GRUB's boot.img again, around the FAT volume's parameters
//!                 /grub/grub.cfg; packed by gzip /boot/kernel, /boot/labvisor, /boot/fs.img, further modules
//! ```
//! No loop device, no mount, no root. The content depends on nothing but the files put in, so the same files give
//! the same image, and the image is never written to by a machine.
//!
//! **The same GRUB twice.** BitVisor boots the disk again inside its VM: its MBR, or with `.vmm.boot_active = 1` the
//! boot record of the active partition. On this disk both lead to the same core image.
//!
//! **Which entry boots** is decided by the machine, not by the disk: GRUB reads the product name in the SMBIOS
//! system table; QEMU is told to say `hvlab-labvisor` there. Everything else, a real PC included, boots the kernel,
//! under whatever is below it.

use std::io::{Cursor, Write};

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use harness::LABVISOR_PRODUCT;

use crate::grub::{Core, SECTOR};

const PARTITION_START: usize = 2048;
const VOLUME_ID: u32 = 0x4856_4c42;

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

/// A file on the partition: path and content.
pub type File = (String, Vec<u8>);

/// Makes the boot disk of QEMU's machines.
///
/// # Errors
/// When GRUB's files are missing or do not fit.
pub fn make(contents: &Contents) -> Result<Vec<u8>> {
    let core = Core::make("/grub", 1)?;
    assemble(&files(contents), &core, &core)
}

/// Makes a disk that holds `files`; the MBR starts one core image, the active partition another or the same.
///
/// # Errors
/// When GRUB's files are missing or do not fit.
pub fn assemble(files: &[File], of_mbr: &Core, of_partition: &Core) -> Result<Vec<u8>> {
    let last = of_mbr.end().max(of_partition.end());
    ensure!(
        last <= PARTITION_START as u64,
        "GRUB's core image does not fit before the partition: it ends at sector {last}"
    );
    let mut partition = fat_partition(files)?;
    of_partition.into_volume(&mut partition)?;
    let mut disk = vec![0u8; PARTITION_START * SECTOR];
    let entry = partition_entry(partition.len() / SECTOR)?;
    disk[..SECTOR].copy_from_slice(&of_mbr.mbr(&entry)?);
    of_mbr.write(&mut disk);
    of_partition.write(&mut disk);
    disk.extend_from_slice(&partition);
    Ok(disk)
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

fn fat_partition(files: &[File]) -> Result<Vec<u8>> {
    const MIB: usize = 1 << 20;
    let bytes: usize = files.iter().map(|(_, content)| content.len()).sum();
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
        for (path, content) in files {
            for (slash, _) in path.match_indices('/') {
                root.create_dir(&path[..slash])?; // opens one that is there
            }
            let mut file = root
                .create_file(path)
                .with_context(|| format!("cannot create {path} on the boot disk"))?;
            file.write_all(content)?;
        }
    }
    Ok(image.into_inner())
}

fn files(contents: &Contents) -> Vec<File> {
    let mut files = vec![("grub/grub.cfg".to_owned(), grub_cfg(contents).into_bytes())];
    files.extend(guest_files(contents));
    files
}

/// What the entries of any `grub.cfg` of ours load. GRUB unpacks it: reading through the BIOS is what takes its time.
#[must_use]
pub fn guest_files(contents: &Contents) -> Vec<File> {
    let kernel = [("kernel", &contents.kernel)];
    let labvisor = contents.labvisor.iter().map(|elf| ("labvisor", elf));
    let modules = contents.modules.iter();
    let modules = modules.map(|module| (module.name.as_str(), &module.content));
    kernel
        .into_iter()
        .chain(labvisor)
        .chain(modules)
        .map(|(name, content)| (format!("boot/{name}"), gzip(content)))
        .collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed
        .write_all(content)
        .and_then(|()| packed.finish())
        .expect("writing to memory does not fail")
}

fn grub_cfg(contents: &Contents) -> String {
    let mut text = String::from("set timeout=0\nset default=none\n");
    if contents.labvisor.is_some() {
        text += "smbios --type 1 --get-string 5 --set product\n";
        text += &format!(
            "if [ \"$product\" = \"{LABVISOR_PRODUCT}\" ]; then\n    set default=labvisor\nfi\n"
        );
    }
    text += &guest_entries(contents, "");
    text
}

/// The entries that start the guest, on whatever is below it or on labvisor; `settings` are the kernel's command line.
#[must_use]
pub fn guest_entries(contents: &Contents, settings: &str) -> String {
    let modules: String = contents
        .modules
        .iter()
        .map(|module| format!("    module2 /boot/{0} {0}\n", module.name))
        .collect();
    let settings = match settings {
        "" => String::new(),
        words => format!(" {words}"),
    };
    let mut text = format!(
        "menuentry \"HvLab guest\" --id none {{\n    multiboot2 /boot/kernel{settings}\n{modules}}}\n"
    );
    if contents.labvisor.is_some() {
        text += "menuentry \"HvLab guest on labvisor\" --id labvisor {\n";
        text += &format!(
            "    multiboot2 /boot/labvisor\n    module2 /boot/kernel kernel{settings}\n{modules}}}\n"
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
        let image = fat_partition(&files(&contents())).unwrap();
        assert_eq!(image, fat_partition(&files(&contents())).unwrap());
        let volume = fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).unwrap();
        for (path, content) in files(&contents()) {
            let mut file = volume.root_dir().open_file(&path).unwrap();
            let mut read = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut read).unwrap();
            assert_eq!(read, content, "{path}");
        }
    }

    #[test]
    fn what_grub_unpacks_is_what_was_packed() {
        let files = guest_files(&contents());
        let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            names,
            [
                "boot/kernel",
                "boot/labvisor",
                "boot/fs.img",
                "boot/usertests"
            ]
        );
        let mut unpacked = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(files[2].1.as_slice());
        std::io::Read::read_to_end(&mut reader, &mut unpacked).unwrap();
        assert_eq!(unpacked, [7; 5000]);
        assert!(files[2].1.len() < 200, "{} bytes", files[2].1.len());
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

    /// What a BIOS does with a boot record, and boot.img with its core image: sectors by number.
    fn sector(disk: &[u8], number: u64) -> &[u8] {
        &disk[number as usize * SECTOR..][..SECTOR]
    }

    fn number(bytes: &[u8]) -> u64 {
        u64::from_le_bytes(bytes.try_into().unwrap())
    }

    #[test]
    fn both_boot_records_lead_to_their_core_and_the_volume_stays_whole() {
        let first = Core::make("/first", 1).unwrap();
        let second = Core::make("/second", first.end()).unwrap();
        let disk = assemble(&files(&contents()), &first, &second).unwrap();
        for (record, core) in [(0, &first), (PARTITION_START as u64, &second)] {
            let record = sector(&disk, record);
            assert_eq!(record[510..], [0x55, 0xaa]);
            assert_eq!(record[..3], [0xeb, 0x63, 0x90]);
            let at = number(&record[0x5c..0x64]);
            let list = sector(&disk, at);
            assert_eq!(number(&list[0x1f4..0x1fc]), at + 1, "the rest of the core");
            let length = u64::from(u16::from_le_bytes([list[0x1fc], list[0x1fd]]));
            assert_eq!(at + 1 + length, core.end());
        }
        assert!(second.end() > first.end());
        let volume = Cursor::new(disk[PARTITION_START * SECTOR..].to_vec());
        let volume = fatfs::FileSystem::new(volume, fatfs::FsOptions::new()).unwrap();
        assert!(volume.root_dir().open_file("boot/kernel").is_ok());
    }

    #[test]
    fn the_partition_entry_is_active_and_begins_at_one_mebibyte() {
        let entry = partition_entry(0x8000).unwrap();
        assert_eq!((entry[0], entry[4]), (0x80, 0x0e));
        assert_eq!(entry[8..16], [0, 8, 0, 0, 0, 0x80, 0, 0]);
    }
}
