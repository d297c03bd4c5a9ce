//! The one name rule, and paths as lists of names.
//!
//! A name has 1 to 255 bytes, is neither `.` nor `..`, and holds neither `/` nor NUL. Any other
//! byte is allowed. On the wire a path is a u8 count, then for each name a u16 length and the bytes.

use alloc::vec::Vec;
use core::fmt;

use crate::codec::{DecodeError, Field, Reader};
use crate::{Errno, Reason};

/// The longest name.
pub const MAX_NAME: usize = 255;
/// The most names in a path.
pub const MAX_DEPTH: usize = 32;

/// How a name or a path breaks the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// No bytes.
    Empty,
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// Holds `/`.
    Slash,
    /// Holds NUL.
    Nul,
    /// More than 255 bytes.
    Long,
    /// More than 32 names.
    Deep,
}

impl NameError {
    /// Each has an error number and a reason of its own.
    pub fn refusal(self) -> (Errno, Reason) {
        match self {
            Self::Empty => (Errno::ENOENT, Reason::NameEmpty),
            Self::Dot => (Errno::EINVAL, Reason::NameDot),
            Self::DotDot => (Errno::EXDEV, Reason::NameDotDot),
            Self::Slash => (Errno::EACCES, Reason::NameSlash),
            Self::Nul => (Errno::EILSEQ, Reason::NameNul),
            Self::Long => (Errno::ENAMETOOLONG, Reason::NameLong),
            Self::Deep => (Errno::ENAMETOOLONG, Reason::PathDeep),
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal().1.fmt(f)
    }
}

impl core::error::Error for NameError {}

/// Applies the rule to one name.
pub fn check(name: &[u8]) -> Result<(), NameError> {
    match name {
        [] => Err(NameError::Empty),
        b"." => Err(NameError::Dot),
        b".." => Err(NameError::DotDot),
        _ if name.len() > MAX_NAME => Err(NameError::Long),
        _ if name.contains(&b'/') => Err(NameError::Slash),
        _ if name.contains(&0) => Err(NameError::Nul),
        _ => Ok(()),
    }
}

/// A checked path below a directory handle; no names at all means the directory itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Path<'a> {
    count: u8,
    // Checked when made: `count` times (u16 length, name).
    names: &'a [u8],
}

impl<'a> Path<'a> {
    /// The directory itself.
    pub const HERE: Path<'static> = Path {
        count: 0,
        names: &[],
    };

    /// How many names.
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// Whether it names the directory itself.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut r = Reader::new(self.names);
        core::iter::from_fn(move || <&[u8]>::get(&mut r, "name").ok())
    }

    /// An owned copy.
    pub fn to_owned(&self) -> PathBuf {
        PathBuf {
            count: self.count,
            names: self.names.to_vec(),
        }
    }
}

impl<'a> Field<'a> for Path<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.count);
        out.extend_from_slice(self.names);
    }

    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let count = u8::get(r, what)?;
        let start = r.clone();
        let mut broken = None;
        for _ in 0..count {
            let name = <&[u8]>::get(r, what)?;
            broken = broken.or(check(name).err());
        }
        if usize::from(count) > MAX_DEPTH {
            broken = Some(NameError::Deep);
        }
        // A broken name is reported only when the path as a whole could be read.
        if let Some(error) = broken {
            return Err(DecodeError::Name(error));
        }
        let mut start = start;
        let used = start.left() - r.left();
        Ok(Self {
            count,
            names: start.take(used, what)?,
        })
    }
}

impl fmt::Display for Path<'_> {
    /// Names joined by `/`; bytes that are no printable ASCII are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names().enumerate() {
            if i > 0 {
                f.write_str("/")?;
            }
            write!(f, "{}", name.escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// An owned [`Path`].
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct PathBuf {
    count: u8,
    names: Vec<u8>,
}

impl PathBuf {
    /// The directory itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Splits a text at `/`. Empty names and `.` vanish and `..` takes back the name before it, which is
    /// exact because SNFS has no symbolic links; above the start it stays at the start.
    pub fn parse(text: &[u8]) -> Result<Self, NameError> {
        let mut path = Self::new();
        for name in text.split(|&b| b == b'/') {
            match name {
                b"" | b"." => {}
                b".." => {
                    path.pop();
                }
                name => path.push(name)?,
            }
        }
        Ok(path)
    }

    /// Adds a name.
    pub fn push(&mut self, name: &[u8]) -> Result<(), NameError> {
        check(name)?;
        if usize::from(self.count) >= MAX_DEPTH {
            return Err(NameError::Deep);
        }
        self.count += 1;
        name.put(&mut self.names);
        Ok(())
    }

    /// Takes the last name away.
    pub fn pop(&mut self) -> bool {
        let Some(last) = self.as_path().names().last().map(<[u8]>::len) else {
            return false;
        };
        self.names.truncate(self.names.len() - last - 2);
        self.count -= 1;
        true
    }

    /// Where it is after `from` was renamed to `to`, if it is `from` or below it and is not too deep there.
    pub fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        let mut rest = self.as_path().names();
        for name in from.as_path().names() {
            if rest.next() != Some(name) {
                return None;
            }
        }
        let mut result = to.clone();
        for name in rest {
            result.push(name).ok()?;
        }
        Some(result)
    }

    /// Borrows it.
    pub fn as_path(&self) -> Path<'_> {
        Path {
            count: self.count,
            names: &self.names,
        }
    }
}

impl fmt::Display for PathBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_path().fmt(f)
    }
}

impl fmt::Debug for PathBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_path(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        PathBuf::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_rename_moves_the_path_itself_and_what_is_below() {
        for (of, from, to, moved) in [
            ("a", "a", "b/c", Some("b/c")),
            ("a/x/y", "a", "b/c", Some("b/c/x/y")),
            ("a/x/y", "a/x", "", Some("y")),
            ("ab/x", "a", "b", None),
            ("a", "a/x", "b", None),
            ("x/a", "a", "b", None),
        ] {
            let moved = moved.map(path);
            assert_eq!(path(of).moved(&path(from), &path(to)), moved, "{of}");
        }
        let deep = path(&"d/".repeat(MAX_DEPTH));
        assert_eq!(deep.moved(&path("d"), &path("d/d")), None);
    }
}
