//! usertests: tests of every system call, from a user program's side.
//!
//! The names are those of xv6-riscv's usertests where the purpose is the same; each file of this
//! folder is a group. A test runs in a process of its own inside an empty directory, and must
//! leave the directory, the free pages, the open files and the processes as they were.
#![no_std]
#![no_main]

mod calls;
mod check;
mod directories;
mod faults;
mod files;
mod memory;
mod pointers;
mod processes;
mod remote;
mod report;
mod runner;
mod sockets;

use check::Test;
use trace_record::verdict::Verdict;
use ulib::prelude::*;

ulib::main!(
    main,
    "usertests [-qcl] [TEST...]\n\
     Test the kernel: all tests, or those named.\n\
     -q quick ones only  -c again and again until one fails  -l list them\n\
     Results go to the run folder if the setting run= names one.\n\
     Status 0 all passed, 1 a failure, 2 an error of usertests itself or a wrong name."
);

const GROUPS: [&[Test]; 9] = [
    pointers::TESTS,
    files::TESTS,
    directories::TESTS,
    processes::TESTS,
    memory::TESTS,
    faults::TESTS,
    calls::TESTS,
    sockets::TESTS,
    remote::TESTS,
];

fn main() -> Result<i32> {
    let options = env::options("qcl")?;
    let all = || GROUPS.into_iter().flatten();
    let wrong: Vec<&str> = options
        .operands
        .iter()
        .copied()
        .filter(|name| !all().any(|test| test.name == *name))
        .collect();
    if !wrong.is_empty() {
        eprintln!("usertests: no such test: {}", wrong.join(", "));
        return Ok(Verdict::Error.exit_status().into());
    }
    let chosen = |test: &&Test| match options.operands[..] {
        [] => !(options.has('q') && test.slow),
        ref names => names.contains(&test.name),
    };
    // Slow tests come last, as the quick ones find most mistakes.
    let (quick, slow): (Vec<&Test>, Vec<&Test>) = all().filter(chosen).partition(|test| !test.slow);
    let tests = [quick, slow].concat();
    if options.has('l') {
        for test in tests {
            println!(
                "{} {}",
                if test.slow { "slow " } else { "quick" },
                test.name
            );
        }
        return Ok(0);
    }
    runner::prepare()?;
    let mut report = report::Report::open()?;
    loop {
        let mut failed = false;
        for test in &tests {
            report.started(test.name)?;
            let (verdict, reason) = match runner::run(test) {
                Ok(result) => result,
                Err(error) => (Verdict::Error, error.to_string()),
            };
            failed |= verdict.exit_status() != 0;
            report.finished(test.name, verdict, reason)?;
        }
        if failed || !options.has('c') {
            break;
        }
    }
    runner::finish()?;
    Ok(report.finish())
}
