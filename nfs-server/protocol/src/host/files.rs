//! Files by path: what `hv fs` and the monitor need.

use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::io;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use super::session::{Error, Link, Options, Session};
use crate::client::{Push, Ticket};
use crate::message::{
    Access, Attach, Count, Counters, Exports, FollowEvent, Getattr, Handle, Kind, Lookup, Mkdir,
    Open, OpenFlags, Opened, Ping, Read as ReadCall, Readdir, Removes, Rename, Stat, Statfs,
    StatfsReply, SyncLevel, Unlink,
};
use crate::name::PathBuf;
use crate::unsynced::Change;

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// File or directory.
    pub kind: Kind,
    /// What is known about it; an export shows its root.
    pub stat: Stat,
    /// Of exports only.
    pub access: Option<Access>,
}

/// What a follow brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Which follow.
    pub id: u32,
    /// What happened.
    pub event: FollowEvent,
    /// Where in the file.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) handle: Handle,
    pub(super) access: Access,
    generation: u32,
}

/// Files of one server by path, `export/path/of/the/file`.
#[derive(Debug)]
pub struct Files {
    pub(super) session: Session,
    roots: BTreeMap<Vec<u8>, Root>,
}

impl Files {
    /// Connects.
    pub fn connect(options: Options) -> Result<Self, Error> {
        Ok(Self::over(Session::connect(options)?))
    }

    /// On a session of its own.
    pub fn over(session: Session) -> Self {
        Self {
            session,
            roots: BTreeMap::new(),
        }
    }

    /// The session below.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// How the connection is.
    pub fn link(&self) -> Link {
        self.session.link()
    }

    /// Round trip.
    pub fn ping(&mut self) -> Result<(), Error> {
        self.session.call(&Ping {}).map(drop)
    }

    /// What every session of the server did so far.
    pub fn counters<T>(&mut self, mut each: impl FnMut(&Count<'_>) -> T) -> Result<Vec<T>, Error> {
        let reply = self.session.call(&Counters {})?;
        Ok(reply
            .get::<Counters>()?
            .counts
            .iter()
            .map(&mut each)
            .collect())
    }

    /// Lists a directory by name; the empty path lists the exports.
    pub fn list(&mut self, path: &str) -> Result<Vec<Item>, Error> {
        if path.trim_matches('/').is_empty() {
            return self.list_exports();
        }
        let dir = self
            .open(path, OpenFlags::READ | OpenFlags::DIRECTORY, 0)?
            .handle;
        let listed = self.list_handle(dir);
        self.close(dir)?;
        let mut items = listed?;
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(items)
    }

    fn list_exports(&mut self) -> Result<Vec<Item>, Error> {
        let reply = self.session.call(&Exports {})?;
        let mut names = Vec::new();
        for export in reply.get::<Exports>()?.exports {
            names.push((export.name.to_vec(), export.access));
        }
        let mut items = Vec::new();
        for (name, access) in names {
            let root = self.root(&name)?;
            let reply = self.session.call(&Getattr {
                handle: root.handle,
            })?;
            let stat = reply.get::<Getattr>()?;
            items.push(Item {
                name: text(&name),
                kind: Kind::Directory,
                stat,
                access: Some(access),
            });
        }
        Ok(items)
    }

    fn list_handle(&mut self, dir: Handle) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        let mut cookie = 0;
        loop {
            let reply = self.session.ask(dir, |handle| Readdir {
                handle,
                cookie,
                count: 64 * 1024,
            })?;
            let part = reply.get::<Readdir>()?;
            let mut asked = Vec::new();
            for entry in &part.entries {
                cookie = entry.cookie;
                let mut path = PathBuf::new();
                path.push(entry.name).map_err(io::Error::other)?;
                let ticket = self.session.submit(&Lookup {
                    dir,
                    path: path.as_path(),
                })?;
                asked.push((ticket, entry.name));
                if asked.len() >= 8 {
                    self.take_stats(&mut asked, &mut items)?;
                }
            }
            self.take_stats(&mut asked, &mut items)?;
            if part.end || part.entries.is_empty() {
                return Ok(items);
            }
        }
    }

    fn take_stats(
        &mut self,
        asked: &mut Vec<(Ticket, &[u8])>,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        for (ticket, name) in asked.drain(..) {
            match self.session.wait(ticket) {
                Ok(reply) => {
                    let stat = reply.get::<Lookup>()?;
                    items.push(Item {
                        name: text(name),
                        kind: stat.kind,
                        stat,
                        access: None,
                    });
                }
                // It was removed while we listed.
                Err(error) if error.errno() == Some(crate::Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Describes a file or directory.
    pub fn stat(&mut self, path: &str) -> Result<Stat, Error> {
        let (root, path) = self.resolve(path)?;
        let reply = self.session.call(&Lookup {
            dir: root.handle,
            path: path.as_path(),
        })?;
        Ok(reply.get::<Lookup>()?)
    }

    /// Space of an export.
    pub fn statfs(&mut self, path: &str) -> Result<StatfsReply, Error> {
        let (root, _) = self.resolve(path)?;
        let reply = self.session.call(&Statfs {
            handle: root.handle,
        })?;
        Ok(reply.get::<Statfs>()?)
    }

    /// Makes a directory.
    pub fn mkdir(&mut self, path: &str) -> Result<(), Error> {
        let (root, path) = self.resolve(path)?;
        self.session
            .call(&Mkdir {
                dir: root.handle,
                mode: 0o755,
                path: path.as_path(),
            })
            .map(drop)
    }

    /// Removes a file or an empty directory.
    pub fn remove(&mut self, path: &str) -> Result<(), Error> {
        let (root, path) = self.resolve(path)?;
        self.session
            .call(&Unlink {
                dir: root.handle,
                removes: Removes::Either,
                path: path.as_path(),
            })
            .map(drop)
    }

    /// Renames, replacing what is there.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let (from_root, from) = self.resolve(from)?;
        let (to_root, to) = self.resolve(to)?;
        let call = Rename {
            from_dir: from_root.handle,
            to_dir: to_root.handle,
            replace: true,
            from: from.as_path(),
            to: to.as_path(),
        };
        self.session.call(&call).map(drop)
    }

    /// Opens; [`Self::close`] it again. What is written by [`Self::write_at`], [`Self::append`] and [`Self::truncate`]
    /// and not fsynced is kept here, and sent again should the server's machine be started again and lose it.
    pub fn open(&mut self, path: &str, flags: OpenFlags, mode: u16) -> Result<Opened, Error> {
        let (root, path) = self.resolve(path)?;
        self.session.open(root.handle, path.as_path(), flags, mode)
    }

    /// As [`Self::open`], for somebody who keeps what is not safe yet.
    pub(super) fn open_plain(
        &mut self,
        path: &str,
        flags: OpenFlags,
        mode: u16,
    ) -> Result<Opened, Error> {
        let (root, path) = self.resolve(path)?;
        let reply = self.session.call(&Open {
            dir: root.handle,
            flags,
            mode,
            path: path.as_path(),
        })?;
        Ok(reply.get::<Open<'_>>()?)
    }

    /// Bytes of an open file.
    pub fn size(&mut self, handle: Handle) -> Result<u64, Error> {
        let reply = self.session.ask(handle, |handle| Getattr { handle })?;
        Ok(reply.get::<Getattr>()?.size)
    }

    /// Gives a handle back.
    pub fn close(&mut self, handle: Handle) -> Result<(), Error> {
        self.session.close(handle)
    }

    /// Reads once.
    pub fn read_at(&mut self, handle: Handle, offset: u64, count: u32) -> Result<Vec<u8>, Error> {
        let read = |handle| ReadCall {
            handle,
            offset,
            count,
        };
        Ok(self.session.ask(handle, read)?.into_payload())
    }

    /// Writes once.
    pub fn write_at(&mut self, handle: Handle, offset: u64, data: &[u8]) -> Result<(), Error> {
        let change = Change::Write(offset, data);
        self.session.change(handle, change).map(drop)
    }

    /// Appends once; the file's size afterwards.
    pub fn append(&mut self, handle: Handle, expected: u64, data: &[u8]) -> Result<u64, Error> {
        self.session.change(handle, Change::Append(expected, data))
    }

    /// Sets a file's size.
    pub fn truncate(&mut self, handle: Handle, size: u64) -> Result<(), Error> {
        self.session.change(handle, Change::Resize(size)).map(drop)
    }

    /// Makes a file and its name survive a power cut.
    pub fn fsync(&mut self, handle: Handle) -> Result<(), Error> {
        self.session.fsync(handle, SyncLevel::All)
    }

    /// A whole file of moderate size.
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        self.get(path, &mut content, &mut |_, _| {})?;
        Ok(content)
    }

    /// Follows a file from an offset; what comes is taken with [`Self::next_followed`].
    pub fn follow(&mut self, path: &str, offset: u64) -> Result<u32, Error> {
        let (root, path) = self.resolve(path)?;
        Ok(self.session.follow(root.handle, path.as_path(), offset))
    }

    /// Stops it.
    pub fn unfollow(&mut self, id: u32) {
        self.session.unfollow(id);
    }

    /// The next thing that happened to a followed file, if it happens within this time.
    pub fn next_followed(&mut self, within: Duration) -> Result<Option<Followed>, Error> {
        match self.session.next_push(within)? {
            None => Ok(None),
            Some(Push {
                failure: Some(failure),
                ..
            }) => Err(Error::Refused(failure)),
            Some(Push {
                id,
                event,
                offset,
                data,
                failure: None,
            }) => Ok(Some(Followed {
                id,
                event,
                offset,
                data,
            })),
        }
    }

    /// Ends the session on the server.
    pub fn goodbye(self) {
        self.session.goodbye();
    }

    pub(super) fn resolve(&mut self, path: &str) -> Result<(Root, PathBuf), Error> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let path = PathBuf::parse(path.as_bytes()).map_err(invalid)?;
        let mut names = path.as_path().names().map(ToOwned::to_owned);
        let export = names.next().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path names no export; list the server to see them",
            )
        })?;
        let mut below = PathBuf::new();
        for name in names {
            below.push(&name).map_err(invalid)?;
        }
        Ok((self.root(&export)?, below))
    }

    fn root(&mut self, export: &[u8]) -> Result<Root, Error> {
        loop {
            let generation = self.session.generation();
            if let Some(root) = self.roots.get(export)
                && root.generation == generation
            {
                return Ok(*root);
            }
            let reply = self.session.call(&Attach { export })?;
            let attached = reply.get::<Attach<'_>>()?;
            // Another session began under way: this root may be the old one's.
            if self.session.generation() == generation {
                let root = Root {
                    handle: attached.root,
                    access: attached.access,
                    generation,
                };
                self.roots.insert(export.to_vec(), root);
            }
        }
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
