//! From `_start` to `main` and back: help, error messages, exit status, panics.

use crate::error::Error;
use crate::{env, eprintln, println};

/// Exit status of a program that failed.
pub const EXIT_FAILURE: i32 = 1;
/// Exit status of a program that was called wrongly.
pub const EXIT_USAGE: i32 = 2;
/// Exit status of a program that panicked.
pub const EXIT_PANIC: i32 = 101;

/// What `main` may return.
pub trait Termination {
    /// The exit status, or the error to print.
    fn report(self) -> Result<i32, Error>;
}

impl Termination for () {
    fn report(self) -> Result<i32, Error> {
        Ok(0)
    }
}

impl Termination for i32 {
    fn report(self) -> Result<i32, Error> {
        Ok(self)
    }
}

impl<T: Termination, E: Into<Error>> Termination for Result<T, E> {
    fn report(self) -> Result<i32, Error> {
        self.map_err(Into::into).and_then(Termination::report)
    }
}

/// Runs a program: answers `-h`, else calls `main` and reports its error. Called by [`crate::main!`].
pub fn run(help: &str, main: impl FnOnce() -> Result<i32, Error>) -> i32 {
    if !help.is_empty() && env::args().nth(1) == Some("-h") {
        println!("usage: {help}");
        return 0;
    }
    match main() {
        Ok(status) => status,
        Err(Error::Usage) => {
            eprintln!("usage: {}", help.lines().next().unwrap_or(env::program()));
            EXIT_USAGE
        }
        Err(error) => {
            eprintln!("{}: {error}", env::program());
            EXIT_FAILURE
        }
    }
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    eprintln!("{}: {info}", env::program());
    crate::sys::exit(EXIT_PANIC)
}
