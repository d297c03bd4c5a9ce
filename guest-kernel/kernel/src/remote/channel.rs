//! Append-only files in the run folder of this boot, in a session of their own: what the trace is
//! written through. The packets of this session are counted, never recorded.

use super::file::Opened;
use super::names::{Place, is_lost};
use super::session::{About, Session, errno};
use crate::settings;
use abi::Errno;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use kcore::settings::Run;
use protocol::codec::Rest;
use protocol::message::{Append, OpenFlags};
use protocol::name::PathBuf;

/// The export that holds all run folders.
pub(super) const EXPORT: &str = "runs";

/// Frames of this session, both ways.
static PACKETS: AtomicU64 = AtomicU64::new(0);

/// A file of the run folder that only grows, with one writer: us.
pub struct AppendFile {
    place: Place,
    opened: Opened,
    size: u64,
}

/// Opens a file of this boot's run folder for appending, and makes it if need be. Waits for the server.
pub fn open_append(name: &str) -> Result<AppendFile, Errno> {
    let run = settings::get().run.as_ref().ok_or(Errno::ENXIO)?;
    let mut path = PathBuf::new();
    let machine = machine_name(run);
    for name in [run.id.as_str(), machine.as_str(), name] {
        path.push(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    }
    let place = Place {
        session: super::run_session()?,
        export: EXPORT.into(),
        path,
    };
    let opened = place.open(OpenFlags::APPEND | OpenFlags::CREATE)?;
    let size = opened.stat.size;
    Ok(AppendFile {
        place,
        opened,
        size,
    })
}

/// Name of this boot's folder within the run.
pub(super) fn machine_name(run: &Run) -> String {
    format!("m{:02}", run.machine)
}

impl AppendFile {
    /// Appends all of it, and waits until the server has answered.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        for part in bytes.chunks(self.place.session.max_data().max(1)) {
            self.append_part(part)?;
        }
        Ok(())
    }

    fn append_part(&mut self, part: &[u8]) -> Result<(), Errno> {
        let session: Arc<Session> = Arc::clone(&self.place.session);
        loop {
            let call = Append {
                handle: self.opened.handle,
                expected: self.size,
                data: Rest(part),
            };
            let ticket = session.submit(&call, About::Nothing)?;
            let reply = session.wait_raw(ticket)?;
            let Some(failure) = reply.failure() else {
                self.size = reply.get::<Append<'_>>().map_err(errno)?.size;
                return Ok(());
            };
            if !is_lost(&session, self.opened.generation, errno(failure)) {
                return Err(errno(failure));
            }
            // The server lost the session. We are the only writer, so the size says whether the lost
            // session had done it.
            self.opened = self.place.open(OpenFlags::APPEND)?;
            if self.opened.stat.size == self.size + part.len() as u64 {
                self.size = self.opened.stat.size;
                return Ok(());
            }
            if self.opened.stat.size != self.size {
                return Err(Errno::EIO);
            }
        }
    }
}

/// Frames of this session so far, both ways.
pub fn packets() -> u64 {
    PACKETS.load(Ordering::Relaxed)
}

/// A frame of this session went by.
pub fn count_packet() {
    PACKETS.fetch_add(1, Ordering::Relaxed);
}
