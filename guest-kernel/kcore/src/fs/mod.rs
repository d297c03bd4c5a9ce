//! The file system: xv6-riscv's on-disk format, on any [`BlockDevice`].
//!
//! ```
//! use kcore::fs::{FileSystem, Inum, MemoryDisk};
//! # let image = kcore::mkfs::build(&kcore::mkfs::Parameters::default(), &[]).unwrap();
//! let mut fs = FileSystem::mount(MemoryDisk(image)).unwrap();
//! fs.mkdir(Inum::ROOT, b"notes").unwrap();
//! let inum = fs.open(Inum::ROOT, b"/notes/today", abi::OpenFlags::CREATE).unwrap();
//! assert_eq!(fs.write_at(inum, 0, b"rain"), Ok(4));
//! fs.unlink(Inum::ROOT, b"notes/today").unwrap();
//! let mut buf = [0; 8];
//! assert_eq!(fs.read_at(inum, 0, &mut buf), Ok(4)); // still there,
//! fs.put(inum).unwrap();                            // now gone
//! ```
//!
//! # What the caller does
//! - The whole file system stands behind one lock; every call runs to its end.
//! - A call that returns an [`Inum`] counted a reference to it: [`FileSystem::put`] gives it back,
//!   [`FileSystem::dup`] counts another. Open files and current directories hold references.
//!   A file without names lives until its last reference goes.
//! - Paths are at most 127 bytes, absolute or relative to an inode. Names are cut at 14 bytes, as in
//!   xv6.
//!
//! # What it promises
//! - Each call is one transaction, but a write that is long (more than about 20 blocks) or leaves a
//!   gap to fill: after a cut at any block write the next mount finds the state before the call or
//!   after it. A call that fails changes nothing.
//! - What a cut leaves without name but not yet freed is reclaimed at mount.
//! - Memory is allocated at mount only, so no call fails for want of it.
//! - An image may hold any bytes: mount checks the layout, each use checks what it reads, and a lie
//!   is answered by EIO. `kcore::fsck` finds them all.
//!
//! From bottom to top: `device`, `log`, `alloc`, `inode`, `dir`, `walk`, then what callers see:
//! `names` and `content`.

mod alloc;
mod content;
mod device;
mod dir;
mod inode;
mod log;
mod names;
mod walk;

pub use device::{BlockDevice, DeviceError, MemoryDisk};

use self::alloc::Hints;
use self::log::Log;
use ::alloc::vec;
use ::alloc::vec::Vec;
use abi::Errno;
use core::fmt;
use fs_format::{
    BITS_PER_BLOCK, DiskInode, INODES_PER_BLOCK, LogHeader, LogHeaderError, ROOT_INODE, SUPERBLOCK,
    Superblock, SuperblockError, TYPE_DIR, ZERO_BLOCK,
};

/// Blocks besides data and free map that the biggest operation (a rename that replaces) changes.
const BLOCKS_PER_OPERATION: usize = 10;

/// The number of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inum(u32);

impl Inum {
    /// The root directory. It needs no reference.
    pub const ROOT: Self = Self(ROOT_INODE);

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    fn index(self) -> usize {
        self.0 as usize
    }

    /// For a directory entry; mount refuses images with more inodes than a u16 can name.
    fn as_u16(self) -> u16 {
        self.0 as u16
    }
}

/// What [`FileSystem::create`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A device.
    Device {
        /// Which driver.
        major: i16,
        /// Which of its devices.
        minor: i16,
    },
}

/// Why an image cannot be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountError {
    /// The device failed.
    Device,
    /// The superblock makes no sense.
    Superblock(SuperblockError),
    /// The log holds a transaction that makes no sense.
    Log(LogHeaderError),
    /// The log is too small for the free map: the biggest operation must fit.
    SmallLog {
        /// Blocks a transaction may have.
        capacity: usize,
        /// Blocks the biggest operation may have.
        needed: usize,
    },
    /// Inode 1 is no directory.
    NoRoot,
    /// A file without names could not be freed: the image needs a check.
    Orphan(Inum),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => write!(f, "the device failed"),
            Self::Superblock(error) => write!(f, "superblock: {error}"),
            Self::Log(error) => write!(f, "{error}"),
            Self::SmallLog { capacity, needed } => {
                write!(
                    f,
                    "the log holds {capacity} blocks, an operation may need {needed}"
                )
            }
            Self::NoRoot => write!(f, "inode 1 is no directory"),
            Self::Orphan(inum) => write!(f, "inode {} has no name and cannot be freed", inum.0),
        }
    }
}

impl core::error::Error for MountError {}

/// What mount had to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Blocks installed from the log.
    pub replayed_blocks: usize,
    /// Files without names that were freed.
    pub freed_inodes: usize,
}

/// How full the file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Data blocks.
    pub blocks: u32,
    /// Data blocks that are free.
    pub free_blocks: u32,
    /// Inodes that can be used.
    pub inodes: u32,
    /// Inodes that are free.
    pub free_inodes: u32,
}

/// A mounted file system.
pub struct FileSystem<D> {
    layout: Superblock,
    log: Log<D>,
    hints: Hints,
    /// References counted per inode.
    references: Vec<u32>,
    recovery: Recovery,
}

impl<D> fmt::Debug for FileSystem<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSystem")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl<D: BlockDevice> FileSystem<D> {
    /// Checks the superblock, installs what the log holds committed, frees files without names.
    ///
    /// # Errors
    /// See [`MountError`].
    pub fn mount(mut device: D) -> Result<Self, MountError> {
        let mut block = ZERO_BLOCK;
        let device_error = |_| MountError::Device;
        device.read(SUPERBLOCK, &mut block).map_err(device_error)?;
        let layout = Superblock::decode(&block);
        layout
            .validate(device.block_count())
            .map_err(MountError::Superblock)?;
        device
            .read(layout.log_start, &mut block)
            .map_err(device_error)?;
        let header = LogHeader::decode(&block, &layout).map_err(MountError::Log)?;
        let mut fs = Self {
            layout,
            log: Log::new(device, &layout),
            hints: Hints {
                block: layout.data_start(),
                inode: ROOT_INODE,
            },
            references: vec![0; layout.inodes as usize],
            recovery: Recovery::default(),
        };
        let (capacity, needed) = (fs.log.capacity(), fs.blocks_besides_data());
        if capacity < needed {
            return Err(MountError::SmallLog { capacity, needed });
        }
        fs.recovery.replayed_blocks = fs.log.recover(&header).map_err(device_error)?;
        match fs.load(Inum::ROOT) {
            Ok(root) if root.kind == TYPE_DIR && root.links > 0 => {}
            _ => return Err(MountError::NoRoot),
        }
        fs.free_orphans()?;
        Ok(fs)
    }

    /// The device back. References that are still counted leave files without names for the next
    /// mount to free.
    pub fn into_device(self) -> D {
        self.log.device
    }

    /// The layout of the image.
    pub fn layout(&self) -> &Superblock {
        &self.layout
    }

    /// What mount had to do.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The largest transaction since mount and the most that fits, in blocks.
    pub fn log_use(&self) -> (usize, usize) {
        (self.log.high_water(), self.log.capacity())
    }

    /// The inode a path names; counts a reference.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ENAMETOOLONG, EINVAL for a NUL in the path, EIO.
    pub fn lookup(&mut self, cwd: Inum, path: &[u8]) -> Result<Inum, Errno> {
        let inum = self.walk(cwd, path)?;
        self.dup(inum);
        Ok(inum)
    }

    /// Like [`Self::lookup`], for `chdir`: it must be a directory.
    ///
    /// # Errors
    /// Those of [`Self::lookup`]; ENOTDIR.
    pub fn lookup_dir(&mut self, cwd: Inum, path: &[u8]) -> Result<Inum, Errno> {
        let inum = self.walk(cwd, path)?;
        if self.load(inum)?.kind != TYPE_DIR {
            return Err(Errno::ENOTDIR);
        }
        self.dup(inum);
        Ok(inum)
    }

    /// Counts another reference.
    pub fn dup(&mut self, inum: Inum) {
        self.references[inum.index()] += 1;
    }

    /// Gives a reference back; the last one frees a file without names.
    ///
    /// # Errors
    /// EIO; the reference is gone all the same.
    ///
    /// # Panics
    /// When no reference is counted: the caller lost count, and the next file would pay for it.
    pub fn put(&mut self, inum: Inum) -> Result<(), Errno> {
        let count = &mut self.references[inum.index()];
        *count = count
            .checked_sub(1)
            .expect("put of an inode without references");
        if *count > 0 || self.load(inum)?.links > 0 {
            return Ok(());
        }
        self.transact(|fs| fs.free_inode(inum))
    }

    /// References counted over all inodes: 0 when nobody holds a file or directory.
    pub fn references(&self) -> u64 {
        self.references.iter().map(|&count| u64::from(count)).sum()
    }

    /// Counts free blocks and inodes, by looking at all of them.
    ///
    /// # Errors
    /// EIO.
    pub fn usage(&mut self) -> Result<Usage, Errno> {
        let layout = self.layout;
        let mut usage = Usage {
            blocks: layout.data_blocks,
            free_blocks: 0,
            inodes: layout.inodes - ROOT_INODE,
            free_inodes: 0,
        };
        let mut from = layout.data_start();
        while from < layout.size {
            let map_end = (from - from % BITS_PER_BLOCK).saturating_add(BITS_PER_BLOCK);
            let to = layout.size.min(map_end);
            let (map, _, _) = layout.bitmap_place(from);
            usage.free_blocks += self.log.view(map, |bits| {
                let is_free = |&block: &u32| {
                    let (_, byte, mask) = layout.bitmap_place(block);
                    bits[byte] & mask == 0
                };
                (from..to).filter(is_free).count() as u32
            })?;
            from = to;
        }
        for first in (0..layout.inodes).step_by(INODES_PER_BLOCK as usize) {
            let slots = first.max(ROOT_INODE)..layout.inodes.min(first + INODES_PER_BLOCK);
            usage.free_inodes += self.log.view(layout.inode_place(first).0, |table| {
                let is_free =
                    |&inode: &u32| DiskInode::decode(table, layout.inode_place(inode).1).is_free();
                slots.filter(is_free).count() as u32
            })?;
        }
        Ok(usage)
    }

    /// Runs an operation as one transaction: all of it or, when it fails, nothing.
    fn transact<R>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let hints = self.hints;
        match operation(self).and_then(|result| self.log.commit().map(|()| result)) {
            Ok(result) => Ok(result),
            Err(error) => {
                self.log.abort();
                self.hints = hints;
                Err(error)
            }
        }
    }

    /// Blocks a transaction must have room for besides the content it writes.
    fn blocks_besides_data(&self) -> usize {
        BLOCKS_PER_OPERATION + self.layout.bitmap_blocks() as usize
    }

    /// How many blocks of content a transaction can write: the inode, the indirect block and the
    /// free map need their place, too.
    fn blocks_per_write(&self) -> usize {
        self.log.capacity() - self.layout.bitmap_blocks() as usize - 2
    }

    /// Frees content and inode, within the transaction.
    fn free_inode(&mut self, inum: Inum) -> Result<(), Errno> {
        let mut inode = self.load(inum)?;
        self.cut_content(&mut inode, 0)?;
        self.give_back_inode(inum)
    }

    /// Files whose last name went while they were open, when the machine stopped.
    fn free_orphans(&mut self) -> Result<(), MountError> {
        for number in ROOT_INODE..self.layout.inodes {
            let (block, slot) = self.layout.inode_place(number);
            let inode = self
                .log
                .view(block, |table| DiskInode::decode(table, slot))
                .map_err(|_| MountError::Device)?;
            if !inode.is_free() && inode.links == 0 {
                let inum = Inum(number);
                self.transact(|fs| fs.free_inode(inum))
                    .map_err(|_| MountError::Orphan(inum))?;
                self.recovery.freed_inodes += 1;
            }
        }
        Ok(())
    }
}
