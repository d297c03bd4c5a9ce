//! What the file system stands on.

use fs_format::{BLOCK_SIZE, Block};

/// A block could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceError;

/// A disk of 1024-byte blocks. A write that returned is on the disk, whole; one that did not return
/// is there or not, but never half. Both calls may refuse any block.
pub trait BlockDevice {
    /// Number of blocks.
    fn block_count(&self) -> u32;

    /// Reads a block.
    ///
    /// # Errors
    /// When the block does not exist or the device fails.
    fn read(&mut self, block: u32, buf: &mut Block) -> Result<(), DeviceError>;

    /// Writes a block.
    ///
    /// # Errors
    /// When the block does not exist or the device fails.
    fn write(&mut self, block: u32, buf: &Block) -> Result<(), DeviceError>;
}

/// A disk in memory: a boot module, or an image file that was read whole. Bytes after the last whole
/// block are no part of the disk.
#[derive(Debug)]
pub struct MemoryDisk<B>(pub B);

impl<B: AsRef<[u8]> + AsMut<[u8]>> BlockDevice for MemoryDisk<B> {
    fn block_count(&self) -> u32 {
        u32::try_from(self.0.as_ref().len() / BLOCK_SIZE).unwrap_or(u32::MAX)
    }

    fn read(&mut self, block: u32, buf: &mut Block) -> Result<(), DeviceError> {
        let blocks = self.0.as_ref().as_chunks::<BLOCK_SIZE>().0;
        buf.copy_from_slice(blocks.get(block as usize).ok_or(DeviceError)?);
        Ok(())
    }

    fn write(&mut self, block: u32, buf: &Block) -> Result<(), DeviceError> {
        let blocks = self.0.as_mut().as_chunks_mut::<BLOCK_SIZE>().0;
        blocks
            .get_mut(block as usize)
            .ok_or(DeviceError)?
            .copy_from_slice(buf);
        Ok(())
    }
}
