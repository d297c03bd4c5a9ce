//! Runs one test in a process of its own, and counts what the system has before and after.

use crate::check::{Needs, Test, quick};
use core::time::Duration;
use trace_record::verdict::Verdict;
use ulib::abi::info::{MemoryInfo, ProcessInfo};
use ulib::io::AsFd;
use ulib::prelude::*;

/// The directory the tests run in; empty before and after each.
pub const SCRATCH: &str = "/utest";

/// The heap of a test's process gets this much room at once, so that it need not grow while the
/// test moves the end of the process.
const HEAP_BYTES: usize = 256 * 1024;
/// After this long a test is killed.
const LIMIT: Duration = Duration::from_secs(120);
/// The same for a slow one.
const LIMIT_SLOW: Duration = Duration::from_secs(900);
/// More processes than the kernel has room for.
const PROCESSES: usize = 256;
/// Dead processes give their last pages back a little after `wait` returned; so often, a tick
/// apart, the count is read again.
const SETTLE_ROUNDS: u32 = 20;

/// Makes the scratch directory, and removes what an earlier run left there. Goes the way of a test
/// twice, so that this process's own pages are there before pages are counted.
pub fn prepare() -> Result<()> {
    match sys::mkdir(SCRATCH) {
        Err(Errno::EEXIST) => drop(left_behind()?),
        result => result?,
    }
    run(&quick("passes", || Ok(())))?;
    run(&quick("fails", || {
        Err(Error::from("a reason ".repeat(100)))
    }))
    .map(drop)
}

/// Removes the scratch directory.
pub fn finish() -> Result<()> {
    fs::remove_file(SCRATCH)
}

/// Runs a test; its verdict and the reason for it.
pub fn run(test: &Test) -> Result<(Verdict, String)> {
    if let Some(reason) = missing(test.needs) {
        return Ok((Verdict::Skip, reason.to_owned()));
    }
    let before = sys::meminfo()?;
    let reason = run_in_child(test)?;
    if let Some(reason) = reason {
        left_behind()?;
        return Ok((Verdict::Fail, reason));
    }
    let names = left_behind()?;
    if !names.is_empty() {
        return Ok((Verdict::Fail, format!("left behind: {}", names.join(", "))));
    }
    Ok(match loss(&before)? {
        Some(reason) => (Verdict::Fail, reason),
        None => (Verdict::Pass, String::new()),
    })
}

fn missing(needs: Needs) -> Option<&'static str> {
    let there = match needs {
        Needs::Nothing => true,
        Needs::Network => sys::interface().is_ok_and(|interface| interface.up == 1),
        Needs::Server => env::setting("server").is_some(),
    };
    match needs {
        _ if there => None,
        Needs::Network => Some("no network"),
        Needs::Nothing | Needs::Server => Some("no server in the settings"),
    }
}

/// Runs the test; why it failed, or `None`. The pipe's end is reached when all processes that
/// descend from the test are gone.
fn run_in_child(test: &Test) -> Result<Option<String>> {
    // Made now: a test that is late may have taken all memory.
    let mut processes = vec![ProcessInfo::default(); PROCESSES];
    let (mut reader, mut writer) = io::pipe()?;
    let child = process::fork(|| {
        let _ = sys::close(reader.fd());
        let heap: Vec<u8> = Vec::with_capacity(HEAP_BYTES);
        drop(heap);
        match env::set_current_dir(SCRATCH).and_then(|()| (test.run)()) {
            Ok(()) => 0,
            Err(error) => {
                let _ = writer.write_all(error.to_string().as_bytes());
                1
            }
        }
    })?;
    drop(writer);
    let limit = if test.slow { LIMIT_SLOW } else { LIMIT };
    let mut text = Vec::new();
    let mut late = false;
    loop {
        match ulib::net::wait_readable(&[reader.fd()], Some(limit)) {
            Ok(ready) if ready.is_empty() && !late => {
                late = true;
                kill_family(child.id(), &mut processes);
                continue;
            }
            Ok(ready) if ready.is_empty() => break,
            // A kernel without select still runs the tests, without a time limit.
            Ok(_) | Err(_) => {}
        }
        let mut buffer = [0; 512];
        match reader.read(&mut buffer)? {
            0 => break,
            count => text.extend_from_slice(&buffer[..count]),
        }
    }
    drop(reader);
    let status = child.wait()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(match status {
        0 => None,
        _ if late => Some(format!("not finished after {} s", limit.as_secs())),
        1 if !text.is_empty() => Some(text),
        crate::check::KILLED => Some(format!("killed by the kernel {text}")),
        ulib::start::EXIT_PANIC => Some(format!("panicked {text}")),
        status => Some(format!("status {status} {text}")),
    })
}

/// Kills a test and everything that descends from it, or what it holds would be missing in all tests behind it. The test
/// itself may be gone already, and only something it started be left.
fn kill_family(test: i32, processes: &mut [ProcessInfo]) {
    let count = sys::ps(processes).unwrap_or(0);
    let mut family = vec![test.unsigned_abs()];
    let mut known = 0;
    while known < family.len() {
        let parent = family[known];
        known += 1;
        family.extend(
            processes[..count]
                .iter()
                .filter(|process| process.parent == parent)
                .map(|process| process.pid),
        );
    }
    // Parents first, so that none of them starts another.
    for pid in family {
        let _ = sys::kill(pid.cast_signed());
    }
}

/// Names in the scratch directory, which are removed.
fn left_behind() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(SCRATCH)? {
        remove(&fs::join(SCRATCH, &entry.name))?;
        names.push(entry.name);
    }
    Ok(names)
}

fn remove(path: &str) -> Result<()> {
    if fs::metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            remove(&fs::join(path, &entry.name))?;
        }
    }
    fs::remove_file(path)
}

/// What the system has less, or more of, than before. The kernel's heap may keep pages; those count.
fn loss(before: &MemoryInfo) -> Result<Option<String>> {
    let pages = |info: &MemoryInfo| info.free_pages + info.heap_size / ulib::sys::wild::PAGE as u64;
    let mut reason = None;
    for _ in 0..SETTLE_ROUNDS {
        let after = sys::meminfo()?;
        reason = if pages(&after) < pages(before) {
            let lost = pages(before) - pages(&after);
            Some(format!("{lost} pages lost of {}", pages(before)))
        } else if after.open_files > before.open_files {
            Some(format!(
                "{} files open, {} before",
                after.open_files, before.open_files
            ))
        } else if after.processes > before.processes {
            Some(format!(
                "{} processes, {} before",
                after.processes, before.processes
            ))
        } else {
            None
        };
        if reason.is_none() {
            break;
        }
        sys::sleep(1)?;
    }
    Ok(reason)
}
