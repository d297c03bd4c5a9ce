//! The heap, the stack, and memory that is not a program's own.

use crate::check::{
    Check, KILLED, Named, Test, child, child_is_killed, child_succeeds, quick, same, slow,
};
use crate::ensure;
use core::sync::atomic::{AtomicU8, Ordering};
use ulib::prelude::*;
use ulib::sys::wild::{self, FOREIGN, Grown, PAGE};

pub const TESTS: &[Test] = &[
    quick("mem", all_memory_twice),
    quick("sbrkbasic", byte_by_byte),
    quick("sbrkmuch", much_memory),
    quick("kernmem", kernel_memory_cannot_be_read),
    quick("MAXVAplus", addresses_beyond_the_lower_half),
    quick("sbrkfail", failed_growth_leaks_nothing),
    quick("bsstest", uninitialised_data_is_zero),
    quick("stacktest", guard_page_below_the_stack),
    quick("textwrite", text_cannot_be_written),
    quick("sbrkbugs", shrinking_below_everything),
    quick("sbrklast", last_page_after_shrinking),
    quick("sbrk8000", wrapping_growth),
    quick("noexec", data_cannot_be_executed),
    quick("forkcow", a_child_has_memory_of_its_own),
    quick("sbrklazy", memory_is_zero_when_first_touched),
    slow("execout", exec_without_memory),
];

fn total_bytes() -> Result<usize> {
    Ok(sys::meminfo()?.total_pages as usize * PAGE)
}

/// Grows and touches until there is nothing left; the pages it got. A lazy kernel may kill instead.
fn take_all_memory() -> usize {
    let mut pages = 0;
    while let Ok(grown) = Grown::by(PAGE) {
        grown.put(PAGE - 1, 1);
        pages += 1;
    }
    pages
}

fn all_memory_twice() -> Check {
    for round in 0..2 {
        let status = child(|| {
            ensure!(take_all_memory() > 0, "no memory at all");
            Ok(())
        })?
        .wait()?;
        ensure!(
            status == 0 || status == KILLED,
            "round {round}: status {status}"
        );
    }
    child_succeeds("memory is there again", || {
        let grown = Grown::by(20 * PAGE).named("sbrk")?;
        (0..20).for_each(|page| grown.put(page * PAGE, 1));
        Ok(())
    })
}

/// Either the call refuses or a touch kills; getting all of it is the failure.
fn nobody_gets_twice_the_memory() -> Check {
    const REFUSED: i32 = 7;
    let too_much = total_bytes()? * 2;
    let status = child(|| {
        let Ok(grown) = Grown::by(too_much) else {
            process::exit(REFUSED);
        };
        (0..too_much)
            .step_by(PAGE)
            .for_each(|offset| grown.put(offset, 99));
        Ok(())
    })?
    .wait()?;
    ensure!(
        status == REFUSED || status == KILLED,
        "twice the memory was given, status {status}"
    );
    Ok(())
}

fn byte_by_byte() -> Check {
    nobody_gets_twice_the_memory()?;
    let mut end = wild::sbrk(0)?;
    for step in 0..5000 {
        let grown = Grown::by(1).named("sbrk(1)")?;
        same(&format!("step {step}"), grown.start(), end)?;
        grown.put(0, 1);
        end += 1;
    }
    child_succeeds("sbrk after fork", || {
        wild::sbrk(1)?;
        same("second byte after fork", wild::sbrk(1)?, end + 1)
    })
}

fn much_memory() -> Check {
    let big = (total_bytes()? / 4).min(100 * 1024 * 1024) & !(PAGE - 1);
    let before = wild::sbrk(0)?;
    let grown = Grown::by(big).named("growing by a quarter of the memory")?;
    same("old end", grown.start(), before)?;
    (0..big)
        .step_by(PAGE)
        .for_each(|offset| grown.put(offset, 1));
    grown.put(big - 1, 99);
    let end = wild::sbrk(-(PAGE as isize)).named("giving a page back")?;
    same("end before", end, before + big)?;
    same("end after", wild::sbrk(0)?, before + big - PAGE)?;
    same(
        "growing again",
        wild::sbrk(PAGE as isize)?,
        before + big - PAGE,
    )?;
    let on_a_border = (before + big).is_multiple_of(PAGE);
    ensure!(
        !on_a_border || grown.get(big - 1) == 0,
        "a returned page kept its content"
    );
    grown.shrink().named("giving all back")?;
    same("end at last", wild::sbrk(0)?, before)
}

fn kernel_memory_cannot_be_read() -> Check {
    for base in [0xffff_ffff_8010_0000usize, 0xffff_8000_0000_0000] {
        for offset in (0..2_000_000).step_by(50_000) {
            let address = base + offset;
            child_is_killed(&format!("reading {address:#x}"), || {
                wild::read(address);
            })?;
        }
    }
    Ok(())
}

fn addresses_beyond_the_lower_half() -> Check {
    let top_of_lower_half = 1usize << 47;
    let mut address = top_of_lower_half;
    while address != 0 {
        child_is_killed(&format!("writing {address:#x}"), || wild::write(address))?;
        child_is_killed(&format!("executing {address:#x}"), || {
            wild::execute(address)
        })?;
        address <<= 1;
    }
    for address in FOREIGN {
        child_is_killed(&format!("writing {address:#x}"), || wild::write(address))?;
    }
    Ok(())
}

fn failed_growth_leaks_nothing() -> Check {
    let big = total_bytes()? / 5;
    let (mut reader, mut writer) = io::pipe()?;
    let mut children = Vec::new();
    for _ in 0..10 {
        children.push(process::fork(|| {
            if let Ok(grown) = Grown::by(big) {
                // Touching all of it would kill lazily grown processes, which then report nothing.
                (0..big / 4)
                    .step_by(PAGE)
                    .for_each(|offset| grown.put(offset, 1));
            }
            let _ = writer.write_all(b"x");
            loop {
                let _ = sys::sleep(1000);
            }
        })?);
        reader.read_exact(&mut [0])?;
    }
    let page = Grown::by(PAGE).named("a page beside ten big processes");
    for child in children {
        child.kill()?;
        same("a killed child", child.wait()?, KILLED)?;
    }
    page?.shrink()?;
    nobody_gets_twice_the_memory()
}

static UNINITIALISED: [AtomicU8; 10_000] = [const { AtomicU8::new(0) }; 10_000];

fn uninitialised_data_is_zero() -> Check {
    let set = core::hint::black_box(&UNINITIALISED)
        .iter()
        .filter(|byte| byte.load(Ordering::Relaxed) != 0)
        .count();
    same("bytes that are not zero", set, 0)
}

fn guard_page_below_the_stack() -> Check {
    // This program's stack is 64 KiB and one page below it is nobody's.
    const STACK: usize = 64 * 1024;
    child_is_killed("reading far below the stack", || {
        wild::use_stack(STACK + PAGE)
    })?;
    child_is_killed("endless recursion", || {
        core::hint::black_box(recurse(core::hint::black_box(u64::MAX)));
    })
}

fn recurse(depth: u64) -> u64 {
    let local = core::hint::black_box([depth; 16]);
    if depth == 0 {
        return 0;
    }
    recurse(depth - 1) + local[(depth % 16) as usize]
}

fn text_cannot_be_written() -> Check {
    child_is_killed("writing address 0", || wild::write(0))?;
    let address = wild::text_address();
    child_is_killed("writing code", || wild::write(address))?;
    let address = "a constant".as_ptr() as usize;
    child_is_killed("writing a constant", || wild::write(address))
}

fn shrinking_below_everything() -> Check {
    for bytes in [0, 3500, 4096, 10 * 4096 + 2048] {
        // Whatever becomes of the child: the kernel goes on.
        process::fork(|| wild::shrink_to(bytes))?.wait()?;
    }
    child_succeeds("shrinking within a page", || {
        wild::sbrk(PAGE as isize + 2048)?;
        wild::sbrk(-10)?;
        Ok(())
    })?;
    let end = wild::sbrk(0)?;
    child_succeeds("shrinking by more than there is", || {
        let result = wild::sbrk(-(end as isize) - 1);
        crate::check::refused("sbrk", result, &[Errno::EINVAL, Errno::ENOMEM])
    })
}

fn last_page_after_shrinking() -> Check {
    let end = wild::sbrk(0)?;
    wild::sbrk((end.next_multiple_of(PAGE) - end) as isize)?;
    let grown = Grown::by(PAGE + 10).named("sbrk")?;
    wild::sbrk(-20)?;
    let name_at = PAGE + 10 - 20 - 64;
    grown.put(name_at, b'x');
    grown.put(name_at + 1, 0);
    let flags = ulib::abi::OpenFlags::RDWR | ulib::abi::OpenFlags::CREATE;
    let address = grown.start() + name_at;
    use ulib::abi::syscall::number as nr;
    let fd = wild::call(nr::open, &[address, flags.0 as usize]).named("open")?;
    same("write", wild::call(nr::write, &[fd, address, 1]), Ok(1))?;
    sys::close(fd as i32)?;
    let fd = wild::call(nr::open, &[address, 0]).named("open again")?;
    grown.put(name_at, 0);
    same("read", wild::call(nr::read, &[fd, address, 1]), Ok(1))?;
    sys::close(fd as i32)?;
    same("what was read", grown.get(name_at), b'x')?;
    fs::remove_file("x")
}

fn wrapping_growth() -> Check {
    let before = wild::sbrk(0)?;
    // The kernel takes an int: the lower 32 bits count.
    for delta in [0x8000_0004u32 as i32 as isize, i32::MIN as isize] {
        let result = wild::sbrk(delta);
        ensure!(result.is_err(), "sbrk({delta:#x}) succeeded");
        same("end after a refused sbrk", wild::sbrk(0)?, before)?;
    }
    let grown = Grown::by(1)?;
    grown.put(0, 1);
    Ok(())
}

fn data_cannot_be_executed() -> Check {
    let grown = Grown::by(PAGE)?;
    grown.put(0, wild::RET);
    child_is_killed("executing the heap", || wild::execute(grown.start()))?;
    let on_the_stack = core::hint::black_box([wild::RET; 16]);
    let address = on_the_stack.as_ptr() as usize;
    child_is_killed("executing the stack", || wild::execute(address))?;
    static CONSTANT: [u8; 16] = [wild::RET; 16];
    let address = core::hint::black_box(&CONSTANT).as_ptr() as usize;
    child_is_killed("executing a constant", || wild::execute(address))
}

fn a_child_has_memory_of_its_own() -> Check {
    let pages = 64;
    let grown = Grown::by(pages * PAGE)?;
    (0..pages).for_each(|page| grown.put(page * PAGE, 1));
    let free_before = sys::meminfo()?.free_pages;
    let (mut ready, mut tell_ready) = io::pipe()?;
    let (mut go, mut tell_go) = io::pipe()?;
    let child = child(|| {
        (0..pages / 2).for_each(|page| grown.put(page * PAGE, 2));
        tell_ready.write_all(b"x")?;
        go.read_exact(&mut [0])?;
        let seen: Vec<u8> = (0..pages).map(|page| grown.get(page * PAGE)).collect();
        ensure!(
            seen[..pages / 2].iter().all(|&value| value == 2),
            "own writes were lost"
        );
        ensure!(
            seen[pages / 2..].iter().all(|&value| value == 1),
            "the parent's writes arrived"
        );
        Ok(())
    })?;
    ready.read_exact(&mut [0])?;
    let used = free_before.saturating_sub(sys::meminfo()?.free_pages);
    ensure!(
        (0..pages).all(|page| grown.get(page * PAGE) == 1),
        "the child's writes arrived"
    );
    (0..pages).for_each(|page| grown.put(page * PAGE, 3));
    tell_go.write_all(b"x")?;
    same("the child", child.wait()?, 0)?;
    // Half of the pages were written to, and a process needs some tables: all 64 would be a copy.
    ensure!(
        used < pages as u64 * 3 / 4 + 24,
        "fork of {pages} pages took {used}: no copy on write"
    );
    Ok(())
}

fn memory_is_zero_when_first_touched() -> Check {
    let pages = 256;
    let before = sys::meminfo()?.free_pages;
    let grown = Grown::by(pages * PAGE)?;
    let after = sys::meminfo()?.free_pages;
    ensure!(
        before - after.min(before) < pages as u64 / 2,
        "sbrk took {} pages at once",
        before - after
    );
    let touched = (0..pages).step_by(7);
    for page in touched.clone() {
        same("a new page", grown.get(page * PAGE), 0)?;
        grown.put(page * PAGE, 0xaa);
    }
    let start = grown.start();
    grown.shrink()?;
    let again = Grown::by(pages * PAGE)?;
    same("start", again.start(), start)?;
    for page in touched {
        same("a page that came back", again.get(page * PAGE), 0)?;
    }
    again.shrink().map(drop).named("shrinking")
}

fn exec_without_memory() -> Check {
    for pages_left in 0..15 {
        process::fork(|| {
            take_memory_until(pages_left);
            let _ = sys::close(io::STDOUT);
            exec_echo();
            0
        })?
        .wait()?;
    }
    Ok(())
}

/// Grows and touches until only so many pages are free, or none can be had.
fn take_memory_until(pages_left: u64) {
    while let Ok(info) = sys::meminfo() {
        let pages = info.free_pages.saturating_sub(pages_left).div_ceil(2) as usize;
        if pages == 0 {
            return;
        }
        let Ok(grown) = Grown::by(pages * PAGE) else {
            return;
        };
        (0..pages).for_each(|page| grown.put(page * PAGE, 1));
    }
}

/// Executes echo without using the heap, of which there is none.
fn exec_echo() {
    use ulib::abi::syscall::number as nr;
    static PATH: [u8; 6] = *b"/echo\0";
    let path = PATH.as_ptr() as usize;
    let vector = [path, path, 0];
    let _ = wild::call(nr::exec, &[path, vector.as_ptr() as usize]);
}
