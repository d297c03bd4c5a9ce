//! The engine on the fake machine.

use crate::{Job, Report, asm, fake::Fake, reference, run};
use alloc::{boxed::Box, collections::BTreeMap, format, string::String, string::ToString};
use trace_record::{run::Parameter, verdict::Verdict};

const HEAD: &str = "//! title: t\n//! group: hypercall\n//! claim: c\n//! mechanism: m\n//! sound: s\n//! weak: w\n\
    //! cannot_tell: c\n//! risk: safe\n//! without_hypervisor: run\n//! time_limit: 2 s\n//! source: none\n\
    //! param: limit int 3 in 1..9 | a number\n";

fn run_on(fake: Fake, body: &str) -> Report {
    let source = format!("{HEAD}{body}");
    run(
        Box::new(fake),
        &Job {
            file: "t.rhai",
            source: &source,
            parameters: BTreeMap::new(),
            seed: 7,
            time_limit_s: 0,
        },
    )
}

fn verdict(body: &str) -> (Verdict, String) {
    let report = run_on(Fake::labvisor(), body);
    (report.verdict, report.reason)
}

#[test]
fn every_example_of_the_reference_runs() {
    let entries = reference(Box::new(Fake::labvisor())).unwrap();
    assert!(entries.len() > 80, "{} entries", entries.len());
    for entry in entries {
        assert!(
            !entry.text.is_empty() && !entry.section.is_empty() && !entry.example.is_empty(),
            "{entry:?}"
        );
        let (verdict, reason) = verdict(&format!("{}\npass(\"ran\");", entry.example));
        assert!(
            matches!(verdict, Verdict::Pass | Verdict::Skip | Verdict::Info),
            "{}: {reason}",
            entry.example
        );
    }
}

#[test]
fn a_failed_assertion_says_what_was_expected_and_seen() {
    let (verdict, reason) = verdict("expect_eq(\"rax of an unknown number\", 0, 0x1234);");
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(
        reason,
        "rax of an unknown number: expected 0, saw 0x1234 (4660)"
    );
}

#[test]
fn errors_carry_file_line_and_column() {
    let (kind, reason) = verdict("let x = 1;\nnonsense(x);");
    assert_eq!(kind, Verdict::Error);
    assert!(
        reason.starts_with("t.rhai:14:1: Function not found: nonsense"),
        "{reason}"
    );
    let (kind, reason) = verdict("let x = ;");
    assert_eq!(kind, Verdict::Error);
    assert!(reason.starts_with("t.rhai:13:9: "), "{reason}");
    let (_, reason) = verdict("fn deep() { poke8(0, 1); }\ndeep();");
    assert!(
        reason.starts_with("t.rhai:13:13: write 1 bytes at 0x0: bad address"),
        "{reason}"
    );
}

#[test]
fn an_endless_script_ends_by_its_time_limit() {
    let (kind, reason) = verdict("loop { let x = 1; }");
    assert_eq!(
        (kind, reason.as_str()),
        (Verdict::Error, "time limit of 2 s reached")
    );
    let (kind, _) = verdict("loop { try { loop { let x = 1; } } catch { } }");
    assert_eq!(kind, Verdict::Error);
}

#[test]
fn a_script_without_a_verdict_is_an_error() {
    assert_eq!(verdict("let x = 1;").0, Verdict::Error);
}

#[test]
fn skip_ends_the_script_and_cannot_be_caught() {
    assert_eq!(
        verdict("try { skip(\"no\"); } catch { } fail(\"went on\");"),
        (Verdict::Skip, "no".to_string())
    );
}

#[test]
fn parameters_have_defaults_and_ranges() {
    assert_eq!(
        verdict("expect_eq(\"limit\", 3, param(\"limit\"));").0,
        Verdict::Pass
    );
    assert!(
        verdict("param(\"other\");")
            .1
            .contains("declares no parameter `other`")
    );
    let source = format!("{HEAD}expect_eq(\"limit\", 5, param(\"limit\"));");
    for (value, expected) in [(5, Verdict::Pass), (6, Verdict::Fail), (10, Verdict::Error)] {
        let parameters = BTreeMap::from([("limit".to_string(), Parameter::Int(value))]);
        let job = Job {
            file: "t.rhai",
            source: &source,
            parameters,
            seed: 0,
            time_limit_s: 0,
        };
        assert_eq!(run(Box::new(Fake::labvisor()), &job).verdict, expected);
    }
}

#[test]
fn without_a_hypervisor_the_head_decides() {
    let body = "expect(\"never\", hypervisor_present());";
    assert_eq!(run_on(Fake::bare(), body).verdict, Verdict::Fail);
    for (word, expected) in [("skip", Verdict::Skip), ("info", Verdict::Info)] {
        let source = format!(
            "{}{body}",
            HEAD.replace(
                "without_hypervisor: run",
                &format!("without_hypervisor: {word}")
            )
        );
        let job = Job {
            file: "t.rhai",
            source: &source,
            parameters: BTreeMap::new(),
            seed: 0,
            time_limit_s: 0,
        };
        assert_eq!(run(Box::new(Fake::bare()), &job).verdict, expected);
    }
}

#[test]
fn needs_that_are_missing_skip_with_the_reason() {
    let source = HEAD.replace("//! risk", "//! needs: hypercall teapot\n//! risk");
    let job = Job {
        file: "t.rhai",
        source: &source,
        parameters: BTreeMap::new(),
        seed: 0,
        time_limit_s: 0,
    };
    let report = run(Box::new(Fake::labvisor()), &job);
    assert_eq!(
        (report.verdict, report.reason.as_str()),
        (Verdict::Skip, "no hypercall `teapot`")
    );
}

#[test]
fn imports_come_from_the_catalogue() {
    let files = |path: &str| (path == "lib/seven.rhai").then(|| b"fn seven() { 7 }".to_vec());
    let fake = || Fake::labvisor().with_files(alloc::rc::Rc::new(files));
    let good = "import \"lib/seven\" as lib; expect_eq(\"seven\", 7, lib::seven());";
    assert_eq!(run_on(fake(), good).verdict, Verdict::Pass);
    let report = run_on(fake(), "import \"lib/eight\" as lib; pass(\"x\");");
    assert!(report.reason.contains("no such file"), "{}", report.reason);
    let report = run_on(fake(), "import \"../secret\" as lib; pass(\"x\");");
    assert!(
        report.reason.contains("a name has letters"),
        "{}",
        report.reason
    );
}

#[test]
fn a_measurement_is_part_of_the_result() {
    let report = run_on(
        Fake::labvisor(),
        "let m = measure([#{name: \"nop\", code: \"nop\"}, #{name: \"cpuid\", code: \"cpuid\", inner: 3}], #{samples: 50});\n\
         expect_eq(\"n\", 50, m.cpuid.n); expect_eq(\"rounds\", 5, m.nop.round_medians.len);\n\
         expect(\"dearer\", m.cpuid.median > m.nop.median * 100);",
    );
    assert_eq!(report.verdict, Verdict::Pass, "{}", report.detail);
    assert_eq!(report.measurements.len(), 2);
    assert_eq!(
        (
            report.measurements[1].name.as_str(),
            report.measurements[1].n
        ),
        ("cpuid", 50)
    );
    assert_eq!(report.measurements[1].samples.len(), 50);
}

#[test]
fn pages_have_the_neighbours_that_were_asked_for() {
    let report = run_on(
        Fake::labvisor(),
        "let p = pages(2); expect_fault(\"behind\", \"#PF(0)\", read_at(p.end, 1));\n\
         protect(p, 1, READ_ONLY); expect_fault(\"write\", \"#PF(0x3)\", write_at(p.address + 4096, 4, 1));\n\
         protect(p, 1, SUPERVISOR); expect_fault(\"user\", \"#PF(0x5)\", read_at(p.address + 4096, 1, RING3));\n\
         protect(p, 1, RESERVED_BIT); expect_fault(\"reserved\", \"#PF(0x9)\", read_at(p.address + 4096, 1));\n\
         expect_no_fault(\"mine\", write_at(p.address, 8, 5)); expect_eq(\"five\", 5, peek64(p.address));",
    );
    assert_eq!(report.verdict, Verdict::Pass, "{}", report.detail);
}

#[test]
fn the_assembler_knows_what_the_reference_lists() {
    assert!(asm::mnemonics().contains(&"vmmcall"));
}
