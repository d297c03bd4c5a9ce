//! What can go wrong: an error number with the name it concerns, wrong usage, or a sentence.

use abi::Errno;
use alloc_crate::string::String;
use core::fmt;

/// Result of most functions here.
pub type Result<T> = core::result::Result<T, Error>;

/// An error as a program reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// A system call failed.
    Sys {
        /// File, host or program it concerns; may be empty.
        what: String,
        /// Why.
        errno: Errno,
    },
    /// The program was called wrongly: `main!` prints the usage line.
    Usage,
    /// Anything else, in words.
    Message(String),
}

impl Error {
    /// A failed system call on `what`.
    pub fn new(what: &str, errno: Errno) -> Self {
        Error::Sys {
            what: String::from(what),
            errno,
        }
    }

    /// The error number, if a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Sys { errno, .. } => Some(*errno),
            Error::Usage | Error::Message(_) => None,
        }
    }
}

/// Adds the name it concerns to an error number.
pub trait Context<T> {
    /// For example `sys::mkdir(path).on(path)?`.
    fn on(self, what: &str) -> Result<T>;
}

impl<T> Context<T> for core::result::Result<T, Errno> {
    fn on(self, what: &str) -> Result<T> {
        self.map_err(|errno| Error::new(what, errno))
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Error::new("", errno)
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Error::Message(text)
    }
}

impl From<&str> for Error {
    fn from(text: &str) -> Self {
        Error::Message(String::from(text))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Sys { what, errno } if what.is_empty() => f.write_str(errno.text()),
            Error::Sys { what, errno } => write!(f, "{what}: {}", errno.text()),
            Error::Usage => f.write_str("wrong usage"),
            Error::Message(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for Error {}
