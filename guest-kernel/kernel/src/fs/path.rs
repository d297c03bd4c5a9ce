//! Where a path leads: a remote server, a boot module, or the root file system.
//!
//! A path is remote if and only if the text before its first `:/` holds no `/`.

use super::{InodeFile, InodeRef, Root, boot_files};
use crate::file::{File, Ticket, device};
use crate::proc::current;
use crate::remote;
use abi::{Errno, OpenFlags};
use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kcore::fs::Inum;
use kcore::path::{PathError, RemotePath};

/// A process's current directory.
#[derive(Clone)]
pub enum WorkingDirectory {
    /// The root directory.
    Root,
    /// A directory of the root file system.
    Local(Arc<InodeRef>),
    /// A directory on a server.
    Remote(Arc<RemotePath>),
}

/// What a path means to the calling process.
enum Place<'p> {
    Local(Inum, &'p [u8]),
    Remote(RemotePath),
}

impl WorkingDirectory {
    /// What a process starts with.
    pub const fn root() -> Self {
        Self::Root
    }

    /// The same directory for another process.
    pub fn share(&self) -> Self {
        self.clone()
    }

    fn inum(&self) -> Inum {
        match self {
            // From a remote directory only absolute local paths come here.
            Self::Root | Self::Remote(_) => Inum::ROOT,
            Self::Local(inode) => inode.inum(),
        }
    }
}

/// Where a path leads from the calling process's directory, which stays: only the process itself
/// changes it.
fn locate(path: &[u8]) -> Result<Place<'_>, Errno> {
    if let Some(remote) = RemotePath::parse(path).map_err(PathError::errno)? {
        return Ok(Place::Remote(remote));
    }
    let directory = current().directory.lock().share();
    match directory {
        WorkingDirectory::Remote(base) if !path.starts_with(b"/") => {
            if path.is_empty() {
                return Err(Errno::ENOENT);
            }
            base.join(path).map(Place::Remote).map_err(PathError::errno)
        }
        local => Ok(Place::Local(local.inum(), path)),
    }
}

/// Opens a file.
pub fn open(path: &[u8], flags: OpenFlags) -> Result<File, Errno> {
    if let Some(name) = boot_files::name_of(path) {
        return boot_files::open(name, flags);
    }
    let (directory, path) = match locate(path)? {
        Place::Remote(path) => return remote::open(&path, flags),
        Place::Local(directory, path) => (directory, path),
    };
    let ticket = Ticket::new()?;
    let (inode, device) = {
        let mut fs = Root::lock()?;
        let inum = fs.open(directory, path, flags)?;
        match fs.device_numbers(inum) {
            Ok(device) => (inum, device),
            Err(error) => {
                fs.put(inum)?;
                return Err(error);
            }
        }
    };
    let inode = InodeRef(inode);
    match device {
        Some((major, _minor)) => device::open(major, inode, flags, ticket),
        None => Ok(Arc::new(InodeFile::new(inode, flags, ticket))),
    }
}

/// Makes a directory.
pub fn mkdir(path: &[u8]) -> Result<(), Errno> {
    match locate(path)? {
        Place::Remote(path) => remote::mkdir(&path),
        Place::Local(directory, path) => Root::lock()?.mkdir(directory, path),
    }
}

/// Makes a device file.
pub fn mknod(path: &[u8], major: i16, minor: i16) -> Result<(), Errno> {
    match locate(path)? {
        Place::Remote(_) => Err(Errno::EXDEV),
        Place::Local(directory, path) => Root::lock()?.mknod(directory, path, major, minor),
    }
}

/// Gives a file a second name.
pub fn link(old: &[u8], new: &[u8]) -> Result<(), Errno> {
    match (locate(old)?, locate(new)?) {
        (Place::Local(directory, old), Place::Local(_, new)) => {
            Root::lock()?.link(directory, old, new)
        }
        _ => Err(Errno::EXDEV),
    }
}

/// Removes a name.
pub fn unlink(path: &[u8]) -> Result<(), Errno> {
    match locate(path)? {
        Place::Remote(path) => remote::unlink(&path),
        Place::Local(directory, path) => Root::lock()?.unlink(directory, path),
    }
}

/// Renames.
pub fn rename(old: &[u8], new: &[u8]) -> Result<(), Errno> {
    match (locate(old)?, locate(new)?) {
        (Place::Local(directory, old), Place::Local(_, new)) => {
            Root::lock()?.rename(directory, old, new)
        }
        (Place::Remote(old), Place::Remote(new)) => remote::rename(&old, &new),
        _ => Err(Errno::EXDEV),
    }
}

/// Changes the calling process's directory.
pub fn chdir(path: &[u8]) -> Result<(), Errno> {
    let new = match locate(path)? {
        Place::Remote(path) => {
            remote::check_directory(&path)?;
            WorkingDirectory::Remote(Arc::new(path))
        }
        Place::Local(directory, path) => {
            let inum = Root::lock()?.lookup_dir(directory, path)?;
            WorkingDirectory::Local(Arc::new(InodeRef(inum)))
        }
    };
    let old = core::mem::replace(&mut *current().directory.lock(), new);
    drop(old);
    Ok(())
}

/// The whole content of a program.
pub fn read_program(path: &[u8]) -> Result<Cow<'static, [u8]>, Errno> {
    if let Some(name) = boot_files::name_of(path) {
        return boot_files::content(name).map(Cow::Borrowed);
    }
    let (directory, path) = match locate(path)? {
        Place::Remote(path) => return remote::read_file(&path).map(Cow::Owned),
        Place::Local(directory, path) => (directory, path),
    };
    let mut fs = Root::lock()?;
    let inode = fs.lookup(directory, path)?;
    let content = read_whole(&mut fs, inode);
    fs.put(inode)?;
    content.map(Cow::Owned)
}

fn read_whole(fs: &mut Root, inode: Inum) -> Result<Vec<u8>, Errno> {
    let stat = fs.stat(inode)?;
    if stat.kind != abi::file::T_FILE {
        return Err(Errno::EACCES);
    }
    let mut content = Vec::new();
    content
        .try_reserve_exact(stat.size as usize)
        .map_err(|_| Errno::ENOMEM)?;
    content.resize(stat.size as usize, 0);
    let len = fs.read_at(inode, 0, &mut content)?;
    content.truncate(len);
    Ok(content)
}
