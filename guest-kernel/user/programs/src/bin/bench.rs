//! bench: measure what the kernel's basic services cost.
#![no_std]
#![no_main]
use ulib::prelude::*;
use ulib::time;

ulib::main!(
    main,
    "bench [-n ROUNDS]\n\
     Measure a system call, pipes, a context switch, and the start of a process, in ticks of the TSC.\n\
     -n how often each is done (default 1000)\n\
     A switch is half of what a byte's way to another process and back costs beyond the pipes themselves."
);

/// What `bench` runs to see what a program's start costs: itself, told to end at once.
const NOTHING: &str = "nothing";

fn main() -> Result<()> {
    let options = env::options("n:")?;
    if options.operands == [NOTHING] {
        return Ok(());
    }
    let rounds = options.number('n', 1000u64)?.max(1);
    let own = io::pipe()?;
    let (to, back) = (io::pipe()?, io::pipe()?);
    let mut echo = (to.0.try_clone()?, back.1.try_clone()?);
    let child = process::fork(|| {
        (0..=rounds).for_each(|_| pass(&mut echo.0, &mut echo.1));
        0
    })?;
    let (mut own_reader, mut own_writer) = own;
    let (mut reader, mut writer) = (back.0, to.1);

    show("getpid", per_round(rounds, || _ = sys::getpid()));
    let alone = per_round(rounds, || {
        let _ = own_writer.write_all(b"x");
        let _ = own_reader.read(&mut [0]);
    });
    show("a byte through a pipe", alone);
    let there_and_back = per_round(rounds, || {
        let _ = writer.write_all(b"x");
        let _ = reader.read(&mut [0]);
    });
    show("a byte to a process and back", there_and_back);
    show(
        "context switch",
        there_and_back.saturating_sub(2 * alone) / 2,
    );
    child.wait()?;
    let few = rounds.div_ceil(10);
    show(
        "fork, exit, wait",
        per_round(few, || {
            _ = process::fork(|| 0).and_then(process::Child::wait)
        }),
    );
    let program = || process::Command::new("bench").arg(NOTHING).status();
    show("fork, exec, exit, wait", per_round(few, || _ = program()));
    Ok(())
}

/// A byte from one pipe to another.
fn pass(from: &mut io::OwnedFd, to: &mut io::OwnedFd) {
    let _ = from.read_exact(&mut [0]);
    let _ = to.write_all(b"x");
}

/// Ticks that `work` takes, after one round that nobody counts.
fn per_round(rounds: u64, mut work: impl FnMut()) -> u64 {
    work();
    let (_, start) = time::tsc();
    (0..rounds).for_each(|_| work());
    (time::tsc().1 - start) / rounds
}

fn show(what: &str, ticks: u64) {
    println!("{what:30} {ticks:9}");
}
