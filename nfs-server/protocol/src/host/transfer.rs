//! Whole files there and back, with several requests in flight.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::vec::Vec;

use super::files::Files;
use super::session::Error;
use crate::client::Ticket;
use crate::codec::Rest;
use crate::message::{Access, Append, Handle, OpenFlags, Read as ReadCall, Write as WriteCall};

/// Bytes of one read or write.
const PIECE: u32 = 128 * 1024;
/// Bytes that are kept until the server has them safe on its disk.
const BATCH: usize = 8 << 20;

impl Files {
    /// Copies a file from the server, with several reads in flight. `progress` hears bytes done and all.
    pub fn get(
        &mut self,
        path: &str,
        to: &mut dyn Write,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, Error> {
        let opened = self.open(path, OpenFlags::READ, 0)?;
        let result = self.get_handle(opened.handle, opened.stat.size, to, progress);
        self.close(opened.handle)?;
        result
    }

    fn get_handle(
        &mut self,
        handle: Handle,
        size: u64,
        to: &mut dyn Write,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, Error> {
        let piece = PIECE.min(self.session.max_data());
        let depth = self.session.free_slots().clamp(1, 8);
        let mut flying: VecDeque<Ticket> = VecDeque::new();
        let (mut asked, mut done) = (0, 0);
        let (mut now, mut boot) = (handle, self.boot());
        loop {
            // One beyond the size that was seen: the file may have grown.
            while flying.len() < depth && asked <= size {
                flying.push_back(self.session.submit(&ReadCall {
                    handle: now,
                    offset: asked,
                    count: piece,
                })?);
                asked += u64::from(piece);
            }
            let Some(ticket) = flying.pop_front() else {
                return Ok(done);
            };
            let data = match self.session.wait(ticket) {
                Ok(reply) => reply.into_payload(),
                Err(error) => {
                    flying
                        .drain(..)
                        .for_each(|ticket| self.session.cancel(ticket));
                    if self.boot() == boot {
                        return Err(error);
                    }
                    // The server's machine was started again; it may have lost that the file was open.
                    (now, asked) = (self.session.settled(handle)?, done);
                    boot = self.boot();
                    continue;
                }
            };
            let written = to.write_all(&data);
            done += data.len() as u64;
            progress(done, size.max(done));
            if written.is_err() || (data.len() as u32) < piece {
                flying
                    .drain(..)
                    .for_each(|ticket| self.session.cancel(ticket));
                written?;
                return Ok(done);
            }
        }
    }

    /// Copies to the server: a new file, or a replaced one where the export allows that. Safe on its disk when this
    /// returns, also if the server's machine was started again meanwhile and lost what it had not fsynced: that much
    /// is kept here, and sent again when the server's boot id changed.
    pub fn put(
        &mut self,
        path: &str,
        from: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, Error> {
        let (root, _) = self.resolve(path)?;
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let opened = self.open_plain(path, flags, 0o644)?;
        let mut upload = Upload {
            files: self,
            handle: opened.handle,
            access: root.access,
            safe: 0,
            batch: Vec::new(),
        };
        let result = loop {
            let end = match upload.fill(from) {
                Ok(end) => end,
                Err(error) => break Err(error),
            };
            let boot = upload.files.boot();
            match upload.send(progress).and_then(|()| upload.sync()) {
                // All answers came from one boot of the server.
                Ok(()) if upload.files.boot() == boot => {
                    upload.safe += upload.batch.len() as u64;
                    upload.batch.clear();
                    if end {
                        break Ok(upload.safe);
                    }
                }
                Err(error) if upload.files.boot() == boot => break Err(error),
                Ok(()) | Err(_) => {
                    if let Err(error) = upload.open_again(path) {
                        break Err(error);
                    }
                }
            }
        };
        let handle = upload.handle;
        match self.close(handle) {
            Err(error) if result.is_ok() => Err(error),
            _ => result,
        }
    }

    /// The server's boot id: when it changes, what was not fsynced must be sent again.
    pub fn boot(&mut self) -> Option<u64> {
        self.session().agreed().map(|agreed| agreed.boot_id)
    }
}

/// A file on its way to the server.
struct Upload<'a> {
    files: &'a mut Files,
    handle: Handle,
    access: Access,
    /// Bytes that are safe.
    safe: u64,
    /// What follows them, kept until it is safe, too.
    batch: Vec<u8>,
}

impl Upload<'_> {
    /// After a change of the boot: the file itself may be gone, or its old content back, if nothing was safe yet.
    fn open_again(&mut self, path: &str) -> Result<(), Error> {
        let mut flags = OpenFlags::WRITE | OpenFlags::CREATE;
        if self.safe == 0 && self.access == Access::ReadWrite {
            flags = flags | OpenFlags::TRUNCATE;
        }
        let opened = self.files.open_plain(path, flags, 0o644)?;
        let old = core::mem::replace(&mut self.handle, opened.handle);
        // It is stale if the file was gone.
        let _ = self.files.close(old);
        Ok(())
    }

    /// Reads until the batch is full. Whether there is no more; a batch that is sent again stays as it is.
    fn fill(&mut self, from: &mut dyn Read) -> Result<bool, Error> {
        let room = (BATCH - self.batch.len()) as u64;
        from.take(room).read_to_end(&mut self.batch)?;
        Ok(self.batch.len() < BATCH)
    }

    /// Sends what the server does not have.
    fn send(&mut self, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let mut at = match self.access {
            Access::AppendOnly => self.already_there()?,
            Access::ReadWrite | Access::ReadOnly => 0,
        };
        let session = self.files.session();
        let piece = PIECE.min(session.max_data()) as usize;
        let depth = session.free_slots().clamp(1, 8);
        let mut flying: VecDeque<(Ticket, usize)> = VecDeque::new();
        loop {
            while flying.len() < depth && at < self.batch.len() {
                let end = self.batch.len().min(at + piece);
                let data = Rest(&self.batch[at..end]);
                let (handle, offset) = (self.handle, self.safe + at as u64);
                // The server works in order of arrival, so appends may follow each other closely.
                let ticket = match self.access {
                    Access::AppendOnly => session.submit(&Append {
                        handle,
                        expected: offset,
                        data,
                    })?,
                    Access::ReadWrite | Access::ReadOnly => session.submit(&WriteCall {
                        handle,
                        offset,
                        data,
                    })?,
                };
                at = end;
                flying.push_back((ticket, end));
            }
            let Some((ticket, end)) = flying.pop_front() else {
                return Ok(());
            };
            if let Err(error) = session.wait(ticket) {
                flying
                    .drain(..)
                    .for_each(|(ticket, _)| session.cancel(ticket));
                return Err(error);
            }
            progress(self.safe + end as u64);
        }
    }

    /// How much of the batch an append-only file holds already. Nobody but us appends to it.
    fn already_there(&mut self) -> Result<usize, Error> {
        let size = self.files.size(self.handle)?;
        let there = size
            .checked_sub(self.safe)
            .and_then(|n| usize::try_from(n).ok());
        there.filter(|n| *n <= self.batch.len()).ok_or_else(|| {
            Error::Local(io::Error::other(std::format!(
                "the file there has {size} bytes: somebody else writes it"
            )))
        })
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.files.fsync(self.handle)
    }
}
