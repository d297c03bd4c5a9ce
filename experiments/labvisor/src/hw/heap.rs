//! Labvisor's heap: a fixed piece of its image, which moves with it.
#![expect(unsafe_code, reason = "the allocator is given its memory")]

use talc::TalcLock;
use talc::source::Claim;

const SIZE: usize = 3 << 20;

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Claim> = TalcLock::new({
    static mut MEMORY: [u8; SIZE] = [0; SIZE];
    // SAFETY: MEMORY is named here only, so the allocator is its one user.
    unsafe { Claim::array(&raw mut MEMORY) }
});
