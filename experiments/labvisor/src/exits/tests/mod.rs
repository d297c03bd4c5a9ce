//! Clean labvisor passes every check; with its defect planted, the check that belongs to it
//! fails. The checks look at what a guest can see.

mod checks;
mod guest;
mod instructions;
mod virtio;

use std::sync::{Mutex, PoisonError};
use std::{format, vec::Vec};

use crate::defects::{self, Defect};
use guest::Guest;

/// What is planted is global, so tests that look at it take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `check` on a new guest with `planted` on labvisor's command line.
fn run<T>(planted: &str, check: impl FnOnce(&mut Guest) -> T) -> T {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    defects::clear();
    defects::plant(planted).unwrap();
    let result = check(&mut Guest::new());
    defects::clear();
    result
}

/// Defects that an array cannot show, and why.
const NOT_HERE: &[&str] = &[
    // The check is that labvisor answers at all.
    "chain-loop-endless",
];

type Check = (&'static str, fn(&mut Guest) -> bool);

fn all() -> Vec<Check> {
    [checks::CHECKS, virtio::CHECKS].concat()
}

#[test]
fn clean_labvisor_passes() {
    let failed: Vec<_> = all()
        .into_iter()
        .filter(|(_, check)| !run("", check))
        .map(|(id, _)| id)
        .collect();
    assert!(failed.is_empty(), "fail without their defect: {failed:?}");
}

#[test]
fn every_defect_is_seen() {
    let missed: Vec<_> = all()
        .into_iter()
        .filter(|(id, check)| run(&format!("defect={id}"), check))
        .map(|(id, _)| id)
        .collect();
    assert!(missed.is_empty(), "not seen: {missed:?}");
}

#[test]
fn every_defect_has_a_check() {
    let checks = all();
    let unchecked: Vec<_> = Defect::ALL
        .iter()
        .map(|(_, id)| *id)
        .filter(|id| !checks.iter().any(|(check, _)| check == id) && !NOT_HERE.contains(id))
        .collect();
    assert!(unchecked.is_empty(), "without a check: {unchecked:?}");
}

#[test]
fn an_unknown_defect_is_refused() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(defects::plant("start=sh defect=name-fault-ends,nonsense").is_err());
    assert!(defects::plant("quirk=nonsense").is_err());
    defects::clear();
}

/// AMD64 Architecture Programmer's Manual volume 2, 15.21.5: the shadow of STI is over behind the emulated instruction.
#[test]
fn the_interrupt_shadow_ends_with_an_instruction() {
    let after = run("", |g| {
        g.vcpu.control().interrupt_shadow = 1;
        g.cpuid(0);
        g.vcpu.vmcb.control.interrupt_shadow
    });
    assert_eq!(after, 0);
}
