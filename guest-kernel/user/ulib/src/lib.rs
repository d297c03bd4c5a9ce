//! A small std for user programs: what `std` calls it, where the kernel has it.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! use ulib::prelude::*;
//!
//! ulib::main!(main, "hello [NAME]\nGreet somebody.");
//!
//! fn main() -> Result<()> {
//!     let name = env::args().nth(1).unwrap_or("world");
//!     println!("hello, {name}");
//!     Ok(())
//! }
//! ```
//!
//! [`main!`] answers `-h`, prints the error that `main` returns and turns it into an exit status:
//! 0 success, 1 failure, 2 wrong usage, 101 panic. `unsafe` lives in [`sys`] and `alloc` only.
#![no_std]

extern crate alloc as alloc_crate;
#[cfg(test)]
extern crate std;

#[cfg(target_os = "none")]
mod alloc;
pub mod env;
pub mod error;
pub mod fs;
pub mod hypercall;
pub mod io;
pub mod net;
pub mod process;
pub mod start;
pub mod sys;
pub mod thread;
pub mod time;

pub use abi;
pub use alloc_crate::{borrow, boxed, collections, ffi, format, rc, string, vec};
pub use core::{cmp, iter, mem, num, ops, str};
pub use error::{Error, Result};

/// What almost every program needs.
pub mod prelude {
    pub use crate::error::{Error, Result};
    pub use crate::io::{BufRead, Read, Write};
    pub use crate::{env, eprint, eprintln, fs, io, print, println, process, sys};
    pub use abi::Errno;
    pub use alloc_crate::borrow::ToOwned;
    pub use alloc_crate::boxed::Box;
    pub use alloc_crate::format;
    pub use alloc_crate::string::{String, ToString};
    pub use alloc_crate::vec;
    pub use alloc_crate::vec::Vec;
}

/// Prints to standard output. A program whose output nobody reads any more ends, with status 1.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::io::print_to($crate::io::STDOUT, format_args!($($argument)*)) };
}

/// Prints a line to standard output.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::print!("{}\n", format_args!($($argument)*)) };
}

/// Prints to standard error.
#[macro_export]
macro_rules! eprint {
    ($($argument:tt)*) => { $crate::io::print_to($crate::io::STDERR, format_args!($($argument)*)) };
}

/// Prints a line to standard error.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::eprint!("\n") };
    ($($argument:tt)*) => { $crate::eprint!("{}\n", format_args!($($argument)*)) };
}

/// Names the program's main function and, in one text, its usage line and what it does.
/// The function takes nothing and returns `()`, an exit status, or a [`Result`] of either.
#[macro_export]
macro_rules! main {
    ($main:path $(,)?) => {
        $crate::main!($main, "");
    };
    ($main:path, $help:expr $(,)?) => {
        #[unsafe(no_mangle)]
        fn ulib_main() -> i32 {
            $crate::start::run($help, || $crate::start::Termination::report($main()))
        }
    };
}
