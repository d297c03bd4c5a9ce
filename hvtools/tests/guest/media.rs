//! Media of `hv media`, booted as a real PC would: a disk and nothing else, the settings on the command line.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hvtools::doctor::OVMF;
use tempfile::TempDir;

use crate::support::{BOOT, eventually, hv, hv_run};

/// What the guest's `echo` says when its settings arrived.
pub const GREETING: &str = "from-the-medium";

fn medium(arguments: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("medium.img");
    let output = hv(&["media", "--no-build"])
        .arg(&image)
        .args(["--set", &format!("start=echo,{GREETING}")])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (folder, image)
}

/// A machine with this disk; killed when dropped.
pub struct Pc {
    child: Child,
    console: PathBuf,
    vmm: PathBuf,
}

impl Pc {
    pub fn start(folder: &Path, disk: &Path, card: &str, further: &[String]) -> Pc {
        let com1 = format!("file:{}", folder.join("com1").display());
        Pc::with_com1(&com1, folder, disk, card, further)
    }

    /// With QEMU's word for what COM1 is connected to; `none`: there is no COM1.
    fn with_com1(com1: &str, folder: &Path, disk: &Path, card: &str, further: &[String]) -> Pc {
        let (console, vmm) = (folder.join("com2"), folder.join("com1"));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            .args("-accel tcg -cpu EPYC,+svm,+npt -machine pc,smm=off -m 1024".split(' '))
            .args("-display none -no-reboot -nodefaults -vga std".split(' '))
            .args(["-nic", &format!("user,model={card}")])
            .args("-device isa-debug-exit,iobase=0xf4,iosize=4".split(' '))
            .arg("-drive")
            .arg(format!(
                "if=ide,format=raw,snapshot=on,file={}",
                disk.display()
            ))
            .args(["-serial", com1])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(further)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Pc {
            child,
            console,
            vmm,
        }
    }

    /// What the guest printed until it powered off.
    pub fn finish(mut self) -> String {
        eventually("the guest's end", BOOT * 2, || {
            self.child.try_wait().unwrap()
        });
        text(&self.console)
    }
}

/// What went over a serial line so far; firmware sends more than UTF-8.
fn text(line: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(line).unwrap_or_default()).into_owned()
}

impl Drop for Pc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replaces GRUB in the MBR by a program that starts the active partition, as BitVisor with `.vmm.boot_active = 1` does.
pub fn start_by_active_partition(image: &Path) {
    #[rustfmt::skip]
    const PROGRAM: [u8; 0x3a] = [
        0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, // cli; ax = ds = es = ss = 0
        0xbc, 0x00, 0x7c, 0xfb,                               // sp = 7c00h; sti
        0xbe, 0x00, 0x7c, 0xbf, 0x00, 0x06,                   // si = 7c00h, di = 600h
        0xb9, 0x00, 0x01, 0xfc, 0xf3, 0xa5,                   // copy 256 words
        0xea, 0x1e, 0x06, 0x00, 0x00,                         // jmp 0:61eh
        0xbe, 0x2a, 0x06,                                     // si = address packet
        0xb4, 0x42, 0xcd, 0x13,                               // INT 13h, AH = 42h: read
        0xea, 0x00, 0x7c, 0x00, 0x00,                         // jmp 0:7c00h
        // 10h bytes, 1 sector, to 0:7c00h, sector 2048
        0x10, 0x00, 0x01, 0x00, 0x00, 0x7c, 0x00, 0x00, 0x00, 0x08, 0, 0, 0, 0, 0, 0,
    ];
    let mut bytes = std::fs::read(image).unwrap();
    assert_eq!(bytes[446], 0x80, "the partition is active");
    bytes[..PROGRAM.len()].copy_from_slice(&PROGRAM);
    bytes[PROGRAM.len()..440].fill(0);
    std::fs::write(image, bytes).unwrap();
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_medium_starts_the_guest_from_its_active_partition() {
    let (folder, image) = medium(&[]);
    start_by_active_partition(&image);
    let said = Pc::start(folder.path(), &image, "e1000", &[]).finish();
    assert!(said.contains(GREETING), "{said}");
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_medium_starts_the_guest_from_uefi() {
    let (folder, image) = medium(&["--uefi"]);
    let firmware = uefi_firmware(folder.path());
    let said = Pc::start(folder.path(), &image, "e1000", &firmware).finish();
    assert!(said.contains(GREETING), "{said}");
}

/// QEMU's arguments for a machine with UEFI firmware; its variables lie in `folder`.
fn uefi_firmware(folder: &Path) -> [String; 4] {
    let variables = folder.join("variables");
    std::fs::copy(OVMF[1], &variables).expect("UEFI firmware for QEMU (Debian package ovmf)");
    [
        "-drive".to_owned(),
        format!("if=pflash,unit=0,format=raw,readonly=on,file={}", OVMF[0]),
        "-drive".to_owned(),
        format!("if=pflash,unit=1,format=raw,file={}", variables.display()),
    ]
}

/// Without COM1: this firmware has its console there, BitVisor hides it, and then the firmware waits for ever for the
/// end of what it receives (the line status reads FFh, "data ready"). bitvisor-config/REAL-PC.md tells it, too.
#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_medium_starts_bitvisor_by_loadvmm_from_uefi() {
    let elf = std::env::var("HV_BITVISOR_ELF").expect("HV_BITVISOR_ELF names a bitvisor.elf");
    let (folder, image) = medium(&["--bitvisor", &elf, "--uefi"]);
    let firmware = uefi_firmware(folder.path());
    let said = Pc::with_com1("none", folder.path(), &image, "e1000", &firmware).finish();
    assert!(said.contains(GREETING), "{said}");
    assert!(said.contains("hypervisor: bitvisor"), "{said}");
}

/// The same image with BitVisor in both forms: one built with `.vmm.boot_active = 1` loads the active partition's record
/// (VBR) and so the guest, one without loads the MBR and so itself again. Which one `HV_BITVISOR_ELF` names, that line
/// tells; of a BitVisor inside BitVisor nothing is heard, as the outer one hides COM1.
#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_medium_starts_bitvisor() {
    let elf = std::env::var("HV_BITVISOR_ELF").expect("HV_BITVISOR_ELF names a bitvisor.elf");
    let (folder, image) = medium(&["--bitvisor", &elf]);
    let mut pc = Pc::start(folder.path(), &image, "e1000", &[]);
    let vmm = eventually("BitVisor's boot from the medium", BOOT * 2, || {
        let vmm = text(&pc.vmm);
        let ended = pc.child.try_wait().unwrap();
        assert_eq!(ended, None, "it ended in BitVisor's boot: {vmm}");
        let loads = ["Loading VBR.", "Loading MBR."];
        loads.iter().any(|line| vmm.contains(line)).then_some(vmm)
    });
    assert!(vmm.contains("Starting BitVisor"), "{vmm}");
    if vmm.contains("Loading VBR.") {
        let said = pc.finish();
        assert!(said.contains(GREETING), "{said}");
        assert!(said.contains("hypervisor: bitvisor"), "{said}");
    } else {
        println!("NOT RUN: the second stage, as this BitVisor has .vmm.boot_active = 0");
    }
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_run_is_served_for_a_machine_that_is_started_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("settings");
    let mut hv = hv_run(&[
        "--hypervisor",
        "none",
        "--only",
        "hypercall-map",
        "--noise",
        "--by-hand",
    ]);
    hv.command.arg(&settings);
    let child = hv.spawn();
    eventually("the settings", BOOT, || {
        let written = std::fs::metadata(&settings).ok()?;
        (written.len() > 0).then_some(())
    });
    let (_image_folder, image) = medium(&["--settings-file", settings.to_str().unwrap()]);
    let pc = Pc::start(folder.path(), &image, "virtio-net-pci", &[]);
    let done = hv.read_back(&child.wait_with_output().unwrap());
    // The server was there until the machine was off.
    let said = pc.finish();
    assert!(!said.contains("did not reach the server"), "{said}");
    assert_eq!(done.status, 0, "{}", done.text);
    assert_eq!(done.of("hypercall-map").0, "SKIP", "{}", done.text);
    assert!(!done.run.info.emulated);
}
