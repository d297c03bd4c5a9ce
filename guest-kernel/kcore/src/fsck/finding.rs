//! What can be wrong with an image.

use core::fmt;
use fs_format::{LogHeaderError, Name, SuperblockError};

/// One thing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each field is named after what it is; the variant says the rest"
)]
pub enum Finding {
    /// The device did not give the block.
    Unreadable { block: u32 },
    /// The layout makes no sense; nothing else was checked.
    Superblock(SuperblockError),
    /// The log's header makes no sense.
    Log(LogHeaderError),
    /// Note: a transaction waits in the log; the next mount installs it.
    LogCommitted { blocks: usize },
    /// Inode 1 is no directory; the tree was not checked.
    NoRoot,
    /// The type is none that exists.
    InodeType { inode: u32, kind: i16 },
    /// Larger than a file can be.
    InodeSize { inode: u32, size: u32 },
    /// A block address outside the data blocks.
    Address { inode: u32, block: u32 },
    /// Note: the file has no block where its size says there is one. xv6's kernel never leaves this.
    Hole { inode: u32, index: usize },
    /// Note: a block behind the end of the file; xv6 leaves these when a write fails half way.
    BeyondSize { inode: u32, block: u32 },
    /// Two inodes, or one inode twice, use the block.
    UsedTwice { block: u32, first: u32, second: u32 },
    /// The block is in use, the free map says it is free.
    UsedButFree { block: u32, inode: u32 },
    /// Nothing uses the block, the free map says it is used.
    Lost { block: u32 },
    /// The free map says that a block of boot, superblock, log, inodes or free map is free.
    MetadataFree { block: u32 },
    /// The inode says one number of links, the directories another.
    LinkCount {
        inode: u32,
        stored: i16,
        counted: u32,
    },
    /// Note: no name and no links, but not free; it was open when the machine stopped. The next
    /// mount frees it.
    Orphan { inode: u32 },
    /// No directory reachable from the root names the inode, which counts links.
    Unreachable { inode: u32 },
    /// The directory's size is no multiple of an entry's.
    DirSize { dir: u32, size: u32 },
    /// The directory has no `.` or no `..`.
    NoDot { dir: u32, name: Name },
    /// The directory's `.` or `..` names another inode than it must.
    WrongDot { dir: u32, name: Name, inode: u32 },
    /// Two entries have the same name.
    NameTwice { dir: u32, name: Name },
    /// An entry without a name, or with a `/` in it.
    EntryName { dir: u32, index: usize },
    /// An entry names an inode that is free or does not exist.
    EntryInode { dir: u32, name: Name, inode: u32 },
    /// A directory is named by a second directory entry.
    SecondParent { dir: u32, parent: u32 },
}

impl Finding {
    /// Whether this may be on a healthy image: a machine that stopped, or xv6's own habits.
    pub fn is_note(&self) -> bool {
        matches!(
            self,
            Self::LogCommitted { .. }
                | Self::Hole { .. }
                | Self::BeyondSize { .. }
                | Self::Orphan { .. }
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unreadable { block } => write!(f, "block {block} cannot be read"),
            Self::Superblock(error) => write!(f, "superblock: {error}"),
            Self::Log(error) => write!(f, "{error}"),
            Self::LogCommitted { blocks } => {
                write!(
                    f,
                    "note: the log holds a committed transaction of {blocks} blocks"
                )
            }
            Self::NoRoot => write!(f, "inode 1 is no directory"),
            Self::InodeType { inode, kind } => write!(f, "inode {inode} has type {kind}"),
            Self::InodeSize { inode, size } => write!(f, "inode {inode} has {size} bytes"),
            Self::Address { inode, block } => {
                write!(
                    f,
                    "inode {inode} uses block {block}, which is no data block"
                )
            }
            Self::Hole { inode, index } => {
                write!(f, "note: inode {inode} has no block for its part {index}")
            }
            Self::BeyondSize { inode, block } => {
                write!(f, "note: inode {inode} keeps block {block} behind its end")
            }
            Self::UsedTwice {
                block,
                first,
                second,
            } => {
                write!(
                    f,
                    "block {block} is used by inode {first} and inode {second}"
                )
            }
            Self::UsedButFree { block, inode } => {
                write!(f, "block {block} is used by inode {inode}, but marked free")
            }
            Self::Lost { block } => write!(f, "block {block} is marked used, nothing uses it"),
            Self::MetadataFree { block } => write!(f, "metadata block {block} is marked free"),
            Self::LinkCount {
                inode,
                stored,
                counted,
            } => {
                write!(f, "inode {inode} says {stored} links, {counted} were found")
            }
            Self::Orphan { inode } => {
                write!(
                    f,
                    "note: inode {inode} has no name; the next mount frees it"
                )
            }
            Self::Unreachable { inode } => write!(f, "inode {inode} is in use, but has no name"),
            Self::DirSize { dir, size } => write!(f, "directory {dir} has {size} bytes"),
            Self::NoDot { dir, name } => write!(f, "directory {dir} has no \"{name}\""),
            Self::WrongDot { dir, name, inode } => {
                write!(f, "\"{name}\" of directory {dir} names inode {inode}")
            }
            Self::NameTwice { dir, name } => write!(f, "directory {dir} has \"{name}\" twice"),
            Self::EntryName { dir, index } => {
                write!(f, "entry {index} of directory {dir} has an impossible name")
            }
            Self::EntryInode { dir, name, inode } => {
                write!(
                    f,
                    "\"{name}\" in directory {dir} names inode {inode}, which is free or none"
                )
            }
            Self::SecondParent { dir, parent } => {
                write!(f, "directory {dir} is also named in directory {parent}")
            }
        }
    }
}
