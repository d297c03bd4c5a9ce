//! The log: several block writes become one.
//!
//! A transaction collects changed blocks in memory; nothing reaches the disk before [`Log::commit`].
//! It writes, one block after the other, and any of these writes may be the last one ever:
//!
//! 1. the changed blocks into the log's data blocks;
//! 2. the header that names their homes: *this* write is the commit;
//! 3. the changed blocks to their homes;
//! 4. an empty header.
//!
//! Cut before 2: the header on the disk is empty, the old state stands. Cut after 2: [`Log::recover`]
//! repeats 3 and 4 at the next mount, as often as it takes. [`Log::abort`] just forgets: an operation
//! that fails half way leaves neither disk nor memory changed. All memory is allocated at mount.

use super::device::{BlockDevice, DeviceError};
use abi::Errno;
use alloc::vec::Vec;
use fs_format::{Block, LogHeader, Superblock, ZERO_BLOCK};

/// The device seen through the running transaction.
pub(super) struct Log<D> {
    pub(super) device: D,
    start: u32,
    capacity: usize,
    /// Home and new content of each changed block. Never longer than `capacity`.
    changed: Vec<(u32, Block)>,
    /// For readers; kept here because kernel stacks are small.
    scratch: Block,
    /// A write failed after the commit point may have been passed: only a new mount can tell.
    broken: bool,
    /// Largest transaction since mount, in blocks.
    high_water: usize,
}

impl<D: BlockDevice> Log<D> {
    pub(super) fn new(device: D, layout: &Superblock) -> Self {
        let capacity = LogHeader::capacity(layout);
        Self {
            device,
            start: layout.log_start,
            capacity,
            changed: Vec::with_capacity(capacity),
            scratch: ZERO_BLOCK,
            broken: false,
            high_water: 0,
        }
    }

    /// Most blocks that a transaction may change.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn high_water(&self) -> usize {
        self.high_water
    }

    /// Installs what a cut left committed in the log, block by block, then clears the header.
    /// Returns how many blocks that were.
    pub(super) fn recover(&mut self, header: &LogHeader) -> Result<usize, DeviceError> {
        for (index, &home) in (1..).zip(header.blocks()) {
            self.device.read(self.start + index, &mut self.scratch)?;
            self.device.write(home, &self.scratch)?;
        }
        if !header.blocks().is_empty() {
            self.device.write(self.start, &LogHeader::EMPTY.encode())?;
        }
        Ok(header.blocks().len())
    }

    /// Shows a block as the running transaction sees it.
    pub(super) fn view<R>(
        &mut self,
        block: u32,
        look: impl FnOnce(&Block) -> R,
    ) -> Result<R, Errno> {
        if self.broken {
            return Err(Errno::EIO);
        }
        if let Some((_, content)) = self.changed.iter().find(|(home, _)| *home == block) {
            return Ok(look(content));
        }
        self.device
            .read(block, &mut self.scratch)
            .map_err(|_| Errno::EIO)?;
        Ok(look(&self.scratch))
    }

    /// Changes a block within the running transaction.
    pub(super) fn change<R>(
        &mut self,
        block: u32,
        edit: impl FnOnce(&mut Block) -> R,
    ) -> Result<R, Errno> {
        if self.broken {
            return Err(Errno::EIO);
        }
        let known = self.changed.iter().position(|(home, _)| *home == block);
        let index = match known {
            Some(index) => index,
            None if self.changed.len() == self.capacity => return Err(Errno::EIO),
            None => {
                self.device
                    .read(block, &mut self.scratch)
                    .map_err(|_| Errno::EIO)?;
                self.changed.push((block, self.scratch));
                self.changed.len() - 1
            }
        };
        Ok(edit(&mut self.changed[index].1))
    }

    /// Makes all changes since the last commit or abort durable, as one.
    pub(super) fn commit(&mut self) -> Result<(), Errno> {
        if self.changed.is_empty() {
            return Ok(());
        }
        self.high_water = self.high_water.max(self.changed.len());
        let outcome = self.write_changes();
        self.changed.clear();
        self.broken |= outcome.is_err();
        outcome.map_err(|_| Errno::EIO)
    }

    fn write_changes(&mut self) -> Result<(), DeviceError> {
        let mut header = LogHeader::EMPTY;
        for (index, (home, content)) in (1..).zip(&self.changed) {
            self.device.write(self.start + index, content)?;
            header.push(*home);
        }
        self.device.write(self.start, &header.encode())?;
        for (home, content) in &self.changed {
            self.device.write(*home, content)?;
        }
        self.device.write(self.start, &LogHeader::EMPTY.encode())
    }

    /// Forgets all changes since the last commit or abort.
    pub(super) fn abort(&mut self) {
        self.changed.clear();
    }
}
