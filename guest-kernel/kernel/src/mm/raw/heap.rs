//! The kernel heap: one piece of memory of a fixed size, taken at boot.
//!
//! Fixed, so that free pages mean free pages and user memory cannot starve the kernel. What users can
//! make the kernel allocate is bounded (processes, files, pipes, sockets).

use super::phys_to_virt;
use crate::mm::frames;
use crate::mm::layout::PAGE_SIZE;
use crate::sync::SpinLock;
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicU64, Ordering};
use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

/// Pages that the heap gets at most: 64 MiB.
const MAX_PAGES: usize = 16 * 1024;
/// Pages that the heap gets at least: 8 MiB.
const MIN_PAGES: usize = 2 * 1024;

/// Bytes that only small allocations may use up.
const RESERVE: u64 = 1 << 20;
/// Largest small allocation.
const SMALL: usize = 8 * 1024;

struct KernelHeap {
    talc: SpinLock<Heap>,
    used: AtomicU64,
    size: AtomicU64,
}

struct Heap(Talc<Manual, DefaultBinning>);

// SAFETY: the allocator's pointers lead into the heap's own memory, which no other flow of control owns.
unsafe impl Send for Heap {}

#[global_allocator]
static HEAP: KernelHeap = KernelHeap {
    talc: SpinLock::new("heap", Heap(Talc::new(Manual))),
    used: AtomicU64::new(0),
    size: AtomicU64::new(0),
};

/// Gives the heap an eighth of memory, within limits.
pub fn init_heap() {
    let pages = (frames::free_count() / 8).clamp(MIN_PAGES, MAX_PAGES);
    let start = frames::alloc_contiguous(pages).expect("memory for the kernel heap");
    let bytes = pages * PAGE_SIZE as usize;
    // SAFETY: the frames were just allocated, are mapped, and are never given back.
    let claimed = unsafe { HEAP.talc.lock().0.claim(phys_to_virt(start), bytes) };
    assert!(claimed.is_some(), "the heap's memory is too small");
    HEAP.size.store(bytes as u64, Ordering::Relaxed);
}

/// Bytes allocated.
pub fn heap_used() -> u64 {
    HEAP.used.load(Ordering::Relaxed)
}

/// Bytes in all.
pub fn heap_size() -> u64 {
    HEAP.size.load(Ordering::Relaxed)
}

// SAFETY: talc keeps the contract of `GlobalAlloc`; the lock makes each call exclusive.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // What is left goes to small allocations, which cannot fail: most large ones can.
        let used = self.used.load(Ordering::Relaxed) + layout.size() as u64;
        if layout.size() > SMALL && used + RESERVE > self.size.load(Ordering::Relaxed) {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller promises a layout of non-zero size.
        match unsafe { self.talc.lock().0.allocate(layout) } {
            Some(pointer) => {
                self.used.fetch_add(layout.size() as u64, Ordering::Relaxed);
                pointer.as_ptr()
            }
            None => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.used.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller promises that the block came from `alloc` with this layout.
        unsafe { self.talc.lock().0.deallocate(pointer, layout) };
    }
}
