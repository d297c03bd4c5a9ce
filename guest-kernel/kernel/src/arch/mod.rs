//! The machine: everything that knows the CPU.

mod x86_64;

pub use self::x86_64::*;
