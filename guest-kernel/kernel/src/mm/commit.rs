//! Promised memory: a page that a program may touch later is counted when it asks for it.
//!
//! So `sbrk`, `fork` and `exec` fail with an error when memory is short, and touching memory that was
//! granted never does.

use core::sync::atomic::{AtomicUsize, Ordering};

static COMMITTED: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Promises pages; false if they would be more than there are.
#[must_use]
pub fn reserve(pages: usize) -> bool {
    COMMITTED
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |committed| {
            committed
                .checked_add(pages)
                .filter(|&sum| sum <= LIMIT.load(Ordering::Relaxed))
        })
        .is_ok()
}

/// Takes a promise back.
pub fn release(pages: usize) {
    COMMITTED.fetch_sub(pages, Ordering::Relaxed);
}

/// End of boot: what is free now is what can be promised.
pub fn seal() {
    let limit = super::frames::free_count() + COMMITTED.load(Ordering::Relaxed);
    LIMIT.store(limit, Ordering::Relaxed);
}
