//! Append-only files in the run folder of this boot, in a session of their own: what the trace is
//! written through. The packets of this session are counted, never recorded.

use super::file::RemoteFile;
use super::names::Place;
use crate::file::{FileOps, Ticket};
use crate::settings;
use abi::{Errno, OpenFlags};
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};
use kcore::settings::Run;
use protocol::message;
use protocol::name::PathBuf;

/// The export that holds all run folders.
pub(super) const EXPORT: &str = "runs";

/// Frames of this session, both ways.
static PACKETS: AtomicU64 = AtomicU64::new(0);

/// A file of the run folder that only grows, with one writer: us.
pub struct AppendFile(RemoteFile);

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
    let wire = message::OpenFlags::APPEND | message::OpenFlags::CREATE;
    let opened = place.open(wire)?;
    let (flags, ticket) = (OpenFlags::WRONLY, Ticket::new()?);
    let file = RemoteFile::new(place, opened, flags, wire, true, ticket);
    Ok(AppendFile(file))
}

/// Name of this boot's folder within the run.
pub(super) fn machine_name(run: &Run) -> String {
    format!("m{:02}", run.machine)
}

impl AppendFile {
    /// Appends all of it, and waits until the server has answered.
    pub fn append(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let written = self.0.write(bytes, false)?;
            bytes = &bytes[written..];
        }
        Ok(())
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
