//! The main job: `hv run` from the catalogue to the table.

use std::path::Path;

use trace_record::run;

use crate::support::{Done, hv_run};

/// Every file that the design names is there and tells something; console text apart, which labvisor's may lack.
fn folder_is_whole(done: &Done) {
    for name in [run::RUN_JSON, run::RESULTS] {
        assert!(done.run.folder.join(name).is_file(), "{name} is missing");
    }
    let boot = done.run.folder.join("m00");
    for name in [run::PLAN, run::TRACE, run::VERDICTS, run::CONSOLE_LOG] {
        let size = std::fs::metadata(boot.join(name)).map_or(0, |meta| meta.len());
        assert!(size > 0, "m00/{name} is empty or missing");
    }
    assert!(boot.join(run::VMM_LOG).is_file());
    assert!(
        done.text.contains(&done.run.folder.display().to_string()),
        "the table does not name the folder"
    );
    let planned = usize::try_from(done.run.info.planned).unwrap();
    assert_eq!(done.run.results.len(), planned, "{}", done.text);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn catalogue_on_labvisor() {
    let done = hv_run(&[]).finish();
    assert_eq!(done.status, 0, "{}", done.text);
    folder_is_whole(&done);
    assert_eq!(done.of("hypercall-map").0, "PASS", "{}", done.text);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn catalogue_on_none() {
    let done = hv_run(&["--hypervisor", "none"]).finish();
    assert_eq!(done.status, 0, "{}", done.text);
    folder_is_whole(&done);
    // A hypercall without a hypervisor is a caught #UD, not a panic.
    let (verdict, reason) = done.of("hypercall-map");
    assert!(
        verdict == "SKIP" && reason.contains("#UD"),
        "{verdict} {reason}"
    );
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn catalogue_on_bitvisor() {
    let elf = std::env::var("HV_BITVISOR_ELF").expect("HV_BITVISOR_ELF names a bitvisor.elf");
    assert!(Path::new(&elf).is_file());
    let done = hv_run(&["--safe", "--hypervisor", &format!("bitvisor:{elf}")]).finish();
    assert_eq!(done.status, 0, "{}", done.text);
    folder_is_whole(&done);
    assert_eq!(done.of("hypercall-map").0, "PASS", "{}", done.text);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_planted_defect_fails_the_run() {
    let done = hv_run(&["--only", "svm-hidden", "--labvisor", "defect=svm-bit-shown"]).finish();
    assert_eq!(
        (done.status, done.of("svm-hidden").0),
        (1, "FAIL"),
        "{}",
        done.text
    );
}

/// The search boots some fifteen machines by itself: for the case, for its parts, and thrice for the script.
#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_fuzzers_crash_becomes_a_script_that_repeats_it() {
    let done = hv_run(&[
        "--only",
        "fuzz-mixed",
        "--labvisor",
        "defect=exit-state-left",
    ])
    .finish();
    assert_eq!(
        (done.status, done.of("fuzz-mixed").0),
        (3, "CRASH"),
        "{}",
        done.text
    );
    assert!(done.text.contains("3 times of 3"), "{}", done.text);
    let scripts = done.run.folder.join("culprits/scripts");
    let script = std::fs::read_to_string(scripts.join("reproduce-fuzz-mixed.rhai")).unwrap();
    let fixed = |name: &str| -> u32 {
        let line = script.split(&format!("//! param: {name} int ")).nth(1);
        line.and_then(|line| line.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {name}: {script}"))
    };
    // One case, and of its up to ten instructions the two that it takes.
    assert_eq!((fixed("count"), fixed("keep").count_ones()), (1, 2));
}
