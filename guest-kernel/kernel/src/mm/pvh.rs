//! A direct boot: QEMU's `-kernel` with `-initrd`, by the PVH boot protocol (Xen,
//! docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h). The boot modules come in one archive.

use super::memory_map::{BootInfo, Range};
use crate::arch::boot::LoaderMemory;
use kcore::initrd;

/// First word of the start information.
pub const MAGIC: u32 = 0x336e_c578;
/// Bytes of the start information in version 1, the first with a memory map.
const START_INFO: u64 = 56;
/// Bytes of an entry of the module list.
const MODULE: u64 = 32;
/// Bytes of an entry of the memory map.
const MAP_ENTRY: u64 = 24;
/// Longest command line looked at.
const COMMAND_LINE: u64 = 512;
/// Bytes of the ACPI root pointer, and of its first version (ACPI 6.5, section 5.2.5.3).
const ROOT_POINTER: u64 = 36;

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// What the start information at `at` tells; None if it is none of version 1.
pub fn read(memory: &LoaderMemory, at: u64) -> Option<BootInfo> {
    let info = memory.bytes(at, START_INFO)?;
    if u32_at(info, 0)? != MAGIC || u32_at(info, 4)? < 1 {
        return None;
    }
    let mut left = BootInfo::new(Range {
        start: at,
        end: at + START_INFO,
        kind: 0,
    });
    let map_bytes = u64::from(u32_at(info, 48)?) * MAP_ENTRY;
    for entry in memory
        .bytes(u64_at(info, 40)?, map_bytes)?
        .chunks_exact(MAP_ENTRY as usize)
    {
        let start = u64_at(entry, 0)?;
        left.add_range(Range {
            start,
            end: start.saturating_add(u64_at(entry, 8)?),
            kind: u32_at(entry, 16)?, // ACPI's types, which are Multiboot2's
        });
    }
    let module_bytes = u64::from(u32_at(info, 12)?) * MODULE;
    let modules = memory.bytes(u64_at(info, 16)?, module_bytes).unwrap_or(&[]);
    for module in modules.chunks_exact(MODULE as usize) {
        add_archive(&mut left, memory, u64_at(module, 0)?, u64_at(module, 8)?);
    }
    let command_line = memory.bytes(u64_at(info, 24)?, COMMAND_LINE).unwrap_or(&[]);
    let end = command_line.iter().position(|&byte| byte == 0);
    left.set_command_line(end.and_then(|end| core::str::from_utf8(&command_line[..end]).ok()));
    left.acpi_root = root_table(memory, u64_at(info, 32)?);
    Some(left)
}

/// Each file of the archive becomes a module.
fn add_archive(left: &mut BootInfo, memory: &LoaderMemory, start: u64, len: u64) {
    let archive = memory.bytes(start, len).unwrap_or(&[]);
    // An archive that is damaged has no modules behind the damage; that the root file system is missing is told then.
    for entry in initrd::entries(archive).flatten() {
        let place = |offset: usize| start + offset as u64;
        left.add_module(
            place(entry.content.start),
            place(entry.content.end),
            entry.name,
        );
    }
}

/// The table that ACPI's root pointer leads to, and whether it is the 64-bit one.
fn root_table(memory: &LoaderMemory, pointer: u64) -> Option<(u64, bool)> {
    let pointer = memory.bytes(pointer, ROOT_POINTER)?;
    if !pointer.starts_with(b"RSD PTR ") {
        return None;
    }
    match (pointer[15], u64_at(pointer, 24)?) {
        (2.., wide) if wide != 0 => Some((wide, true)),
        _ => Some((u64::from(u32_at(pointer, 16)?), false)),
    }
}
