//! Labvisor's image in memory: where it lies, and its move to the top of RAM.
//!
//! The virtual addresses never change. GRUB loads the image at 64 MiB; the move copies it,
//! builds page tables that map the same virtual addresses to the copy, and switches to them.
#![expect(
    unsafe_code,
    reason = "copies the running program and changes its page tables"
)]

use core::arch::asm;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use labvisor::paging::{Full, PageTables, flags};

unsafe extern "C" {
    static image_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static stack_guard: u8;
    static stack_bottom: u8;
    static image_end: u8;
}

/// Virtual minus physical address, as loaded.
const LOAD_OFFSET: u64 = 0xffff_ffff_8000_0000;
const LOAD: u64 = 0x400_0000;

static OFFSET: AtomicU64 = AtomicU64::new(LOAD_OFFSET);

/// The physical address of something in the image.
pub fn physical(address: u64) -> u64 {
    address.wrapping_sub(OFFSET.load(Ordering::Relaxed))
}

fn address(symbol: *const u8) -> u64 {
    symbol as u64
}

/// Physical addresses of everything GRUB loaded for labvisor, the start code included.
pub fn loaded() -> Range<u64> {
    LOAD..address(&raw const image_end) - LOAD_OFFSET
}

/// Bytes of the part that moves.
pub fn length() -> u64 {
    address(&raw const image_end) - address(&raw const image_start)
}

/// Moves the image to the physical address `target`, which is free RAM, and leaves the part of
/// memory where it was. `gigabyte_pages` says whether the processor has them, `reach` how much
/// physical memory the identity mapping covers.
pub fn move_to(target: u64, gigabyte_pages: bool, reach: u64) -> Result<(), Full> {
    const RW: u64 = flags::PRESENT | flags::WRITABLE | flags::NO_EXECUTE;
    let start = address(&raw const image_start);
    let end = address(&raw const image_end);
    let new_offset = start - target;
    let mut tables = PageTables::new(48, gigabyte_pages, |at| at - new_offset);
    tables.map(0..reach, 0, RW)?;
    let parts = [
        (start..address(&raw const text_end), flags::PRESENT),
        (
            address(&raw const text_end)..address(&raw const rodata_end),
            flags::PRESENT | flags::NO_EXECUTE,
        ),
        (address(&raw const rodata_end)..end, RW),
    ];
    for (part, flags) in parts {
        let to = part.start - new_offset;
        tables.map(part, to, flags)?;
    }
    let guard = address(&raw const stack_guard)..address(&raw const stack_bottom);
    tables.unmap(guard)?;
    let root = tables.root();
    core::mem::forget(tables);

    OFFSET.store(new_offset, Ordering::Relaxed);
    // SAFETY: (1) source and target are both mapped at their physical addresses and do not
    // overlap: `target` is at the top of RAM, the image at 64 MiB, and the caller checked that
    // it fits; (2) nothing is written to the image between the copy and the switch, as the two
    // instructions use registers only; (3) the new tables map every virtual address of the
    // image to its copy with the rights its sections need.
    unsafe {
        asm!(
            "rep movsb",
            "mov cr3, {root}",
            root = in(reg) root,
            inout("rsi") start - LOAD_OFFSET => _,
            inout("rdi") target => _,
            inout("rcx") end - start => _,
            options(nostack),
        );
    }
    Ok(())
}
