//! A group for each call that xv6 does not have: files, processes, information, probe and trace.

use crate::check::{Check, Named, Test, child, child_succeeds, file, quick, refused, same};
use crate::ensure;
use core::time::Duration;
use ulib::abi::file::{T_DEVICE, T_DIR, T_FILE, T_PIPE, TTY_LINE, TTY_RAW};
use ulib::abi::info::{CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TSC, ProcessInfo};
use ulib::abi::net::{FdSet, TimeVal};
use ulib::abi::{DirEntry, OpenFlags};
use ulib::io::AsFd;
use ulib::prelude::*;
use ulib::sys::wild;
use ulib::time::Instant;

pub const TESTS: &[Test] = &[
    quick("seek", seek_moves_the_offset),
    quick("append", append_goes_to_the_end),
    quick("exclusive", exclusive_and_nonblocking),
    quick("rename", rename_moves_names),
    quick("readdir", readdir_lists_all),
    quick("ftruncate", ftruncate_cuts),
    quick("fsync", fsync_knows_files),
    quick("fstat", fstat_tells_kinds),
    quick("mknod", mknod_makes_devices),
    quick("selectpipe", select_on_pipes),
    quick("selecttime", select_takes_its_time),
    quick("gettime", clocks_go_forward),
    quick("ps", ps_shows_this_process),
    quick("meminfo", meminfo_counts),
    quick("getconf", getconf_refuses_unknown_keys),
    quick("ttymode", ttymode_wants_a_console),
    quick("klog", klog_reads_on),
    quick("yield", yield_lets_others_run),
    quick("probe", probe_is_for_a_few_programs),
    quick("trace", trace_classes_and_counters),
    quick("help", every_program_has_help),
];

fn seek_moves_the_offset() -> Check {
    let mut file = fs::File::create("f")?;
    file.write_all(b"0123456789")?;
    same("seek to 3", file.seek(3)?, 3)?;
    let mut two = [0; 2];
    file.read_exact(&mut two)?;
    same("bytes at 3", &two, b"34")?;
    file.seek(8)?;
    file.write_all(b"XYZ").named("writing across the end")?;
    file.seek(0)?;
    let mut all = Vec::new();
    file.read_to_end(&mut all)?;
    same("content", all.as_slice(), b"01234567XYZ")?;
    file.seek(1000).named("seeking behind the end")?;
    same("reading there", file.read(&mut two)?, 0)?;
    refused("seek to -1", sys::seek(file.fd(), -1), &[Errno::EINVAL])?;
    let (reader, _writer) = io::pipe()?;
    refused(
        "seek in a pipe",
        sys::seek(reader.fd(), 0),
        &[Errno::ESPIPE],
    )?;
    refused("seek of nothing", sys::seek(99, 0), &[Errno::EBADF])?;
    fs::remove_file("f")
}

fn append_goes_to_the_end() -> Check {
    file("f", b"one")?;
    let mut first = fs::File::append("f")?;
    let mut second = fs::File::append("f")?;
    first.write_all(b"two")?;
    second.write_all(b"three")?;
    first.write_all(b"four")?;
    same("content", fs::read("f")?.as_slice(), b"onetwothreefour")?;
    fs::remove_file("f")
}

fn exclusive_and_nonblocking() -> Check {
    let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::RDWR;
    fs::File::with_flags("f", exclusive).named("a new file")?;
    refused(
        "a file that exists",
        fs::File::with_flags("f", exclusive),
        &[Errno::EEXIST],
    )?;
    refused(
        "unknown flags",
        sys::open("f", OpenFlags(0x10_0000)),
        &[Errno::EINVAL],
    )?;
    fs::remove_file("f")
}

fn rename_moves_names() -> Check {
    file("a", b"A")?;
    file("b", b"B")?;
    let inode = fs::metadata("a")?.0.ino;
    fs::rename("a", "c")?;
    refused("the old name", fs::File::open("a"), &[Errno::ENOENT])?;
    same("inode", fs::metadata("c")?.0.ino, inode)?;
    fs::rename("c", "b").named("onto a file")?;
    same("content", fs::read("b")?.as_slice(), b"A")?;
    fs::rename("b", "b").named("onto itself")?;
    fs::create_dir("d")?;
    fs::create_dir("e")?;
    fs::rename("b", "d/b").named("into a directory")?;
    fs::rename("d", "e/d").named("a directory into another")?;
    same("the way down", fs::read("e/d/b")?.as_slice(), b"A")?;
    env::set_current_dir("e/d")?;
    fs::metadata("../../e").named("the way up")?;
    env::set_current_dir("../..")?;
    refused(
        "a directory into itself",
        sys::rename("e", "e/d/e"),
        &[Errno::EINVAL],
    )?;
    refused("nothing", sys::rename("x", "y"), &[Errno::ENOENT])?;
    file("f", b"")?;
    refused(
        "a directory onto a file",
        sys::rename("e", "f"),
        &[Errno::ENOTDIR],
    )?;
    refused(
        "a file onto a directory",
        sys::rename("f", "e"),
        &[Errno::EISDIR],
    )?;
    fs::create_dir("g")?;
    refused(
        "onto a full directory",
        sys::rename("g", "e"),
        &[Errno::ENOTEMPTY],
    )?;
    for path in ["e/d/b", "e/d", "e", "f", "g"] {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn readdir_lists_all() -> Check {
    fs::create_dir("d")?;
    for number in 0..40 {
        file(&format!("d/n{number}"), &vec![0; number])?;
    }
    let directory = fs::File::open("d")?;
    let mut entries = [DirEntry::new(0, 0, 0, b""); 7];
    let mut seen = Vec::new();
    loop {
        let count = sys::readdir(directory.fd(), &mut entries)?;
        if count == 0 {
            break;
        }
        seen.extend(entries[..count].iter().copied());
    }
    let plain = || seen.iter().filter(|entry| entry.name()[0] != b'.');
    same("names", plain().count(), 40)?;
    for number in 0..40usize {
        let name = format!("n{number}");
        let entry = plain().find(|entry| entry.name() == name.as_bytes());
        let found = entry.map(|entry| (entry.size, entry.kind));
        same(&name, found, Some((number as u64, T_FILE)))?;
        fs::remove_file(&format!("d/{name}"))?;
    }
    let plain_file = fs::File::open("/echo")?;
    refused(
        "readdir of a file",
        sys::readdir(plain_file.fd(), &mut entries),
        &[Errno::ENOTDIR],
    )?;
    fs::remove_file("d")
}

fn ftruncate_cuts() -> Check {
    let mut file = fs::File::create("f")?;
    file.write_all(&[7; 3000])?;
    file.set_len(1500)?;
    same("size", file.metadata()?.size(), 1500)?;
    file.set_len(2500).named("growing")?;
    let content = fs::read("f")?;
    same("grown size", content.len(), 2500)?;
    ensure!(
        content[..1500].iter().all(|&byte| byte == 7),
        "the start changed"
    );
    ensure!(
        content[1500..].iter().all(|&byte| byte == 0),
        "what was added is not zero"
    );
    file.set_len(0)?;
    same("empty", file.metadata()?.size(), 0)?;
    refused(
        "a negative length",
        wild::call(52, &[file.fd() as usize, usize::MAX]),
        &[Errno::EINVAL],
    )?;
    refused(
        "a huge length",
        sys::ftruncate(file.fd(), 1 << 40),
        &[Errno::EFBIG],
    )?;
    let reader = fs::File::open("f")?;
    let wanted = [Errno::EBADF, Errno::EINVAL];
    refused(
        "a read-only descriptor",
        sys::ftruncate(reader.fd(), 0),
        &wanted,
    )?;
    fs::remove_file("f")
}

fn fsync_knows_files() -> Check {
    let mut file = fs::File::create("f")?;
    file.write_all(b"x")?;
    file.sync_all()?;
    refused("fsync of nothing", sys::fsync(99), &[Errno::EBADF])?;
    fs::remove_file("f")
}

fn fstat_tells_kinds() -> Check {
    let (reader, _writer) = io::pipe()?;
    same("a pipe", sys::fstat(reader.fd())?.kind, T_PIPE)?;
    same("a file", fs::metadata("/echo")?.0.kind, T_FILE)?;
    same("a directory", fs::metadata("/")?.0.kind, T_DIR)?;
    same("the root's inode", fs::metadata("/")?.0.ino, 1)?;
    same("the console", fs::metadata("/console")?.0.kind, T_DEVICE)
}

fn mknod_makes_devices() -> Check {
    sys::mknod("device", 99, 0)?;
    same(
        "kind",
        fs::metadata("device")
            .map(|found| found.0.kind)
            .unwrap_or(T_DEVICE),
        T_DEVICE,
    )?;
    refused(
        "mknod onto a name",
        sys::mknod("device", 1, 0),
        &[Errno::EEXIST],
    )?;
    if let Ok(device) = fs::File::with_flags("device", OpenFlags::RDWR) {
        ensure!(
            sys::read(device.fd(), &mut [0]).is_err(),
            "an unknown device was read"
        );
    }
    fs::remove_file("device")
}

fn set_of(fds: &[i32]) -> FdSet {
    let mut set = FdSet::default();
    fds.iter().for_each(|&fd| set.insert(fd as usize));
    set
}

const AT_ONCE: Option<TimeVal> = Some(TimeVal {
    seconds: 0,
    microseconds: 0,
});

fn select_on_pipes() -> Check {
    let (mut reader, mut writer) = io::pipe()?;
    let (read_fd, write_fd) = (reader.fd(), writer.fd());
    let max = read_fd.max(write_fd) as usize + 1;
    let mut set = set_of(&[read_fd]);
    same(
        "an empty pipe",
        sys::select(max, Some(&mut set), None, None, AT_ONCE),
        Ok(0),
    )?;
    same("its set", set, FdSet::default())?;
    let mut set = set_of(&[write_fd]);
    same(
        "the write end",
        sys::select(max, None, Some(&mut set), None, AT_ONCE),
        Ok(1),
    )?;
    writer.write_all(b"x")?;
    let mut set = set_of(&[read_fd]);
    same(
        "a pipe with a byte",
        sys::select(max, Some(&mut set), None, None, None),
        Ok(1),
    )?;
    ensure!(set.contains(read_fd as usize), "its bit is not set");
    reader.read_exact(&mut [0])?;
    let other = child(|| {
        sys::sleep(2)?;
        writer.write_all(b"y")
    })?;
    let mut set = set_of(&[read_fd]);
    same(
        "waiting for a byte",
        sys::select(max, Some(&mut set), None, None, None),
        Ok(1),
    )?;
    same("the writer", other.wait()?, 0)?;
    reader.read_exact(&mut [0])?;
    drop(writer);
    let mut set = set_of(&[read_fd]);
    same(
        "at the end",
        sys::select(max, Some(&mut set), None, None, None),
        Ok(1),
    )?;
    let mut set = set_of(&[100]);
    let result = sys::select(101, Some(&mut set), None, None, AT_ONCE);
    refused("a descriptor that is not open", result, &[Errno::EBADF])?;
    let result = sys::select(257, None, None, None, AT_ONCE);
    refused("257 descriptors", result, &[Errno::EINVAL])?;
    let nonsense = Some(TimeVal {
        seconds: -1,
        microseconds: 0,
    });
    refused(
        "a negative time",
        sys::select(0, None, None, None, nonsense),
        &[Errno::EINVAL],
    )
}

fn select_takes_its_time() -> Check {
    let start = Instant::now();
    let time = Some(TimeVal {
        seconds: 0,
        microseconds: 250_000,
    });
    same(
        "select of nothing",
        sys::select(0, None, None, None, time),
        Ok(0),
    )?;
    let took = start.elapsed();
    ensure!(took >= Duration::from_millis(250), "250 ms took {took:?}");
    ensure!(took < Duration::from_secs(10), "250 ms took {took:?}");
    let (reader, _writer) = io::pipe()?;
    let ready = ulib::net::wait_readable(&[reader.fd()], Some(Duration::from_millis(50)))?;
    same("ready descriptors", ready.len(), 0)
}

fn clocks_go_forward() -> Check {
    for clock in [CLOCK_MONOTONIC, CLOCK_REALTIME] {
        let mut last = sys::gettime(clock)?;
        for _ in 0..1000 {
            let now = sys::gettime(clock)?;
            let later = (now.seconds, now.nanoseconds) >= (last.seconds, last.nanoseconds);
            ensure!(later, "clock {clock} went back");
            ensure!(
                (0..1_000_000_000).contains(&now.nanoseconds),
                "clock {clock}: {now:?}"
            );
            last = now;
        }
    }
    let (hz, first) = ulib::time::tsc();
    ensure!(hz > 100_000_000, "a TSC of {hz} Hz");
    let start = Instant::now();
    sys::sleep(3)?;
    let (ticks, took) = (ulib::time::tsc().1 - first, start.elapsed());
    let by_tsc = Duration::from_nanos((u128::from(ticks) * 1_000_000_000 / u128::from(hz)) as u64);
    let apart = by_tsc.max(took) - by_tsc.min(took);
    ensure!(
        apart < Duration::from_millis(100),
        "TSC says {by_tsc:?}, the clock {took:?}"
    );
    // 2020-01-01: before that the real-time clock was not read.
    ensure!(
        ulib::time::since_1970().as_secs() > 1_577_836_800,
        "the date is not set"
    );
    refused("clock 77", sys::gettime(77), &[Errno::EINVAL])?;
    same("raw TSC", sys::gettime(CLOCK_TSC)?.seconds as u64, hz)
}

fn ps_shows_this_process() -> Check {
    let sleeper = process::fork(|| {
        let _ = sys::sleep(1_000_000);
        0
    })?;
    sys::sleep(1)?;
    let mut list = vec![ProcessInfo::default(); 256];
    let count = sys::ps(&mut list)?;
    let find = |pid: i32| {
        list[..count]
            .iter()
            .find(|process| process.pid == pid as u32)
    };
    let me = find(process::id()).copied();
    let child = find(sleeper.id()).copied();
    let init = crate::processes::init(&list[..count]);
    sleeper.kill()?;
    sleeper.wait()?;
    let (Some(me), Some(child), Some(_)) = (me, child, init) else {
        return Err(Error::from("ps lacks this process, its child or init"));
    };
    same("name", &me.name[..10], b"usertests\0")?;
    same("state", me.state, 4)?;
    same("the child's parent", child.parent, me.pid)?;
    same("the child's state", child.state, 2)?;
    ensure!(me.pages > 10, "this program has {} pages", me.pages);
    let mut one = [ProcessInfo::default()];
    same("ps with room for one", sys::ps(&mut one).is_ok(), true)
}

fn meminfo_counts() -> Check {
    let before = sys::meminfo()?;
    ensure!(before.free_pages < before.total_pages, "all pages are free");
    ensure!(before.cpus >= 1, "no CPU");
    let grown = wild::Grown::by(100 * wild::PAGE)?;
    (0..100).for_each(|page| grown.put(page * wild::PAGE, 1));
    let _file = fs::File::open("/echo")?;
    let during = sys::meminfo()?;
    let taken = before.free_pages - during.free_pages.min(before.free_pages);
    ensure!(
        (100..200).contains(&taken),
        "100 touched pages took {taken}"
    );
    same("open files", during.open_files, before.open_files + 1)?;
    grown.shrink().map(drop).named("shrinking")
}

fn getconf_refuses_unknown_keys() -> Check {
    refused(
        "an unknown key",
        sys::getconf("no-such-key", &mut [0; 8]),
        &[Errno::ENOENT],
    )?;
    let long = "k".repeat(300);
    let wanted = [Errno::ENOENT, Errno::ENAMETOOLONG];
    refused("a long key", sys::getconf(&long, &mut [0; 8]), &wanted)
}

fn ttymode_wants_a_console() -> Check {
    let (reader, _writer) = io::pipe()?;
    let wanted = [Errno::EINVAL, Errno::ENODEV, Errno::EOPNOTSUPP];
    refused(
        "ttymode of a pipe",
        sys::ttymode(reader.fd(), TTY_RAW),
        &wanted,
    )?;
    let console = fs::File::with_flags("/console", OpenFlags::RDWR)?;
    refused("mode 9", sys::ttymode(console.fd(), 9), &[Errno::EINVAL])?;
    sys::ttymode(console.fd(), TTY_RAW)?;
    sys::ttymode(console.fd(), TTY_LINE).named("back to lines")
}

fn klog_reads_on() -> Check {
    let mut buffer = [0; 64];
    let first = sys::klog(&mut buffer, 0)?;
    ensure!(first > 0, "the kernel's log is empty");
    let mut offset = 0;
    while let count @ 1.. = sys::klog(&mut buffer, offset)? {
        offset += count as u64;
        ensure!(offset < 100_000_000, "the kernel's log has no end");
    }
    same(
        "behind the end",
        sys::klog(&mut buffer, u64::MAX / 2),
        Ok(0),
    )
}

fn yield_lets_others_run() -> Check {
    (0..1000).for_each(|_| sys::yield_now());
    child_succeeds("a child that yields", || {
        (0..1000).for_each(|_| sys::yield_now());
        Ok(())
    })
}

fn probe_is_for_a_few_programs() -> Check {
    for operation in [0, 1, 7, 10, 11, 99, -1] {
        let result = sys::probe(operation, &[0; 16], &mut [0; 16]);
        refused(&format!("probe({operation})"), result, &[Errno::EPERM])?;
    }
    Ok(())
}

fn trace_classes_and_counters() -> Check {
    let old = sys::trace_classes()?;
    same("old mask", sys::set_trace_classes(old)?, old)?;
    same("mask", sys::trace_classes()?, old)?;
    let before = sys::trace_stats()?;
    sys::trace_event(b"usertests")?;
    let after = sys::trace_stats()?;
    let counted = after.recorded + after.dropped >= before.recorded + before.dropped;
    ensure!(counted, "the trace's counters went back");
    refused("tracectl 99", wild::call(71, &[99, 0, 0]), &[Errno::EINVAL])?;
    let too_long = vec![0; 100_000];
    let wanted = [Errno::EMSGSIZE, Errno::EINVAL];
    refused("an event of 100 KB", sys::trace_event(&too_long), &wanted)
}

fn every_program_has_help() -> Check {
    for entry in fs::read_dir("/")?
        .iter()
        .filter(|entry| entry.kind == T_FILE)
    {
        let path = format!("/{}", entry.name);
        let mut magic = [0; 4];
        let is_program = fs::File::open(&path)?.read(&mut magic)? == 4 && magic == *b"\x7fELF";
        // C programs of xv6 know no options.
        if !is_program || entry.name.starts_with("c_") {
            continue;
        }
        let (output, status) = process::Command::new(&path).arg("-h").output()?;
        ensure!(status == 0, "{path} -h: status {status}");
        ensure!(output.starts_with(b"usage: "), "{path} -h prints no usage");
    }
    Ok(())
}
