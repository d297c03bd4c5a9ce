//! Files that are written by calls that wait for the answer. What was answered and not fsynced is kept, and sent
//! again when the server's machine was started again: nothing that a call said was done is lost then, unless
//! an error says so. When that becomes too much, it is fsynced.

use super::session::{Error, Session};
use crate::Errno;
use crate::behind::Behind;
use crate::client::{Epoch, Reply, Ticket};
use crate::codec::Rest;
use crate::message::{
    Append, Call, Close, Fsync, Getattr, Handle, Open, OpenFlags, Opened, SyncLevel, Truncate,
    Write,
};
use crate::name::{Path, PathBuf};
use crate::unsynced::{Change, KEEP_BYTES};

/// An open file or directory.
#[derive(Debug)]
pub(super) struct Written {
    // What it takes to open it again.
    dir: Handle,
    path: PathBuf,
    flags: OpenFlags,
    mode: u16,
    // When `now` was got.
    epoch: Epoch,
    // Its handle by now.
    now: Handle,
    size: u64,
    behind: Behind<()>,
}

impl Session {
    /// Opens; [`Self::close`] it again. Changes go through [`Self::change`], so that they are kept.
    pub fn open(
        &mut self,
        dir: Handle,
        path: Path<'_>,
        flags: OpenFlags,
        mode: u16,
    ) -> Result<Opened, Error> {
        let call = Open {
            dir,
            flags,
            mode,
            path,
        };
        let reboots = self.core.reboots();
        let opened = self.call(&call)?.get::<Open<'_>>()?;
        let epoch = Epoch {
            reboots,
            ..self.core.epoch()
        };
        let mut behind = Behind::default();
        behind.opened(epoch, opened.created, flags.has(OpenFlags::TRUNCATE));
        let written = Written {
            dir,
            path: path.to_owned(),
            flags,
            mode,
            epoch,
            now: opened.handle,
            size: opened.stat.size,
            behind,
        };
        self.written.insert(opened.handle, written);
        Ok(opened)
    }

    /// Asks about what [`Self::open`] called so, by the handle that the server knows now. The answer shows
    /// everything that was written here, also when the server's machine was started again meanwhile.
    pub fn ask<C: Call>(
        &mut self,
        handle: Handle,
        build: impl Fn(Handle) -> C,
    ) -> Result<Reply, Error> {
        loop {
            let now = self.settled(handle)?;
            let before = self.core.reboots();
            let answer = self.call(&build(now));
            if self.core.reboots() == before {
                return answer;
            }
        }
    }

    /// The handle by which the server knows it now, with what a reboot may have lost sent again.
    pub(super) fn settled(&mut self, handle: Handle) -> Result<Handle, Error> {
        let generation = self.generation();
        let written = self.written.get(&handle);
        if written.is_none_or(|written| written.epoch.generation != generation) {
            return Ok(handle);
        }
        let Some(mut written) = self.take_written(handle) else {
            return Ok(handle);
        };
        let settled = self.settle(&mut written);
        let now = written.now;
        self.written.insert(handle, written);
        settled.map(|()| now)
    }

    /// Changes an open file; its size afterwards, as far as it is told.
    pub fn change(&mut self, handle: Handle, change: Change<'_>) -> Result<u64, Error> {
        let Some(mut written) = self.take_written(handle) else {
            let ticket = self.submit_change(handle, change)?;
            return size_of(&self.wait(ticket)?, change);
        };
        let changed = self.change_kept(&mut written, change);
        self.written.insert(handle, written);
        changed
    }

    /// Makes safe on the server's disk what was changed.
    pub fn fsync(&mut self, handle: Handle, level: SyncLevel) -> Result<(), Error> {
        let Some(mut written) = self.take_written(handle) else {
            return self.call(&Fsync { handle, level }).map(drop);
        };
        let synced = self.sync_kept(&mut written, level);
        self.written.insert(handle, written);
        synced
    }

    /// Gives a handle back. What was not fsynced is sent again for the last time, should that be necessary.
    pub fn close(&mut self, handle: Handle) -> Result<(), Error> {
        let Some(mut written) = self.take_written(handle) else {
            self.written.remove(&handle);
            return self.call(&Close { handle }).map(drop);
        };
        let settled = self.settle(&mut written);
        let told = written.behind.take_error();
        let now = written.now;
        let closed = self.call(&Close { handle: now });
        settled?;
        match told {
            Some(failure) => Err(failure.into()),
            None => closed.map(drop),
        }
    }

    /// Bytes that were answered and may be lost until they are fsynced, of all open files.
    pub fn unsynced_bytes(&self) -> usize {
        let kept = self
            .written
            .values()
            .map(|written| written.behind.kept_bytes());
        kept.sum()
    }

    /// Of the session that there is now; handles of a lost one mean nothing.
    fn take_written(&mut self, handle: Handle) -> Option<Written> {
        let written = self.written.remove(&handle)?;
        (written.epoch.generation == self.generation()).then_some(written)
    }

    fn change_kept(&mut self, written: &mut Written, change: Change<'_>) -> Result<u64, Error> {
        self.settle(written)?;
        if written.behind.kept_bytes() > KEEP_BYTES {
            self.sync_kept(written, SyncLevel::All)?;
        }
        if let Some(failure) = written.behind.take_error() {
            return Err(failure.into());
        }
        let begun = written.behind.begins(&self.core, written.epoch);
        let ticket = self.submit_change(written.now, change)?;
        if let Err(error) = self.wait_done(ticket) {
            self.cancel(ticket);
            return Err(error);
        }
        let Some(reply) = self.core.take(ticket) else {
            return Err(Error::Local(std::io::ErrorKind::Interrupted.into()));
        };
        let answer = match reply.failure() {
            None => size_of(&reply, change),
            Some(failure) => Err(failure.into()),
        };
        if written.behind.answered(&self.core, begun, reply) {
            self.settle(written)?;
            return match written.behind.take_error() {
                None => Ok(written.size),
                Some(failure) => Err(failure.into()),
            };
        }
        if let Ok(size) = answer {
            written.size = size;
        }
        answer
    }

    fn sync_kept(&mut self, written: &mut Written, level: SyncLevel) -> Result<(), Error> {
        loop {
            self.settle(written)?;
            let before = self.core.reboots();
            let handle = written.now;
            let answer = self.call(&Fsync { handle, level });
            if let Some(failure) = written.behind.take_error() {
                return Err(failure.into());
            }
            match answer {
                Ok(_) if written.behind.synced(&self.core) => return Ok(()),
                Err(error) if self.core.reboots() == before => return Err(error),
                // The server's machine was started again meanwhile.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Sends again what a reboot of the server's machine may have lost.
    fn settle(&mut self, written: &mut Written) -> Result<(), Error> {
        loop {
            written.behind.settle(&mut self.core, |(), _| {});
            if let Some(oldest) = written.behind.oldest() {
                self.wait_done(oldest)?;
                continue;
            }
            if written.epoch.generation != self.generation() {
                written.behind.give_up(Errno::ESTALE);
                return Ok(());
            }
            if written.behind.is_unsure() || written.epoch.reboots != self.core.reboots() {
                let size = self.find_again(written)?;
                written.size = size;
                written.behind.compare(size);
                continue;
            }
            let Some(piece) = written.behind.next_lost() else {
                return Ok(());
            };
            match self.submit_change(written.now, piece.change()) {
                Ok(ticket) => {
                    let (epoch, behind) = (written.epoch, &mut written.behind);
                    behind.resubmitted(&piece, epoch, ticket, ());
                    written.size = size_after(written.size, piece.change());
                }
                Err(error) => {
                    written.behind.put_back(piece);
                    return Err(error);
                }
            }
        }
    }

    /// How long the file is, opened again if need be: its name may be lost, too.
    fn find_again(&mut self, written: &mut Written) -> Result<u64, Error> {
        let handle = written.now;
        let reboots = self.core.reboots();
        match self.call(&Getattr { handle }) {
            Ok(reply) => {
                written.epoch.reboots = reboots;
                return Ok(reply.get::<Getattr>()?.size);
            }
            Err(Error::Refused(failure))
                if matches!(failure.errno, Errno::ESTALE | Errno::EBADF) => {}
            Err(error) => return Err(error),
        }
        let mut once = OpenFlags::TRUNCATE | OpenFlags::EXCLUSIVE;
        if !written.behind.is_unmade() {
            once = once | OpenFlags::CREATE;
        }
        let call = Open {
            dir: written.dir,
            flags: OpenFlags(written.flags.0 & !once.0),
            mode: written.mode,
            path: written.path.as_path(),
        };
        let reboots = self.core.reboots();
        let opened = self.call(&call)?.get::<Open<'_>>()?;
        written.now = opened.handle;
        written.epoch.reboots = reboots;
        Ok(opened.stat.size)
    }

    fn submit_change(&mut self, handle: Handle, change: Change<'_>) -> Result<Ticket, Error> {
        match change {
            Change::Write(offset, data) => self.submit(&Write {
                handle,
                offset,
                data: Rest(data),
            }),
            Change::Append(expected, data) => self.submit(&Append {
                handle,
                expected,
                data: Rest(data),
            }),
            Change::Resize(size) => self.submit(&Truncate { handle, size }),
        }
    }
}

/// The size that a good answer tells.
fn size_of(reply: &Reply, change: Change<'_>) -> Result<u64, Error> {
    Ok(match change {
        Change::Write(..) => reply.get::<Write<'_>>()?.size,
        Change::Append(..) => reply.get::<Append<'_>>()?.size,
        Change::Resize(size) => size,
    })
}

fn size_after(size: u64, change: Change<'_>) -> u64 {
    match change {
        Change::Write(at, data) => size.max(at + data.len() as u64),
        Change::Append(at, data) => at + data.len() as u64,
        Change::Resize(size) => size,
    }
}
