//! The kernel's half of every address space.
//!
//! All entries of the top table's upper half that are ever used exist before the first process is
//! made and are copied into each of its tables; below them all address spaces share one tree.
//! W^X holds: text is read-only and executable, everything else is not executable, and the direct
//! map shows the image's text and constants read-only.

use super::frames::{self, Frame};
use super::layout::{
    DEVICES, DEVICES_END, DIRECT_MAP, KERNEL_BASE, LOW_MEMORY_END, PAGE_SIZE, STACKS, page_down,
    page_up,
};
use super::{memory_map, raw};
use crate::arch::paging;
use crate::sync::SpinLock;
use ::x86_64::PhysAddr;
use ::x86_64::structures::paging::PageTableFlags as Flags;
use spin::Once;

/// Address bits of an entry.
pub const ENTRY_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const LARGE_PAGE: u64 = 2 << 20;

static ROOT: Once<Frame> = Once::new();
/// Next free address for device mappings; also guards changes of the shared tree.
static NEXT_DEVICE: SpinLock<u64> = SpinLock::new("kernel space", DEVICES);

/// Read and write.
pub const DATA: Flags = Flags::PRESENT
    .union(Flags::WRITABLE)
    .union(Flags::NO_EXECUTE)
    .union(Flags::GLOBAL);
const READ_ONLY: Flags = Flags::PRESENT.union(Flags::NO_EXECUTE).union(Flags::GLOBAL);
const TEXT: Flags = Flags::PRESENT.union(Flags::GLOBAL);
const UNCACHED: Flags = DATA.union(Flags::NO_CACHE).union(Flags::WRITE_THROUGH);

/// Builds the final tables and loads them.
pub fn init() {
    let root = *ROOT.call_once(|| frames::alloc().expect("memory for the first page table"));
    for address in [DIRECT_MAP, STACKS, DEVICES, KERNEL_BASE] {
        next_table(root, index(address, 3)).expect("memory for the kernel's tables");
    }
    let image = raw::image();
    let map = |base: u64, (start, end): (u64, u64), flags| {
        map_range(root, base + start, start, end - start, flags)
            .expect("memory for the kernel's tables");
    };
    map(KERNEL_BASE, image.text, TEXT);
    map(KERNEL_BASE, image.rodata, READ_ONLY);
    map(KERNEL_BASE, image.data, DATA);

    map(DIRECT_MAP, (0, image.text.0), DATA);
    map(DIRECT_MAP, (image.text.0, image.rodata.1), READ_ONLY);
    map(DIRECT_MAP, (image.rodata.1, page_up(image.end)), DATA);
    for (start, end) in memory_map::usable() {
        map(
            DIRECT_MAP,
            (start.max(page_up(image.end)), end.max(page_up(image.end))),
            DATA,
        );
    }
    for module in memory_map::modules() {
        let start = page_down(module.start).max(LOW_MEMORY_END);
        let end = page_up(module.end);
        // GRUB on UEFI puts small ones into low memory, which is mapped already.
        if start < end {
            map(DIRECT_MAP, (start, end), DATA);
        }
    }
    paging::load_root(root.address());
}

/// The kernel's own root: no user mappings.
pub fn root() -> PhysAddr {
    ROOT.get().expect("kernel_space::init ran").address()
}

/// A root that also maps the first 2 MiB where they are, for a CPU on its way from real mode.
pub fn root_with_low_memory() -> Option<Frame> {
    let root = frames::alloc()?;
    fill_upper_half(root);
    let below_4_gib = root.address().as_u64() < 1 << 32;
    let flags = Flags::PRESENT | Flags::WRITABLE;
    if !below_4_gib || map_range(root, 0, 0, LARGE_PAGE, flags).is_none() {
        free_root_with_low_memory(root);
        return None;
    }
    Some(root)
}

/// Frees what `root_with_low_memory` made; no CPU uses it any more.
pub fn free_root_with_low_memory(root: Frame) {
    let tables = core::iter::successors(Some((root, 3)), |&(table, level)| {
        let entry = raw::entry(table, 0);
        let is_table = level > 1 && entry & Flags::PRESENT.bits() != 0;
        let next = is_table.then(|| frames::from_entry(entry & ENTRY_ADDRESS));
        next.flatten().map(|next| (next, level - 1))
    });
    let tables: alloc::vec::Vec<_> = tables.collect();
    for (table, _) in tables {
        frames::free(table);
    }
}

/// Copies the kernel's half into a new top table.
pub fn fill_upper_half(table: Frame) {
    let own = *ROOT.get().expect("kernel_space::init ran");
    for index in 256..512 {
        raw::set_entry(table, index, raw::entry(own, index));
    }
}

/// Index into the table of a level: 3 the top, 0 the last.
pub(super) fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize & 511
}

fn next_table(table: Frame, index: usize) -> Option<Frame> {
    let entry = raw::entry(table, index);
    if entry & Flags::PRESENT.bits() != 0 {
        assert!(
            entry & Flags::HUGE_PAGE.bits() == 0,
            "a table inside a large page"
        );
        return frames::from_entry(entry & ENTRY_ADDRESS);
    }
    let next = frames::alloc()?;
    raw::set_entry(
        table,
        index,
        next.address().as_u64() | (Flags::PRESENT | Flags::WRITABLE).bits(),
    );
    Some(next)
}

/// Maps a range; large pages where alignment allows and nothing is in the way. Pages that are mapped
/// already stay as they are.
fn map_range(root: Frame, virt: u64, phys: u64, len: u64, flags: Flags) -> Option<()> {
    let mut offset = 0;
    while offset < len {
        let (at, from) = (virt + offset, phys + offset);
        let directory = next_table(next_table(root, index(at, 3))?, index(at, 2))?;
        let entry = raw::entry(directory, index(at, 1));
        if entry & Flags::HUGE_PAGE.bits() != 0 {
            offset = (offset + LARGE_PAGE) - (at % LARGE_PAGE);
            continue;
        }
        if entry == 0
            && at % LARGE_PAGE == 0
            && from % LARGE_PAGE == 0
            && len - offset >= LARGE_PAGE
        {
            raw::set_entry(
                directory,
                index(at, 1),
                from | (flags | Flags::HUGE_PAGE).bits(),
            );
            offset += LARGE_PAGE;
            continue;
        }
        let table = next_table(directory, index(at, 1))?;
        if raw::entry(table, index(at, 0)) == 0 {
            raw::set_entry(table, index(at, 0), from | flags.bits());
        }
        offset += PAGE_SIZE;
    }
    Some(())
}

/// Maps a frame of RAM for kernel data at an address above [`STACKS`].
pub(super) fn map_stack_page(virt: u64, frame: Frame) -> Option<()> {
    let _guard = NEXT_DEVICE.lock();
    map_range(
        *ROOT.get()?,
        virt,
        frame.address().as_u64(),
        PAGE_SIZE,
        DATA,
    )
}

/// Maps physical memory at a new address; an unmapped page stays between two mappings.
fn map_new(phys: u64, len: u64, flags: Flags) -> Option<u64> {
    let mut next = NEXT_DEVICE.lock();
    let first = page_down(phys);
    let size = page_up(phys + len) - first;
    let at = *next;
    if at + size + PAGE_SIZE > DEVICES_END {
        return None;
    }
    map_range(*ROOT.get()?, at, first, size, flags)?;
    *next = at + size + PAGE_SIZE;
    Some(at + (phys - first))
}

/// Maps device memory: uncached, no execution. Stays mapped for ever.
pub fn map_mmio(phys: PhysAddr, len: usize) -> *mut u8 {
    map_new(phys.as_u64(), len as u64, UNCACHED).expect("memory to map a device") as *mut u8
}

/// Maps firmware tables for reading; stays mapped for ever.
pub fn map_read_only(phys: PhysAddr, len: usize) -> Option<u64> {
    map_new(phys.as_u64(), len as u64, READ_ONLY)
}

/// Maps frames one behind the other at a new address, each with its own flags.
pub fn map_frames(pages: &[(Frame, Flags)]) -> Option<u64> {
    let mut next = NEXT_DEVICE.lock();
    let at = *next;
    let len = pages.len() as u64 * PAGE_SIZE;
    if at + len + PAGE_SIZE > DEVICES_END {
        return None;
    }
    for (page, (frame, flags)) in (at..).step_by(PAGE_SIZE as usize).zip(pages) {
        map_range(
            *ROOT.get()?,
            page,
            frame.address().as_u64(),
            PAGE_SIZE,
            *flags,
        )?;
    }
    *next = at + len + PAGE_SIZE;
    Some(at)
}

/// The entry that translates a kernel address, if it is mapped.
pub fn lookup(virt: u64) -> Option<u64> {
    let mut table = *ROOT.get()?;
    for level in (0..4).rev() {
        let entry = raw::entry(table, index(virt, level));
        if entry & Flags::PRESENT.bits() == 0 {
            return None;
        }
        if level == 0 || entry & Flags::HUGE_PAGE.bits() != 0 {
            return Some(entry);
        }
        table = frames::from_entry(entry & ENTRY_ADDRESS)?;
    }
    None
}

/// Whether all of a kernel range is mapped.
pub fn is_mapped(virt: u64, len: u64) -> bool {
    let Some(last) = virt.checked_add(len.max(1) - 1) else {
        return false;
    };
    virt >> 63 == 1
        && (page_down(virt)..=last)
            .step_by(PAGE_SIZE as usize)
            .all(|page| lookup(page).is_some())
}
