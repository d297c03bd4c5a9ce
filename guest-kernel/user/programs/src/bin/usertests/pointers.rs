//! Bad pointers to every call that takes one.

use crate::check::{Check, Named, Test, child, fails, quick, refused, same, slow};
use crate::ensure;
use ulib::abi::OpenFlags;
use ulib::abi::info::TRACE_STATS;
use ulib::abi::syscall::number as nr;
use ulib::io::AsFd;
use ulib::prelude::*;
use ulib::sys::wild::{self, FOREIGN, Grown, PAGE};

pub const TESTS: &[Test] = &[
    quick("copyin", copy_in),
    quick("copyout", copy_out),
    quick("copyinstr1", foreign_strings),
    quick("copyinstr2", long_strings),
    quick("copyinstr3", string_at_the_end),
    quick("rwsbrk", returned_memory),
    quick("sbrkarg", new_memory_as_argument),
    quick("validatetest", string_in_every_page),
    quick("argptest", length_minus_one),
    quick("pgbug", wild_exec_and_pipe),
    quick("badarg", bad_argument_vector),
    quick("badpointers", bad_pointers_to_all_calls),
    slow("badwrite", bad_write_loses_no_block),
];

/// All addresses that must not work, beside [`FOREIGN`] the first byte behind the heap.
pub fn bad_addresses() -> Vec<usize> {
    let end = wild::sbrk(0).unwrap_or(0).next_multiple_of(PAGE);
    FOREIGN.iter().copied().chain([end]).collect()
}

fn copy_in() -> Check {
    for address in bad_addresses() {
        let file = fs::File::create("in")?;
        let (_reader, writer) = io::pipe()?;
        for fd in [file.fd(), io::STDOUT, writer.fd()] {
            let result = wild::call(nr::write, &[fd as usize, address, 8192]);
            refused(
                &format!("write from {address:#x}"),
                result,
                &[Errno::EFAULT],
            )?;
        }
        same("file after refused writes", fs::metadata("in")?.size(), 0)?;
        fs::remove_file("in")?;
    }
    Ok(())
}

fn copy_out() -> Check {
    for address in bad_addresses() {
        let file = fs::File::open("/echo")?;
        let result = wild::call(nr::read, &[file.fd() as usize, address, 8192]);
        refused(&format!("read to {address:#x}"), result, &[Errno::EFAULT])?;
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(b"x")?;
        let result = wild::call(nr::read, &[reader.fd() as usize, address, 8192]);
        refused(
            &format!("read of a pipe to {address:#x}"),
            result,
            &[Errno::EFAULT],
        )?;
    }
    Ok(())
}

fn foreign_strings() -> Check {
    let create = (OpenFlags::CREATE | OpenFlags::WRONLY).0 as usize;
    for address in bad_addresses() {
        let result = wild::call(nr::open, &[address, create]);
        refused(&format!("open({address:#x})"), result, &[Errno::EFAULT])?;
    }
    Ok(())
}

fn long_strings() -> Check {
    let too_long = [Errno::ENAMETOOLONG, Errno::ENOENT];
    for len in [128, 1023, 1024, 1025, 5000] {
        let path = "x".repeat(len);
        let create = OpenFlags::CREATE | OpenFlags::WRONLY;
        refused(
            &format!("unlink of {len} bytes"),
            sys::unlink(&path),
            &too_long,
        )?;
        refused(
            &format!("open of {len} bytes"),
            sys::open(&path, create),
            &too_long[..1],
        )?;
        refused(
            &format!("link of {len} bytes"),
            sys::link(&path, &path),
            &too_long,
        )?;
        let errno = sys::exec(&path, &["x"]);
        ensure!(
            too_long.contains(&errno),
            "exec of {len} bytes gave {errno}"
        );
    }
    let page = "y".repeat(PAGE);
    same(
        "exec with three pages of arguments",
        sys::exec("/echo", &[page.as_str(); 3]),
        Errno::E2BIG,
    )
}

fn string_at_the_end() -> Check {
    let grown = grow_to_a_page_border()?;
    let last = grown.end() - 1;
    grown.put(last - grown.start(), b'x');
    let create = (OpenFlags::CREATE | OpenFlags::WRONLY).0 as usize;
    let calls: [(&str, usize, &[usize]); 4] = [
        ("unlink", nr::unlink, &[last]),
        ("open", nr::open, &[last, create]),
        ("link", nr::link, &[last, last]),
        ("exec", nr::exec, &[last, 0]),
    ];
    for (what, number, arguments) in calls {
        let what = format!("{what} of a string without end");
        refused(&what, wild::call(number, arguments), &[Errno::EFAULT])?;
    }
    Ok(())
}

/// Two pages or a little more, so that the process ends at a page border.
fn grow_to_a_page_border() -> Result<Grown> {
    let end = wild::sbrk(0)?;
    let len = 2 * PAGE + end.next_multiple_of(PAGE) - end;
    Grown::by(len).named("sbrk")
}

fn returned_memory() -> Check {
    let grown = grow_to_a_page_border()?;
    let gone = grown.end() - PAGE;
    grown.shrink().named("shrinking")?;
    let file = fs::File::create("rw")?;
    let result = wild::call(nr::write, &[file.fd() as usize, gone, 1024]);
    refused("write from returned memory", result, &[Errno::EFAULT])?;
    let echo = fs::File::open("/echo")?;
    let result = wild::call(nr::read, &[echo.fd() as usize, gone, 10]);
    refused("read to returned memory", result, &[Errno::EFAULT])?;
    fs::remove_file("rw")
}

fn new_memory_as_argument() -> Check {
    let grown = Grown::by(2 * PAGE).named("sbrk")?;
    let file = fs::File::create("new")?;
    fs::remove_file("new")?;
    let written = wild::call(nr::write, &[file.fd() as usize, grown.start(), PAGE]);
    same("write from memory never touched", written, Ok(PAGE))?;
    wild::call(nr::pipe, &[grown.start() + PAGE]).named("pipe into memory never touched")?;
    ensure!(grown.get(PAGE) > 2, "pipe wrote no descriptor");
    grown.shrink().map(drop).named("shrinking")
}

fn string_in_every_page() -> Check {
    let missing = b"no such file\0";
    let holder = Grown::by(missing.len()).named("sbrk")?;
    for (offset, byte) in missing.iter().enumerate() {
        holder.put(offset, *byte);
    }
    for address in (0..1100 * 1024).step_by(PAGE) {
        let result = wild::call(nr::link, &[holder.start(), address]);
        fails(&format!("link(missing file, {address:#x})"), result)?;
    }
    Ok(())
}

fn length_minus_one() -> Check {
    let grown = Grown::by(PAGE).named("sbrk")?;
    let file = fs::File::open("/echo")?;
    for len in [usize::MAX, 0xffff_ffff, 0x7fff_ffff] {
        // Reading what fits, or refusing, are both fine; the kernel survives.
        let _ = wild::call(nr::read, &[file.fd() as usize, grown.end() - 1, len]);
        let _ = wild::call(nr::write, &[file.fd() as usize, grown.end() - 1, len]);
    }
    Ok(())
}

fn wild_exec_and_pipe() -> Check {
    let wild_address = 0xeaeb_0b5b_0000_2f5e;
    refused(
        "exec",
        wild::call(nr::exec, &[wild_address, 0]),
        &[Errno::EFAULT],
    )?;
    refused(
        "pipe",
        wild::call(nr::pipe, &[wild_address]),
        &[Errno::EFAULT],
    )
}

fn bad_argument_vector() -> Check {
    let path = b"/echo\0";
    let holder = Grown::by(PAGE).named("sbrk")?;
    for (offset, byte) in path.iter().enumerate() {
        holder.put(offset, *byte);
    }
    let vector = 64;
    for address in bad_addresses().into_iter().chain([0xffff_ffff]) {
        for (offset, byte) in address.to_le_bytes().into_iter().enumerate() {
            holder.put(vector + offset, byte);
        }
        for _ in 0..200 {
            let result = wild::call(nr::exec, &[holder.start(), holder.start() + vector]);
            refused("exec with a bad argument", result, &[Errno::EFAULT])?;
            let result = wild::call(nr::exec, &[holder.start(), address]);
            refused("exec with a bad vector", result, &[Errno::EFAULT])?;
        }
    }
    Ok(())
}

fn bad_pointers_to_all_calls() -> Check {
    let file = fs::File::open(".")?;
    let fd = file.fd() as usize;
    let one = 1;
    type Arguments = fn(bad: usize, fd: usize) -> [usize; 6];
    let calls: &[(&str, usize, Arguments)] = &[
        ("wait", nr::wait, |bad, _| [bad, 0, 0, 0, 0, 0]),
        ("fstat", nr::fstat, |bad, fd| [fd, bad, 0, 0, 0, 0]),
        ("chdir", nr::chdir, |bad, _| [bad, 0, 0, 0, 0, 0]),
        ("mknod", nr::mknod, |bad, _| [bad, 1, 0, 0, 0, 0]),
        ("unlink", nr::unlink, |bad, _| [bad, 0, 0, 0, 0, 0]),
        ("link", nr::link, |bad, _| [bad, bad, 0, 0, 0, 0]),
        ("mkdir", nr::mkdir, |bad, _| [bad, 0, 0, 0, 0, 0]),
        ("pipe", nr::pipe, |bad, _| [bad, 0, 0, 0, 0, 0]),
        ("exec", nr::exec, |bad, _| [bad, bad, 0, 0, 0, 0]),
        ("select", nr::select, |bad, _| [1, bad, 0, 0, 0, 0]),
        ("select to write", nr::select, |bad, _| [1, 0, bad, 0, 0, 0]),
        ("select for a time", nr::select, |bad, _| {
            [0, 0, 0, 0, bad, 0]
        }),
        ("traceevent", nr::traceevent, |bad, _| [bad, 8, 0, 0, 0, 0]),
        ("tracectl", nr::tracectl, |bad, _| {
            [TRACE_STATS as usize, 0, bad, 0, 0, 0]
        }),
        ("rename", nr::rename, |bad, _| [bad, bad, 0, 0, 0, 0]),
        ("readdir", nr::readdir, |bad, fd| [fd, bad, 4, 0, 0, 0]),
        ("gettime", nr::gettime, |bad, _| [0, bad, 0, 0, 0, 0]),
        ("ps", nr::ps, |bad, _| [bad, 4, 0, 0, 0, 0]),
        ("meminfo", nr::meminfo, |bad, _| [bad, 0, 0, 0, 0, 0]),
        ("getconf", nr::getconf, |bad, _| [bad, bad, 8, 0, 0, 0]),
        ("klog", nr::klog, |bad, _| [bad, 8, 0, 0, 0, 0]),
    ];
    for (what, number, arguments) in calls {
        for address in bad_addresses() {
            let waited_for = child(|| Ok(()))?;
            let result = wild::call(*number, &arguments(address, fd));
            let _ = waited_for.wait();
            let what = format!("{what} with {address:#x}");
            refused(&what, result, &[Errno::EFAULT])?;
        }
    }
    same(
        "the directory is still open",
        sys::fstat(fd as i32).map(|stat| stat.kind),
        Ok(one),
    )
}

fn bad_write_loses_no_block() -> Check {
    let free_blocks_at_most = 4000;
    for round in 0..free_blocks_at_most {
        let file = fs::File::create("junk").named("creating junk")?;
        let address = [0xff_ffff_ffff, 0x8000_0000_0000][round % 2];
        let _ = wild::call(nr::write, &[file.fd() as usize, address, 1]);
        drop(file);
        fs::remove_file("junk")?;
    }
    file_can_be_written()
}

fn file_can_be_written() -> Check {
    fs::write("junk", b"x").named("a write after all the bad ones")?;
    fs::remove_file("junk")
}
