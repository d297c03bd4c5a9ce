//! Physical pages: who owns which, how often it is shared.
//!
//! One bit a page says free, one 16-bit count a page says how many mappings share it (copy-on-write).

use super::layout::PAGE_SIZE;
use super::{memory_map, raw};
use crate::sync::SpinLock;
use ::x86_64::PhysAddr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A page of RAM that somebody allocated. Only this module makes them from numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame(u64);

impl Frame {
    /// Its physical address.
    pub fn address(self) -> PhysAddr {
        PhysAddr::new(self.0 * PAGE_SIZE)
    }
}

struct Frames {
    /// Bit set: free.
    free: &'static mut [u64],
    /// References; 0 for free pages and for what is not ours to give.
    references: &'static mut [u16],
    /// Word to look at first.
    hint: usize,
}

static FRAMES: SpinLock<Frames> = SpinLock::new(
    "frames",
    Frames {
        free: &mut [],
        references: &mut [],
        hint: 0,
    },
);
static FREE: AtomicUsize = AtomicUsize::new(0);
static TOTAL: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Finds all usable memory that the image, the loader's structure and the modules leave.
pub fn init() {
    let end = memory_map::usable().map(|(_, end)| end).max().unwrap_or(0);
    let pages = (end / PAGE_SIZE) as usize;
    let words = pages.div_ceil(64);
    let (free, references) = raw::frame_tables(words, pages);
    let tables_at = (free.as_ptr() as u64) - super::layout::DIRECT_MAP;
    let tables_end = (references.as_ptr_range().end as u64) - super::layout::DIRECT_MAP;
    let mut frames = FRAMES.lock();
    *frames = Frames {
        free,
        references,
        hint: 0,
    };
    for (start, end) in memory_map::usable() {
        for page in start / PAGE_SIZE..end / PAGE_SIZE {
            frames.set_free(page as usize, true);
        }
    }
    for (start, end) in memory_map::taken().chain([(tables_at, tables_end)]) {
        let end = end.div_ceil(PAGE_SIZE).min(pages as u64);
        for page in start / PAGE_SIZE..end {
            frames.set_free(page as usize, false);
        }
    }
    let count = frames
        .free
        .iter()
        .map(|word| word.count_ones() as usize)
        .sum();
    FREE.store(count, Ordering::Relaxed);
    TOTAL.store(count, Ordering::Relaxed);
}

impl Frames {
    fn set_free(&mut self, page: usize, free: bool) {
        let bit = 1 << (page % 64);
        if free {
            self.free[page / 64] |= bit;
        } else {
            self.free[page / 64] &= !bit;
        }
    }

    fn is_free(&self, page: usize) -> bool {
        self.free
            .get(page / 64)
            .is_some_and(|word| word & (1 << (page % 64)) != 0)
    }

    fn take(&mut self, page: usize) {
        self.set_free(page, false);
        self.references[page] = 1;
    }

    fn find(&self) -> Option<usize> {
        let (before, after) = self.free.split_at(self.hint.min(self.free.len()));
        let found = |(index, word): (usize, &u64)| {
            (*word != 0).then(|| index * 64 + word.trailing_zeros() as usize)
        };
        after
            .iter()
            .enumerate()
            .map(|(index, word)| (index + before.len(), word))
            .find_map(found)
            .or_else(|| before.iter().enumerate().find_map(found))
    }

    fn find_run(&self, pages: usize) -> Option<usize> {
        let mut run = 0;
        for page in 0..self.references.len() {
            run = if self.is_free(page) { run + 1 } else { 0 };
            if run == pages {
                return Some(page + 1 - pages);
            }
        }
        None
    }

    /// Drops a reference; true if the page became free.
    fn release(&mut self, page: usize) -> bool {
        let count = &mut self.references[page];
        assert!(*count > 0, "page {page:#x} freed twice");
        *count -= 1;
        if *count == 0 {
            self.set_free(page, true);
            self.hint = self.hint.min(page / 64);
            return true;
        }
        false
    }
}

/// A page with whatever was in it. Overwrite all of it before a user sees it.
pub fn alloc_dirty() -> Option<Frame> {
    let mut frames = FRAMES.lock();
    let Some(page) = frames.find() else {
        FAILED.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    frames.take(page);
    frames.hint = page / 64;
    FREE.fetch_sub(1, Ordering::Relaxed);
    Some(Frame(page as u64))
}

/// A page of zeros.
pub fn alloc() -> Option<Frame> {
    let frame = alloc_dirty()?;
    raw::zero(frame);
    Some(frame)
}

/// One more owner of a page.
pub fn share(frame: Frame) {
    let mut frames = FRAMES.lock();
    let count = &mut frames.references[frame.0 as usize];
    assert!(
        *count > 0 && *count < u16::MAX,
        "sharing page {:#x}",
        frame.0
    );
    *count += 1;
}

/// Whether the page has one owner.
pub fn is_exclusive(frame: Frame) -> bool {
    FRAMES.lock().references[frame.0 as usize] == 1
}

/// One owner less; the last one frees the page.
pub fn free(frame: Frame) {
    if FRAMES.lock().release(frame.0 as usize) {
        FREE.fetch_add(1, Ordering::Relaxed);
    }
}

/// So many pages of zeros in a row, below 4 GiB (32-bit device registers).
pub fn alloc_contiguous(pages: usize) -> Option<PhysAddr> {
    if pages == 0 || !super::commit::reserve(pages) {
        return None;
    }
    let first = {
        let mut frames = FRAMES.lock();
        let found = frames
            .find_run(pages)
            .filter(|first| ((first + pages) as u64) * PAGE_SIZE <= 1 << 32);
        let Some(first) = found else {
            FAILED.fetch_add(1, Ordering::Relaxed);
            super::commit::release(pages);
            return None;
        };
        for page in first..first + pages {
            frames.take(page);
        }
        FREE.fetch_sub(pages, Ordering::Relaxed);
        first
    };
    for page in first..first + pages {
        raw::zero(Frame(page as u64));
    }
    Some(PhysAddr::new(first as u64 * PAGE_SIZE))
}

/// Gives back what `alloc_contiguous` returned.
pub fn free_contiguous(start: PhysAddr, pages: usize) {
    let first = start.as_u64() / PAGE_SIZE;
    for page in first..first + pages as u64 {
        free(Frame(page));
    }
    super::commit::release(pages);
}

/// The frame behind a page-table entry that this kernel wrote: counted memory, or None.
pub fn from_entry(address: u64) -> Option<Frame> {
    let page = address / PAGE_SIZE;
    FRAMES
        .lock()
        .references
        .get(page as usize)
        .is_some_and(|&count| count > 0)
        .then_some(Frame(page))
}

/// Free pages.
pub fn free_count() -> usize {
    FREE.load(Ordering::Relaxed)
}

/// Pages that were free at boot.
pub fn total_count() -> usize {
    TOTAL.load(Ordering::Relaxed)
}

/// Allocations that found no page.
pub fn failed_count() -> u64 {
    FAILED.load(Ordering::Relaxed)
}
