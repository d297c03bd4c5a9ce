//! Remote directories, and the list of exports.

use super::names::{Place, forget, is_lost, to_abi, to_abi_kind};
use super::session::{About, Asked, Session, errno};
use crate::file::{File, FileOps, Ticket};
use crate::sync::SleepLock;
use abi::{DirEntry, Errno, Stat};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use protocol::client::Epoch;
use protocol::message::{Close, Exports, Getattr, Handle, Kind, Lookup, OpenFlags, Readdir};
use protocol::name::PathBuf;

/// Bytes of entries asked for at once.
const COUNT: u32 = 16 * 1024;

struct State {
    handle: Handle,
    epoch: Epoch,
    cookie: u64,
    end: bool,
    /// Received, not yet given out.
    entries: VecDeque<DirEntry>,
}

/// An open remote directory.
pub(super) struct RemoteDirectory {
    place: Place,
    state: SleepLock<State>,
    _ticket: Ticket,
}

impl RemoteDirectory {
    pub(super) fn open(place: Place, ticket: Ticket) -> Result<File, Errno> {
        let opened = place.open(OpenFlags::READ | OpenFlags::DIRECTORY)?;
        let state = State {
            handle: opened.handle,
            epoch: opened.epoch,
            cookie: 0,
            end: false,
            entries: VecDeque::new(),
        };
        Ok(Arc::new(Self {
            place,
            state: SleepLock::new("remote directory", state),
            _ticket: ticket,
        }))
    }

    fn reopen(&self, state: &mut State) -> Result<(), Errno> {
        let opened = self.place.open(OpenFlags::READ | OpenFlags::DIRECTORY)?;
        state.handle = opened.handle;
        state.epoch = opened.epoch;
        Ok(())
    }

    /// The next part of the directory, with sizes: all of them asked for at once.
    fn fill(&self, state: &mut State) -> Result<(), Errno> {
        let session = &self.place.session;
        let reply = session.call(
            &Readdir {
                handle: state.handle,
                cookie: state.cookie,
                count: COUNT,
            },
            About::Handle(state.handle, state.cookie),
        )?;
        let part = reply.get::<Readdir>().map_err(errno)?;
        state.end = part.end || part.entries.is_empty();
        if let Some(last) = part.entries.last() {
            state.cookie = last.cookie;
        }
        let mut asked = VecDeque::new();
        for entry in &part.entries {
            let mut name = PathBuf::new();
            let ticket = match entry.kind {
                Kind::File if name.push(entry.name).is_ok() => Some(session.submit(
                    &Lookup {
                        dir: state.handle,
                        path: name.as_path(),
                    },
                    About::Path(&self.place.export, name.as_path()),
                )?),
                _ => None,
            };
            asked.push_back((entry, ticket));
            // Half of the slots, so that others get theirs.
            if asked.len() >= 16 {
                Self::take_one(session, &mut asked, &mut state.entries)?;
            }
        }
        while !asked.is_empty() {
            Self::take_one(session, &mut asked, &mut state.entries)?;
        }
        Ok(())
    }

    fn take_one(
        session: &Session,
        asked: &mut VecDeque<(&protocol::message::Entry<'_>, Option<Asked>)>,
        entries: &mut VecDeque<DirEntry>,
    ) -> Result<(), Errno> {
        let Some((entry, ticket)) = asked.pop_front() else {
            return Ok(());
        };
        let size = match ticket.map(|ticket| session.wait(ticket)) {
            None => 0,
            Some(Ok(reply)) => reply.get::<Lookup<'_>>().map_or(0, |stat| stat.size),
            // Removed in between.
            Some(Err(Errno::ENOENT)) => return Ok(()),
            Some(Err(error)) => return Err(error),
        };
        entries.push_back(DirEntry::new(
            entry.inode,
            size,
            to_abi_kind(entry.kind),
            entry.name,
        ));
        Ok(())
    }
}

impl FileOps for RemoteDirectory {
    fn read(&self, _buf: &mut [u8], _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn write(&self, _buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        let mut state = self.state.lock();
        loop {
            match self.place.session.call(
                &Getattr {
                    handle: state.handle,
                },
                About::Handle(state.handle, 0),
            ) {
                Err(error) if is_lost(&self.place.session, state.epoch, error) => {
                    self.reopen(&mut state)?
                }
                reply => return Ok(to_abi(&reply?.get::<Getattr>().map_err(errno)?)),
            }
        }
    }

    fn seek(&self, offset: i64) -> Result<i64, Errno> {
        if offset != 0 {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        state.cookie = 0;
        state.end = false;
        state.entries.clear();
        Ok(0)
    }

    fn readdir(&self, out: &mut [DirEntry]) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        while state.entries.is_empty() && !state.end {
            match self.fill(&mut state) {
                Err(error) if is_lost(&self.place.session, state.epoch, error) => {
                    self.reopen(&mut state)?
                }
                result => result?,
            }
        }
        Ok(give_out(&mut state.entries, out))
    }
}

impl Drop for RemoteDirectory {
    fn drop(&mut self) {
        let state = self.state.lock();
        if state.epoch.generation == self.place.session.generation() {
            forget(
                &self.place.session,
                &Close {
                    handle: state.handle,
                },
            );
        }
    }
}

fn give_out(entries: &mut VecDeque<DirEntry>, out: &mut [DirEntry]) -> usize {
    let count = out.len().min(entries.len());
    for (slot, entry) in out.iter_mut().zip(entries.drain(..count)) {
        *slot = entry;
    }
    count
}

/// `server:/`: the exports, as directories.
pub(super) struct ExportList {
    names: Vec<Vec<u8>>,
    next: SleepLock<usize>,
    _ticket: Ticket,
}

impl ExportList {
    pub(super) fn open(session: Arc<Session>, ticket: Ticket) -> Result<File, Errno> {
        let reply = loop {
            let epoch = session.epoch();
            match session.call(&Exports {}, About::Nothing) {
                Err(error) if is_lost(&session, epoch, error) => {}
                reply => break reply?,
            }
        };
        let list = reply.get::<Exports>().map_err(errno)?;
        let names = list
            .exports
            .iter()
            .map(|export| export.name.to_vec())
            .collect();
        Ok(Arc::new(Self {
            names,
            next: SleepLock::new("export list", 0),
            _ticket: ticket,
        }))
    }
}

impl FileOps for ExportList {
    fn read(&self, _buf: &mut [u8], _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn write(&self, _buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Ok(Stat {
            dev: super::DEVICE,
            ino: 1,
            kind: abi::file::T_DIR,
            nlink: 1,
            ..Stat::default()
        })
    }

    fn readdir(&self, out: &mut [DirEntry]) -> Result<usize, Errno> {
        let mut next = self.next.lock();
        let mut count = 0;
        for (slot, name) in out.iter_mut().zip(self.names.iter().skip(*next)) {
            *slot = DirEntry::new((*next + count + 2) as u64, 0, abi::file::T_DIR, name);
            count += 1;
        }
        *next += count;
        Ok(count)
    }
}
