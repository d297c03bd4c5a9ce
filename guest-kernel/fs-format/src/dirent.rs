//! Directory entries and the names in them.

use crate::{Block, DIR_ENTRY_SIZE, NAME_SIZE};
use core::fmt;

/// A name as a directory entry holds it: at most 14 bytes, zero-padded, longer ones cut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name([u8; NAME_SIZE]);

impl Name {
    /// `.`
    pub const DOT: Self = Self(*b".\0\0\0\0\0\0\0\0\0\0\0\0\0");
    /// `..`
    pub const DOT_DOT: Self = Self(*b"..\0\0\0\0\0\0\0\0\0\0\0\0");

    /// The first 14 bytes, as xv6 compares and stores names. The name ends at the first NUL.
    pub fn cut(bytes: &[u8]) -> Self {
        let mut name = [0; NAME_SIZE];
        for (to, &from) in name
            .iter_mut()
            .zip(bytes.iter().take_while(|&&byte| byte != 0))
        {
            *to = from;
        }
        Self(name)
    }

    /// The bytes before the padding.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self
            .0
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(NAME_SIZE);
        &self.0[..end]
    }

    /// Whether this is `.` or `..`.
    pub fn is_dot_or_dot_dot(&self) -> bool {
        *self == Self::DOT || *self == Self::DOT_DOT
    }

    /// Whether the name is empty or holds a `/`: no path can reach it.
    pub fn is_unreachable(&self) -> bool {
        self.0[0] == 0 || self.as_bytes().contains(&b'/')
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for Name {
    /// The name with everything but printable ASCII escaped: it comes from an untrusted image.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

/// One of a directory's 16-byte entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// 0: the entry is free.
    pub inode: u16,
    /// Meaningless when the entry is free.
    pub name: Name,
}

impl DirEntry {
    /// The free entry.
    pub const FREE: Self = Self {
        inode: 0,
        name: Name([0; NAME_SIZE]),
    };

    /// Reads an entry. What follows a terminator is padding, whatever it holds.
    pub fn decode(bytes: &[u8; DIR_ENTRY_SIZE]) -> Self {
        Self {
            inode: u16::from_le_bytes([bytes[0], bytes[1]]),
            name: Name::cut(&bytes[2..]),
        }
    }

    /// The 16 bytes.
    pub fn encode(&self) -> [u8; DIR_ENTRY_SIZE] {
        let mut bytes = [0; DIR_ENTRY_SIZE];
        bytes[..2].copy_from_slice(&self.inode.to_le_bytes());
        bytes[2..].copy_from_slice(&self.name.0);
        bytes
    }

    /// The 64 entries of a directory's block.
    pub fn all_in(block: &Block) -> impl Iterator<Item = Self> + '_ {
        block
            .as_chunks::<DIR_ENTRY_SIZE>()
            .0
            .iter()
            .map(Self::decode)
    }
}
