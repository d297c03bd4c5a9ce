//! On-disk format of the file system: byte-compatible with xv6-riscv's `kernel/fs.h`.
//!
//! ```text
//! | 0    | 1          | 2 ..  | inodestart .. | bmapstart ..      | ..  size |
//! | boot | superblock | log   | inodes, 16    | one bit a block,  | data     |
//! |      |            |       | in a block    | 8192 in a block   |          |
//! ```
//! Everything is little-endian; a block has 1024 bytes. This crate only translates between bytes
//! and meaning. It reads nothing, allocates nothing and never panics on any bytes; what a value
//! *should* be is said by [`Superblock::validate`] (the one border for the layout) and by the file
//! system itself.
//!
//! ```
//! let layout = fs_format::Superblock::for_size(2000, 200, 30).unwrap();
//! assert_eq!((layout.inode_start, layout.bitmap_start, layout.data_start()), (32, 45, 46));
//! let mut block = fs_format::ZERO_BLOCK;
//! layout.encode(&mut block);
//! assert_eq!(fs_format::Superblock::decode(&block), layout);
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod dirent;
mod inode;
mod log;
mod superblock;

pub use dirent::{DirEntry, Name};
pub use inode::{DiskInode, indirect_entry, set_indirect_entry};
pub use log::{LogHeader, LogHeaderError};
pub use superblock::{Superblock, SuperblockError};

/// Bytes in a block.
pub const BLOCK_SIZE: usize = 1024;
/// First word of the superblock.
pub const MAGIC: u32 = 0x1020_3040;
/// The block that holds the superblock.
pub const SUPERBLOCK: u32 = 1;
/// First block of the log: after the boot block and the superblock.
pub const LOG_START: u32 = 2;
/// The root directory's inode.
pub const ROOT_INODE: u32 = 1;
/// Bytes of an inode on the disk.
pub const INODE_SIZE: usize = 64;
/// Inodes in a block.
pub const INODES_PER_BLOCK: u32 = (BLOCK_SIZE / INODE_SIZE) as u32;
/// Block addresses that stand in the inode itself.
pub const DIRECT_BLOCKS: usize = 12;
/// Block addresses in the indirect block.
pub const INDIRECT_BLOCKS: usize = BLOCK_SIZE / 4;
/// Largest file, in blocks.
pub const MAX_FILE_BLOCKS: usize = DIRECT_BLOCKS + INDIRECT_BLOCKS;
/// Largest file, in bytes.
pub const MAX_FILE_SIZE: usize = MAX_FILE_BLOCKS * BLOCK_SIZE;
/// Bits of the free map in a block.
pub const BITS_PER_BLOCK: u32 = (BLOCK_SIZE * 8) as u32;
/// Bytes of a directory entry.
pub const DIR_ENTRY_SIZE: usize = 16;
/// Longest name; longer ones are cut, and one of this length has no terminator.
pub const NAME_SIZE: usize = 14;
/// Most blocks in one transaction that xv6's log header has room for.
pub const LOG_CAPACITY: usize = 30;
/// Inode type: free.
pub const TYPE_FREE: i16 = 0;
/// Inode type: directory.
pub const TYPE_DIR: i16 = 1;
/// Inode type: file.
pub const TYPE_FILE: i16 = 2;
/// Inode type: device.
pub const TYPE_DEVICE: i16 = 3;

/// The content of one block.
pub type Block = [u8; BLOCK_SIZE];
/// A block of zeros.
pub const ZERO_BLOCK: Block = [0; BLOCK_SIZE];

/// The `index`th little-endian u32 of a block; `index` is below 256.
pub(crate) fn word(block: &Block, index: usize) -> u32 {
    let at = index * 4;
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Writes the `index`th little-endian u32 of a block; `index` is below 256.
pub(crate) fn set_word(block: &mut Block, index: usize, value: u32) {
    block[index * 4..index * 4 + 4].copy_from_slice(&value.to_le_bytes());
}
