//! Other people's readers read what we write: every verdict, and every reason, comes back.

use std::io::Write;
use std::process::{Command, Stdio};

use experiments::{ResultLine, Run, RunInfo, formats};
use junit_parser::TestStatus;
use trace_record::verdict::Verdict;

/// What a guest may say to confuse a reader.
const EVIL: &str = "</failure><testcase name=\"x\"/> ]]> & \u{1b}[31m # SKIP ok 99 \\";

fn every_verdict() -> Run {
    let line = |verdict: Verdict| ResultLine {
        id: format!("x-{}", verdict.word().to_lowercase()),
        reason: format!("because {EVIL}"),
        detail: format!("FAIL line 3: {EVIL}\nnot ok 7 - nonsense\n1..3\n"),
        took_ms: 1500,
        ..ResultLine::sample(verdict)
    };
    Run {
        folder: "x".into(),
        info: RunInfo {
            id: "20261123-120000".into(),
            hypervisor: "labvisor".into(),
            ..RunInfo::default()
        },
        results: Verdict::ALL.into_iter().map(line).collect(),
    }
}

#[test]
fn junit_is_read_by_the_crate_junit_parser() {
    let text = formats::junit(&every_verdict());
    let suites = junit_parser::from_reader(text.as_bytes()).expect("it is JUnit XML");
    assert_eq!(suites.name, "20261123-120000");
    let suite = &suites.suites[0];
    assert_eq!(
        (suite.tests, suite.failures, suite.errors, suite.skipped),
        (11, 2, 5, 2)
    );
    assert_eq!(suite.cases.len(), Verdict::ALL.len());
    for (case, verdict) in suite.cases.iter().zip(Verdict::ALL) {
        let word = verdict.word();
        assert_eq!(case.original_name, format!("x-{}", word.to_lowercase()));
        let property = ("verdict".to_owned(), word.to_owned());
        assert!(case.properties.vec.contains(&property), "{word}");
        let (kind, said) = match &case.status {
            TestStatus::Success => ("passed", case.system_out.clone().unwrap_or_default()),
            TestStatus::Skipped(skipped) => ("skipped", skipped.message.clone()),
            TestStatus::Failure(failure) => {
                assert_eq!(failure.failure_type, word);
                ("failure", failure.message.clone())
            }
            TestStatus::Error(error) => {
                assert_eq!(error.error_type, word);
                ("error", error.message.clone())
            }
        };
        let expected = match verdict {
            Verdict::Pass | Verdict::Info => "passed",
            Verdict::Skip | Verdict::XFail => "skipped",
            Verdict::Fail | Verdict::XPass => "failure",
            _ => "error",
        };
        assert_eq!(kind, expected, "{word}");
        assert!(said.contains("because"), "{word}: {said}");
        // This reader drops the entities of text between tags; those of attributes it gives back.
        let whole = said.contains("because </failure>") && said.contains("]]> &");
        assert!(whole || kind == "passed", "{word}: {said}");
    }
}

/// Perl's TAP::Parser, which `prove` uses, prints for each test: ok or not, directive, description, explanation.
const PERL: &str = r#"
use strict; use TAP::Parser;
my $tap = do { local $/; <STDIN> };
my $parser = TAP::Parser->new({ tap => $tap });
while (my $result = $parser->next) {
    next unless $result->is_test;
    print join("\t", ($result->is_actual_ok ? "ok" : "not ok"), $result->directive, $result->description, $result->explanation), "\n";
}
print "errors: ", join("; ", $parser->parse_errors), "\n";
print "planned ", $parser->tests_planned, ", run ", $parser->tests_run, ", skipped ", scalar($parser->skipped), "\n";
"#;

#[test]
fn ktap_is_read_by_perls_tap_parser() {
    let mut perl = Command::new("perl")
        .args(["-e", PERL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("perl is there wherever git is");
    let text = formats::ktap(&every_verdict());
    let mut input = perl.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("perl reads");
    drop(input);
    let output = perl.wait_with_output().expect("perl ends");
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    let tail = ["errors: ", "planned 11, run 11, skipped 1"];
    assert_eq!(lines[lines.len() - 2..], tail, "{said}\n{text}");
    assert_eq!(lines.len() - 2, Verdict::ALL.len(), "{said}");
    for (line, verdict) in lines.iter().zip(Verdict::ALL) {
        let good = matches!(
            verdict,
            Verdict::Pass | Verdict::Info | Verdict::Skip | Verdict::XFail
        );
        assert_eq!(line.starts_with("ok\t"), good, "{line}");
        let word = match verdict {
            // The name that KTAP has for it.
            Verdict::Hang => "TIMEOUT",
            other => other.word(),
        };
        assert!(line.contains(word), "{line}");
        assert!(line.contains("because"), "{line}");
    }
}
