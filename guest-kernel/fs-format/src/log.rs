//! The first block of the log: how many blocks of it are committed, and where they belong.

use crate::{Block, LOG_CAPACITY, Superblock, ZERO_BLOCK, set_word, word};
use core::fmt;

/// The log's header. Writing one with a count above zero is the commit; block `k` of the list
/// stands in block `log_start + 1 + k`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogHeader {
    count: usize,
    blocks: [u32; LOG_CAPACITY],
}

/// Why a log header cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogHeaderError {
    /// The count is negative, or more than the log or the header has room for.
    Count(i32),
    /// A block would be installed outside inodes, free map and data.
    Target(u32),
}

impl fmt::Display for LogHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Count(count) => write!(f, "log header counts {count} blocks"),
            Self::Target(block) => write!(f, "log would overwrite block {block}"),
        }
    }
}

impl core::error::Error for LogHeaderError {}

impl LogHeader {
    /// No transaction.
    pub const EMPTY: Self = Self {
        count: 0,
        blocks: [0; LOG_CAPACITY],
    };

    /// Most blocks a transaction may have on an image: the log's blocks less the header, and never
    /// more than xv6's header names.
    pub fn capacity(layout: &Superblock) -> usize {
        LOG_CAPACITY.min((layout.log_blocks as usize).saturating_sub(1))
    }

    /// Reads a header and checks it against the layout: every target is an inode, free map or data block.
    ///
    /// # Errors
    /// When the count or a target is out of range.
    pub fn decode(block: &Block, layout: &Superblock) -> Result<Self, LogHeaderError> {
        let stored = word(block, 0).cast_signed();
        let count = usize::try_from(stored)
            .ok()
            .filter(|&count| count <= Self::capacity(layout))
            .ok_or(LogHeaderError::Count(stored))?;
        let mut header = Self::EMPTY;
        for index in 0..count {
            let target = word(block, 1 + index);
            if !(layout.inode_start..layout.size).contains(&target) {
                return Err(LogHeaderError::Target(target));
            }
            header.push(target);
        }
        Ok(header)
    }

    /// The header as a block; what xv6 leaves undefined is zero.
    pub fn encode(&self) -> Block {
        let mut block = ZERO_BLOCK;
        set_word(&mut block, 0, self.count as u32);
        for (index, &target) in self.blocks().iter().enumerate() {
            set_word(&mut block, 1 + index, target);
        }
        block
    }

    /// Adds a block; false when the header is full.
    pub fn push(&mut self, target: u32) -> bool {
        let Some(slot) = self.blocks.get_mut(self.count) else {
            return false;
        };
        *slot = target;
        self.count += 1;
        true
    }

    /// Where the logged blocks belong, in the log's order.
    pub fn blocks(&self) -> &[u32] {
        &self.blocks[..self.count]
    }
}

impl fmt::Debug for LogHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogHeader").field(&self.blocks()).finish()
    }
}
