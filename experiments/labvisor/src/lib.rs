//! Labvisor: a small type-1 hypervisor for AMD SVM, with planted defects on demand.
//!
//! This library is all of it that needs no privilege: what happens at an exit ([`exits`]), the
//! guest's memory, page tables, the memory map and the Multiboot2 information. It is tested on
//! the host against arrays. The binary holds the rest: start, world switch, ports.
//!
//! Manuals: APM is AMD's "AMD64 Architecture Programmer's Manual", 24593 rev. 3.42 (vol. 2) and
//! 24594 rev. 3.36 (vol. 3).
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod confinement;
pub mod defects;
pub mod emulate;
pub mod exits;
pub mod guest_memory;
pub mod log;
pub mod machine;
pub mod memory_map;
pub mod multiboot;
pub mod net_device;
pub mod paging;
pub mod pci;
pub mod vcpu;
pub mod virtio;
pub mod vmcb;
