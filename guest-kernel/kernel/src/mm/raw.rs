//! Raw memory: the only place that turns physical addresses into references.
//!
//! `Frame` values come from `frames` alone, which hands out whole pages of usable RAM that are no part of
//! the image, of a module or of low memory. So what is read or written through a `Frame` is never
//! a Rust object, and the copies below cannot break one.
#![expect(unsafe_code, reason = "physical memory through the direct map")]

mod heap;
mod plain;

pub use heap::{heap_size, heap_used, init_heap};
pub use plain::{Plain, bytes_of, bytes_of_mut};

use super::frames::Frame;
use super::layout::{DIRECT_MAP, KERNEL_BASE, LOW_MEMORY_END, PAGE_SIZE, page_up};
use super::memory_map::{self, Module};
use ::x86_64::PhysAddr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __kernel_end: u8;
}

/// Physical borders of the image.
pub struct Image {
    /// Code.
    pub text: (u64, u64),
    /// Constants.
    pub rodata: (u64, u64),
    /// Variables.
    pub data: (u64, u64),
    /// End of everything.
    pub end: u64,
}

/// Where the kernel lies.
pub fn image() -> Image {
    let physical = |symbol: *const u8| symbol as u64 - KERNEL_BASE;
    Image {
        text: (
            physical(&raw const __text_start),
            physical(&raw const __text_end),
        ),
        rodata: (
            physical(&raw const __rodata_start),
            physical(&raw const __rodata_end),
        ),
        data: (
            physical(&raw const __data_start),
            physical(&raw const __kernel_end),
        ),
        end: physical(&raw const __kernel_end),
    }
}

/// Address of physical memory in the direct map. Only RAM is mapped there.
pub fn phys_to_virt(address: PhysAddr) -> *mut u8 {
    (DIRECT_MAP + address.as_u64()) as *mut u8
}

fn pointer(frame: Frame) -> *mut u8 {
    phys_to_virt(frame.address())
}

/// Fills a frame with zeros.
pub fn zero(frame: Frame) {
    // SAFETY: module head.
    unsafe { pointer(frame).write_bytes(0, PAGE_SIZE as usize) };
}

/// Copies a whole frame.
pub fn copy(from: Frame, to: Frame) {
    assert!(from != to, "copying a frame onto itself");
    // SAFETY: module head; two different frames do not overlap.
    unsafe { pointer(to).copy_from_nonoverlapping(pointer(from), PAGE_SIZE as usize) };
}

/// Copies bytes into a frame.
pub fn write(frame: Frame, offset: usize, bytes: &[u8]) {
    assert!(
        offset + bytes.len() <= PAGE_SIZE as usize,
        "write beyond a frame"
    );
    // SAFETY: module head; within the frame (asserted); `bytes` is a Rust object, so not in the frame.
    unsafe {
        pointer(frame)
            .add(offset)
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
    };
}

/// Copies bytes out of a frame.
pub fn read(frame: Frame, offset: usize, bytes: &mut [u8]) {
    assert!(
        offset + bytes.len() <= PAGE_SIZE as usize,
        "read beyond a frame"
    );
    // SAFETY: as `write`.
    unsafe {
        pointer(frame)
            .add(offset)
            .copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len())
    };
}

/// An entry of a page table: the CPU reads it too, hence atomic.
pub fn entry(table: Frame, index: usize) -> u64 {
    entry_cell(table, index).load(Ordering::Relaxed)
}

/// Writes an entry of a page table.
pub fn set_entry(table: Frame, index: usize, value: u64) {
    entry_cell(table, index).store(value, Ordering::Relaxed);
}

fn entry_cell(table: Frame, index: usize) -> &'static AtomicU64 {
    assert!(index < 512, "page-table index");
    // SAFETY: module head; aligned, inside the frame, and atomics may be shared.
    unsafe { &*pointer(table).cast::<AtomicU64>().add(index) }
}

/// Content of a module, for ever: modules are never given back.
pub(super) fn module_bytes(module: &Module) -> &'static [u8] {
    // SAFETY: 1. the loader put the module there, `frames` and `memory_map` keep everybody else away.
    // 2. It is below 4 GiB and mapped by the direct map (`kernel_space` maps modules). 3. The one that
    // changes, the root image, is refused by the caller.
    unsafe {
        core::slice::from_raw_parts(
            phys_to_virt(PhysAddr::new(module.start)),
            (module.end.saturating_sub(module.start)) as usize,
        )
    }
}

/// The root file system's image, to be changed in place. None the second time.
pub fn take_root_image() -> Option<&'static mut [u8]> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let module = memory_map::module(memory_map::ROOT_IMAGE)?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    // SAFETY: 1. as `module_bytes`. 2. `Module::bytes` refuses this module, and this happens once.
    Some(unsafe {
        core::slice::from_raw_parts_mut(
            phys_to_virt(PhysAddr::new(module.start)),
            module.end.saturating_sub(module.start) as usize,
        )
    })
}

/// Takes physical memory for ever as a slice of zeros: for tables made once at boot.
///
/// # Safety
/// The range must be usable RAM, aligned for `T`, mapped, and given to nobody else; all-zero bytes
/// must be a valid `T`.
unsafe fn take<T>(start: u64, len: usize) -> &'static mut [T] {
    // SAFETY: the caller's promise.
    unsafe {
        let pointer = phys_to_virt(PhysAddr::new(start)).cast::<T>();
        pointer.write_bytes(0, len);
        core::slice::from_raw_parts_mut(pointer, len)
    }
}

/// Room for the two tables: the first usable gap below 4 GiB (what boot.s has mapped) that nobody took.
pub(super) fn frame_tables(words: usize, pages: usize) -> (&'static mut [u64], &'static mut [u16]) {
    let bytes = (words * 8 + pages * 2) as u64;
    let mut start = LOW_MEMORY_END;
    loop {
        let end = start + bytes;
        let fits =
            memory_map::usable().any(|(first, last)| first <= start && end <= last.min(1 << 32));
        let clash = memory_map::taken()
            .filter(|&(first, last)| start < last && first < end)
            .map(|(_, last)| last)
            .max();
        match clash {
            None if fits => break,
            Some(last) => start = page_up(last),
            None => {
                // Not inside any usable range: go to the start of the next one.
                let next = memory_map::usable()
                    .map(|(first, _)| first)
                    .filter(|&first| first > start)
                    .min();
                start = next.expect("no memory for the frame tables");
            }
        }
    }
    // SAFETY: called once, by `frames::init`; usable RAM below 4 GiB, mapped by boot.s, taken by nobody (searched above), page-aligned;
    // it then marks the range as taken. Zero is a valid integer.
    unsafe { (take(start, words), take(start + words as u64 * 8, pages)) }
}

fn assert_conventional(address: u64, len: usize) {
    let conventional = 0x1000..=0x9_0000 - len as u64;
    assert!(conventional.contains(&address), "not conventional memory");
}

/// Exchanges a word of low memory that the start code of another CPU exchanges, too.
pub fn exchange_low(address: u64, value: u32) -> u32 {
    assert_conventional(address, size_of::<u32>());
    let word = phys_to_virt(PhysAddr::new(address)).cast::<AtomicU32>();
    assert!(word.is_aligned(), "an exchange of an unaligned word");
    // SAFETY: as in `write_low`; aligned (asserted), and an atomic may be shared with other CPUs.
    unsafe { &*word }.swap(value, Ordering::SeqCst)
}

/// Copies bytes into low memory, for the start code of other CPUs.
pub fn write_low(address: u64, bytes: &[u8]) {
    assert_conventional(address, bytes.len());
    // SAFETY: nothing of ours lies in low memory, and the direct map shows it; `bytes` lies elsewhere.
    unsafe {
        phys_to_virt(PhysAddr::new(address)).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
}

/// Copies from any physical address that the direct map holds (BIOS areas, ACPI tables mapped by
/// `kernel_space::map_physical`).
pub fn read_mapped(address: u64, bytes: &mut [u8]) -> bool {
    if !super::kernel_space::is_mapped(address, bytes.len() as u64) {
        return false;
    }
    // SAFETY: mapped (checked); the bytes are plain data.
    unsafe { (address as *const u8).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
    true
}
