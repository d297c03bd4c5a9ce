//! What is on the medium: files, menus, boot records.

use anyhow::{Result, ensure};

use crate::disk::{self, Contents, File};
use crate::grub::{self, Core};

/// The kernel keeps so many bytes of its command line (`MAX_TEXT` in its memory_map.rs).
const LONGEST_SETTINGS: usize = 512;

/// What UEFI firmware starts.
#[derive(Debug)]
pub struct Uefi {
    /// BitVisor's loader, where BitVisor is wanted.
    pub loadvmm: Option<Vec<u8>>,
}

/// A medium.
#[derive(Debug)]
pub struct Layout<'a> {
    /// The guest.
    pub contents: &'a Contents,
    /// Its command line.
    pub settings: &'a str,
    /// BitVisor, where it is wanted.
    pub bitvisor: Option<Vec<u8>>,
    /// The files for UEFI, where it is wanted.
    pub uefi: Option<Uefi>,
}

/// Makes the image.
///
/// # Errors
/// When GRUB's files are missing or do not fit.
pub fn make(layout: &Layout<'_>) -> Result<Vec<u8>> {
    let mut files = disk::guest_files(layout.contents);
    files.push(text("grub/grub.cfg", guest_menu(layout)));
    if let Some(uefi) = &layout.uefi {
        files.push(("EFI/BOOT/BOOTX64.EFI".to_owned(), grub::efi("/EFI/hvlab")?));
        files.push(text("EFI/hvlab/grub.cfg", uefi_menu(layout)));
        if let Some(loadvmm) = &uefi.loadvmm {
            // It loads bitvisor.elf from the folder that it lies in.
            files.push(("boot/loadvmm.efi".to_owned(), loadvmm.clone()));
        }
    }
    let Some(bitvisor) = &layout.bitvisor else {
        let core = Core::make("/grub", 1)?;
        return disk::assemble(&files, &core, &core);
    };
    files.push(("boot/bitvisor.elf".to_owned(), bitvisor.clone()));
    files.push(text("first/grub.cfg", first_menu(layout)));
    let first = Core::make("/first", 1)?;
    let second = Core::make("/grub", first.end())?;
    disk::assemble(&files, &first, &second)
}

fn text(path: &str, content: String) -> File {
    (path.to_owned(), content.into_bytes())
}

/// Of the GRUB that starts the guest, be it inside BitVisor's VM or without BitVisor.
fn guest_menu(layout: &Layout<'_>) -> String {
    // Inside the VM nobody wants to choose; without BitVisor there is labvisor to choose.
    let timeout = if layout.bitvisor.is_some() { 0 } else { 3 };
    format!("set timeout={timeout}\nset default=none\n{}", guest(layout))
}

/// Of the GRUB in the MBR of a medium with BitVisor.
fn first_menu(layout: &Layout<'_>) -> String {
    format!(
        "set timeout=3\nset default=bitvisor\n\
         menuentry \"HvLab guest on BitVisor\" --id bitvisor {{\n    multiboot /boot/bitvisor.elf\n}}\n{}",
        guest(layout)
    )
}

/// Of the GRUB that UEFI firmware starts. BitVisor's loader comes back when BitVisor runs; GRUB then goes on in its VM.
fn uefi_menu(layout: &Layout<'_>) -> String {
    let guest = guest(layout);
    if layout.bitvisor.is_none() {
        return format!("set timeout=3\nset default=none\n{guest}");
    }
    let start = guest
        .split_once("{\n")
        .and_then(|(_, rest)| rest.split_once("}\n"))
        .map_or("", |(body, _)| body);
    format!(
        "set timeout=3\nset default=bitvisor\n\
         menuentry \"HvLab guest on BitVisor\" --id bitvisor {{\n    chainloader /boot/loadvmm.efi\n    boot\n{start}}}\n{guest}"
    )
}

fn guest(layout: &Layout<'_>) -> String {
    disk::guest_entries(layout.contents, layout.settings)
}

/// Settings become a line of `grub.cfg`: nothing in them may mean something to GRUB.
///
/// # Errors
/// Names the character, or says that they are too long.
pub fn check_settings(settings: &str) -> Result<()> {
    ensure!(
        settings.len() <= LONGEST_SETTINGS,
        "the settings have {} bytes, the longest command line {LONGEST_SETTINGS}",
        settings.len()
    );
    let plain = |c: char| c.is_ascii_alphanumeric() || "=:./,-_*+@% ".contains(c);
    // The character only: the rest may be a secret.
    if let Some(strange) = settings.chars().find(|&c| !plain(c)) {
        anyhow::bail!(
            "a setting holds `{}`, which GRUB would take for its own",
            strange.escape_debug()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Module;

    fn contents() -> Contents {
        Contents {
            kernel: b"kernel".to_vec(),
            labvisor: None,
            modules: vec![Module {
                name: "fs.img".into(),
                content: vec![7; 100],
            }],
        }
    }

    fn layout(contents: &Contents, bitvisor: bool) -> Layout<'_> {
        Layout {
            contents,
            settings: "server=192.168.1.5:7049 ip=dhcp",
            bitvisor: bitvisor.then(|| b"elf".to_vec()),
            uefi: None,
        }
    }

    const GUEST: &str = "    multiboot2 /boot/kernel server=192.168.1.5:7049 ip=dhcp\n    module2 /boot/fs.img fs.img\n";

    #[test]
    fn the_menus_are_the_expected_ones() {
        let contents = contents();
        let with = layout(&contents, true);
        let entry = format!("menuentry \"HvLab guest\" --id none {{\n{GUEST}}}\n");
        assert_eq!(
            guest_menu(&with),
            format!("set timeout=0\nset default=none\n{entry}")
        );
        assert_eq!(
            first_menu(&with),
            format!(
                "set timeout=3\nset default=bitvisor\nmenuentry \"HvLab guest on BitVisor\" --id bitvisor {{\n    \
                 multiboot /boot/bitvisor.elf\n}}\n{entry}"
            )
        );
        assert_eq!(
            uefi_menu(&with),
            format!(
                "set timeout=3\nset default=bitvisor\nmenuentry \"HvLab guest on BitVisor\" --id bitvisor {{\n    \
                 chainloader /boot/loadvmm.efi\n    boot\n{GUEST}}}\n{entry}"
            )
        );
        let without = layout(&contents, false);
        assert!(!uefi_menu(&without).contains("chainloader"));
        assert!(guest_menu(&without).starts_with("set timeout=3\n"));
    }

    #[test]
    fn what_grub_would_interpret_is_refused() {
        check_settings(
            "server=10.0.0.1:7049 key=00ff:aa ip=10.0.0.2/24,10.0.0.1 start=usertests,-q",
        )
        .unwrap();
        for bad in [
            "start=$root",
            "start=a;b",
            "start={",
            "start='",
            "start=a\nb",
            "start=a#b",
            "a=\\",
        ] {
            assert!(check_settings(bad).is_err(), "{bad}");
        }
        assert!(check_settings(&"x".repeat(LONGEST_SETTINGS + 1)).is_err());
    }
}
