//! Memory: frames, the kernel's mappings, the heap, user address spaces.

pub mod address_space;
pub mod commit;
pub mod frames;
pub mod kernel_space;
pub mod layout;
pub mod memory_map;
pub mod pvh;
pub mod raw;
pub mod stacks;
pub mod user;
mod user_tables;

pub use ::x86_64::PhysAddr;
pub use frames::Frame;
pub use kernel_space::map_mmio;
pub use raw::phys_to_virt;
