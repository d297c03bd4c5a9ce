//! Memory shared with devices.
#![expect(unsafe_code, reason = "memory that a device writes")]

pub mod virtio;

use crate::mm::{PhysAddr, frames, layout::PAGE_SIZE, phys_to_virt};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Whole pages, contiguous, below 4 GiB, zeroed.
///
/// A device may write them at any time. The slices are for the moments when the driver's protocol
/// says that it does not; what a device wrote is untrusted.
#[derive(Debug)]
pub struct DmaBuffer {
    physical: PhysAddr,
    pages: usize,
}

impl DmaBuffer {
    /// Allocates.
    pub fn new(pages: usize) -> Option<Self> {
        Some(Self {
            physical: frames::alloc_contiguous(pages)?,
            pages,
        })
    }

    /// Address for the device.
    pub fn phys(&self) -> PhysAddr {
        self.physical
    }

    /// Address for the kernel.
    pub fn as_ptr(&self) -> *mut u8 {
        phys_to_virt(self.physical)
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.pages * PAGE_SIZE as usize
    }

    /// The content as words that the other side may change at any time.
    pub fn as_words(&self) -> &[AtomicU64] {
        // SAFETY: the pages are ours, mapped and initialised; page-aligned, and atomics may be shared with another writer.
        unsafe { core::slice::from_raw_parts(self.as_ptr().cast(), self.size() / 8) }
    }

    /// The content as the hypervisor's log sees it: a header word, and bytes behind it.
    pub fn as_log(&self) -> (&AtomicU32, &[AtomicU8]) {
        // SAFETY: as `as_words`; header and bytes do not overlap.
        unsafe {
            let bytes = self.as_ptr().add(4).cast();
            (
                &*self.as_ptr().cast::<AtomicU32>(),
                core::slice::from_raw_parts(bytes, self.size() - 4),
            )
        }
    }

    /// Gives the pages up without freeing them; `from_raw` takes them back.
    pub fn into_raw(self) -> (PhysAddr, usize) {
        let raw = (self.physical, self.pages);
        core::mem::forget(self);
        raw
    }

    /// Takes back what `into_raw` gave up.
    ///
    /// # Safety
    /// The pair came from `into_raw` and is used once.
    pub unsafe fn from_raw(physical: PhysAddr, pages: usize) -> Self {
        Self { physical, pages }
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        frames::free_contiguous(self.physical, self.pages);
    }
}
