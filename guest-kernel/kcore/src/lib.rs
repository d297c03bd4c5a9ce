//! The kernel's pure algorithms: everything that needs no hardware, tested on the host in seconds.
//!
//! Nothing here reads a clock, a register or user memory: what it needs are arguments. Nothing here
//! panics on any input from outside (disk images, ELF files, user pointers, settings).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod argv;
pub mod elf;
pub mod fs;
pub mod fsck;
pub mod initrd;
pub mod mkfs;
pub mod net;
pub mod path;
pub mod settings;
pub mod umem;
