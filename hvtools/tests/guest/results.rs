//! What is made of a run folder: a repetition, a comparison, reports, and traces in other people's formats.

use std::path::Path;
use std::process::Command;

use crate::support::{hv, hv_run};

fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), text)
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_run_is_repeated_from_its_folder_compared_and_told() {
    let done = hv_run(&["--only", "svm-hidden", "--labvisor", "defect=svm-bit-shown"]).finish();
    let folder = &done.run.folder;
    let runs = tempfile::tempdir().unwrap();
    let (status, text) = said(hv(&["replay", "--no-build", "--runs"]).args([
        runs.path(),
        folder.as_path(),
        Path::new("svm-hidden"),
    ]));
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("the same verdict as before: FAIL"), "{text}");

    // The same experiment without the defect: another verdict, and the traces part at the answer to CPUID 8000_0001h.
    let clean = hv_run(&["--only", "svm-hidden"]).finish();
    let (status, text) = said(hv(&["compare"]).args([folder, &clean.run.folder]));
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("svm-hidden: FAIL -> PASS") && text.contains("traces part"),
        "{text}"
    );
    assert!(text.contains("  - answer done at +2"), "{text}");

    let (status, text) = said(hv(&["report"]).arg(folder));
    assert_eq!(status, Some(1), "{text}");
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(
        page.contains("trace records") && page.contains("code=0fa2"),
        "{page}"
    );

    // A script that was changed since is not "the same bytes".
    let script = folder.join("scripts/svm-hidden.rhai");
    let source = std::fs::read_to_string(&script).unwrap();
    std::fs::write(&script, source + "\n").unwrap();
    let (status, text) = said(hv(&["replay", "--no-build", "--runs"]).args([
        runs.path(),
        folder.as_path(),
        Path::new("svm-hidden"),
    ]));
    assert_eq!(status, Some(4), "{text}");
    assert!(text.contains("was changed since the run"), "{text}");
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn babeltrace2_reads_the_trace_of_a_run() {
    let done = hv_run(&["--only", "svm-hidden"]).finish();
    let records = |text: &str| -> usize {
        let line = text
            .lines()
            .find(|line| line.contains(" records, "))
            .unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1].parse().unwrap()
    };
    let out = tempfile::tempdir().unwrap();
    let ctf = out.path().join("ctf");
    let mut export = hv(&["trace", "export", "--ctf"]);
    let (status, text) = said(export.arg(&ctf).arg(&done.run.folder));
    assert_eq!(status, Some(0), "{text}");
    let (status, read) = said(
        Command::new("babeltrace2")
            .args(["--fields", "all"])
            .arg(&ctf),
    );
    assert_eq!(status, Some(0), "{read}");
    assert_eq!(read.lines().count(), records(&text), "{read}");
    assert!(
        read.contains("exit:") && read.contains("begin svm-hidden"),
        "{read}"
    );
}
