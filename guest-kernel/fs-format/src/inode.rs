//! The inode on the disk, and the indirect block.

use crate::{Block, DIRECT_BLOCKS, INODE_SIZE, INODES_PER_BLOCK, TYPE_FREE, set_word, word};

/// An inode as it stands on the disk: 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskInode {
    /// One of the `TYPE_` constants.
    pub kind: i16,
    /// Device only: which driver.
    pub major: i16,
    /// Device only: which of the driver's devices.
    pub minor: i16,
    /// Directory entries that name this inode. A directory counts one for itself and one for each
    /// subdirectory's `..`, but none for its own `.`.
    pub links: i16,
    /// Bytes.
    pub size: u32,
    /// Twelve direct block addresses, then the indirect block's. 0 is none.
    pub addresses: [u32; DIRECT_BLOCKS + 1],
}

impl DiskInode {
    /// A new inode of a type, with one link and no content.
    pub fn new(kind: i16, major: i16, minor: i16) -> Self {
        Self {
            kind,
            major,
            minor,
            links: 1,
            ..Self::default()
        }
    }

    /// Whether the slot may be given to a new file.
    pub fn is_free(&self) -> bool {
        self.kind == TYPE_FREE
    }

    /// Reads the inode in a slot (below 16; higher slots wrap round) of an inode block.
    pub fn decode(block: &Block, slot: usize) -> Self {
        let at = (slot % INODES_PER_BLOCK as usize) * INODE_SIZE;
        let half =
            |index: usize| i16::from_le_bytes([block[at + index * 2], block[at + index * 2 + 1]]);
        let mut addresses = [0; DIRECT_BLOCKS + 1];
        for (index, address) in addresses.iter_mut().enumerate() {
            *address = word(block, at / 4 + 3 + index);
        }
        Self {
            kind: half(0),
            major: half(1),
            minor: half(2),
            links: half(3),
            size: word(block, at / 4 + 2),
            addresses,
        }
    }

    /// Writes the inode into a slot (below 16; higher slots wrap round) of an inode block.
    pub fn encode(&self, block: &mut Block, slot: usize) {
        let at = (slot % INODES_PER_BLOCK as usize) * INODE_SIZE;
        for (index, value) in [self.kind, self.major, self.minor, self.links]
            .into_iter()
            .enumerate()
        {
            block[at + index * 2..at + index * 2 + 2].copy_from_slice(&value.to_le_bytes());
        }
        set_word(block, at / 4 + 2, self.size);
        for (index, address) in self.addresses.into_iter().enumerate() {
            set_word(block, at / 4 + 3 + index, address);
        }
    }
}

/// The address in an indirect block; `index` is below 256.
pub fn indirect_entry(block: &Block, index: usize) -> u32 {
    word(block, index % crate::INDIRECT_BLOCKS)
}

/// Writes an address into an indirect block; `index` is below 256.
pub fn set_indirect_entry(block: &mut Block, index: usize, address: u32) {
    set_word(block, index % crate::INDIRECT_BLOCKS, address);
}
