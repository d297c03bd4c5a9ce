//! Crafted pages, reading and writing memory.

use super::{Answer, Api, error};
use crate::{
    asm,
    session::{Failure, PAGE, PAGE_NORMAL, Pages, Reply, Session},
};
use abi::probe::{
    self, PTE_ACCESSED, PTE_DIRTY, PTE_NO_EXECUTE, PTE_PRESENT, PTE_RESERVED, PTE_UNCACHED,
    PTE_USER, PTE_WRITE, Registers, SPACE_LINEAR, SPACE_PHYSICAL, WINDOW_BASE, WINDOW_PAGES,
};
use alloc::{format, vec, vec::Vec};
use rhai::{Blob, ImmutableString};

pub(super) fn register(api: &mut Api) {
    pages(api);
    access(api);
    physical(api);
}

fn page_flags(flags: i64) -> u64 {
    flags as u64
}

fn number(name: &str, value: i64) -> Result<u64, Failure> {
    u64::try_from(value).map_err(|_| format!("{name} is {value}"))
}

fn pages(api: &mut Api) {
    api.section("Pages");
    api.engine.register_type_with_name::<Pages>("Pages");
    function!(
        api,
        "pages",
        "pages(count [, kind]) -> Pages",
        "Allocates pages, zeroed and contiguous, and maps them into the probe window. The page behind the last one is always absent. They are given back at the script's end.",
        r#"let p = pages(2); poke64(p.address, 1);"#,
        |session, count: i64| -> Pages { session.pages(number("count", count)?, PAGE_NORMAL) }
    );
    function!(api, overload "pages", |session, count: i64, kind: i64| -> Pages {
        session.pages(number("count", count)?, page_flags(kind))
    });
    api.entry("pages.address, pages.physical, pages.count, pages.end",
        "The first linear and physical address, the number of pages, and the linear address behind the last.",
        r#"let p = pages(1); expect_eq("size", 4096, p.end - p.address);"#);
    api.engine
        .register_get("address", |pages: &mut Pages| pages.address() as i64);
    api.engine
        .register_get("physical", |pages: &mut Pages| pages.physical as i64);
    api.engine
        .register_get("count", |pages: &mut Pages| pages.count as i64);
    api.engine.register_get("end", |pages: &mut Pages| {
        (pages.address() + pages.count * PAGE) as i64
    });
    function!(
        api,
        "map_physical",
        "map_physical(physical, count, kind) -> Pages",
        "Maps physical memory of any kind: RAM, MMIO, memory that the map does not show.",
        r#"let rom = map_physical(0xf0000, 1, READ_ONLY);"#,
        |session, physical: i64, count: i64, kind: i64| -> Pages {
            session.map_physical(physical as u64, number("count", count)?, page_flags(kind))
        }
    );
    function!(
        api,
        "protect",
        "protect(pages, index, kind)",
        "Changes the page-table entry of one of the pages; kind ABSENT unmaps it.",
        r##"let p = pages(2); protect(p, 1, ABSENT); expect_fault("absent", "#PF", read_at(p.address + 4096, 1));"##,
        |session, pages: Pages, index: i64, kind: i64| -> () {
            let index = number("index", index)?;
            session.protect(
                &pages,
                index,
                pages.physical + index * PAGE,
                page_flags(kind),
            )
        }
    );
    function!(
        api,
        "remap",
        "remap(pages, index, physical, kind)",
        "Points the entry of one of the pages at other physical memory.",
        r#"let p = pages(2); remap(p, 0, p.physical + 4096, NORMAL);"#,
        |session, pages: Pages, index: i64, physical: i64, kind: i64| -> () {
            session.protect(
                &pages,
                number("index", index)?,
                physical as u64,
                page_flags(kind),
            )
        }
    );
    function!(
        api,
        "page_entry",
        "page_entry(pages, index) -> int",
        "The raw page-table entry, to see the bits that the CPU or the hypervisor set.",
        r#"let p = pages(1); expect("present", bit(page_entry(p, 0), 0));"#,
        |session, pages: Pages, index: i64| -> i64 {
            session
                .page_entry(&pages, number("index", index)?)
                .map(|entry| entry as i64)
        }
    );
    function!(
        api,
        "release",
        "release(pages)",
        "Gives pages back before the script's end, for use in loops.",
        r#"for round in 0..3 { let p = pages(4); release(p); }"#,
        |session, pages: Pages| -> () { session.release(&pages) }
    );
    for (name, bits, text, example) in [
        (
            "NORMAL",
            PAGE_NORMAL,
            "Kind: readable and writable from both rings.",
            r#"let p = pages(1, NORMAL); expect_no_fault("ring 3 writes", write_at(p.address, 1, 5, RING3));"#,
        ),
        (
            "READ_ONLY",
            PTE_PRESENT | PTE_USER | PTE_NO_EXECUTE,
            "Kind: readable from both rings.",
            r##"let p = pages(1, READ_ONLY); expect_no_fault("read", read_at(p.address, 1, RING3)); expect_fault("write", "#PF(0x3)", write_at(p.address, 1, 0));"##,
        ),
        (
            "SUPERVISOR",
            PTE_PRESENT | PTE_WRITE | PTE_NO_EXECUTE,
            "Kind: readable and writable from ring 0 only.",
            r##"let p = pages(1, SUPERVISOR); expect_fault("read from ring 3", "#PF(0x5)", read_at(p.address, 1, RING3));"##,
        ),
        (
            "SUPERVISOR_READ_ONLY",
            PTE_PRESENT | PTE_NO_EXECUTE,
            "Kind: readable from ring 0 only.",
            r##"let p = pages(1, SUPERVISOR_READ_ONLY); expect_no_fault("read", read_at(p.address, 1)); expect_fault("write", "#PF(0x3)", write_at(p.address, 1, 0));"##,
        ),
        (
            "EXECUTABLE",
            PTE_PRESENT | PTE_USER,
            "Kind: readable and executable.",
            r#"let p = pages(1); poke(p.address, asm("ret")); protect(p, 0, EXECUTABLE);"#,
        ),
        (
            "MMIO",
            PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_NO_EXECUTE | PTE_UNCACHED,
            "Kind: as NORMAL, uncached.",
            r#"let rom = map_physical(0xf0000, 1, MMIO); let first = peek32(rom.address);"#,
        ),
        (
            "RESERVED_BIT",
            PAGE_NORMAL | PTE_RESERVED,
            "Kind: as NORMAL, with reserved bit 51 set; any access faults.",
            r##"let p = pages(1, RESERVED_BIT); expect_fault("read", "#PF(0x9)", read_at(p.address, 1));"##,
        ),
        (
            "ABSENT",
            0,
            "Kind: not present.",
            r##"let p = pages(2); protect(p, 0, ABSENT); expect_fault("gone", "#PF(0)", read_at(p.address, 1));"##,
        ),
        (
            "ACCESSED",
            PTE_ACCESSED,
            "Bit of an entry: the CPU has used it.",
            r#"let p = pages(1); read_at(p.address, 1); expect_ne("accessed", 0, page_entry(p, 0) & ACCESSED);"#,
        ),
        (
            "DIRTY",
            PTE_DIRTY,
            "Bit of an entry: the CPU has written through it.",
            r#"let p = pages(1); write_at(p.address, 1, 1); expect_ne("dirty", 0, page_entry(p, 0) & DIRTY);"#,
        ),
    ] {
        api.constant(name, bits as i64, text, example);
    }
}

fn access(api: &mut Api) {
    api.section("Memory");
    for (peek, poke, width) in [
        ("peek8", "poke8", 1u32),
        ("peek16", "poke16", 2),
        ("peek32", "poke32", 4),
        ("peek64", "poke64", 8),
    ] {
        function!(api, overload peek, |session, address: i64| -> i64 {
            number_at(session, address as u64, SPACE_LINEAR, width)
        });
        function!(api, overload poke, |session, address: i64, value: i64| -> () {
            session.poke_in(address as u64, &value.to_le_bytes()[..width as usize], SPACE_LINEAR, width)
        });
    }
    api.entry("peek8(address) ... peek64(address) -> int",
        "Reads 1, 2, 4 or 8 bytes with one access and supervisor rights. A fault is an error; `read_at` makes it a reply.",
        r#"let p = pages(1); expect_eq("zeroed", 0, peek64(p.address));"#);
    api.entry("poke8(address, value) ... poke64(address, value)", "Writes with one access.",
        r#"let p = pages(1); poke16(p.address, 0x1234); expect_eq("low byte", 0x34, peek8(p.address));"#);
    function!(
        api,
        "peek",
        "peek(address, len) -> blob",
        "Reads bytes.",
        r#"let p = pages(1); expect_eq("len", 16, peek(p.address, 16).len);"#,
        |session, address: i64, len: i64| -> Blob {
            session.peek(address as u64, number("len", len)?, SPACE_LINEAR, 0)
        }
    );
    function!(
        api,
        "poke",
        "poke(address, blob or string)",
        "Writes bytes; a string is written without a NUL.",
        r#"let p = pages(1); poke(p.address, "dbgsh");"#,
        |session, address: i64, bytes: Blob| -> () { session.poke(address as u64, &bytes) }
    );
    function!(api, overload "poke", |session, address: i64, text: ImmutableString| -> () {
        session.poke(address as u64, text.as_bytes())
    });
    function!(
        api,
        "poke_string",
        "poke_string(address, text)",
        "Writes text and a NUL.",
        r#"let p = pages(1); poke_string(p.address, "dbgsh");"#,
        |session, address: i64, text: ImmutableString| -> () {
            let mut bytes = text.as_bytes().to_vec();
            bytes.push(0);
            session.poke(address as u64, &bytes)
        }
    );
    function!(
        api,
        "fill",
        "fill(address, len, byte)",
        "Writes the same byte `len` times.",
        r#"let p = pages(1); fill(p.address, 4096, 0xee);"#,
        |session, address: i64, len: i64, byte: i64| -> () {
            let (mut at, mut left) = (address as u64, number("len", len)?);
            let chunk = vec![byte as u8; probe::MEMORY_MAX.min(left as usize)];
            while left > 0 {
                let now = left.min(chunk.len() as u64);
                session.poke(at, &chunk[..now as usize])?;
                at += now;
                left -= now;
            }
            Ok(())
        }
    );
    function!(
        api,
        "changed_bytes",
        "changed_bytes(address, len, byte) -> array",
        "Offsets, at most 64, where the memory differs from the byte that `fill` put there: the canary's answer.",
        r#"let p = pages(1); fill(p.address, 64, 0xee); poke8(p.address + 9, 1); expect_eq("canary", [9], changed_bytes(p.address, 64, 0xee));"#,
        |session, address: i64, len: i64, byte: i64| -> rhai::Array {
            let bytes = read_all(session, address as u64, number("len", len)?, SPACE_LINEAR)?;
            Ok(bytes
                .iter()
                .enumerate()
                .filter(|(_, seen)| **seen != byte as u8)
                .take(64)
                .map(|(offset, _)| (offset as i64).into())
                .collect())
        }
    );
    function!(
        api,
        "read_at",
        "read_at(address, width [, flags]) -> Reply",
        "Reads with a MOV of 1, 2, 4 or 8 bytes, so that a fault is a reply; the result is in `value`.",
        r##"expect_fault("far away", "#GP(0)", read_at(0x0100_0000_0000_0000, 8));"##,
        |session, address: i64, width: i64| -> Reply { read_at(session, address, width, 0) }
    );
    function!(api, overload "read_at", |session, address: i64, width: i64, flags: i64| -> Reply {
        read_at(session, address, width, super::execution::flags_of(flags)?)
    });
    function!(
        api,
        "write_at",
        "write_at(address, width, value [, flags]) -> Reply",
        "Writes with a MOV, so that a fault is a reply.",
        r##"let p = pages(1, READ_ONLY); expect_fault("read-only", "#PF(0x3)", write_at(p.address, 1, 0));"##,
        |session, address: i64, width: i64, value: i64| -> Reply {
            write_at(session, address, width, value, 0)
        }
    );
    function!(api, overload "write_at", |session, address: i64, width: i64, value: i64, flags: i64| -> Reply {
        write_at(session, address, width, value, super::execution::flags_of(flags)?)
    });
    api.entry(
        "invlpg(address) -> Reply",
        "Drops the translation of one page from the TLB.",
        r#"let p = pages(1); invlpg(p.address);"#,
    );
    function!(api, overload "invlpg", |session, address: i64| -> Reply {
        session.run(&[0x0f, 0x01, 0x3b], Registers { rbx: address as u64, ..Registers::default() }, 0)
    });
    api.constant(
        "WINDOW",
        WINDOW_BASE as i64,
        "First address of the probe window.",
        r#"expect("pages are in the window", !below(pages(1).address, WINDOW));"#,
    );
    api.constant(
        "WINDOW_END",
        (WINDOW_BASE + WINDOW_PAGES * PAGE) as i64,
        "First address behind the probe window.",
        r#"expect("pages are in the window", below(pages(1).address, WINDOW_END));"#,
    );
}

fn number_at(session: &mut Session, address: u64, space: u32, width: u32) -> Result<i64, Failure> {
    let bytes = session.peek(address, u64::from(width), space, width)?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte)) as i64)
}

fn read_all(session: &mut Session, address: u64, len: u64, space: u32) -> Result<Vec<u8>, Failure> {
    if len > 4 << 20 {
        return Err(format!("{len} bytes at once, allowed are 4 MiB"));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    while (bytes.len() as u64) < len {
        let now = (len - bytes.len() as u64).min(probe::MEMORY_MAX as u64);
        bytes.extend(session.peek(address + bytes.len() as u64, now, space, 0)?);
    }
    Ok(bytes)
}

fn register_of(width: i64) -> Result<&'static str, Failure> {
    Ok(match width {
        1 => "al",
        2 => "ax",
        4 => "eax",
        8 => "rax",
        _ => return Err(format!("width {width} is not 1, 2, 4 or 8")),
    })
}

fn read_at(session: &mut Session, address: i64, width: i64, flags: u32) -> Result<Reply, Failure> {
    let code = asm::assemble(&format!("mov {}, [rbx]", register_of(width)?))?;
    let mut reply = session.run(
        &code,
        Registers {
            rbx: address as u64,
            ..Registers::default()
        },
        flags,
    )?;
    reply.value = reply.response.registers.rax;
    Ok(reply)
}

fn write_at(
    session: &mut Session,
    address: i64,
    width: i64,
    value: i64,
    flags: u32,
) -> Result<Reply, Failure> {
    let code = asm::assemble(&format!("mov [rbx], {}", register_of(width)?))?;
    let registers = Registers {
        rbx: address as u64,
        rax: value as u64,
        ..Registers::default()
    };
    session.run(&code, registers, flags)
}

fn physical(api: &mut Api) {
    api.section("Physical memory and MMIO");
    function!(
        api,
        "physical_read",
        "physical_read(address, len) -> blob",
        "Reads physical memory.",
        r#"expect_eq("len", 16, physical_read(0xf0000, 16).len);"#,
        |session, address: i64, len: i64| -> Blob {
            read_all(session, address as u64, number("len", len)?, SPACE_PHYSICAL)
        }
    );
    function!(
        api,
        "physical_write",
        "physical_write(address, blob)",
        "Writes physical memory.",
        r#"let p = pages(1); physical_write(p.physical, blob(4, 7)); expect_eq("seen", 0x07070707, peek32(p.address));"#,
        |session, address: i64, bytes: Blob| -> () {
            session.poke_in(address as u64, &bytes, SPACE_PHYSICAL, 0)
        }
    );
    function!(
        api,
        "mmio_read",
        "mmio_read(address, width) -> int",
        "Reads a device register at a physical address with one access of 1, 2, 4 or 8 bytes.",
        r#"let p = pages(1); expect_eq("ram", 0, mmio_read(p.physical, 4));"#,
        |session, address: i64, width: i64| -> i64 {
            register_of(width)?;
            number_at(session, address as u64, SPACE_PHYSICAL, width as u32)
        }
    );
    function!(
        api,
        "mmio_write",
        "mmio_write(address, width, value)",
        "Writes a device register at a physical address with one access.",
        r#"let p = pages(1); mmio_write(p.physical, 4, 5); expect_eq("ram", 5, peek32(p.address));"#,
        |session, address: i64, width: i64, value: i64| -> () {
            register_of(width)?;
            session.poke_in(
                address as u64,
                &value.to_le_bytes()[..width as usize],
                SPACE_PHYSICAL,
                width as u32,
            )
        }
    );
    api.entry(
        "non_zero(blob) -> array",
        "Offsets, at most 64, of the bytes that are not zero.",
        r#"expect_eq("where", [1], non_zero(asm("db 0, 5, 0")));"#,
    );
    api.engine
        .register_fn("non_zero", |bytes: Blob| -> Answer<rhai::Array> {
            if bytes.len() > 4 << 20 {
                return Err(error("blob too long"));
            }
            Ok(bytes
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte != 0)
                .take(64)
                .map(|(offset, _)| (offset as i64).into())
                .collect())
        });
}
