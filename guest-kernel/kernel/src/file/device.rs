//! Device files: major numbers to drivers.

use super::{File, FileOps, Readiness, Ticket};
use crate::console;
use crate::fs::InodeRef;
use crate::sync::WaitQueue;
use abi::file::{CONSOLE_MAJOR, T_DEVICE};
use abi::{Errno, OpenFlags, Stat};
use alloc::sync::Arc;

/// Opens the device behind an inode.
pub fn open(major: i16, inode: InodeRef, flags: OpenFlags, ticket: Ticket) -> Result<File, Errno> {
    match major {
        CONSOLE_MAJOR => Ok(Arc::new(ConsoleFile {
            inode,
            flags,
            _ticket: ticket,
        })),
        _ => Err(Errno::ENXIO),
    }
}

struct ConsoleFile {
    inode: InodeRef,
    flags: OpenFlags,
    _ticket: Ticket,
}

impl FileOps for ConsoleFile {
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize, Errno> {
        if !self.flags.readable() {
            return Err(Errno::EBADF);
        }
        console::read(buf, nonblock || self.flags.contains(OpenFlags::NONBLOCK))
    }

    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        if !self.flags.writable() {
            return Err(Errno::EBADF);
        }
        console::write_user(buf);
        Ok(buf.len())
    }

    fn stat(&self) -> Result<Stat, Errno> {
        let ino = self.inode.inum().get();
        Ok(Stat {
            dev: 1,
            ino,
            kind: T_DEVICE,
            nlink: 1,
            pad: 0,
            size: 0,
        })
    }

    fn poll(&self) -> Readiness {
        Readiness {
            readable: console::has_input(),
            ..Readiness::ALWAYS
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(console::input_queue())
    }

    fn set_tty_mode(&self, mode: i32) -> Result<(), Errno> {
        console::set_mode(mode)
    }
}
