//! An open remote file.
//!
//! Reads that follow each other are read ahead ([`Ahead`]); writes at an offset are written behind
//! ([`Behind`], which has the invariants): `write` returns when the request is on its way, and an error is
//! reported by the next fsync or by close. The session does requests in order, so every other descriptor of
//! this machine sees a write as soon as `write` has returned. Two kinds of writes wait for their
//! answer, because the answer is the acknowledgement: appends, and whatever goes to the run folder.
//!
//! A file outlives its session: when the server lost it, the file is opened again by path, without
//! CREATE, TRUNCATE or EXCLUSIVE. A write at an offset may simply be repeated, in the program's order. An
//! append may not: its expected offset shows whether the lost session had done it.

use super::names::{Place, forget, is_lost, to_abi};
use super::session::{About, Purpose, errno, record_answer};
use crate::file::{FileOps, Ticket};
use crate::println;
use crate::sync::SleepLock;
use abi::{Errno, OpenFlags, Stat};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use protocol::ahead::{self, Ahead};
use protocol::behind::Behind;
use protocol::codec::Rest;
use protocol::message::{
    self, Append, Close, Fsync, Getattr, Handle, Read, SyncLevel, Truncate, Write,
};

/// Bytes of one read request.
const READ_LEN: usize = 64 * 1024;
/// With more remote files open than this, none is read ahead: together they may hold 16 MiB.
const AHEAD_FILES: usize = 32;
/// Attempts to append while others append too.
const APPEND_RACES: u32 = 1000;

/// Remote files that are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// How often the files of some inodes were changed from here. What was read ahead before a change is not
/// shown after it, whichever descriptor made it.
static CHANGES: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];

/// What open gave.
pub(super) struct Opened {
    pub(super) generation: u32,
    pub(super) handle: Handle,
    pub(super) stat: message::Stat,
}

/// The sequence number of a request's record in the trace.
type Record = Option<u32>;

struct State {
    opened: Opened,
    offset: u64,
    /// The file's size as the last answer told, or what was written since; an append expects it.
    size: u64,
    ahead: Ahead<Record>,
    /// The count of changes when `ahead` began.
    ahead_at: u32,
    behind: Behind<Record>,
}

impl State {
    fn changes(&self) -> &'static AtomicU32 {
        let [low, high, ..] = self.opened.stat.inode.to_le_bytes();
        &CHANGES[usize::from(low ^ high) % CHANGES.len()]
    }
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
            ahead: Ahead::default(),
            ahead_at: 0,
            behind: Behind::default(),
        };
        if wire.0 & message::OpenFlags::TRUNCATE.0 != 0 {
            state.changes().fetch_add(1, Ordering::AcqRel);
        }
        OPEN.fetch_add(1, Ordering::Relaxed);
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
            self.settle(state)?;
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
        let offset = state.offset;
        self.restart(state, offset);
        let once = message::OpenFlags::CREATE.0
            | message::OpenFlags::TRUNCATE.0
            | message::OpenFlags::EXCLUSIVE.0;
        state.opened = self.place.open(message::OpenFlags(self.wire.0 & !once))?;
        Ok(())
    }

    /// Reads begin at this offset; what was read ahead is dropped.
    fn restart(&self, state: &mut State, offset: u64) {
        state.ahead_at = state.changes().load(Ordering::Acquire);
        for (ticket, _) in state.ahead.restart(offset) {
            self.place.session.cancel(ticket);
        }
    }

    /// Bytes at the offset, or the knowledge that there are none.
    fn fill(&self, state: &mut State, wanted: usize) -> Result<(), Errno> {
        let session = &self.place.session;
        if state.ahead.is_elsewhere(state.offset) {
            self.restart(state, state.offset);
        }
        let max = READ_LEN.min(session.max_data());
        let depth = if OPEN.load(Ordering::Relaxed) > AHEAD_FILES {
            1
        } else {
            ahead::DEPTH
        };
        while let Some((offset, len)) = state.ahead.wants(wanted, state.size, max, depth) {
            let handle = state.opened.handle;
            let call = Read {
                handle,
                offset,
                count: len as u32,
            };
            let asked = session.submit(&call, About::Handle(handle, offset))?;
            let (ticket, record) = asked.parts();
            state.ahead.submitted(ticket, (offset, len), record);
        }
        let Some((ticket, record)) = state.ahead.oldest() else {
            return Ok(());
        };
        session.wait_done(ticket)?;
        let Some(reply) = session.with_client(|client| client.take(ticket)) else {
            return Err(Errno::EIO);
        };
        record_answer(record, &reply);
        let failure = reply.failure();
        for (ticket, _) in state.ahead.arrived(reply) {
            session.cancel(ticket);
        }
        match failure {
            Some(failure) => Err(errno(failure)),
            None => Ok(()),
        }
    }

    /// Takes the answers to what was written behind. What a lost session left is asked for again.
    fn settle(&self, state: &mut State) -> Result<(), Errno> {
        let session = &self.place.session;
        loop {
            let behind = &mut state.behind;
            let stale = session.with_client(|client| {
                behind.settle(client, record_answer);
                behind.is_stale(client).then(|| behind.oldest())
            });
            let Some(oldest) = stale.flatten() else {
                break;
            };
            session.wait_done(oldest)?;
        }
        while let Some(piece) = state.behind.next_lost() {
            if state.opened.generation != session.generation() {
                let reopened = self.reopen(state);
                if let Err(error) = reopened {
                    state.behind.put_back(piece);
                    if error == Errno::EINTR {
                        return Err(error);
                    }
                    state.behind.give_up(protocol::Errno(error as i32));
                    return Ok(());
                }
            }
            let handle = state.opened.handle;
            let call = Write {
                handle,
                offset: piece.offset,
                data: Rest(&piece.data),
            };
            match session.submit(&call, About::Handle(handle, piece.offset)) {
                Ok(asked) => {
                    let (ticket, record) = asked.parts();
                    let generation = state.opened.generation;
                    state.behind.resubmitted(&piece, generation, ticket, record);
                }
                Err(error) => {
                    state.behind.put_back(piece);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Waits until everything written behind is answered; what went wrong stays to be told.
    fn drain(&self, state: &mut State) -> Result<(), Errno> {
        loop {
            self.settle(state)?;
            match state.behind.oldest() {
                Some(oldest) => self.place.session.wait_done(oldest)?,
                None => return Ok(()),
            }
        }
    }

    /// What went wrong since somebody was told.
    fn told(&self, state: &mut State) -> Result<(), Errno> {
        let behind = &mut state.behind;
        match self
            .place
            .session
            .with_client(|client| behind.take_error(client))
        {
            Some(failure) => Err(errno(failure)),
            None => Ok(()),
        }
    }

    fn write_behind(&self, state: &mut State, data: &[u8]) -> Result<(), Errno> {
        self.settle(state)?;
        while !state.behind.has_room(data.len()) {
            let Some(oldest) = state.behind.oldest() else {
                break;
            };
            self.place.session.wait_done(oldest)?;
            self.settle(state)?;
        }
        // Told by every write, taken back only by fsync or close.
        if let Some(failure) = state.behind.error() {
            return Err(errno(failure));
        }
        let (handle, offset) = (state.opened.handle, state.offset);
        let call = Write {
            handle,
            offset,
            data: Rest(data),
        };
        let session = &self.place.session;
        let asked = session.submit(&call, About::Handle(handle, offset))?;
        let (ticket, record) = asked.parts();
        let (behind, generation) = (&mut state.behind, state.opened.generation);
        session.with_client(|client| {
            behind.submitted(client, generation, ticket, data.len(), record);
        });
        state.offset = offset + data.len() as u64;
        state.size = state.size.max(state.offset);
        if session.purpose == Purpose::Run {
            self.drain(state)?;
            self.told(state)?;
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
        let offset = state.offset;
        if state.changes().load(Ordering::Acquire) != state.ahead_at {
            self.restart(&mut state, offset);
        }
        let mut len = state.ahead.take(offset, buf);
        if len == 0 {
            let wanted = buf.len();
            self.with_handle(&mut state, |state, _| self.fill(state, wanted))?;
            len = state.ahead.take(offset, buf);
        }
        state.offset += len as u64;
        Ok(len)
    }

    fn write(&self, buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        if !self.flags.writable() {
            return Err(Errno::EBADF);
        }
        let mut state = self.state.lock();
        let mut written = 0;
        for data in buf.chunks(self.place.session.max_data().max(1)) {
            let result = if self.appends {
                self.append(&mut state, data)
                    .map(|()| state.offset = state.size)
            } else {
                self.write_behind(&mut state, data)
            };
            match result {
                Ok(()) => written += data.len(),
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        state.changes().fetch_add(1, Ordering::AcqRel);
        let offset = state.offset;
        self.restart(&mut state, offset);
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
        // Repeated after a lost session, it must not cut what was written later.
        self.drain(&mut state)?;
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
        state.changes().fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn fsync(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        self.drain(&mut state)?;
        let synced = self.with_handle(&mut state, |_, handle| {
            self.place.session.call(
                &Fsync {
                    handle,
                    level: SyncLevel::All,
                },
                About::Handle(handle, 0),
            )
        });
        // Also when fsync itself failed: an error is told once.
        self.told(&mut state)?;
        synced?;
        state.behind.synced();
        Ok(())
    }

    fn close(&self) -> Result<(), Errno> {
        if !self.flags.writable() {
            return Ok(());
        }
        let mut state = self.state.lock();
        self.drain(&mut state)?;
        self.told(&mut state)
    }
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        self.restart(&mut state, 0);
        // A program that ended without closing; one that was killed does not wait.
        let drained = self.drain(&mut state);
        let told = self.told(&mut state);
        let behind = &mut state.behind;
        let lost = self
            .place
            .session
            .with_client(|client| behind.abandon(client));
        if lost > 0 {
            println!(
                "remote: {}: {lost} bytes were not written",
                self.place.about()
            );
        } else if let (Ok(()), Err(error)) = (drained, told) {
            println!(
                "remote: {}: {}, and nobody closed it",
                self.place.about(),
                error.text()
            );
        }
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
