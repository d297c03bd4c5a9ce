//! The guest's own tests, by their verdict records.

use std::time::Duration;

use harness::Hypervisor;
use hvtools::run;
use trace_record::verdict::Verdict;

use crate::support::{bitvisor, config, workspace};

/// Fewer would mean that the program stopped early.
const FEWEST: usize = 100;

fn pass(hypervisor: Hypervisor, cpus: u32) {
    let (mut machine, _logs) = config(hypervisor);
    machine.cpus = cpus;
    let tested = run::tests::run(
        &workspace(),
        machine,
        "usertests -q",
        Duration::from_secs(600),
    )
    .unwrap();
    let red: Vec<String> = tested
        .findings
        .iter()
        .filter(|raw| !matches!(raw.verdict, Verdict::Pass | Verdict::Skip))
        .map(|raw| {
            format!(
                "{} {}: {}",
                raw.verdict.word(),
                raw.item.id,
                harness::escaped(&raw.reason)
            )
        })
        .collect();
    assert!(red.is_empty(), "{}", red.join("\n"));
    assert!(
        tested.findings.len() >= FEWEST,
        "only {} tests ran",
        tested.findings.len()
    );
    assert_eq!(tested.status, Some(0));
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn usertests_on_none() {
    pass(Hypervisor::None, 1);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn usertests_on_two_cpus() {
    pass(Hypervisor::None, 2);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn usertests_on_labvisor() {
    pass(Hypervisor::Labvisor, 1);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn usertests_on_bitvisor() {
    pass(bitvisor(), 1);
}
