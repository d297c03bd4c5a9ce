//! `hv test`: every test there is, on the host and in the guest, and one line that sums them up.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use harness::Outcome;

use crate::build::{self, Freshness};
use crate::media;
use crate::needs::{self, Consent};
use crate::workspace::Workspace;

/// Block devices over files; tests that need one have this in their name.
const LOOP_DEVICE: &str = "loop_device";

/// Names the BitVisor that the tests shall use, too.
pub const BITVISOR_VARIABLE: &str = "HV_BITVISOR_ELF";
/// Tests that need it have this in their name.
const BITVISOR_TESTS: &str = "bitvisor";
/// BitVisor's loader for UEFI, built by itself; tests that need it have this in their name, too.
const LOADVMM: &str = "loadvmm";

/// Another reader of our traces; tests that need it have this in their name. Nothing else does, so it is not a need.
const BABELTRACE: &str = "babeltrace2";

/// Shows a program's system calls; tests that look at those of the file server need it.
const STRACE: &str = "strace";

/// Everything but what exists for the guest's target only: of ulib and labvisor, too, the logic is tested here.
const HOST_TESTED: [&str; 5] = [
    "--workspace",
    "--exclude",
    "kernel",
    "--exclude",
    "programs",
];

/// Which tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that need no machine.
    Host,
    /// Those that boot one.
    Guest,
}

/// What the test runners said, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    filtered: u64,
    /// A runner failed in another way than by a red test: a test program that does not compile or dies.
    broken: bool,
}

impl Tally {
    /// Adds what a runner's line says, if it is a result line.
    fn add_line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += number_before(counts, "passed");
            self.failed += number_before(counts, "failed");
            self.ignored += number_before(counts, "ignored");
            self.filtered += number_before(counts, "filtered");
        } else if let Some((_, counts)) = line.split_once(" tests run: ") {
            // nextest: "Summary [ 1.2s] 5 tests run: 4 passed, 1 failed, 2 skipped"
            self.passed += number_before(counts, "passed");
            self.failed += number_before(counts, "failed") + number_before(counts, "timed");
            self.ignored += number_before(counts, "skipped");
        }
    }

    /// Adds tests that the host's runner passed over as ignored. Those that were not run now stay so.
    fn add_passed_over(&mut self, run: Tally) {
        self.passed += run.passed;
        self.failed += run.failed;
        self.broken |= run.broken;
        self.ignored = self.ignored.saturating_sub(run.passed + run.failed);
    }

    fn outcome(self) -> Outcome {
        if self.broken || self.failed > 0 {
            Outcome::Unexpected
        } else {
            Outcome::AsExpected
        }
    }
}

/// The number that stands before `word`.
fn number_before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text
        .split([' ', ';', ',', '.', '('])
        .filter(|word| !word.is_empty())
        .collect();
    let at = words.iter().position(|&other| other == word);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok())
        .unwrap_or(0)
}

/// Runs the tests whose names hold `filter`.
///
/// # Errors
/// When the set-up fails; red tests are an outcome.
pub fn run(
    workspace: &Workspace,
    consent: Consent,
    which: Which,
    filter: Option<&str>,
) -> Result<Outcome> {
    let start = Instant::now();
    let mut tally = Tally::default();
    if which == Which::Guest {
        build::boot_disk(workspace, consent, Freshness::Build)?;
    } else {
        needs::ensure(workspace, consent)?;
    }
    if which != Which::Guest {
        host(workspace, filter, &mut tally)?;
        mounts(workspace, filter, &mut tally)?;
        traced(workspace, filter, &mut tally)?;
    }
    if which != Which::Host {
        if which == Which::All {
            build::boot_disk(workspace, consent, Freshness::Build)?;
        }
        guest(workspace, filter, &mut tally)?;
    }
    let (word, seconds) = (
        if tally.outcome() == Outcome::AsExpected {
            "ok"
        } else {
            "FAILED"
        },
        start.elapsed().as_secs_f32(),
    );
    println!(
        "\nall runners together:\ntest result: {word}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {seconds:.2}s",
        tally.passed, tally.failed, tally.ignored, tally.filtered
    );
    Ok(tally.outcome())
}

fn host(workspace: &Workspace, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    if needs::program("cargo-nextest").is_some() {
        let mut tests = workspace.cargo();
        tests
            .args(["nextest", "run", "--no-fail-fast"])
            .args(filter);
        if filter.is_some() {
            tests.args(["--no-tests", "pass"]);
        }
        drive("host tests", tests, tally)?;
        // nextest leaves the examples in the documentation to cargo.
        let mut examples = workspace.cargo();
        examples
            .args(["test", "--doc", "--no-fail-fast", "--"])
            .args(filter);
        drive("examples in the documentation", examples, tally)
    } else {
        let mut tests = workspace.cargo();
        tests
            .args(["test", "--no-fail-fast"])
            .args(HOST_TESTED)
            .arg("--")
            .args(filter);
        drive("host tests", tests, tally)
    }
}

/// The mounted export: behind a feature, and only where the machine lets us mount.
fn mounts(workspace: &Workspace, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let runner = || {
        let mut runner = workspace.cargo();
        runner.args(["test", "--package", "nfs-server", "--features", "fuse"]);
        runner.args(["--bin", "snfs-mount", "--test", "mount", "--"]);
        runner
    };
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let may = rustix::process::geteuid().is_root() || needs::program("fusermount3").is_some();
    if device.is_ok() && may {
        let mut tests = runner();
        tests.args(filter);
        return drive("tests of the mounted export", tests, tally);
    }
    let count = count(runner().arg("--list"))?;
    println!(
        "NOT RUN: mounted export, {count} tests (/dev/fuse, and fusermount3 or root, are needed)"
    );
    tally.ignored += count as u64;
    Ok(())
}

/// The file server under `strace`: only where that is installed and allowed.
fn traced(workspace: &Workspace, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let runner = || {
        let mut runner = workspace.cargo();
        runner.args(["test", "--package", "nfs-server", "--test", "sync", "--"]);
        runner.arg("--ignored");
        runner
    };
    let mut try_it = Command::new(STRACE);
    try_it.args(["-qq", "-o", "/dev/null", "true"]);
    if !try_it.output().is_ok_and(|output| output.status.success()) {
        let count = count(runner().arg("--list"))?;
        println!(
            "{}",
            not_run(STRACE, &count, "it is not installed or not allowed to look")
        );
        return Ok(());
    }
    let mut tests = runner();
    tests.args(filter);
    let mut here = Tally::default();
    drive("tests of the file server's system calls", tests, &mut here)?;
    tally.add_passed_over(here);
    Ok(())
}

fn guest(workspace: &Workspace, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let runner = || {
        let mut runner = workspace.cargo();
        runner.args([
            "test",
            "--package",
            "hvtools",
            "--test",
            "guest",
            "--",
            "--ignored",
        ]);
        runner
    };
    let mut tests = runner();
    // One machine at a time: each wants a CPU for itself, and their time limits are real.
    tests.args(["--test-threads", "1"]).args(filter);
    let bitvisor = std::env::var_os(BITVISOR_VARIABLE).map(PathBuf::from);
    let lacking = lacking(bitvisor.as_deref());
    for (word, _) in &lacking {
        tests.args(["--skip", word]);
    }
    let mut here = Tally::default();
    drive("tests in the guest", tests, &mut here)?;
    for (word, why) in &lacking {
        let count = count(runner().args(["--list", word]))?;
        println!("{}", not_run(word, &count, why));
    }
    tally.add_passed_over(here);
    Ok(())
}

/// The line for tests that this computer lacks something for.
fn not_run(word: &str, count: &impl Display, why: &str) -> String {
    let name = match word {
        BITVISOR_TESTS => "BitVisor",
        LOOP_DEVICE => "loop devices",
        word => word,
    };
    format!("NOT RUN: {name}, {count} tests ({why})")
}

/// What this computer lacks for some tests: the word in their names, and why they are not run.
fn lacking(bitvisor: Option<&Path>) -> Vec<(&'static str, String)> {
    let elf = bitvisor.filter(|elf| elf.is_file());
    let loadvmm = elf.map(media::loadvmm_beside);
    let wanted = [
        (
            BITVISOR_TESTS,
            elf.is_some(),
            format!("{BITVISOR_VARIABLE} names no bitvisor.elf"),
        ),
        (
            LOADVMM,
            // Without a BitVisor they are among its tests.
            loadvmm.as_ref().is_none_or(|loader| loader.is_file()),
            format!(
                "there is no {}",
                loadvmm.as_deref().unwrap_or(Path::new("")).display()
            ),
        ),
        (
            BABELTRACE,
            needs::program(BABELTRACE).is_some(),
            format!("Debian's package {BABELTRACE} is not installed"),
        ),
        (
            LOOP_DEVICE,
            has_loop_devices(),
            "root, and a kernel with loop devices, are needed".to_owned(),
        ),
    ];
    let lacking = wanted.into_iter().filter(|(_, there, _)| !there);
    lacking.map(|(word, _, why)| (word, why)).collect()
}

fn has_loop_devices() -> bool {
    // Prints the next one that is free, and makes it where there is none.
    let next = Command::new("losetup").arg("--find").output();
    rustix::process::geteuid().is_root() && next.is_ok_and(|output| output.status.success())
}

/// How many tests a runner lists.
fn count(list: &mut Command) -> Result<usize> {
    let output = list
        .stderr(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.ends_with(": test"))
        .count())
}

/// Runs a test runner, shows what it prints, and adds up what it says.
fn drive(what: &str, mut command: Command, tally: &mut Tally) -> Result<()> {
    println!("\n== {what}");
    let failed_before = tally.failed;
    // nextest speaks on standard error, cargo test on standard output: one pipe takes both, in their order.
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn().context("cannot run cargo")?;
    // The command still holds the writing ends; without this the pipe would never end.
    drop(command);
    let mut lines = BufReader::new(reader);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        tally.add_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && tally.failed == failed_before {
        println!("hv: {what}: the runner failed ({status})");
        tally.broken = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_runners_add_up() {
        let mut tally = Tally::default();
        tally.add_line("test result: ok. 17 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.05s");
        tally.add_line("test result: FAILED. 1 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.05s");
        tally.add_line(
            "     Summary [   0.042s] 5 tests run: 4 passed (1 slow), 1 failed, 6 skipped\n",
        );
        tally.add_line("test x ... ok");
        assert_eq!(
            tally,
            Tally {
                passed: 22,
                failed: 5,
                ignored: 8,
                filtered: 3,
                broken: false
            }
        );
        assert_eq!(tally.outcome(), Outcome::Unexpected);
    }

    #[test]
    fn a_bitvisor_without_its_loader_for_uefi_leaves_out_the_tests_of_that_loader_only() {
        let tree = tempfile::tempdir().unwrap();
        let elf = tree.path().join("bitvisor.elf");
        let words = || {
            let all = lacking(Some(&elf)).into_iter();
            let mut words: Vec<&str> = all.map(|(word, _)| word).collect();
            words.retain(|word| [BITVISOR_TESTS, LOADVMM].contains(word));
            words
        };
        assert_eq!(words(), [BITVISOR_TESTS]);
        std::fs::write(&elf, "").unwrap();
        assert_eq!(words(), [LOADVMM]);
        let loader = media::loadvmm_beside(&elf);
        std::fs::create_dir_all(loader.parent().unwrap()).unwrap();
        std::fs::write(&loader, "").unwrap();
        assert!(words().is_empty());
    }

    #[test]
    fn tests_that_are_not_run_are_counted_by_name() {
        let line = not_run(BITVISOR_TESTS, &8, "why");
        assert_eq!(line, "NOT RUN: BitVisor, 8 tests (why)");
    }

    #[test]
    fn a_runner_that_fails_without_a_red_test_is_not_green() {
        let mut tally = Tally::default();
        drive("nothing", Command::new("false"), &mut tally).unwrap();
        assert!(tally.broken && tally.outcome() == Outcome::Unexpected);
    }
}
