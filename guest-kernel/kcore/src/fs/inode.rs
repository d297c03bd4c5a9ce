//! Content of inodes: the way from a position in a file to a block.

use super::{BlockDevice, FileSystem, Inum};
use abi::Errno;
use fs_format::{
    BLOCK_SIZE, DIRECT_BLOCKS, DiskInode, INDIRECT_BLOCKS, MAX_FILE_SIZE, indirect_entry,
    set_indirect_entry,
};

impl<D: BlockDevice> FileSystem<D> {
    /// Reads an inode that must be in use.
    pub(super) fn load(&mut self, inum: Inum) -> Result<DiskInode, Errno> {
        if !self.layout.is_inode(inum.0) {
            return Err(Errno::EIO);
        }
        let (block, slot) = self.layout.inode_place(inum.0);
        let inode = self
            .log
            .view(block, |content| DiskInode::decode(content, slot))?;
        let sane = !inode.is_free() && inode.links >= 0 && inode.size as usize <= MAX_FILE_SIZE;
        if sane { Ok(inode) } else { Err(Errno::EIO) }
    }

    /// Writes an inode, within the transaction.
    pub(super) fn store(&mut self, inum: Inum, inode: &DiskInode) -> Result<(), Errno> {
        let (block, slot) = self.layout.inode_place(inum.0);
        self.log
            .change(block, |content| inode.encode(content, slot))
    }

    /// The block that holds a file's `index`th block, if there is one.
    pub(super) fn find_block(
        &mut self,
        inode: &DiskInode,
        index: usize,
    ) -> Result<Option<u32>, Errno> {
        let address = if index < DIRECT_BLOCKS {
            inode.addresses[index]
        } else if index - DIRECT_BLOCKS < INDIRECT_BLOCKS && inode.addresses[DIRECT_BLOCKS] != 0 {
            let indirect = self.check_address(inode.addresses[DIRECT_BLOCKS])?;
            self.log.view(indirect, |table| {
                indirect_entry(table, index - DIRECT_BLOCKS)
            })?
        } else {
            0
        };
        if address == 0 {
            Ok(None)
        } else {
            self.check_address(address).map(Some)
        }
    }

    /// Like [`Self::find_block`], but makes the block where there is none. The caller stores the
    /// inode. On ENOSPC nothing was taken.
    fn find_or_take_block(&mut self, inode: &mut DiskInode, index: usize) -> Result<u32, Errno> {
        if let Some(block) = self.find_block(inode, index)? {
            return Ok(block);
        }
        if index >= DIRECT_BLOCKS + INDIRECT_BLOCKS {
            return Err(Errno::EFBIG);
        }
        if index < DIRECT_BLOCKS {
            inode.addresses[index] = self.take_block()?;
            return Ok(inode.addresses[index]);
        }
        let had_indirect = inode.addresses[DIRECT_BLOCKS] != 0;
        if !had_indirect {
            inode.addresses[DIRECT_BLOCKS] = self.take_block()?;
        }
        let indirect = inode.addresses[DIRECT_BLOCKS];
        match self.take_block() {
            Ok(block) => {
                self.log.change(indirect, |table| {
                    set_indirect_entry(table, index - DIRECT_BLOCKS, block);
                })?;
                Ok(block)
            }
            Err(error) => {
                if !had_indirect {
                    self.give_back_block(indirect)?;
                    inode.addresses[DIRECT_BLOCKS] = 0;
                }
                Err(error)
            }
        }
    }

    /// Reads from an inode's content; holes read as zeros. Returns the bytes read.
    pub(super) fn read_content(
        &mut self,
        inode: &DiskInode,
        offset: usize,
        buf: &mut [u8],
    ) -> Result<usize, Errno> {
        let length = buf.len().min((inode.size as usize).saturating_sub(offset));
        let mut done = 0;
        while done < length {
            let (index, start) = ((offset + done) / BLOCK_SIZE, (offset + done) % BLOCK_SIZE);
            let part = &mut buf[done..length.min(done + BLOCK_SIZE - start)];
            match self.find_block(inode, index)? {
                Some(block) => self.log.view(block, |content| {
                    part.copy_from_slice(&content[start..start + part.len()]);
                })?,
                None => part.fill(0),
            }
            done += part.len();
        }
        Ok(length)
    }

    /// Writes into one block of an inode's content, within the transaction, and lets the file grow.
    /// `edit` gets the part of the block from `offset` on. The caller stores the inode.
    pub(super) fn write_in_block(
        &mut self,
        inode: &mut DiskInode,
        offset: usize,
        length: usize,
        edit: impl FnOnce(&mut [u8]),
    ) -> Result<(), Errno> {
        let block = self.find_or_take_block(inode, offset / BLOCK_SIZE)?;
        let start = offset % BLOCK_SIZE;
        self.log
            .change(block, |content| edit(&mut content[start..start + length]))?;
        inode.size = inode.size.max((offset + length) as u32);
        Ok(())
    }

    /// Frees the content from `size` on, within the transaction. The caller stores the inode.
    pub(super) fn cut_content(&mut self, inode: &mut DiskInode, size: usize) -> Result<(), Errno> {
        let keep = size.div_ceil(BLOCK_SIZE);
        for index in keep.min(DIRECT_BLOCKS)..DIRECT_BLOCKS {
            if inode.addresses[index] != 0 {
                self.give_back_block(inode.addresses[index])?;
                inode.addresses[index] = 0;
            }
        }
        if inode.addresses[DIRECT_BLOCKS] != 0 {
            let indirect = self.check_address(inode.addresses[DIRECT_BLOCKS])?;
            let keep = keep.saturating_sub(DIRECT_BLOCKS);
            for index in keep..INDIRECT_BLOCKS {
                let address = self
                    .log
                    .view(indirect, |table| indirect_entry(table, index))?;
                if address != 0 {
                    self.give_back_block(address)?;
                    if keep > 0 {
                        self.log
                            .change(indirect, |table| set_indirect_entry(table, index, 0))?;
                    }
                }
            }
            if keep == 0 {
                self.give_back_block(indirect)?;
                inode.addresses[DIRECT_BLOCKS] = 0;
            }
        }
        inode.size = size as u32;
        Ok(())
    }
}
