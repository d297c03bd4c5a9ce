//! Calls that take a remote path.

use super::directory::{ExportList, RemoteDirectory};
use super::file::{Opened, RemoteFile};
use super::session::{About, Root, Session, errno};
use crate::file::{File, Ticket};
use abi::{Errno, OpenFlags};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use kcore::path::RemotePath;
use protocol::client::{Epoch, Reply};
use protocol::message::{self, Access, Call, Kind, Lookup, Removes, Stat};
use protocol::name::PathBuf;

/// Files bigger than this are no programs.
const PROGRAM_MAX: u64 = 64 << 20;
/// How often a server may lose its session under one call before the call gives up.
const LOST_MAX: u32 = 100;
/// Pause between two such attempts.
const LOST_PAUSE: Duration = Duration::from_millis(20);

/// A path below the root of an export, in the protocol's form.
pub(super) struct Place {
    pub(super) session: Arc<Session>,
    pub(super) export: Vec<u8>,
    pub(super) path: PathBuf,
}

/// Whether a call may have been done already by a session that was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Again,
}

impl Place {
    /// None for the list of exports.
    pub(super) fn new(path: &RemotePath) -> Result<Option<Self>, Errno> {
        let Some(export) = path.export() else {
            return Ok(None);
        };
        let session = if super::in_run_folder(path) {
            super::run_session()?
        } else {
            super::session(path.server())?
        };
        let mut names = PathBuf::new();
        for name in path.names() {
            names.push(name).map_err(|error| {
                Errno::from_number(error.refusal().0.0).unwrap_or(Errno::EINVAL)
            })?;
        }
        Ok(Some(Self {
            session,
            export: export.to_vec(),
            path: names,
        }))
    }

    pub(super) fn about(&self) -> About<'_> {
        About::Path(&self.export, self.path.as_path())
    }

    /// Asks with the export's root handle; again with a new one when the session was lost.
    fn ask(
        &self,
        call: impl Fn(&Session, Root, Attempt) -> Result<Reply, Errno>,
    ) -> Result<(Reply, Epoch), Errno> {
        let mut attempt = Attempt::First;
        for _ in 0..LOST_MAX {
            let root = self.session.root(&self.export)?;
            let epoch = Epoch {
                generation: root.generation,
                ..self.session.epoch()
            };
            match call(&self.session, root, attempt) {
                Err(Errno::ESTALE) if self.session.generation() != root.generation => {
                    attempt = Attempt::Again;
                    crate::time::sleep_until(crate::time::now() + LOST_PAUSE)?;
                }
                result => return result.map(|reply| (reply, epoch)),
            }
        }
        Err(Errno::ESTALE)
    }

    /// What the path names.
    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        let (reply, _) = self.ask(|session, root, _| {
            session.call(
                &Lookup {
                    dir: root.handle,
                    path: self.path.as_path(),
                },
                self.about(),
            )
        })?;
        reply.get::<Lookup<'_>>().map_err(errno)
    }

    /// What the export allows.
    pub(super) fn access(&self) -> Result<Access, Errno> {
        self.session.root(&self.export).map(|root| root.access)
    }

    /// Opens.
    pub(super) fn open(&self, flags: message::OpenFlags) -> Result<Opened, Errno> {
        let (reply, epoch) = self.ask(|session, root, attempt| {
            // The lost session may have made the file: then it must not be in the way.
            let flags = match attempt {
                Attempt::First => flags,
                Attempt::Again => message::OpenFlags(flags.0 & !message::OpenFlags::EXCLUSIVE.0),
            };
            session.call(
                &message::Open {
                    dir: root.handle,
                    flags,
                    mode: 0o644,
                    path: self.path.as_path(),
                },
                self.about(),
            )
        })?;
        let opened = reply.get::<message::Open<'_>>().map_err(errno)?;
        Ok(Opened {
            epoch,
            handle: opened.handle,
            created: opened.created,
            stat: opened.stat,
        })
    }
}

/// Opens a file or a directory.
pub fn open(path: &RemotePath, flags: OpenFlags) -> Result<File, Errno> {
    let ticket = Ticket::new()?;
    let Some(place) = Place::new(path)? else {
        return if flags.writable() {
            Err(Errno::EISDIR)
        } else {
            ExportList::open(super::session(path.server())?, ticket)
        };
    };
    let access = place.access()?;
    if place.path.as_path().is_empty() || (!flags.writable() && !flags.contains(OpenFlags::CREATE))
    {
        let stat = place.stat()?;
        if stat.kind == Kind::Directory {
            let changes = flags.writable()
                || flags.contains(OpenFlags::TRUNC)
                || flags.contains(OpenFlags::CREATE);
            return if changes {
                Err(Errno::EISDIR)
            } else {
                RemoteDirectory::open(place, ticket)
            };
        }
    }
    let mut wire = message::OpenFlags(0);
    if flags.readable() {
        wire = wire | message::OpenFlags::READ;
    }
    if flags.writable() {
        wire = wire
            | if access == Access::AppendOnly {
                message::OpenFlags::APPEND
            } else {
                message::OpenFlags::WRITE
            };
    }
    for (ours, theirs) in [
        (OpenFlags::CREATE, message::OpenFlags::CREATE),
        (OpenFlags::TRUNC, message::OpenFlags::TRUNCATE),
        (OpenFlags::EXCLUSIVE, message::OpenFlags::EXCLUSIVE),
    ] {
        if flags.contains(ours) {
            wire = wire | theirs;
        }
    }
    let opened = place.open(wire)?;
    let appends = flags.contains(OpenFlags::APPEND) || access == Access::AppendOnly;
    Ok(Arc::new(RemoteFile::new(
        place, opened, flags, wire, appends, ticket,
    )))
}

/// Makes a directory.
pub fn mkdir(path: &RemotePath) -> Result<(), Errno> {
    let place = Place::new(path)?.ok_or(Errno::EEXIST)?;
    let result = place.ask(|session, root, attempt| {
        let reply = session.call(
            &message::Mkdir {
                dir: root.handle,
                mode: 0o755,
                path: place.path.as_path(),
            },
            place.about(),
        );
        match (reply, attempt) {
            // The lost session made it.
            (Err(Errno::EEXIST), Attempt::Again) => session.call(
                &Lookup {
                    dir: root.handle,
                    path: place.path.as_path(),
                },
                place.about(),
            ),
            (reply, _) => reply,
        }
    });
    result.map(drop)
}

/// Removes a file or an empty directory.
pub fn unlink(path: &RemotePath) -> Result<(), Errno> {
    let place = Place::new(path)?.ok_or(Errno::EPERM)?;
    if place.path.as_path().is_empty() {
        return Err(Errno::EPERM);
    }
    let lost = core::cell::Cell::new(false);
    let result = place.ask(|session, root, attempt| {
        lost.set(attempt == Attempt::Again);
        session.call(
            &message::Unlink {
                dir: root.handle,
                removes: Removes::Either,
                path: place.path.as_path(),
            },
            place.about(),
        )
    });
    match result {
        // The lost session removed it.
        Err(Errno::ENOENT) if lost.get() => Ok(()),
        result => result.map(drop),
    }
}

/// Renames within an export.
pub fn rename(from: &RemotePath, to: &RemotePath) -> Result<(), Errno> {
    let from = Place::new(from)?.ok_or(Errno::EPERM)?;
    let to = Place::new(to)?.ok_or(Errno::EPERM)?;
    if !Arc::ptr_eq(&from.session, &to.session) || from.export != to.export {
        return Err(Errno::EXDEV);
    }
    let lost = core::cell::Cell::new(false);
    let result = from.ask(|session, root, attempt| {
        lost.set(attempt == Attempt::Again);
        session.call(
            &message::Rename {
                from_dir: root.handle,
                to_dir: root.handle,
                replace: true,
                from: from.path.as_path(),
                to: to.path.as_path(),
            },
            from.about(),
        )
    });
    match result {
        // The lost session renamed it, if the new name is there.
        Err(Errno::ENOENT) if lost.get() => to.stat().map(drop),
        result => result.map(drop),
    }
}

/// Whether the path is a directory one can be in.
pub fn check_directory(path: &RemotePath) -> Result<(), Errno> {
    let Some(place) = Place::new(path)? else {
        return Ok(());
    };
    match place.stat()?.kind {
        Kind::Directory => Ok(()),
        Kind::File => Err(Errno::ENOTDIR),
    }
}

/// The whole content of a file, for exec.
pub fn read_file(path: &RemotePath) -> Result<Vec<u8>, Errno> {
    let place = Place::new(path)?.ok_or(Errno::EISDIR)?;
    let stat = place.stat()?;
    if stat.kind == Kind::Directory {
        return Err(Errno::EISDIR);
    }
    if stat.size > PROGRAM_MAX {
        return Err(Errno::ENOEXEC);
    }
    let opened = place.open(message::OpenFlags::READ)?;
    let flags = message::OpenFlags::READ;
    let file = RemoteFile::new(
        place,
        opened,
        OpenFlags::RDONLY,
        flags,
        false,
        Ticket::new()?,
    );
    let mut content = Vec::new();
    content
        .try_reserve_exact(stat.size as usize)
        .map_err(|_| Errno::ENOMEM)?;
    content.resize(stat.size as usize, 0);
    let mut len = 0;
    while len < content.len() {
        match crate::file::FileOps::read(&file, &mut content[len..], false)? {
            0 => break,
            read => len += read,
        }
    }
    content.truncate(len);
    Ok(content)
}

/// Whether the server lost a handle of then, so that its owner opens it again; see `file`.
pub(super) fn is_lost(session: &Session, handle: Epoch, error: Errno) -> bool {
    handle.has_lost(session.epoch(), protocol::Errno(error as i32))
}

/// What `fstat` shows.
pub(super) fn to_abi(stat: &Stat) -> abi::Stat {
    abi::Stat {
        dev: super::DEVICE,
        ino: stat.inode as u32,
        kind: to_abi_kind(stat.kind),
        nlink: i16::try_from(stat.links).unwrap_or(i16::MAX),
        pad: 0,
        size: stat.size,
    }
}

/// What `readdir` shows.
pub(super) fn to_abi_kind(kind: Kind) -> i16 {
    match kind {
        Kind::File => abi::file::T_FILE,
        Kind::Directory => abi::file::T_DIR,
    }
}

/// Sends a call whose answer nobody needs: closing a handle.
pub(super) fn forget<C: Call>(session: &Session, call: &C) {
    if let Ok(asked) = session.try_submit(call) {
        session.cancel(asked.parts().0);
    }
}
