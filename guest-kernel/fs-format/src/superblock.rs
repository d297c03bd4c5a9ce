//! Block 1: where everything is.

use crate::{BITS_PER_BLOCK, Block, INODES_PER_BLOCK, LOG_START, MAGIC, set_word, word};
use core::fmt;

/// The superblock: eight words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: u32,
    /// Blocks of the whole image.
    pub size: u32,
    /// Data blocks.
    pub data_blocks: u32,
    /// Inodes declared, the unused inode 0 included.
    pub inodes: u32,
    /// Blocks of the log, its header included.
    pub log_blocks: u32,
    /// First block of the log: its header.
    pub log_start: u32,
    /// First block of the inodes.
    pub inode_start: u32,
    /// First block of the free map.
    pub bitmap_start: u32,
}

/// Why a superblock cannot describe a file system of ours (or of xv6's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperblockError {
    /// The first word is not [`MAGIC`].
    Magic(u32),
    /// The image is said to have more blocks than the device.
    LargerThanDevice {
        /// Blocks by the superblock.
        size: u32,
        /// Blocks of the device.
        device: u32,
    },
    /// Fewer than two blocks of log: not even a transaction of one block fits.
    LogTooSmall(u32),
    /// No room for the root inode, or more inodes than a directory entry's u16 can name.
    Inodes(u32),
    /// The regions overlap or leave no data block.
    Regions,
}

impl fmt::Display for SuperblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic(found) => write!(f, "bad magic {found:#x}, expected {MAGIC:#x}"),
            Self::LargerThanDevice { size, device } => {
                write!(f, "superblock says {size} blocks, the device has {device}")
            }
            Self::LogTooSmall(blocks) => write!(f, "a log of {blocks} blocks is too small"),
            Self::Inodes(count) => write!(f, "{count} inodes: must be 2 to 65536"),
            Self::Regions => write!(f, "log, inodes, free map and data overlap or do not fit"),
        }
    }
}

impl core::error::Error for SuperblockError {}

impl Superblock {
    /// The layout that xv6's mkfs gives an image of `size` blocks with `inodes` inodes and a log of
    /// `log_blocks` blocks. It rounds both inode blocks and free map blocks up, always by one.
    ///
    /// # Errors
    /// When the parts do not fit or a number is out of range.
    pub fn for_size(size: u32, inodes: u32, log_blocks: u32) -> Result<Self, SuperblockError> {
        let inode_start = LOG_START
            .checked_add(log_blocks)
            .ok_or(SuperblockError::Regions)?;
        let bitmap_start = (inodes / INODES_PER_BLOCK + 1)
            .checked_add(inode_start)
            .ok_or(SuperblockError::Regions)?;
        let data_start = (size / BITS_PER_BLOCK + 1)
            .checked_add(bitmap_start)
            .ok_or(SuperblockError::Regions)?;
        let data_blocks = size
            .checked_sub(data_start)
            .ok_or(SuperblockError::Regions)?;
        let layout = Self {
            magic: MAGIC,
            size,
            data_blocks,
            inodes,
            log_blocks,
            log_start: LOG_START,
            inode_start,
            bitmap_start,
        };
        layout.validate(size)?;
        Ok(layout)
    }

    /// Reads the eight words.
    pub fn decode(block: &Block) -> Self {
        Self {
            magic: word(block, 0),
            size: word(block, 1),
            data_blocks: word(block, 2),
            inodes: word(block, 3),
            log_blocks: word(block, 4),
            log_start: word(block, 5),
            inode_start: word(block, 6),
            bitmap_start: word(block, 7),
        }
    }

    /// Writes the eight words and leaves the rest of the block alone.
    pub fn encode(&self, block: &mut Block) {
        let words = [
            self.magic,
            self.size,
            self.data_blocks,
            self.inodes,
            self.log_blocks,
            self.log_start,
            self.inode_start,
            self.bitmap_start,
        ];
        for (index, value) in words.into_iter().enumerate() {
            set_word(block, index, value);
        }
    }

    /// Checks that the regions lie in order inside `device` blocks. After this every method below
    /// yields a block of the device for every inode and block number in range.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self, device: u32) -> Result<(), SuperblockError> {
        if self.magic != MAGIC {
            return Err(SuperblockError::Magic(self.magic));
        }
        if self.size > device {
            return Err(SuperblockError::LargerThanDevice {
                size: self.size,
                device,
            });
        }
        if self.log_blocks < 2 {
            return Err(SuperblockError::LogTooSmall(self.log_blocks));
        }
        if !(2..=0x1_0000).contains(&self.inodes) {
            return Err(SuperblockError::Inodes(self.inodes));
        }
        let inode_blocks = u64::from(self.inodes.div_ceil(INODES_PER_BLOCK));
        let bitmap_blocks = u64::from(self.size.div_ceil(BITS_PER_BLOCK));
        let in_order = self.log_start >= LOG_START
            && u64::from(self.log_start) + u64::from(self.log_blocks)
                <= u64::from(self.inode_start)
            && u64::from(self.inode_start) + inode_blocks <= u64::from(self.bitmap_start)
            && u64::from(self.bitmap_start) + bitmap_blocks < u64::from(self.size)
            && self.data_blocks > 0
            && self.data_blocks < self.size
            && u64::from(self.size - self.data_blocks)
                >= u64::from(self.bitmap_start) + bitmap_blocks;
        if in_order {
            Ok(())
        } else {
            Err(SuperblockError::Regions)
        }
    }

    /// First data block: the data blocks are the last ones of the image.
    pub fn data_start(&self) -> u32 {
        self.size.saturating_sub(self.data_blocks)
    }

    /// Whether a block address may stand in an inode or an indirect block.
    pub fn is_data_block(&self, block: u32) -> bool {
        (self.data_start()..self.size).contains(&block)
    }

    /// Whether a directory entry may name this inode.
    pub fn is_inode(&self, inode: u32) -> bool {
        (1..self.inodes).contains(&inode)
    }

    /// The block and the slot in it that hold an inode.
    pub fn inode_place(&self, inode: u32) -> (u32, usize) {
        let block = self.inode_start.saturating_add(inode / INODES_PER_BLOCK);
        (block, (inode % INODES_PER_BLOCK) as usize)
    }

    /// The block of the free map, the byte in it and the mask of a block's bit (1 = used).
    pub fn bitmap_place(&self, block: u32) -> (u32, usize, u8) {
        let bit = block % BITS_PER_BLOCK;
        let map = self.bitmap_start.saturating_add(block / BITS_PER_BLOCK);
        (map, (bit / 8) as usize, 1 << (bit % 8))
    }

    /// Blocks of the free map that have a meaning.
    pub fn bitmap_blocks(&self) -> u32 {
        self.size.div_ceil(BITS_PER_BLOCK)
    }
}
