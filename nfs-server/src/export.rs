//! Exports, and every access to the file system.
//!
//! Confinement: paths are lists of checked names, resolved by the kernel below a directory handle
//! (`openat2` with BENEATH, NO_SYMLINKS, NO_MAGICLINKS, NO_XDEV). No string is ever compared to
//! decide whether a path is inside. What is opened is looked at before (so that a device is not
//! touched) and after (so that a swap in between is noticed).

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path as HostPath;

use anyhow::Context;
use protocol::message::{Access, Kind, OpenFlags, Removes, Stat, StatfsReply};
use protocol::name::Path;
use protocol::{Errno, Reason};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};

use crate::refuse::{Refused, because, system};

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A directory that clients see under a name.
#[derive(Debug)]
pub struct Export {
    /// What clients call it.
    pub name: String,
    /// What they may do.
    pub access: Access,
    root: OwnedFd,
}

/// What a file is, for good: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// A stat with the identity beside it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What clients see.
    pub stat: Stat,
    /// What the server remembers.
    pub identity: Identity,
}

impl Export {
    /// Opens the directory. The path itself is the administrator's: symbolic links in it are followed.
    pub fn open(name: &str, path: &HostPath, access: Access) -> anyhow::Result<Self> {
        protocol::name::check(name.as_bytes()).with_context(|| format!("export name {name:?}"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).with_context(|| {
            format!(
                "cannot open the directory {} of export {name}",
                path.display()
            )
        })?;
        // Confinement rests on openat2: find out now whether this kernel (or sandbox) has it.
        rustix::fs::openat2(&root, c".", flags, Mode::empty(), BENEATH).with_context(|| {
            format!(
                "openat2 does not work on {} (Linux 5.6 or later is needed)",
                path.display()
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            access,
            root,
        })
    }

    /// A handle of its own for a client.
    pub fn attach(&self) -> Result<OwnedFd, Refused> {
        open_dir(self.root.as_fd(), Path::HERE)
    }

    /// Refuses changes where the export does.
    pub fn allow_change(&self) -> Result<(), Refused> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::AppendOnly => Err(because(Errno::EPERM, Reason::AppendOnlyExport)),
            Access::ReadOnly => Err(because(Errno::EROFS, Reason::ReadOnlyExport)),
        }
    }

    /// Refuses additions where the export does.
    pub fn allow_add(&self) -> Result<(), Refused> {
        match self.access {
            Access::ReadWrite | Access::AppendOnly => Ok(()),
            Access::ReadOnly => Err(because(Errno::EROFS, Reason::ReadOnlyExport)),
        }
    }
}

fn joined(path: Path<'_>) -> CString {
    let names: Vec<&[u8]> = path.names().collect();
    let text = if names.is_empty() {
        b".".to_vec()
    } else {
        names.join(&b'/')
    };
    // The name rule has no NUL.
    CString::new(text).unwrap_or_default()
}

fn name(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap_or_default()
}

fn resolve(
    dir: BorrowedFd<'_>,
    path: Path<'_>,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Refused> {
    // Without NOFOLLOW: NO_SYMLINKS refuses a link in the last place, too, and says so (ELOOP).
    let flags = flags | OFlags::CLOEXEC;
    rustix::fs::openat2(dir, joined(path), flags, mode, BENEATH).map_err(system)
}

/// Opens a directory for reading.
pub fn open_dir(dir: BorrowedFd<'_>, path: Path<'_>) -> Result<OwnedFd, Refused> {
    resolve(dir, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Splits off the last name and opens the directory that holds it.
pub fn open_parent<'a>(
    dir: BorrowedFd<'_>,
    path: Path<'a>,
) -> Result<(OwnedFd, &'a [u8]), Refused> {
    let mut parent = path.to_owned();
    let last = path
        .names()
        .last()
        .ok_or(because(Errno::EBUSY, Reason::ExportRoot))?;
    parent.pop();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    Ok((resolve(dir, parent.as_path(), flags, Mode::empty())?, last))
}

fn found(stat: &rustix::fs::Stat) -> Result<Found, Refused> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => return Err(because(Errno::ELOOP, Reason::Symlink)),
        _ => return Err(because(Errno::EACCES, Reason::Special)),
    };
    let modified = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    Ok(Found {
        stat: Stat {
            kind,
            mode: (stat.st_mode & 0o7777) as u16,
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: u64::try_from(modified).unwrap_or(0),
        },
        identity: Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        },
    })
}

/// Describes an open file.
pub fn stat(file: BorrowedFd<'_>) -> Result<Found, Refused> {
    found(&rustix::fs::fstat(file).map_err(system)?)
}

/// Describes what a path names.
pub fn lookup(dir: BorrowedFd<'_>, path: Path<'_>) -> Result<Found, Refused> {
    if path.is_empty() {
        return stat(dir);
    }
    if path.len() == 1 {
        return lookup_name(dir, path.names().next().unwrap_or_default());
    }
    let (parent, last) = open_parent(dir, path)?;
    lookup_name(parent.as_fd(), last)
}

/// Describes one name in a directory.
pub fn lookup_name(parent: BorrowedFd<'_>, last: &[u8]) -> Result<Found, Refused> {
    found(&rustix::fs::statat(parent, name(last), AtFlags::SYMLINK_NOFOLLOW).map_err(system)?)
}

/// `None` where there is no such name.
pub fn lookup_maybe(parent: BorrowedFd<'_>, last: &[u8]) -> Result<Option<Found>, Refused> {
    match lookup_name(parent, last) {
        Ok(found) => Ok(Some(found)),
        Err((Errno::ENOENT, _)) => Ok(None),
        Err(refused) => Err(refused),
    }
}

fn access_flags(flags: OpenFlags) -> OFlags {
    let writes = flags.has(OpenFlags::WRITE) || flags.has(OpenFlags::APPEND);
    match (flags.has(OpenFlags::READ), writes) {
        (_, false) => OFlags::RDONLY,
        (false, true) => OFlags::WRONLY,
        (true, true) => OFlags::RDWR,
    }
}

/// Opens what exists: a regular file, or a directory for reading. Never blocks.
pub fn open_existing(
    parent: BorrowedFd<'_>,
    last: &[u8],
    flags: OpenFlags,
) -> Result<(OwnedFd, Found), Refused> {
    let before = lookup_name(parent, last)?;
    let directory = before.stat.kind == Kind::Directory;
    let changes = flags.0 & (OpenFlags::WRITE | OpenFlags::APPEND | OpenFlags::TRUNCATE).0 != 0;
    if directory && changes {
        return Err(because(Errno::EISDIR, Reason::System));
    }
    if !directory && flags.has(OpenFlags::DIRECTORY) {
        return Err(because(Errno::ENOTDIR, Reason::System));
    }
    let oflags = access_flags(flags) | OFlags::NONBLOCK;
    let file = rustix::fs::openat2(
        parent,
        name(last),
        oflags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY,
        Mode::empty(),
        BENEATH,
    )
    .map_err(system)?;
    let after = stat(file.as_fd())?;
    if after.identity != before.identity {
        return Err(because(Errno::EAGAIN, Reason::System));
    }
    Ok((file, after))
}

/// Makes a file that must not exist.
pub fn create(
    parent: BorrowedFd<'_>,
    last: &[u8],
    flags: OpenFlags,
    mode: u16,
) -> Result<(OwnedFd, Found), Refused> {
    let oflags =
        access_flags(flags) | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(u32::from(mode & 0o777) | 0o600);
    let file = rustix::fs::openat2(parent, name(last), oflags, mode, BENEATH).map_err(system)?;
    let found = stat(file.as_fd())?;
    Ok((file, found))
}

/// Makes a directory.
pub fn mkdir(parent: BorrowedFd<'_>, last: &[u8], mode: u16) -> Result<Found, Refused> {
    let mode = Mode::from_raw_mode(u32::from(mode & 0o777) | 0o700);
    rustix::fs::mkdirat(parent, name(last), mode).map_err(system)?;
    lookup_name(parent, last)
}

/// Checks that `removes` allows it, without doing it.
pub fn check_unlink(
    parent: BorrowedFd<'_>,
    last: &[u8],
    removes: Removes,
) -> Result<Found, Refused> {
    let found = lookup_name(parent, last)?;
    match (found.stat.kind, removes) {
        (Kind::File, Removes::Directory) => Err(because(Errno::ENOTDIR, Reason::System)),
        (Kind::Directory, Removes::File) => Err(because(Errno::EISDIR, Reason::System)),
        _ => Ok(found),
    }
}

/// Removes a name.
pub fn unlink(parent: BorrowedFd<'_>, last: &[u8], kind: Kind) -> Result<(), Refused> {
    let flags = match kind {
        Kind::File => AtFlags::empty(),
        Kind::Directory => AtFlags::REMOVEDIR,
    };
    rustix::fs::unlinkat(parent, name(last), flags).map_err(system)
}

/// Renames.
pub fn rename(
    from: (BorrowedFd<'_>, &[u8]),
    to: (BorrowedFd<'_>, &[u8]),
    replace: bool,
) -> Result<(), Refused> {
    let flags = if replace {
        RenameFlags::empty()
    } else {
        RenameFlags::NOREPLACE
    };
    rustix::fs::renameat_with(from.0, name(from.1), to.0, name(to.1), flags).map_err(system)
}

/// Space below a handle.
pub fn statfs(file: BorrowedFd<'_>, access: Access) -> Result<StatfsReply, Refused> {
    let s = rustix::fs::fstatvfs(file).map_err(system)?;
    Ok(StatfsReply {
        total_bytes: s.f_blocks.saturating_mul(s.f_frsize),
        free_bytes: s.f_bavail.saturating_mul(s.f_frsize),
        total_files: s.f_files,
        free_files: s.f_favail,
        access,
    })
}

/// Makes the name of an open file survive a power cut: fsync of the directory that holds it now. Where that
/// directory cannot be told (the file was removed, /proc is not there), everything is synced.
pub fn sync_name(file: BorrowedFd<'_>, identity: Identity) -> Result<(), Refused> {
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let holder = || -> Option<OwnedFd> {
        let path = std::fs::read_link(link).ok()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(path.parent()?, flags, Mode::empty()).ok()?;
        let last = std::os::unix::ffi::OsStrExt::as_bytes(path.file_name()?);
        // Only a hint came from the path; that it is the right directory is seen here.
        let same = lookup_name(parent.as_fd(), last).ok()?.identity == identity;
        same.then_some(parent)
    };
    match holder() {
        Some(parent) => rustix::fs::fsync(parent).map_err(system),
        None => rustix::fs::syncfs(file).map_err(system),
    }
}
