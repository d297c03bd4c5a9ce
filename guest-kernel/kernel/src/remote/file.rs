//! An open remote file.
//!
//! Reads that follow each other are read ahead: up to [`AHEAD`] requests are under way while the
//! program takes the first. Writes wait for their answer, so an error belongs to the call that caused it.
//!
//! A file outlives its session: when the server lost it, the file is opened again by path, without
//! CREATE, TRUNCATE or EXCLUSIVE. A write at an offset may simply be repeated. An append may not: its
//! expected offset shows whether the lost session had done it.

use super::names::{Place, forget, is_lost, to_abi};
use super::session::{About, Asked, errno};
use crate::file::{FileOps, Ticket};
use crate::sync::SleepLock;
use abi::{Errno, OpenFlags, Stat};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use protocol::codec::Rest;
use protocol::message::{
    self, Append, Close, Fsync, Getattr, Handle, Read, SyncLevel, Truncate, Write,
};

/// Bytes of one read request.
const READ_LEN: usize = 64 * 1024;
/// Read requests under way at once.
const AHEAD: usize = 6;
/// Attempts to append while others append too.
const APPEND_RACES: u32 = 1000;

/// What open gave.
pub(super) struct Opened {
    pub(super) generation: u32,
    pub(super) handle: Handle,
    pub(super) stat: message::Stat,
}

/// A read request under way, and the offset it asks for.
struct Pending {
    asked: Asked,
    offset: u64,
    len: usize,
}

struct State {
    opened: Opened,
    offset: u64,
    /// The file's size as the last answer told; an append expects it.
    size: u64,
    /// Received, not yet taken: the bytes at `offset`.
    ready: Vec<u8>,
    ready_at: usize,
    pending: VecDeque<Pending>,
    /// Where the last read ended: a read that begins there reads ahead.
    sequential: u64,
    /// How many requests to keep under way; grows while reads follow each other.
    depth: usize,
}

/// An open remote file.
pub(super) struct RemoteFile {
    place: Place,
    flags: OpenFlags,
    wire: message::OpenFlags,
    appends: bool,
    state: SleepLock<State>,
    _ticket: Ticket,
}

impl RemoteFile {
    pub(super) fn new(
        place: Place,
        opened: Opened,
        flags: OpenFlags,
        wire: message::OpenFlags,
        appends: bool,
        ticket: Ticket,
    ) -> Self {
        let size = opened.stat.size;
        let state = State {
            opened,
            offset: 0,
            size,
            ready: Vec::new(),
            ready_at: 0,
            pending: VecDeque::new(),
            sequential: 0,
            depth: 1,
        };
        Self {
            place,
            flags,
            wire,
            appends,
            state: SleepLock::new("remote file", state),
            _ticket: ticket,
        }
    }

    /// Runs `attempt` with the handle, opening the file again when the server lost the session.
    fn with_handle<R>(
        &self,
        state: &mut State,
        mut attempt: impl FnMut(&mut State, Handle) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        loop {
            let handle = state.opened.handle;
            match attempt(state, handle) {
                Err(error) if is_lost(&self.place.session, state.opened.generation, error) => {
                    self.reopen(state)?
                }
                result => return result,
            }
        }
    }

    fn reopen(&self, state: &mut State) -> Result<(), Errno> {
        self.drop_ahead(state);
        let once = message::OpenFlags::CREATE.0
            | message::OpenFlags::TRUNCATE.0
            | message::OpenFlags::EXCLUSIVE.0;
        state.opened = self.place.open(message::OpenFlags(self.wire.0 & !once))?;
        Ok(())
    }

    fn drop_ahead(&self, state: &mut State) {
        for pending in state.pending.drain(..) {
            self.place.session.cancel(pending.asked);
        }
        state.ready.clear();
        state.ready_at = 0;
        state.depth = 1;
    }

    /// Bytes at the offset, from what was read ahead or from the server; empty at the end.
    fn fill(&self, state: &mut State, wanted: usize) -> Result<(), Errno> {
        if state.sequential != state.offset {
            self.drop_ahead(state);
        }
        let len = READ_LEN.min(self.place.session.max_data());
        // A short first read asks for what it needs; reads that follow each other ask for more.
        let first = if state.depth == 1 {
            wanted.clamp(512, len)
        } else {
            len
        };
        let mut next = state
            .pending
            .back()
            .map_or(state.offset, |last| last.offset + last.len as u64);
        while state.pending.len() < state.depth {
            let known_end = state.size.max(state.offset + 1);
            if !state.pending.is_empty() && next >= known_end {
                break;
            }
            let len = if state.pending.is_empty() { first } else { len };
            let call = Read {
                handle: state.opened.handle,
                offset: next,
                count: len as u32,
            };
            let asked = self
                .place
                .session
                .submit(&call, About::Handle(call.handle, next))?;
            state.pending.push_back(Pending {
                asked,
                offset: next,
                len,
            });
            next += len as u64;
        }
        let Some(pending) = state.pending.pop_front() else {
            return Ok(());
        };
        let reply = self.place.session.wait(pending.asked)?;
        state.ready = reply.into_payload();
        state.ready_at = 0;
        if state.ready.len() < pending.len {
            // The end of the file: what was asked for behind it is of no use.
            for pending in state.pending.drain(..) {
                self.place.session.cancel(pending.asked);
            }
            state.depth = 1;
        } else {
            state.depth = (state.depth + 1).min(AHEAD);
        }
        Ok(())
    }

    fn append(&self, state: &mut State, data: &[u8]) -> Result<(), Errno> {
        let mut unsure = false;
        for _ in 0..APPEND_RACES {
            let expected = state.size;
            let session = &self.place.session;
            let handle = state.opened.handle;
            let ticket = session.submit(
                &Append {
                    handle,
                    expected,
                    data: Rest(data),
                },
                About::Handle(handle, expected),
            )?;
            let reply = session.wait_raw(ticket)?;
            match reply.failure() {
                None => {
                    state.size = reply.get::<Append<'_>>().map_err(errno)?.size;
                    return Ok(());
                }
                Some(failure) if errno(failure) == Errno::ERANGE => {
                    let real = failure.refusal.value;
                    // The session that was lost had done it, and nobody else appends to such a file.
                    if unsure && real == expected + data.len() as u64 {
                        state.size = real;
                        return Ok(());
                    }
                    state.size = real;
                }
                Some(failure) if is_lost(session, state.opened.generation, errno(failure)) => {
                    self.reopen(state)?;
                    unsure = true;
                }
                Some(failure) => return Err(errno(failure)),
            }
        }
        Err(Errno::EBUSY)
    }
}

impl FileOps for RemoteFile {
    fn read(&self, buf: &mut [u8], _nonblock: bool) -> Result<usize, Errno> {
        if !self.flags.readable() {
            return Err(Errno::EBADF);
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.ready_at >= state.ready.len() || state.sequential != state.offset {
            let wanted = buf.len();
            self.with_handle(&mut state, |state, _| self.fill(state, wanted))?;
        }
        let rest = &state.ready[state.ready_at..];
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        state.ready_at += len;
        state.offset += len as u64;
        state.sequential = state.offset;
        Ok(len)
    }

    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        if !self.flags.writable() {
            return Err(Errno::EBADF);
        }
        let mut state = self.state.lock();
        self.drop_ahead(&mut state);
        let mut written = 0;
        for data in buf.chunks(self.place.session.max_data().max(1)) {
            let result = if self.appends {
                self.append(&mut state, data)
                    .map(|()| state.offset = state.size)
            } else {
                let offset = state.offset;
                self.with_handle(&mut state, |_, handle| {
                    self.place.session.call(
                        &Write {
                            handle,
                            offset,
                            data: Rest(data),
                        },
                        About::Handle(handle, offset),
                    )
                })
                .and_then(|reply| reply.get::<Write<'_>>().map_err(errno))
                .map(|reply| {
                    state.size = reply.size;
                    state.offset = offset + data.len() as u64;
                })
            };
            match result {
                Ok(()) => written += data.len(),
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        state.sequential = state.offset;
        Ok(written)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        let mut state = self.state.lock();
        let reply = self.with_handle(&mut state, |_, handle| {
            self.place
                .session
                .call(&Getattr { handle }, About::Handle(handle, 0))
        })?;
        let stat = reply.get::<Getattr>().map_err(errno)?;
        state.size = stat.size;
        Ok(to_abi(&stat))
    }

    fn seek(&self, offset: i64) -> Result<i64, Errno> {
        self.state.lock().offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        Ok(offset)
    }

    fn ftruncate(&self, length: u64) -> Result<(), Errno> {
        if !self.flags.writable() {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        self.drop_ahead(&mut state);
        self.with_handle(&mut state, |_, handle| {
            self.place.session.call(
                &Truncate {
                    handle,
                    size: length,
                },
                About::Handle(handle, length),
            )
        })?;
        state.size = length;
        Ok(())
    }

    fn fsync(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        self.with_handle(&mut state, |_, handle| {
            self.place.session.call(
                &Fsync {
                    handle,
                    level: SyncLevel::All,
                },
                About::Handle(handle, 0),
            )
        })
        .map(drop)
    }
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        self.drop_ahead(&mut state);
        if state.opened.generation == self.place.session.generation() {
            forget(
                &self.place.session,
                &Close {
                    handle: state.opened.handle,
                },
            );
        }
    }
}
