//! fork, exit, wait, kill, exec, pipe and what happens when they meet.

use crate::check::{Check, KILLED, Named, Test, child, child_succeeds, quick, refused, same};
use crate::ensure;
use core::time::Duration;
use ulib::abi::OpenFlags;
use ulib::abi::info::ProcessInfo;
use ulib::io::AsFd;
use ulib::prelude::*;
use ulib::sys::wild;
use ulib::thread::sleep;

pub const TESTS: &[Test] = &[
    quick("exectest", exec_with_own_output),
    quick("pipe1", pipe_keeps_order),
    quick("killstatus", killed_children_say_so),
    quick("preempt", busy_processes_are_interrupted),
    quick("exitwait", statuses_arrive),
    quick("reparent", orphans_go_to_init),
    quick("twochildren", two_exits_at_once),
    quick("forkfork", forks_at_once),
    quick("forkforkfork", forks_until_none_is_left),
    quick("reparent2", grandchildren_go_to_init),
    quick("forktest", fork_fails_in_the_end),
    quick("bigargtest", too_many_arguments),
    quick("openfiles", descriptors_run_out),
    quick("dupfork", offsets_are_shared),
    quick("pipeends", ends_of_a_pipe),
    quick("killsleep", kill_wakes_sleepers),
    quick("execbad", bad_programs_are_refused),
    quick("waitnone", calls_without_a_partner),
    quick("sleeptime", sleep_takes_its_time),
];

fn exec_with_own_output() -> Check {
    let status = process::fork(|| {
        let _ = sys::close(io::STDOUT);
        let flags = OpenFlags::CREATE | OpenFlags::WRONLY;
        match sys::open("out", flags) {
            Ok(io::STDOUT) => {}
            _ => return 3,
        }
        sys::exec("/echo", &["echo", "OK"]);
        4
    })?
    .wait()?;
    same("status of echo", status, 0)?;
    same("its output", fs::read("out")?.as_slice(), b"OK\n")?;
    fs::remove_file("out")
}

fn pipe_keeps_order() -> Check {
    const PIECE: usize = 1033;
    const PIECES: usize = 5;
    let byte_at = |index: usize| (index % 251) as u8;
    let (mut reader, mut writer) = io::pipe()?;
    let writing = child(|| {
        let bytes: Vec<u8> = (0..PIECE * PIECES).map(byte_at).collect();
        bytes
            .chunks(PIECE)
            .try_for_each(|piece| writer.write_all(piece))
    })?;
    drop(writer);
    let mut total = 0;
    let mut wanted = 1;
    let mut buffer = [0; 8192];
    loop {
        let count = reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            break;
        }
        let ordered = (0..count).all(|index| buffer[index] == byte_at(total + index));
        ensure!(ordered, "bytes {total}.. are out of order");
        total += count;
        wanted = (wanted * 2).min(buffer.len());
    }
    same("bytes", total, PIECE * PIECES)?;
    same("the writer", writing.wait()?, 0)
}

fn killed_children_say_so() -> Check {
    for _ in 0..40 {
        let busy = process::fork(|| {
            loop {
                sys::getpid();
            }
        })?;
        sys::sleep(1)?;
        busy.kill()?;
        same("status", busy.wait()?, KILLED)?;
    }
    Ok(())
}

fn spin() -> i32 {
    loop {
        core::hint::spin_loop();
    }
}

fn busy_processes_are_interrupted() -> Check {
    let first = process::fork(spin)?;
    let second = process::fork(spin)?;
    let (mut reader, mut writer) = io::pipe()?;
    let third = process::fork(|| {
        let _ = writer.write_all(b"x");
        spin()
    })?;
    drop(writer);
    reader.read_exact(&mut [0]).named("the third process")?;
    for busy in [first, second, third] {
        busy.kill()?;
        same("status", busy.wait()?, KILLED)?;
    }
    Ok(())
}

fn statuses_arrive() -> Check {
    for wanted in (0..100).chain([-7, 747, i32::MAX, i32::MIN]) {
        let child = process::fork(|| wanted)?;
        let (pid, status) = sys::wait()?;
        same("pid", pid, child.id())?;
        same("status", status, wanted)?;
    }
    Ok(())
}

fn orphans_go_to_init() -> Check {
    for _ in 0..200 {
        child_succeeds("a child that leaves one", || process::fork(|| 0).map(drop))?;
    }
    Ok(())
}

fn two_exits_at_once() -> Check {
    for _ in 0..1000 {
        let first = process::fork(|| 0)?.id();
        let second = process::fork(|| 0)?.id();
        let (one, other) = (sys::wait()?.0, sys::wait()?.0);
        let both = (one, other) == (first, second) || (one, other) == (second, first);
        ensure!(
            both,
            "waited for {first} and {second}, got {one} and {other}"
        );
    }
    Ok(())
}

fn forks_at_once() -> Check {
    let forking = || -> Check {
        for _ in 0..200 {
            same("grandchild", process::fork(|| 0)?.wait()?, 0)?;
        }
        Ok(())
    };
    let children = [child(forking)?, child(forking)?];
    for _ in children {
        same("status", sys::wait()?.1, 0)?;
    }
    Ok(())
}

fn forks_until_none_is_left() -> Check {
    const STOP: &str = "stop";
    let first = process::fork(|| {
        loop {
            if fs::metadata(STOP).is_ok() {
                return 0;
            }
            if sys::fork().is_err() {
                let _ = fs::write(STOP, b"");
            }
        }
    })?;
    sleep(Duration::from_secs(2));
    fs::write(STOP, b"")?;
    first.wait()?;
    sleep(Duration::from_secs(1));
    fs::remove_file(STOP)
}

fn grandchildren_go_to_init() -> Check {
    for _ in 0..400 {
        process::fork(|| {
            let _ = sys::fork();
            let _ = sys::fork();
            0
        })?
        .wait()?;
    }
    Ok(())
}

fn fork_fails_in_the_end() -> Check {
    // NPROC is 256: asking for 1000 must fail, and all that came into being must be waited for.
    let mut children = 0;
    let refusal = loop {
        match process::fork(|| 0) {
            Ok(_) => children += 1,
            Err(error) => break error,
        }
        ensure!(children < 1000, "1000 processes");
    };
    ensure!(children > 10, "only {children} processes");
    refused(
        "fork",
        Err::<(), _>(refusal),
        &[Errno::EAGAIN, Errno::ENOMEM],
    )?;
    for _ in 0..children {
        sys::wait().named("waiting for a child there is")?;
    }
    refused("waiting for one more", sys::wait(), &[Errno::ECHILD])
}

fn too_many_arguments() -> Check {
    let long = " ".repeat(200);
    let arguments = vec![long.as_str(); 31];
    same(
        "exec with 6 KiB of arguments",
        sys::exec("/echo", &arguments),
        Errno::E2BIG,
    )?;
    let many = vec!["x"; 5000];
    same(
        "exec with 5000 arguments",
        sys::exec("/echo", &many),
        Errno::E2BIG,
    )?;
    let fitting = ["echo", &long[..100], "b"];
    let command = process::Command::new("/echo").args(&fitting[1..]);
    let (output, status) = command.output()?;
    same("status with fitting arguments", status, 0)?;
    same("output", output.len(), 100 + 1 + 1 + 1)
}

fn descriptors_run_out() -> Check {
    let file = fs::File::create("f")?;
    let mut copies = Vec::new();
    let refusal = loop {
        match sys::dup(file.fd()) {
            Ok(fd) => copies.push(fd),
            Err(errno) => break errno,
        }
        ensure!(copies.len() < 1000, "1000 descriptors");
    };
    same("dup without a free descriptor", refusal, Errno::EMFILE)?;
    same(
        "open without a free descriptor",
        sys::open("f", OpenFlags::RDONLY),
        Err(Errno::EMFILE),
    )?;
    same(
        "pipe without a free descriptor",
        sys::pipe(),
        Err(Errno::EMFILE),
    )?;
    same("highest descriptor", copies.last().copied(), Some(127))?;
    sys::close(copies[0])?;
    same(
        "pipe with one free descriptor",
        sys::pipe(),
        Err(Errno::EMFILE),
    )?;
    same("the lowest is taken", sys::dup(file.fd()), Ok(copies[0]))?;
    copies.into_iter().try_for_each(sys::close)?;
    fs::remove_file("f")
}

fn offsets_are_shared() -> Check {
    let mut file = fs::File::create("f")?;
    file.write_all(b"abcdef")?;
    drop(file);
    let mut file = fs::File::open("f")?;
    let copy = sys::dup(file.fd())?;
    let mut two = [0; 2];
    file.read_exact(&mut two)?;
    same("first descriptor", &two, b"ab")?;
    same("second descriptor", sys::read(copy, &mut two), Ok(2))?;
    same("what it read", &two, b"cd")?;
    child_succeeds("the child", || {
        sys::read(copy, &mut [0; 1])?;
        Ok(())
    })?;
    same("after the child", sys::read(copy, &mut two), Ok(1))?;
    same("the last byte", two[0], b'f')?;
    sys::close(copy)?;
    fs::remove_file("f")
}

fn ends_of_a_pipe() -> Check {
    let (reader, mut writer) = io::pipe()?;
    refused(
        "writing to the read end",
        sys::write(reader.fd(), b"x"),
        &[Errno::EBADF],
    )?;
    refused(
        "reading the write end",
        sys::read(writer.fd(), &mut [0]),
        &[Errno::EBADF],
    )?;
    writer.write_all(b"rest")?;
    drop(writer);
    let mut buffer = [0; 8];
    same("what was left", sys::read(reader.fd(), &mut buffer), Ok(4))?;
    same("the end", sys::read(reader.fd(), &mut buffer), Ok(0))?;
    drop(reader);
    let (reader, writer) = io::pipe()?;
    drop(reader);
    refused(
        "writing without a reader",
        sys::write(writer.fd(), b"x"),
        &[Errno::EPIPE],
    )
}

fn kill_wakes_sleepers() -> Check {
    let (reader, _writer) = io::pipe()?;
    let sleepers: [&dyn Fn(); 4] = [
        &|| {
            let _ = sys::sleep(1_000_000);
        },
        &|| {
            let _ = sys::read(reader.fd(), &mut [0]);
        },
        &|| {
            let _ = process::fork(spin);
            let _ = sys::wait();
        },
        &|| {
            let (_full, writer) = sys::pipe().unwrap_or((-1, -1));
            while sys::write(writer, &[0; 512]).is_ok() {}
        },
    ];
    for (index, sleeper) in sleepers.iter().enumerate() {
        let child = process::fork(|| {
            sleeper();
            0
        })?;
        sys::sleep(2)?;
        child.kill()?;
        same(&format!("sleeper {index}"), child.wait()?, KILLED)?;
    }
    // The third sleeper left a busy child to init.
    let mut list = vec![ProcessInfo::default(); 256];
    let count = sys::ps(&mut list)?;
    let me = process::id() as u32;
    let own = list[..count].iter().find(|process| process.pid == me);
    // The runner itself may be a child of init, too.
    let (name, runner) = (own.map(|own| own.name), own.map(|own| own.parent));
    let init = init(&list[..count]).map(|process| process.pid);
    let busy = list[..count].iter().filter(|process| {
        Some(process.name) == name
            && Some(process.parent) == init
            && Some(process.pid) != runner
            && process.state != 5
    });
    for process in busy {
        let _ = sys::kill(process.pid as i32);
    }
    Ok(())
}

/// The process that takes orphans.
pub fn init(list: &[ProcessInfo]) -> Option<&ProcessInfo> {
    list.iter()
        .find(|process| process.name.starts_with(b"init\0"))
}

fn bad_programs_are_refused() -> Check {
    let mut elf = fs::read("/echo")?;
    let cases: [(&str, usize, u8); 8] = [
        ("magic", 0, 0),
        ("32 bits", 4, 1),
        ("big-endian", 5, 2),
        ("another machine", 18, 0xf3),
        ("shared object", 16, 3),
        ("header size", 54, 1),
        ("headers outside the file", 36, 0xff),
        ("many headers", 57, 0xff),
    ];
    let run = |bytes: &[u8], what: &str| -> Check {
        fs::write("program", bytes)?;
        let errno = sys::exec("program", &["program"]);
        ensure!(
            errno == Errno::ENOEXEC,
            "exec of {what} gave {}",
            errno.name()
        );
        Ok(())
    };
    for (what, at, value) in cases {
        let kept = core::mem::replace(&mut elf[at], value);
        run(&elf, what)?;
        elf[at] = kept;
    }
    for len in [0, 1, 63, 64, 100, 4096] {
        run(&elf[..len], &format!("the first {len} bytes"))?;
    }
    run(b"echo a script\n", "a text")?;
    fs::remove_file("program")?;
    ensure!(
        sys::exec("/", &["x"]) != Errno::ENOENT,
        "exec of a directory gave ENOENT"
    );
    same(
        "exec of nothing",
        sys::exec("missing", &["x"]),
        Errno::ENOENT,
    )?;
    same(
        "exec through a file",
        sys::exec("/echo/x", &["x"]),
        Errno::ENOTDIR,
    )
}

fn calls_without_a_partner() -> Check {
    refused("wait without children", sys::wait(), &[Errno::ECHILD])?;
    for pid in [0, -1, i32::MAX, i32::MIN] {
        refused(
            &format!("kill({pid})"),
            sys::kill(pid),
            &[Errno::ESRCH, Errno::EINVAL],
        )?;
    }
    for fd in [-1, 127, 128, 1_000_000, i32::MIN] {
        refused(&format!("close({fd})"), sys::close(fd), &[Errno::EBADF])?;
        refused(
            &format!("read({fd})"),
            sys::read(fd, &mut [0]),
            &[Errno::EBADF],
        )?;
        refused(
            &format!("write({fd})"),
            sys::write(fd, b"x"),
            &[Errno::EBADF],
        )?;
        refused(&format!("fstat({fd})"), sys::fstat(fd), &[Errno::EBADF])?;
        refused(&format!("dup({fd})"), sys::dup(fd), &[Errno::EBADF])?;
    }
    for number in [0, 22 + 17, 49, 69, 88, 4096, usize::MAX] {
        refused(
            &format!("call {number}"),
            wild::call(number, &[]),
            &[Errno::ENOSYS],
        )?;
    }
    Ok(())
}

fn sleep_takes_its_time() -> Check {
    let start = ulib::time::Instant::now();
    let ticks = sys::uptime();
    sys::sleep(5)?;
    let (slept, ticked) = (start.elapsed(), sys::uptime() - ticks);
    ensure!(ticked >= 5, "sleep(5) took {ticked} ticks");
    ensure!(
        slept >= Duration::from_millis(400),
        "sleep(5) took {slept:?}"
    );
    ensure!(slept < Duration::from_secs(30), "sleep(5) took {slept:?}");
    Ok(())
}
