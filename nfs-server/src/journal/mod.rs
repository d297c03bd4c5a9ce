//! The state folder: what lets a session survive `kill -9` of the server.
//!
//! One file of records, each with its length and CRC32C, written (not fsynced) as things happen: the
//! intent before an operation that must not be done twice, its reply after. What the page cache holds
//! survives the process; [`Journal::sync`] makes it survive the machine. A torn record at the end is
//! where reading stops. The journal keeps a [`Mirror`] of what its records say; when the file has grown
//! large it is written anew from the mirror (new file, fsync, rename, fsync of the folder).

mod bytes;
mod mirror;
mod record;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, bail};

use crate::inodes::lock;

pub use mirror::{LastReply, Mirror, MirrorSession};
pub use record::{Effect, HandleInfo, Intent, Record, RequestId, SessionInfo};

const MAGIC: &[u8; 8] = b"SNFSJNL1";
/// Beyond this the file is written anew.
const COMPACT_BYTES: u64 = 16 << 20;

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    // Size at which it is written anew.
    rewrite_at: u64,
    mirror: Mirror,
    line: Vec<u8>,
}

/// The journal; without a state folder it does nothing.
#[derive(Debug)]
pub struct Journal {
    open: Option<Mutex<Open>>,
    folder: PathBuf,
    // Held for as long as the server runs.
    _lock: Option<File>,
}

impl Journal {
    /// For a server that remembers nothing.
    pub fn none() -> Self {
        Self {
            open: None,
            folder: PathBuf::new(),
            _lock: None,
        }
    }

    /// Opens a state folder, made if need be. `machine` identifies this boot of the machine.
    pub fn open(folder: &Path, machine: &[u8]) -> anyhow::Result<(Self, Mirror)> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the state folder {}", folder.display()))?;
        let private = |name: &str| {
            let path = folder.join(name);
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path);
            file.with_context(|| format!("cannot open {}", path.display()))
        };
        let guard = private("lock")?;
        if rustix::fs::flock(&guard, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
        {
            bail!("another server uses the state folder {}", folder.display());
        }
        let path = folder.join("journal");
        let content = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let records = match content.strip_prefix(MAGIC) {
            Some(lines) => bytes::read_lines(lines),
            None if content.len() < MAGIC.len() => Vec::new(),
            None => bail!(
                "{} is no journal of this server: move it away to start afresh",
                path.display()
            ),
        };
        let mut mirror = Mirror::default();
        records.into_iter().for_each(|record| mirror.apply(record));
        mirror.apply(Record::Start(machine.to_vec()));
        let (file, bytes) = write_anew(folder, &mirror)?;
        let open = Open {
            file,
            bytes,
            rewrite_at: rewrite_at(bytes),
            mirror: mirror.clone(),
            line: Vec::new(),
        };
        let journal = Self {
            open: Some(Mutex::new(open)),
            folder: folder.to_owned(),
            _lock: Some(guard),
        };
        Ok((journal, mirror))
    }

    /// Whether there is anything to write to; saves the making of records.
    pub fn is_kept(&self) -> bool {
        self.open.is_some()
    }

    /// Writes one record. When this returns, a kill of the server cannot undo it.
    pub fn write(&self, record: Record) -> std::io::Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let open = &mut *lock(open);
        open.line.clear();
        bytes::put_line(&record, &mut open.line);
        // At a fixed place, so that a line cut short by a full disk is written over.
        open.file.write_all_at(&open.line, open.bytes)?;
        open.bytes += open.line.len() as u64;
        if open.mirror.ends_block(&record) || record.gives_root() {
            open.file.sync_data()?;
        }
        open.mirror.apply(record);
        if open.bytes > open.rewrite_at {
            match write_anew(&self.folder, &open.mirror) {
                Ok((file, bytes)) => (open.file, open.bytes) = (file, bytes),
                Err(error) => tracing::warn!("journal grows on: {error:#}"),
            }
            open.rewrite_at = rewrite_at(open.bytes);
        }
        Ok(())
    }

    /// What a handle stands for by now.
    pub fn handle(&self, session: u64, handle: u32) -> Option<HandleInfo> {
        let open = lock(self.open.as_ref()?);
        let session = open.mirror.sessions.get(&session)?;
        session.handles.get(&handle).cloned()
    }

    /// Makes everything written so far survive the machine.
    pub fn sync(&self) -> std::io::Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let file = lock(open).file.try_clone()?;
        file.sync_data()
    }
}

fn rewrite_at(bytes: u64) -> u64 {
    COMPACT_BYTES.max(bytes.saturating_mul(4))
}

fn write_anew(folder: &Path, mirror: &Mirror) -> anyhow::Result<(File, u64)> {
    let mut content = MAGIC.to_vec();
    for record in mirror.records() {
        bytes::put_line(&record, &mut content);
    }
    let new = folder.join("journal.new");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .with_context(|| format!("cannot write {}", new.display()))?;
    let written = file.write_all(&content).and_then(|()| file.sync_data());
    written.with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, folder.join("journal"))
        .and_then(|()| File::open(folder)?.sync_all())
        .with_context(|| format!("cannot replace the journal in {}", folder.display()))?;
    Ok((file, content.len() as u64))
}
