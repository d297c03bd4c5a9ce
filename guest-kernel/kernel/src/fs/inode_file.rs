//! An open file or directory of the root file system.

use super::{InodeRef, Root};
use crate::file::{FileOps, Ticket};
use crate::sync::SleepLock;
use abi::{DirEntry, Errno, OpenFlags, Stat};

/// Where the next transfer starts.
struct Position {
    /// Byte offset; of a directory being listed by `readdir`, the cookie.
    offset: u64,
    /// `seek` put it there: a write may leave a gap of zeros. Without, as in xv6, a write behind an end that
    /// somebody else moved back is refused.
    sought: bool,
}

/// An open inode with its offset.
pub struct InodeFile {
    inode: InodeRef,
    flags: OpenFlags,
    /// Held over each transfer, so that processes that share the file do not mix their pieces.
    position: SleepLock<Position>,
    _ticket: Ticket,
}

impl InodeFile {
    /// An open file at offset 0.
    pub fn new(inode: InodeRef, flags: OpenFlags, ticket: Ticket) -> Self {
        Self {
            inode,
            flags,
            position: SleepLock::new(
                "file position",
                Position {
                    offset: 0,
                    sought: false,
                },
            ),
            _ticket: ticket,
        }
    }
}

impl FileOps for InodeFile {
    fn read(&self, buf: &mut [u8], _nonblock: bool) -> Result<usize, Errno> {
        if !self.flags.readable() {
            return Err(Errno::EBADF);
        }
        let mut position = self.position.lock();
        let len = Root::lock()?.read_at(self.inode.inum(), position.offset, buf)?;
        position.offset += len as u64;
        Ok(len)
    }

    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        if !self.flags.writable() {
            return Err(Errno::EBADF);
        }
        let mut position = self.position.lock();
        let mut fs = Root::lock()?;
        let size = fs.stat(self.inode.inum())?.size;
        if self.flags.contains(OpenFlags::APPEND) {
            position.offset = size;
        } else if position.offset > size && !position.sought {
            return Err(Errno::EINVAL);
        }
        let len = fs.write_at(self.inode.inum(), position.offset, buf)?;
        position.offset += len as u64;
        Ok(len)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Root::lock()?.stat(self.inode.inum())
    }

    fn seek(&self, offset: i64) -> Result<i64, Errno> {
        let new = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        *self.position.lock() = Position {
            offset: new,
            sought: true,
        };
        Ok(offset)
    }

    fn readdir(&self, out: &mut [DirEntry]) -> Result<usize, Errno> {
        let mut position = self.position.lock();
        Root::lock()?.readdir(self.inode.inum(), &mut position.offset, out)
    }

    fn ftruncate(&self, length: u64) -> Result<(), Errno> {
        if !self.flags.writable() {
            return Err(Errno::EINVAL);
        }
        Root::lock()?.truncate(self.inode.inum(), length)
    }
}
