//! How a test says what it wants.

use core::fmt::Debug;
use ulib::prelude::*;

/// What a test returns: the error's text is the reason of its failure.
pub type Check = Result<()>;

/// A test.
pub struct Test {
    pub name: &'static str,
    pub run: fn() -> Check,
    /// Takes long, or takes all memory, blocks or inodes.
    pub slow: bool,
    pub needs: Needs,
}

/// What a test cannot do without; it is skipped where that is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// A network interface with an address.
    Network,
    /// A file server.
    Server,
}

/// A quick test.
pub const fn quick(name: &'static str, run: fn() -> Check) -> Test {
    Test {
        name,
        run,
        slow: false,
        needs: Needs::Nothing,
    }
}

/// A slow test.
pub const fn slow(name: &'static str, run: fn() -> Check) -> Test {
    Test {
        name,
        run,
        slow: true,
        needs: Needs::Nothing,
    }
}

/// A quick test that needs something.
pub const fn with(needs: Needs, name: &'static str, run: fn() -> Check) -> Test {
    Test {
        name,
        run,
        slow: false,
        needs,
    }
}

/// Status that `wait` reports of a child the kernel killed.
pub const KILLED: i32 = -1;

/// Fails the test unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(ulib::Error::Message(ulib::format!($($text)*)));
        }
    };
}

/// Names what failed.
pub trait Named<T> {
    fn named(self, what: &str) -> Result<T>;
}

impl<T> Named<T> for core::result::Result<T, Errno> {
    fn named(self, what: &str) -> Result<T> {
        self.map_err(|errno| name_it(what, &errno.into()))
    }
}

impl<T> Named<T> for Result<T> {
    fn named(self, what: &str) -> Result<T> {
        self.map_err(|error| name_it(what, &error))
    }
}

fn name_it(what: &str, error: &Error) -> Error {
    Error::Message(format!("{what}: {error}"))
}

/// Wants one of these errors.
pub fn refused<T, E: Into<Error>>(
    what: &str,
    result: core::result::Result<T, E>,
    wanted: &[Errno],
) -> Check {
    refusal(what, result.err().map(Into::into), wanted)
}

// Not generic, so that it is in the program once: usertests must fit into xv6's largest file.
fn refusal(what: &str, error: Option<Error>, wanted: &[Errno]) -> Check {
    let got = match error.as_ref().map(Error::errno) {
        Some(Some(errno)) if wanted.contains(&errno) => return Ok(()),
        Some(Some(errno)) => errno.name(),
        Some(None) => "another error",
        None => "success",
    };
    Err(Error::Message(format!(
        "{what} gave {got}, wanted {}",
        wanted[0].name()
    )))
}

/// Wants any error.
pub fn fails<T, E>(what: &str, result: core::result::Result<T, E>) -> Check {
    ensure!(result.is_err(), "{what} succeeded");
    Ok(())
}

/// Wants equality.
pub fn same<T: PartialEq + Debug>(what: &str, got: T, wanted: T) -> Check {
    match got == wanted {
        true => Ok(()),
        false => Err(different(what, &got, &wanted)),
    }
}

fn different(what: &str, got: &dyn Debug, wanted: &dyn Debug) -> Error {
    Error::Message(format!("{what}: got {got:?}, wanted {wanted:?}"))
}

/// Runs a part of a test in a child, which prints why it fails.
pub fn child(body: impl FnOnce() -> Check) -> Result<process::Child> {
    process::fork(|| match body() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("usertests: in a child: {error}");
            1
        }
    })
}

/// Runs a part of a test in a child and wants it to succeed.
pub fn child_succeeds(what: &str, body: impl FnOnce() -> Check) -> Check {
    same(what, child(body)?.wait()?, 0)
}

/// Wants the kernel to kill whoever does this.
pub fn child_is_killed(what: &str, body: impl FnOnce()) -> Check {
    let status = process::fork(|| {
        body();
        0
    })?
    .wait()?;
    ensure!(status == KILLED, "{what}: not killed, status {status}");
    Ok(())
}

/// A name, made of a letter and a number.
pub fn name(letter: char, number: usize) -> String {
    format!("{letter}{number}")
}

/// A file with this content, closed again.
pub fn file(path: &str, bytes: &[u8]) -> Check {
    fs::write(path, bytes).named(path)
}
