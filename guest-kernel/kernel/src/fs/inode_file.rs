//! An open file or directory of the root file system.

use super::{InodeRef, Root};
use crate::file::{FileOps, Ticket};
use crate::sync::SleepLock;
use abi::{DirEntry, Errno, OpenFlags, Stat};

/// An open inode with its offset.
pub struct InodeFile {
    inode: InodeRef,
    flags: OpenFlags,
    /// Byte offset; of a directory being listed by `readdir`, the cookie. Held over each transfer, so that
    /// processes that share the file do not mix their pieces.
    offset: SleepLock<u64>,
    _ticket: Ticket,
}

impl InodeFile {
    /// An open file at offset 0.
    pub fn new(inode: InodeRef, flags: OpenFlags, ticket: Ticket) -> Self {
        Self {
            inode,
            flags,
            offset: SleepLock::new("file offset", 0),
            _ticket: ticket,
        }
    }
}

impl FileOps for InodeFile {
    fn read(&self, buf: &mut [u8], _nonblock: bool) -> Result<usize, Errno> {
        if !self.flags.readable() {
            return Err(Errno::EBADF);
        }
        let mut offset = self.offset.lock();
        let len = Root::lock()?.read_at(self.inode.inum(), *offset, buf)?;
        *offset += len as u64;
        Ok(len)
    }

    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        if !self.flags.writable() {
            return Err(Errno::EBADF);
        }
        let mut offset = self.offset.lock();
        let mut fs = Root::lock()?;
        if self.flags.contains(OpenFlags::APPEND) {
            *offset = fs.stat(self.inode.inum())?.size;
        }
        let len = fs.write_at(self.inode.inum(), *offset, buf)?;
        *offset += len as u64;
        Ok(len)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Root::lock()?.stat(self.inode.inum())
    }

    fn seek(&self, offset: i64) -> Result<i64, Errno> {
        let new = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        *self.offset.lock() = new;
        Ok(offset)
    }

    fn readdir(&self, out: &mut [DirEntry]) -> Result<usize, Errno> {
        let mut offset = self.offset.lock();
        Root::lock()?.readdir(self.inode.inum(), &mut offset, out)
    }

    fn ftruncate(&self, length: u64) -> Result<(), Errno> {
        if !self.flags.writable() {
            return Err(Errno::EINVAL);
        }
        Root::lock()?.truncate(self.inode.inum(), length)
    }
}
