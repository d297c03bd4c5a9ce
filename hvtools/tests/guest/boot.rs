//! From power-on to a shell that one can type at.

use harness::{Boot, Ended, Hypervisor};

use crate::support::{AtPrompt, SOON, at_prompt, bitvisor, boot_disk};

/// The shell's grammar, files and processes, through the serial line.
fn works(mut guest: AtPrompt) {
    assert_eq!(guest.run("echo hi"), "hi\n");
    assert_eq!(guest.run("echo one two > f; cat f | wc").trim(), "1 2 8");
    assert_eq!(
        guest.run("mkdir d; cd d; echo deep > x; cat /d/x; cd /"),
        "deep\n"
    );
    assert!(guest.run("ls").contains("README"));
    assert!(guest.run("ps").contains("init"));
    assert!(guest.run("no-such-program").contains("no-such-program"));
    assert_eq!(guest.run("echo still here"), "still here\n");
    guest.console.type_line("poweroff").unwrap();
    let ended = guest.machine.wait(SOON).unwrap();
    assert!(
        matches!(ended, Some(Ended::Status(0) | Ended::PoweredOff)),
        "{ended:?}"
    );
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn shell_on_none() {
    works(at_prompt(Hypervisor::None, |config| {
        config.boot = Boot::Disk(boot_disk())
    }));
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn shell_by_direct_boot() {
    let mut guest = at_prompt(Hypervisor::None, |config| {
        assert!(matches!(config.boot, Boot::Direct { .. }), "{config:?}");
    });
    // What came in the archive: the root file system, programs too big for it, the names of the kernel's functions.
    let modules = guest.run("ls /boot");
    for module in ["hx", "symbols"] {
        assert!(modules.contains(module), "{modules}");
    }
    assert!(guest.run("/boot/hx -h").contains("usage"));
    works(guest);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn shell_on_two_cpus() {
    works(at_prompt(Hypervisor::None, |config| config.cpus = 2));
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn shell_on_labvisor() {
    let guest = at_prompt(Hypervisor::Labvisor, |_| {});
    assert!(
        guest.machine.vmm_text().contains("labvisor: hidden memory"),
        "labvisor did not run:\n{}",
        guest.machine.vmm_text()
    );
    works(guest);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn shell_on_bitvisor() {
    let guest = at_prompt(bitvisor(), |_| {});
    assert!(guest.machine.vmm_text().contains("Loading MBR."));
    works(guest);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn qemu_tells_where_the_guest_stands() {
    let guest = at_prompt(Hypervisor::None, |_| {});
    assert_ne!(guest.machine.qmp().unwrap().rip().unwrap(), 0);
}
