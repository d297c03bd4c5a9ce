//! The address map.
//!
//! ```text
//! 0000_0000_0000_0000  user: text, data, guard page, stack, heap (xv6's order)
//! 0000_6000_0000_0000  user: window that only probe(2) maps
//! 0000_7fff_ffff_f000  end of user addresses
//! ffff_8000_0000_0000  direct map of physical memory, no execution
//! ffff_a000_0000_0000  kernel stacks, each above a guard page
//! ffff_b000_0000_0000  device memory, uncached; pages for probe's code
//! ffff_ffff_8000_0000  the kernel's image: physical address 0 (the image starts at 1 MiB)
//! ```

/// Bytes in a page; end of user addresses. Both are kcore's, which checks user pointers by them.
pub use kcore::umem::{PAGE_SIZE, USER_END as USER_TOP};
/// All physical memory.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Kernel stacks.
pub const STACKS: u64 = 0xffff_a000_0000_0000;
/// Device memory and other mappings made one by one.
pub const DEVICES: u64 = 0xffff_b000_0000_0000;
/// End of [`DEVICES`].
pub const DEVICES_END: u64 = 0xffff_b080_0000_0000;
/// The kernel's image is linked so far above its physical address.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Memory below is never allocated: real-mode vectors, BIOS data, start code of other CPUs.
pub const LOW_MEMORY_END: u64 = 0x10_0000;

/// Rounds up to a page.
pub const fn page_up(address: u64) -> u64 {
    page_down(address.saturating_add(PAGE_SIZE - 1))
}

/// Rounds down to a page.
pub const fn page_down(address: u64) -> u64 {
    address & !(PAGE_SIZE - 1)
}
