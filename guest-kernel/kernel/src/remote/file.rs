//! An open remote file.
//!
//! Reads that follow each other are read ahead ([`Ahead`]); writes at an offset are written behind
//! ([`Behind`], which has the invariants): `write` returns when the request is on its way, and an error is
//! reported by the next fsync or by close. The session does requests in order, so every other descriptor of
//! this machine sees a write as soon as `write` has returned. Two kinds of writes wait for their
//! answer, because the answer is the acknowledgement: appends, and whatever goes to the run folder.
//!
//! A file outlives its session: when the server lost it, the file is opened again by path, without
//! TRUNCATE or EXCLUSIVE. A write at an offset may simply be repeated, in the program's order. An
//! append may not: the file's size shows whether the lost session had done it.
//!
//! It outlives the server's machine, too: what was not fsynced yet is kept and sent again. When that becomes
//! too much it is fsynced.

use super::names::{Place, forget, is_lost, to_abi};
use super::session::{About, Asked, Purpose, errno, record_answer};
use crate::file::{FileOps, Ticket};
use crate::println;
use crate::sync::SleepLock;
use abi::{Errno, OpenFlags, Stat};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use protocol::ahead::{self, Ahead};
use protocol::behind::Behind;
use protocol::client::Epoch;
use protocol::codec::Rest;
use protocol::message::{
    self, Append, Call, Close, Fsync, Getattr, Handle, Read, SyncLevel, Truncate, Write,
};
use protocol::unsynced::{Change, Piece};

/// Bytes of one read request.
const READ_LEN: usize = 64 * 1024;
/// With more remote files open than this, none is read ahead: together they may hold 16 MiB.
const AHEAD_FILES: usize = 32;
/// Bytes that are kept until they are safe on the server's disk: of one file, and of all together, about.
const KEEP: (usize, usize) = (4 << 20, 16 << 20);
/// Attempts to append while others append too.
const APPEND_RACES: u32 = 1000;

/// Remote files that are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// How often the files of some inodes were changed from here. What was read ahead before a change is not
/// shown after it, whichever descriptor made it.
static CHANGES: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];

/// What open gave.
pub(super) struct Opened {
    pub(super) epoch: Epoch,
    pub(super) handle: Handle,
    /// The file was not there before.
    pub(super) created: bool,
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
        let mut state = State {
            opened,
            offset: 0,
            size,
            ahead: Ahead::default(),
            ahead_at: 0,
            behind: Behind::default(),
        };
        let is_cut = wire.has(message::OpenFlags::TRUNCATE);
        let (behind, created) = (&mut state.behind, state.opened.created);
        behind.opened(state.opened.epoch, created, is_cut);
        if is_cut {
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

    /// Runs `attempt` with the handle, opening the file again when the server lost the session. Again, too, when
    /// the server's machine was started again meanwhile: what it answered may be older than our writes.
    fn with_handle<R>(
        &self,
        state: &mut State,
        mut attempt: impl FnMut(&mut State, Handle) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let session = &self.place.session;
        let reboots = || session.with_client(|client| client.reboots());
        loop {
            self.settle(state)?;
            let before = reboots();
            let handle = state.opened.handle;
            match attempt(state, handle) {
                Err(Errno::EINTR) => return Err(Errno::EINTR),
                Err(error) if is_lost(session, state.opened.epoch, error) => self.reopen(state)?,
                result if reboots() == before => return result,
                _ => self.restart(state, state.offset),
            }
        }
    }

    fn reopen(&self, state: &mut State) -> Result<(), Errno> {
        let offset = state.offset;
        self.restart(state, offset);
        let mut once = message::OpenFlags::TRUNCATE | message::OpenFlags::EXCLUSIVE;
        if !state.behind.is_unmade() {
            once = once | message::OpenFlags::CREATE;
        }
        state.opened = self.place.open(message::OpenFlags(self.wire.0 & !once.0))?;
        Ok(())
    }

    /// Opens the file again if that was what is wrong; any other error is the caller's.
    fn reopen_if_lost(&self, state: &mut State, error: Errno) -> Result<(), Errno> {
        if is_lost(&self.place.session, state.opened.epoch, error) {
            self.reopen(state)
        } else {
            Err(error)
        }
    }

    /// After a lost session or a reboot of the server's machine: the file, and how long it is now.
    fn find_again(&self, state: &mut State) -> Result<(), Errno> {
        let session = &self.place.session;
        // What is being read ahead may not show what is kept here.
        self.restart(state, state.offset);
        let (handle, mut size) = (state.opened.handle, None);
        let epoch = session.epoch();
        if state.opened.epoch.generation == session.generation() {
            match session.call(&Getattr { handle }, About::Handle(handle, 0)) {
                Ok(reply) => {
                    size = Some(reply.get::<Getattr>().map_err(errno)?.size);
                    state.opened.epoch.reboots = epoch.reboots;
                }
                // The server's machine lost the file, or that we had it open.
                Err(Errno::ESTALE | Errno::EBADF) => {}
                Err(error) => return Err(error),
            }
        }
        if size.is_none() {
            self.reopen(state)?;
        }
        state.size = size.unwrap_or(state.opened.stat.size);
        state.behind.compare(state.size);
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
            let asked = session.submit_unsent(&call, About::Handle(handle, offset))?;
            let (ticket, record) = asked.parts();
            state.ahead.submitted(ticket, (offset, len), record);
        }
        session.with_client(|_| {});
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

    /// Takes the answers to what was written behind. What is lost is asked for again.
    fn settle(&self, state: &mut State) -> Result<(), Errno> {
        let session = &self.place.session;
        loop {
            let behind = &mut state.behind;
            let stale = session.with_client(|client| {
                behind.settle(client, record_answer);
                behind.is_stale(client).then(|| behind.oldest())
            });
            if let Some(oldest) = stale.flatten() {
                session.wait_done(oldest)?;
                continue;
            }
            if behind.is_unsure() {
                match self.find_again(state) {
                    Ok(()) => {}
                    Err(Errno::EINTR) => return Err(Errno::EINTR),
                    Err(error) => {
                        state.behind.give_up(protocol::Errno(error as i32));
                    }
                }
                continue;
            }
            let Some(piece) = state.behind.next_lost() else {
                return Ok(());
            };
            if let Err(error) = self.ask_again(state, &piece) {
                state.behind.put_back(piece);
                self.reopen_if_lost(state, error)?;
            }
        }
    }

    fn ask_again(&self, state: &mut State, piece: &Piece) -> Result<(), Errno> {
        let session = &self.place.session;
        let handle = state.opened.handle;
        let asked = match piece.change() {
            Change::Write(offset, data) => {
                state.size = state.size.max(offset + data.len() as u64);
                let data = Rest(data);
                let call = Write {
                    handle,
                    offset,
                    data,
                };
                session.submit(&call, About::Handle(handle, offset))
            }
            Change::Append(expected, data) => {
                state.size = expected + data.len() as u64;
                let data = Rest(data);
                let call = Append {
                    handle,
                    expected,
                    data,
                };
                session.submit(&call, About::Handle(handle, expected))
            }
            Change::Resize(size) => {
                state.size = size;
                session.submit(&Truncate { handle, size }, About::Handle(handle, size))
            }
        };
        let (ticket, record) = asked?.parts();
        let epoch = state.opened.epoch;
        state.behind.resubmitted(piece, epoch, ticket, record);
        Ok(())
    }

    /// Asks for a change at this offset, behind what is lost; opens the file again if the session was lost.
    fn ask<C: Call>(
        &self,
        state: &mut State,
        offset: u64,
        call: impl Fn(Handle) -> C,
    ) -> Result<Asked, Errno> {
        loop {
            self.settle(state)?;
            let handle = state.opened.handle;
            let about = About::Handle(handle, offset);
            match self.place.session.submit(&call(handle), about) {
                Err(error) => self.reopen_if_lost(state, error)?,
                asked => return asked,
            }
        }
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
        match state.behind.take_error() {
            Some(failure) => Err(errno(failure)),
            None => Ok(()),
        }
    }

    /// Makes everything safe on the server's disk.
    fn sync(&self, state: &mut State) -> Result<(), Errno> {
        let session = &self.place.session;
        loop {
            self.drain(state)?;
            self.with_handle(state, |_, handle| {
                let level = SyncLevel::All;
                session.call(&Fsync { handle, level }, About::Handle(handle, 0))
            })?;
            let behind = &mut state.behind;
            if session.with_client(|client| behind.synced(client)) {
                return Ok(());
            }
            // The server's machine was started again meanwhile.
        }
    }

    /// Fsyncs when too much is kept.
    fn keep_little(&self, state: &mut State) -> Result<(), Errno> {
        let (most, all) = KEEP;
        let share = all / OPEN.load(Ordering::Relaxed).max(1);
        if state.behind.kept_bytes() > share.min(most) {
            self.sync(state)?;
        }
        Ok(())
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
        self.keep_little(state)?;
        // Told by every write, taken back only by fsync or close.
        if let Some(failure) = state.behind.error() {
            return Err(errno(failure));
        }
        let (offset, session) = (state.offset, &self.place.session);
        let asked = self.ask(state, offset, |handle| Write {
            handle,
            offset,
            data: Rest(data),
        })?;
        let (ticket, record) = asked.parts();
        let (behind, epoch) = (&mut state.behind, state.opened.epoch);
        session.with_client(|client| {
            behind.submitted(client, epoch, ticket, data.len(), record);
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
        for _ in 0..APPEND_RACES {
            self.settle(state)?;
            self.keep_little(state)?;
            if let Some(failure) = state.behind.error() {
                return Err(errno(failure));
            }
            let expected = state.size;
            let session = &self.place.session;
            let handle = state.opened.handle;
            let behind = &mut state.behind;
            let epoch = state.opened.epoch;
            let begun = session.with_client(|client| behind.begins(client, epoch));
            let call = Append {
                handle,
                expected,
                data: Rest(data),
            };
            let asked = match session.submit(&call, About::Handle(handle, expected)) {
                Ok(asked) => asked,
                Err(error) => {
                    self.reopen_if_lost(state, error)?;
                    continue;
                }
            };
            let reply = session.wait_raw(asked)?;
            let failure = reply.failure();
            let behind = &mut state.behind;
            let is_lost = session.with_client(|client| behind.answered(client, begun, reply));
            match failure {
                // Its place shows whether it was done.
                _ if is_lost => {
                    self.drain(state)?;
                    return self.told(state);
                }
                None => {
                    state.size = expected + data.len() as u64;
                    return Ok(());
                }
                Some(failure) if errno(failure) == Errno::ERANGE => {
                    state.size = failure.refusal.value;
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
        self.drain(&mut state)?;
        if let Some(failure) = state.behind.error() {
            return Err(errno(failure));
        }
        let session = &self.place.session;
        let asked = self.ask(&mut state, length, |handle| Truncate {
            handle,
            size: length,
        })?;
        let (ticket, record) = asked.parts();
        let epoch = state.opened.epoch;
        session.with_client(|client| {
            let behind = &mut state.behind;
            behind.submitted(client, epoch, ticket, 0, record);
        });
        self.drain(&mut state)?;
        self.told(&mut state)?;
        state.size = length;
        state.changes().fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn fsync(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let synced = self.sync(&mut state);
        // Also when fsync itself failed: an error is told once.
        self.told(&mut state)?;
        synced
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
        if state.opened.epoch.generation == self.place.session.generation() {
            forget(
                &self.place.session,
                &Close {
                    handle: state.opened.handle,
                },
            );
        }
    }
}
