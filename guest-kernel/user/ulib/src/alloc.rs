//! The heap: talc over `sbrk`.
#![expect(unsafe_code, reason = "hands memory from sbrk to the allocator")]

use crate::sys;
use core::alloc::Layout;
use talc::base::Talc;
use talc::base::binning::{Binning, DefaultBinning};
use talc::cell::{TalcCell, TalcSyncCell};
use talc::source::Source;

/// Memory is taken from the kernel in multiples of this.
const GRAIN_BYTES: usize = 32 * 1024;
/// Room for the allocator's own tables and tags, beside what was asked for.
const OVERHEAD_BYTES: usize = 4 * 1024;

#[derive(Debug)]
struct Sbrk;

// SAFETY: `acquire` touches the allocator only through its argument, and sbrk allocates nothing.
unsafe impl Source for Sbrk {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let bytes = layout
            .size()
            .checked_add(layout.align() + OVERHEAD_BYTES)
            .and_then(|bytes| bytes.checked_next_multiple_of(GRAIN_BYTES))
            .ok_or(())?;
        let delta = isize::try_from(bytes).map_err(drop)?;
        // SAFETY: a positive delta takes nothing away.
        let base = unsafe { sys::sbrk(delta) }.map_err(drop)?;
        // SAFETY: the kernel just added these bytes to the process; nobody else knows them.
        unsafe { talc.claim(base as *mut u8, bytes) }
            .map(drop)
            .ok_or(())
    }
}

// SAFETY: a process has one thread and no signal handlers, so no two calls overlap.
#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: TalcSyncCell<Sbrk, DefaultBinning> = unsafe { TalcSyncCell::new(TalcCell::new(Sbrk)) };
