//! The contract between kernel and user programs: system call numbers, error numbers, flags and
//! structures.
//!
//! The system call table stands once, in [`syscall`]; the kernel's dispatcher, ulib's stubs and the
//! C header are generated from it. All structures are `repr(C)`, little-endian, without padding
//! that carries data; a table test pins sizes and offsets.
//!
//! ```
//! assert_eq!(abi::syscall::by_number(7).map(|call| call.name), Some("exec"));
//! assert_eq!(abi::Errno::from_result(-2), Err(abi::Errno::ENOENT));
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod errno;
pub mod file;
pub mod info;
pub mod net;
pub mod probe;
pub mod syscall;

pub use errno::Errno;
pub use file::{DirEntry, OpenFlags, SeekOffset, Stat};

#[cfg(test)]
mod layout_test;
