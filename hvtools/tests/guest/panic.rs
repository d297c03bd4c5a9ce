//! What a panicking kernel leaves on its console, and with it in the run folder.

use harness::{Ended, Hypervisor};
use serde_json::json;

use crate::support::{SOON, at_prompt};

/// As many records as the kernel keeps for each CPU.
const RECORDS: usize = 32;

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_panic_says_what_where_and_what_was_before() {
    let mut guest = at_prompt(Hypervisor::None, |_| {});
    guest.run("ls; ps; echo busy | cat | cat | cat");
    // Nobody's fault, and at any instruction: the kernel cannot go on after it.
    let mut qmp = guest.machine.qmp().unwrap();
    qmp.command("inject-nmi", json!({})).unwrap();
    // Not from the log: QEMU puts a character there again that its socket did not take at once.
    let text = guest.console.wait_for("end of panic", SOON).unwrap();
    let ended = guest.machine.wait(SOON).unwrap();
    assert_eq!(ended, Some(Ended::Panicked), "{text}");

    let panic = text.split("\npanic: ").nth(1).expect("a panic's text");
    assert!(panic.starts_with("non-maskable interrupt"), "{panic}");
    let (head, rest) = panic
        .split_once("last trace records of each CPU:")
        .unwrap_or_else(|| panic!("no records: {panic}"));
    let calls: Vec<&str> = head
        .lines()
        .filter(|line| line.trim_start().starts_with('#'))
        .collect();
    assert!(
        calls[0].contains("kernel::") && calls.len() > 1,
        "no function names: {head}"
    );
    let (records, _) = rest.split_once("end of panic").expect("the panic's end");
    let records: Vec<&str> = records
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(records.len(), RECORDS, "{panic}");
    assert!(records.iter().all(|line| line.contains(" c0 p")), "{panic}");
}
