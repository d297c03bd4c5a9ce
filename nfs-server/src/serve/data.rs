//! What is in a file.

use std::os::fd::AsFd;

use protocol::codec::Rest;
use protocol::frame::{self, HEADER, Header};
use protocol::message::{
    Append, Appended, Fsync, Handle, OpenFlags, Read, SyncLevel, Truncate, Write, Written,
};
use protocol::{Errno, Reason};

use super::{APPEND_HEAD, Job, check_range};
use crate::export;
use crate::journal::Effect;
use crate::refuse::{Refused, because, because_of, system};
use crate::session::Node;

impl Job<'_> {
    pub(super) fn close(&mut self, handle: Handle) -> Result<(), Refused> {
        if self.state.stale.remove(&handle.0) || self.state.handles.remove(&handle.0).is_some() {
            self.effect = Effect::Closed(handle.0);
            return Ok(());
        }
        Err(because(Errno::EBADF, Reason::System))
    }

    pub(super) fn read(&self, call: &Read, header: &Header, out: &mut Vec<u8>) {
        let start = out.len();
        if let Err(refused) = self.read_into(call, header, out) {
            out.truncate(start);
            frame::put_reply(out, header, &Err::<(), _>(refused));
        }
    }

    fn read_into(&self, call: &Read, header: &Header, out: &mut Vec<u8>) -> Result<(), Refused> {
        let (node, flags) = self.file(call.handle)?;
        if !flags.has(OpenFlags::READ) {
            return Err(because(Errno::EBADF, Reason::HandleMode));
        }
        self.check_count(call.count)?;
        check_range(call.offset, u64::from(call.count))?;
        let start = out.len();
        frame::put_reply(out, header, &Ok(()));
        let count = call.count as usize;
        out.resize(start + HEADER + count, 0);
        let mut done = 0;
        while done < count {
            let place = &mut out[start + HEADER + done..];
            match rustix::io::pread(&node.fd, place, call.offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(system(errno)),
            }
        }
        out.truncate(start + HEADER + done);
        out[start..start + 4].copy_from_slice(&(done as u32).to_le_bytes());
        Ok(())
    }

    /// Whether the session may make a file this large, and write so many bytes more.
    fn check_room(&self, size: u64, bytes: u64) -> Result<(), Refused> {
        let limits = &self.shared.limits;
        if size > limits.file_bytes {
            return Err(because_of(
                Errno::EFBIG,
                Reason::ByteLimit,
                limits.file_bytes,
            ));
        }
        if self.state.written.saturating_add(bytes) > limits.session_bytes {
            return Err(because_of(
                Errno::EDQUOT,
                Reason::ByteLimit,
                limits.session_bytes,
            ));
        }
        Ok(())
    }

    pub(super) fn write(&mut self, call: &Write<'_>) -> Result<Written, Refused> {
        let Rest(data) = call.data;
        let (node, flags) = self.file(call.handle)?;
        if !flags.has(OpenFlags::WRITE) {
            return Err(because(Errno::EBADF, Reason::HandleMode));
        }
        self.export(node).allow_change()?;
        let end = check_range(call.offset, data.len() as u64)?;
        self.check_room(end, data.len() as u64)?;
        write_all(node, data, call.offset).map_err(system)?;
        let size = export::stat(node.fd.as_fd())?.stat.size;
        self.state.written += data.len() as u64;
        Ok(Written { size })
    }

    pub(super) fn append(&mut self, call: &Append<'_>) -> Result<Appended, Refused> {
        let Rest(data) = call.data;
        let (node, flags) = self.file(call.handle)?;
        if !flags.has(OpenFlags::WRITE) && !flags.has(OpenFlags::APPEND) {
            return Err(because(Errno::EBADF, Reason::HandleMode));
        }
        self.export(node).allow_add()?;
        let size = export::stat(node.fd.as_fd())?.stat.size;
        if size != call.expected {
            return Err(because_of(Errno::ERANGE, Reason::NotTheEnd, size));
        }
        let end = check_range(size, data.len() as u64)?;
        self.check_room(end, data.len() as u64)?;
        self.intend(node.inode.identity, &self.payload[..APPEND_HEAD])?;
        if let Err(errno) = write_all(node, data, size) {
            // Half an append would be neither done nor not done.
            rustix::fs::ftruncate(&node.fd, size).map_err(system)?;
            return Err(system(errno));
        }
        self.state.written += data.len() as u64;
        Ok(Appended { size: end })
    }

    pub(super) fn truncate(&mut self, call: &Truncate) -> Result<(), Refused> {
        let (node, flags) = self.file(call.handle)?;
        if !flags.has(OpenFlags::WRITE) {
            return Err(because(Errno::EBADF, Reason::HandleMode));
        }
        self.export(node).allow_change()?;
        check_range(call.size, 0)?;
        self.check_room(call.size, 0)?;
        rustix::fs::ftruncate(&node.fd, call.size).map_err(system)
    }

    pub(super) fn fsync(&self, call: &Fsync) -> Result<(), Refused> {
        let node = self.state.node(call.handle)?;
        tokio::task::block_in_place(|| {
            match call.level {
                SyncLevel::Data => rustix::fs::fdatasync(&node.fd),
                SyncLevel::All => rustix::fs::fsync(&node.fd),
            }
            .map_err(system)?;
            if call.level == SyncLevel::All && node.file.is_some() {
                export::sync_name(node.fd.as_fd(), node.inode.identity)?;
            }
            self.shared.journal.sync().map_err(|error| {
                tracing::error!("journal not synced: {error}");
                because(Errno::EIO, Reason::System)
            })
        })
    }
}

fn write_all(node: &Node, data: &[u8], offset: u64) -> Result<(), rustix::io::Errno> {
    let mut done = 0;
    while done < data.len() {
        match rustix::io::pwrite(&node.fd, &data[done..], offset + done as u64) {
            Ok(0) => return Err(rustix::io::Errno::NOSPC),
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
