//! `/boot`: the boot loader's modules as read-only files.

use crate::file::{FileOps, Ticket};
use crate::mm::memory_map::{self, Module, ROOT_IMAGE};
use crate::sync::SpinLock;
use abi::file::{T_DIR, T_FILE};
use abi::{DirEntry, Errno, OpenFlags, Stat};
use alloc::sync::Arc;

/// `st_dev` of boot modules.
const DEVICE: i32 = 3;
/// Inode number of `/boot` itself; module n is n + 2.
const DIRECTORY: u32 = 1;

/// The part of an absolute path behind `/boot`: empty for the directory itself.
pub fn name_of(path: &[u8]) -> Option<&[u8]> {
    let rest = path.strip_prefix(b"/boot")?;
    match rest {
        [] => Some(rest),
        [b'/', name @ ..] => Some(name),
        _ => None,
    }
}

fn files() -> impl Iterator<Item = (u32, &'static Module)> {
    memory_map::modules()
        .iter()
        .enumerate()
        .filter(|(_, module)| module.name() != ROOT_IMAGE)
        .map(|(n, module)| (n as u32 + 2, module))
}

fn find(name: &[u8]) -> Result<(u32, &'static Module), Errno> {
    files()
        .find(|(_, module)| module.name().as_bytes() == name)
        .ok_or(Errno::ENOENT)
}

/// Content of the module with this name.
pub fn content(name: &[u8]) -> Result<&'static [u8], Errno> {
    find(name).map(|(_, module)| module.bytes())
}

/// Opens a module, or the list of them.
pub fn open(name: &[u8], flags: OpenFlags) -> Result<crate::file::File, Errno> {
    let is_directory = name.is_empty();
    if flags.writable() || flags.contains(OpenFlags::TRUNC) || flags.contains(OpenFlags::CREATE) {
        return Err(if is_directory {
            Errno::EISDIR
        } else {
            Errno::EROFS
        });
    }
    let ticket = Ticket::new()?;
    let offset = SpinLock::new("boot file", 0);
    if is_directory {
        return Ok(Arc::new(BootDirectory {
            offset,
            _ticket: ticket,
        }));
    }
    let (inode, module) = find(name)?;
    Ok(Arc::new(BootFile {
        inode,
        content: module.bytes(),
        offset,
        _ticket: ticket,
    }))
}

struct BootFile {
    inode: u32,
    content: &'static [u8],
    offset: SpinLock<usize>,
    _ticket: Ticket,
}

impl FileOps for BootFile {
    fn read(&self, buf: &mut [u8], _nonblock: bool) -> Result<usize, Errno> {
        let mut offset = self.offset.lock();
        let rest = self.content.get(*offset..).unwrap_or(&[]);
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        *offset += len;
        Ok(len)
    }

    fn write(&self, _buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Ok(Stat {
            dev: DEVICE,
            ino: self.inode,
            kind: T_FILE,
            nlink: 1,
            pad: 0,
            size: self.content.len() as u64,
        })
    }

    fn seek(&self, offset: i64) -> Result<i64, Errno> {
        *self.offset.lock() = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        Ok(offset)
    }
}

struct BootDirectory {
    offset: SpinLock<usize>,
    _ticket: Ticket,
}

impl FileOps for BootDirectory {
    fn read(&self, _buf: &mut [u8], _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn write(&self, _buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Ok(Stat {
            dev: DEVICE,
            ino: DIRECTORY,
            kind: T_DIR,
            nlink: 1,
            pad: 0,
            size: 0,
        })
    }

    fn readdir(&self, out: &mut [DirEntry]) -> Result<usize, Errno> {
        let mut offset = self.offset.lock();
        let mut filled = 0;
        for ((inode, module), slot) in files().skip(*offset).zip(out) {
            *slot = DirEntry::new(
                u64::from(inode),
                module.bytes().len() as u64,
                T_FILE,
                module.name().as_bytes(),
            );
            filled += 1;
        }
        *offset += filled;
        Ok(filled)
    }
}
