//! Labvisor's heap: a fixed piece of its image, which moves with it.
#![expect(unsafe_code, reason = "the allocator is given its memory")]

use core::cell::UnsafeCell;

use talc::TalcLock;
use talc::source::Claim;

const SIZE: usize = 3 << 20;

struct Memory(UnsafeCell<[u8; SIZE]>);

// SAFETY: nothing but the allocator below touches the bytes, and that is behind its lock.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; SIZE]));

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Claim> = TalcLock::new(
    // SAFETY: MEMORY is named here only, so the allocator is its one user.
    unsafe { Claim::array(MEMORY.0.get()) },
);
