//! What a machine starts: the boot disk, or the kernel itself.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::hypervisor::Hypervisor;
use crate::machine::words;
use crate::text::escape_commas;

/// The SMBIOS product name on which the boot disk's GRUB starts labvisor.
pub const LABVISOR_PRODUCT: &str = "hvlab-labvisor";

/// What the machine starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// The boot disk with its GRUB; never written to. Every hypervisor's way.
    Disk(PathBuf),
    /// The kernel by QEMU's `-kernel` and the PVH protocol: faster, and possible without a hypervisor only.
    Direct {
        /// The kernel's ELF file.
        kernel: PathBuf,
        /// The boot modules, in one cpio archive.
        initrd: PathBuf,
    },
}

impl Boot {
    /// QEMU's arguments: the BIOS starts the disk's GRUB, or BitVisor, which boots that disk inside its VM, or the kernel.
    pub(crate) fn arguments(&self, hypervisor: &Hypervisor) -> Vec<OsString> {
        let mut arguments = match hypervisor {
            Hypervisor::None => Vec::new(),
            Hypervisor::Labvisor => words(&format!("-smbios type=1,product={LABVISOR_PRODUCT}")),
            Hypervisor::BitVisor(elf) => vec!["-kernel".into(), elf.into()],
        };
        match self {
            Boot::Disk(disk) => {
                let mut drive =
                    OsString::from("if=ide,index=0,media=disk,format=raw,snapshot=on,file=");
                drive.push(escape_commas(disk));
                arguments.extend(["-drive".into(), drive]);
            }
            Boot::Direct { kernel, initrd } => arguments.extend([
                "-kernel".into(),
                kernel.into(),
                "-initrd".into(),
                initrd.into(),
            ]),
        }
        arguments
    }

    /// A disk that the BIOS would pass over, or files that are missing, are better refused here than watched doing nothing.
    pub(crate) fn check(&self, hypervisor: &Hypervisor) -> Result<()> {
        match self {
            Boot::Disk(disk) => check_disk(disk),
            Boot::Direct { kernel, initrd } => {
                ensure!(
                    *hypervisor == Hypervisor::None,
                    "a direct boot starts the kernel itself, so there can be no {} below it: use --hypervisor none",
                    hypervisor.name()
                );
                for file in [kernel, initrd] {
                    File::open(file).with_context(|| {
                        format!("cannot read {} (`cargo hv image` makes it)", file.display())
                    })?;
                }
                Ok(())
            }
        }
    }
}

fn check_disk(disk: &Path) -> Result<()> {
    let mut sector = [0u8; 512];
    match File::open(disk).and_then(|mut file| file.read_exact(&mut sector)) {
        Ok(()) if sector[510..] == [0x55, 0xaa] => Ok(()),
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            Err(error).with_context(|| format!("cannot read the boot disk {}", disk.display()))
        }
        _ => bail!(
            "{} is no boot disk: it lacks the boot signature (`cargo hv image` makes one)",
            disk.display()
        ),
    }
}
