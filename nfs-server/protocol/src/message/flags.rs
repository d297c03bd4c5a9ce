//! How a file is opened.

use alloc::vec::Vec;
use core::fmt;

use crate::codec::{DecodeError, Field, Reader};

/// How to open: bits of [`super::Open::flags`].
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// Reads are allowed.
    pub const READ: Self = Self(1);
    /// Writes, truncate and append are allowed.
    pub const WRITE: Self = Self(2);
    /// Only append is allowed.
    pub const APPEND: Self = Self(4);
    /// Make the file if it does not exist.
    pub const CREATE: Self = Self(8);
    /// With CREATE: it must not exist.
    pub const EXCLUSIVE: Self = Self(16);
    /// Cut it to nothing.
    pub const TRUNCATE: Self = Self(32);
    /// It must be a directory (which opens with READ only).
    pub const DIRECTORY: Self = Self(64);
    /// Every bit with a meaning.
    pub const ALL: Self = Self(127);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for OpenFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for OpenFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            "read",
            "write",
            "append",
            "create",
            "exclusive",
            "truncate",
            "directory",
        ];
        let set = words
            .iter()
            .enumerate()
            .filter(|(i, _)| self.0 & 1 << i != 0);
        f.debug_set().entries(set.map(|(_, word)| word)).finish()
    }
}

impl<'a> Field<'a> for OpenFlags {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        match u32::get(r, what)? {
            bits if bits & !Self::ALL.0 == 0 => Ok(Self(bits)),
            bits => Err(DecodeError::Value(what, bits.into())),
        }
    }
}
