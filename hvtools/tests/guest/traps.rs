//! BitVisor's traps, reproduced by labvisor, and the cures of our kernel: without its cure a test here goes red.
//! The whole list of traps is in `experiments/labvisor/README.md`.

use harness::Hypervisor;

use crate::support::{AtPrompt, SOON, at_prompt, eventually, hv, hv_run};

/// Labvisor's own network device, a loop: in the last slot of bus 0.
const OWN_DEVICE: &str = "00:1f.0";

/// A kernel whose only card is labvisor's device, with BitVisor's habits.
fn on_the_loop(quirks: &str) -> AtPrompt {
    at_prompt(Hypervisor::Labvisor, |config| {
        config.labvisor = quirks.to_owned();
        config.settings = std::mem::take(&mut config.settings)
            .with("nic", OWN_DEVICE)
            .with("ip", "10.0.2.15/24");
    })
}

/// The number behind a word of ifconfig's line that begins with another.
fn counter(text: &str, line: &str, before: &str) -> u64 {
    let line = text.lines().find(|one| one.starts_with(line));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    words
        .windows(2)
        .find(|pair| pair[1].trim_end_matches(',') == before)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or_else(|| panic!("no `{before}` in {text}"))
}

/// Frames move on an ISR read only, all queues share one doorbell (multiplier 0), there is no MSI-X, whose vector register
/// must not be touched, and the registers take plain moves only.
#[test]
#[ignore = "boots a machine: cargo hv test"]
fn the_network_driver_stands_a_device_with_its_habits() {
    let mut guest = on_the_loop("quirk=msix-vector-panics,odd-instruction-panics,bad-queue-panics");
    // Nobody answers in a loop; the questions themselves come back.
    guest.run("ping -c 2 10.0.2.2");
    let text = guest.run("ifconfig");
    let sent = counter(&text, "sent", "frames");
    assert!(sent > 0, "{text}");
    // A frame that left a moment ago comes back with a later interrupt.
    eventually("the return of every frame", SOON, || {
        let text = guest.run("ifconfig");
        assert_eq!(counter(&text, "device", "lies"), 0, "{text}");
        (counter(&text, "received", "frames") >= sent).then_some(())
    });
    let log = guest.machine.vmm_text();
    assert!(!log.contains("labvisor: panic:"), "{log}");
}

/// What QEMU does to a guest of BitVisor now and then, here at each eighth exit with interrupts off: the timer's interrupt
/// comes all the same. The way into the kernel forgets it; one that got further is a panic. Accesses to PCI configuration
/// space are such exits.
#[test]
#[ignore = "boots a machine: cargo hv test"]
fn an_interrupt_that_comes_with_interrupts_off_is_forgotten() {
    let quirk = "quirk=interrupt-repeated";
    let done = hv_run(&["--only", "pci-phantom", "--labvisor", quirk]).finish();
    assert_eq!(done.of("pci-phantom").0, "PASS", "{}", done.text);
    // And they do come: the kernel counts them.
    let script = "hx server:/catalogue/pci-phantom.rhai; dmesg";
    let mut shell = hv(&["shell", "--no-build", "--hypervisor", "labvisor"]);
    let output = shell.args(["--labvisor", quirk, "-c", script]).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("arrived while interrupts were off"), "{text}");
}
