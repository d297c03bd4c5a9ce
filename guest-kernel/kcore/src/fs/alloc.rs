//! Giving out blocks and inodes, first fit like xv6.

use super::{BlockDevice, FileSystem, Inum};
use abi::Errno;
use fs_format::{BITS_PER_BLOCK, Block, DiskInode, INODES_PER_BLOCK, ROOT_INODE, ZERO_BLOCK};

/// Where the searches begin: everything below is in use. Put back when a transaction is aborted.
#[derive(Clone, Copy)]
pub(super) struct Hints {
    pub(super) block: u32,
    pub(super) inode: u32,
}

/// First zero bit at or after `from` in a block of the free map.
fn first_zero(map: &Block, from: u32) -> Option<u32> {
    let first_byte = (from / 8) as usize;
    let below = (1u8 << (from % 8)) - 1;
    let (index, byte) = map
        .iter()
        .enumerate()
        .skip(first_byte)
        .find_map(|(index, &byte)| {
            let byte = if index == first_byte {
                byte | below
            } else {
                byte
            };
            (byte != 0xff).then_some((index, byte))
        })?;
    Some(index as u32 * 8 + byte.trailing_ones())
}

impl<D: BlockDevice> FileSystem<D> {
    /// Takes a free data block and fills it with zeros.
    pub(super) fn take_block(&mut self) -> Result<u32, Errno> {
        let mut from = self.hints.block;
        while from < self.layout.size {
            let (map, _, _) = self.layout.bitmap_place(from);
            let found = self
                .log
                .view(map, |bits| first_zero(bits, from % BITS_PER_BLOCK))?;
            let map_start = from - from % BITS_PER_BLOCK;
            let Some(bit) = found else {
                from = map_start.saturating_add(BITS_PER_BLOCK);
                continue;
            };
            let block = map_start + bit;
            if block >= self.layout.size {
                break;
            }
            let (_, byte, mask) = self.layout.bitmap_place(block);
            self.log.change(map, |bits| bits[byte] |= mask)?;
            self.log.change(block, |content| *content = ZERO_BLOCK)?;
            self.hints.block = block + 1;
            return Ok(block);
        }
        self.hints.block = self.layout.size;
        Err(Errno::ENOSPC)
    }

    /// Gives a data block back. EIO when the image lies: an address outside the data, or a block
    /// that is free already.
    pub(super) fn give_back_block(&mut self, block: u32) -> Result<(), Errno> {
        self.check_address(block)?;
        let (map, byte, mask) = self.layout.bitmap_place(block);
        let was_used = self.log.change(map, |bits| {
            let was_used = bits[byte] & mask != 0;
            bits[byte] &= !mask;
            was_used
        })?;
        if !was_used {
            return Err(Errno::EIO);
        }
        self.hints.block = self.hints.block.min(block);
        Ok(())
    }

    /// The border where addresses from the disk are checked.
    pub(super) fn check_address(&self, block: u32) -> Result<u32, Errno> {
        if self.layout.is_data_block(block) {
            Ok(block)
        } else {
            Err(Errno::EIO)
        }
    }

    /// Takes a free inode and writes `new` into it. ENOSPC when there is none.
    pub(super) fn take_inode(&mut self, new: &DiskInode) -> Result<Inum, Errno> {
        let mut from = self.hints.inode;
        while from < self.layout.inodes {
            let (block, first_slot) = self.layout.inode_place(from);
            let slots =
                (INODES_PER_BLOCK as usize - first_slot).min((self.layout.inodes - from) as usize);
            let free = self.log.view(block, |content| {
                (0..slots).find(|slot| DiskInode::decode(content, first_slot + slot).is_free())
            })?;
            if let Some(slot) = free {
                let inum = Inum(from + slot as u32);
                self.hints.inode = inum.0 + 1;
                self.store(inum, new)?;
                return Ok(inum);
            }
            from += slots as u32;
        }
        self.hints.inode = self.layout.inodes;
        Err(Errno::ENOSPC)
    }

    /// Frees an inode that has neither links nor content.
    pub(super) fn give_back_inode(&mut self, inum: Inum) -> Result<(), Errno> {
        self.hints.inode = self.hints.inode.min(inum.0).max(ROOT_INODE);
        self.store(inum, &DiskInode::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_zero_starts_inside_a_byte() {
        let mut map = [0xff; 1024];
        assert_eq!(first_zero(&map, 0), None);
        map[3] = 0b1101_1110;
        assert_eq!(first_zero(&map, 0), Some(24));
        assert_eq!(first_zero(&map, 24), Some(24));
        assert_eq!(first_zero(&map, 25), Some(29));
        assert_eq!(first_zero(&map, 30), None);
        map[1023] = 0x7f;
        assert_eq!(first_zero(&map, 8191), Some(8191));
    }
}
