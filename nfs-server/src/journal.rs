//! The state folder: what lets a session survive `kill -9` of the server.
//!
//! One file of records, each with its length and CRC32C, written (not fsynced) as things happen: the
//! intent before an operation that must not be done twice, its reply after. What the page cache holds
//! survives the process; [`Journal::sync`] makes it survive the machine. A torn record at the end is
//! where reading stops. The journal keeps a [`Mirror`] of what its records say; when the file has grown
//! large it is written anew from the mirror (new file, fsync, rename, fsync of the folder).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path as HostPath, PathBuf as HostPathBuf};
use std::sync::Mutex;

use anyhow::{Context, bail};
use protocol::codec::{DecodeError, Field, Reader};
use protocol::message::{ClientId, OpenFlags};
use protocol::name::{Path, PathBuf};
use protocol::noise::KeyId;

use crate::export::Identity;
use crate::inodes::lock;

const MAGIC: &[u8; 8] = b"SNFSJNL1";
/// Beyond this the file is written anew.
const COMPACT_BYTES: u64 = 16 << 20;
/// The longest record that is believed.
const MAX_RECORD: usize = 1 << 20;

/// Identifies a request for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Session.
    pub session: u64,
    /// Slot.
    pub slot: u16,
    /// Sequence.
    pub sequence: u32,
    /// Operation and payload length.
    pub asked: (u8, u32),
}

/// An open handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandleInfo {
    /// Name of the export.
    pub export: String,
    /// From its root.
    pub path: PathBuf,
    /// What it was.
    pub identity: Identity,
    /// How it was opened; `None` for a directory.
    pub file: Option<OpenFlags>,
}

/// What a request did to the session or the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing to remember.
    None,
    /// A handle was opened; `path` starts at the handle `base`, or at the export's root for 0.
    Opened {
        /// Its number.
        handle: u32,
        /// Where `info.path` starts.
        base: u32,
        /// What it is.
        info: HandleInfo,
    },
    /// A handle was closed.
    Closed(u32),
    /// A name moved: handles below it have another path now.
    Moved {
        /// Handle where `from` starts.
        from_base: u32,
        /// Old path.
        from: PathBuf,
        /// Handle where `to` starts.
        to_base: u32,
        /// New path.
        to: PathBuf,
    },
}

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Which request.
    pub id: RequestId,
    /// The file it is about, where there is one already.
    pub seen: Identity,
    /// The request's payload; of an append only what comes before the data.
    pub payload: Vec<u8>,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A server started on this boot of the machine.
    Start(Vec<u8>),
    /// A session began.
    Session {
        /// Its number.
        id: u64,
        /// Whose.
        client: ClientId,
        /// Made with this key.
        key: KeyId,
        /// Agreed.
        slots: u16,
        /// Agreed.
        max_frame: u32,
        /// The next handle.
        next_handle: u32,
        /// The client's name.
        name: Vec<u8>,
    },
    /// A session ended.
    End(u64),
    /// Something will be done.
    Intent(Intent),
    /// Something was done; the frame is the stored reply.
    Reply(RequestId, Effect, Vec<u8>),
    /// An open handle of a session (only in a file that was written anew).
    Handle(u64, u32, HandleInfo),
    /// The client of this session knows that the machine was started again.
    Told(u64),
    /// It does not know yet (only in a file that was written anew).
    Untold(u64),
}

/// The last reply of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReply {
    /// Its number.
    pub sequence: u32,
    /// What was asked.
    pub asked: (u8, u32),
    /// The whole reply.
    pub frame: Vec<u8>,
}

/// A session as the records tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSession {
    /// Whose.
    pub client: ClientId,
    /// Made with this key.
    pub key: KeyId,
    /// Agreed.
    pub slots: u16,
    /// Agreed.
    pub max_frame: u32,
    /// The next handle.
    pub next_handle: u32,
    /// The client's name.
    pub name: Vec<u8>,
    /// By slot.
    pub last: BTreeMap<u16, LastReply>,
    /// By number.
    pub handles: BTreeMap<u32, HandleInfo>,
    /// What was begun and has no reply, by slot.
    pub intents: BTreeMap<u16, Intent>,
    /// The machine was started again, and the client was not told yet.
    pub untold: bool,
}

/// All sessions as the records tell them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// The boot of the machine that the last server ran on.
    machine: Vec<u8>,
    /// By number.
    pub sessions: BTreeMap<u64, MirrorSession>,
}

impl Mirror {
    fn full_path(&self, session: u64, base: u32, path: Path<'_>) -> Option<(String, PathBuf)> {
        let info = self.sessions.get(&session)?.handles.get(&base)?;
        let mut full = info.path.clone();
        for name in path.names() {
            full.push(name).ok()?;
        }
        Some((info.export.clone(), full))
    }

    /// Takes one record in.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Start(machine) => {
                let rebooted = !self.machine.is_empty() && self.machine != machine;
                self.machine = machine;
                self.sessions
                    .values_mut()
                    .for_each(|session| session.untold |= rebooted);
            }
            Record::Told(id) | Record::Untold(id) => {
                let untold = matches!(record, Record::Untold(_));
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.untold = untold;
                }
            }
            Record::Session {
                id,
                client,
                key,
                slots,
                max_frame,
                next_handle,
                name,
            } => {
                let session = MirrorSession {
                    client,
                    key,
                    slots,
                    max_frame,
                    next_handle,
                    name,
                    last: BTreeMap::new(),
                    handles: BTreeMap::new(),
                    intents: BTreeMap::new(),
                    untold: false,
                };
                self.sessions.insert(id, session);
            }
            Record::End(id) => {
                self.sessions.remove(&id);
            }
            Record::Intent(intent) => {
                if let Some(session) = self.sessions.get_mut(&intent.id.session) {
                    session.intents.insert(intent.id.slot, intent);
                }
            }
            Record::Handle(id, handle, info) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.handles.insert(handle, info);
                }
            }
            Record::Reply(id, effect, frame) => {
                self.apply_effect(id.session, effect);
                if let Some(session) = self.sessions.get_mut(&id.session) {
                    session.intents.remove(&id.slot);
                    session.last.insert(
                        id.slot,
                        LastReply {
                            sequence: id.sequence,
                            asked: id.asked,
                            frame,
                        },
                    );
                }
            }
        }
    }

    fn apply_effect(&mut self, id: u64, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Opened {
                handle,
                base,
                mut info,
            } => {
                if base != 0 {
                    // A path too deep to write down cannot be opened again: the handle will be stale.
                    let Some((_, path)) = self.full_path(id, base, info.path.as_path()) else {
                        return;
                    };
                    info.path = path;
                }
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.next_handle = session.next_handle.max(handle.saturating_add(1));
                    session.handles.insert(handle, info);
                }
            }
            Effect::Closed(handle) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.handles.remove(&handle);
                }
            }
            Effect::Moved {
                from_base,
                from,
                to_base,
                to,
            } => {
                let from = self.full_path(id, from_base, from.as_path());
                let to = self.full_path(id, to_base, to.as_path());
                let (Some((export, from)), Some((_, to))) = (from, to) else {
                    return;
                };
                let handles = self
                    .sessions
                    .values_mut()
                    .flat_map(|session| session.handles.values_mut());
                for info in handles.filter(|info| info.export == export) {
                    if let Some(path) = moved(&info.path, &from, &to) {
                        info.path = path;
                    }
                }
            }
        }
    }

    fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Start(self.machine.clone())];
        for (&id, s) in &self.sessions {
            records.push(Record::Session {
                id,
                client: s.client,
                key: s.key,
                slots: s.slots,
                max_frame: s.max_frame,
                next_handle: s.next_handle,
                name: s.name.clone(),
            });
            records.extend(
                s.handles
                    .iter()
                    .map(|(&handle, info)| Record::Handle(id, handle, info.clone())),
            );
            records.extend(s.last.iter().map(|(&slot, last)| {
                let id = RequestId {
                    session: id,
                    slot,
                    sequence: last.sequence,
                    asked: last.asked,
                };
                Record::Reply(id, Effect::None, last.frame.clone())
            }));
            records.extend(s.intents.values().cloned().map(Record::Intent));
            records.extend(s.untold.then_some(Record::Untold(id)));
        }
        records
    }
}

/// `path` with its beginning `from` replaced by `to`, if it begins so.
fn moved(path: &PathBuf, from: &PathBuf, to: &PathBuf) -> Option<PathBuf> {
    let mut rest = path.as_path().names();
    for name in from.as_path().names() {
        if rest.next() != Some(name) {
            return None;
        }
    }
    let mut result = to.clone();
    for name in rest {
        result.push(name).ok()?;
    }
    Some(result)
}

// --- bytes ------------------------------------------------------------------------------------

fn put_long(bytes: &[u8], out: &mut Vec<u8>) {
    (bytes.len() as u32).put(out);
    out.extend_from_slice(bytes);
}

fn get_long<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let n = u32::get(r, "length")?;
    r.take(n as usize, "bytes")
}

fn put_id(id: &RequestId, out: &mut Vec<u8>) {
    id.session.put(out);
    id.slot.put(out);
    id.sequence.put(out);
    id.asked.0.put(out);
    id.asked.1.put(out);
}

fn get_id(r: &mut Reader<'_>) -> Result<RequestId, DecodeError> {
    Ok(RequestId {
        session: u64::get(r, "session")?,
        slot: u16::get(r, "slot")?,
        sequence: u32::get(r, "sequence")?,
        asked: (u8::get(r, "operation")?, u32::get(r, "length")?),
    })
}

fn put_info(info: &HandleInfo, out: &mut Vec<u8>) {
    info.export.as_bytes().put(out);
    info.path.as_path().put(out);
    info.identity.device.put(out);
    info.identity.inode.put(out);
    info.file.is_some().put(out);
    info.file.unwrap_or_default().put(out);
}

fn get_info(r: &mut Reader<'_>) -> Result<HandleInfo, DecodeError> {
    let export = String::from_utf8_lossy(<&[u8]>::get(r, "export")?).into_owned();
    let path = Path::get(r, "path")?.to_owned();
    let identity = Identity {
        device: u64::get(r, "device")?,
        inode: u64::get(r, "inode")?,
    };
    let is_file = bool::get(r, "file")?;
    let flags = OpenFlags::get(r, "flags")?;
    Ok(HandleInfo {
        export,
        path,
        identity,
        file: is_file.then_some(flags),
    })
}

impl Record {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Start(machine) => {
                1u8.put(out);
                put_long(machine, out);
            }
            Self::Session {
                id,
                client,
                key,
                slots,
                max_frame,
                next_handle,
                name,
            } => {
                2u8.put(out);
                id.put(out);
                client.put(out);
                key.0.put(out);
                slots.put(out);
                max_frame.put(out);
                next_handle.put(out);
                put_long(name, out);
            }
            Self::End(id) => {
                3u8.put(out);
                id.put(out);
            }
            Self::Intent(intent) => {
                4u8.put(out);
                put_id(&intent.id, out);
                intent.seen.device.put(out);
                intent.seen.inode.put(out);
                put_long(&intent.payload, out);
            }
            Self::Reply(id, effect, frame) => {
                5u8.put(out);
                put_id(id, out);
                put_long(frame, out);
                match effect {
                    Effect::None => 0u8.put(out),
                    Effect::Opened { handle, base, info } => {
                        1u8.put(out);
                        handle.put(out);
                        base.put(out);
                        put_info(info, out);
                    }
                    Effect::Closed(handle) => {
                        2u8.put(out);
                        handle.put(out);
                    }
                    Effect::Moved {
                        from_base,
                        from,
                        to_base,
                        to,
                    } => {
                        3u8.put(out);
                        from_base.put(out);
                        from.as_path().put(out);
                        to_base.put(out);
                        to.as_path().put(out);
                    }
                }
            }
            Self::Told(session) => {
                7u8.put(out);
                session.put(out);
            }
            Self::Untold(session) => {
                8u8.put(out);
                session.put(out);
            }
            Self::Handle(session, handle, info) => {
                6u8.put(out);
                session.put(out);
                handle.put(out);
                put_info(info, out);
            }
        }
    }

    fn get(body: &[u8]) -> Result<Self, DecodeError> {
        let r = &mut Reader::new(body);
        let record = match u8::get(r, "kind")? {
            1 => Self::Start(get_long(r)?.to_vec()),
            2 => Self::Session {
                id: u64::get(r, "id")?,
                client: ClientId::get(r, "client")?,
                key: KeyId(r.array("key")?),
                slots: u16::get(r, "slots")?,
                max_frame: u32::get(r, "max_frame")?,
                next_handle: u32::get(r, "next_handle")?,
                name: get_long(r)?.to_vec(),
            },
            3 => Self::End(u64::get(r, "id")?),
            4 => {
                let id = get_id(r)?;
                let seen = Identity {
                    device: u64::get(r, "device")?,
                    inode: u64::get(r, "inode")?,
                };
                Self::Intent(Intent {
                    id,
                    seen,
                    payload: get_long(r)?.to_vec(),
                })
            }
            5 => {
                let id = get_id(r)?;
                let frame = get_long(r)?.to_vec();
                let effect = match u8::get(r, "effect")? {
                    0 => Effect::None,
                    1 => Effect::Opened {
                        handle: u32::get(r, "handle")?,
                        base: u32::get(r, "base")?,
                        info: get_info(r)?,
                    },
                    2 => Effect::Closed(u32::get(r, "handle")?),
                    3 => Effect::Moved {
                        from_base: u32::get(r, "from_base")?,
                        from: Path::get(r, "from")?.to_owned(),
                        to_base: u32::get(r, "to_base")?,
                        to: Path::get(r, "to")?.to_owned(),
                    },
                    other => return Err(DecodeError::Value("effect", other.into())),
                };
                Self::Reply(id, effect, frame)
            }
            6 => Self::Handle(
                u64::get(r, "session")?,
                u32::get(r, "handle")?,
                get_info(r)?,
            ),
            7 => Self::Told(u64::get(r, "session")?),
            8 => Self::Untold(u64::get(r, "session")?),
            other => return Err(DecodeError::Value("kind", other.into())),
        };
        Ok(record)
    }

    /// Appends length, CRC and body.
    fn put_line(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        self.put(out);
        let length = (out.len() - start - 8) as u32;
        let crc = CRC.checksum(&out[start + 8..]);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Reads records until the end, or the first one that is not whole.
fn read_lines(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let r = &mut Reader::new(bytes);
    let mut line = || -> Result<Record, DecodeError> {
        let length = u32::get(r, "length")? as usize;
        let crc = u32::get(r, "crc")?;
        if length > MAX_RECORD {
            return Err(DecodeError::Value("length", length as u64));
        }
        let body = r.take(length, "body")?;
        if CRC.checksum(body) != crc {
            return Err(DecodeError::Value("crc", crc.into()));
        }
        Record::get(body)
    };
    while let Ok(record) = line() {
        records.push(record);
    }
    records
}

// --- file -------------------------------------------------------------------------------------

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
    folder: HostPathBuf,
    // Held for as long as the server runs.
    _lock: Option<File>,
}

impl Journal {
    /// For a server that remembers nothing.
    pub fn none() -> Self {
        Self {
            open: None,
            folder: HostPathBuf::new(),
            _lock: None,
        }
    }

    /// Opens a state folder, made if need be. `machine` identifies this boot of the machine.
    pub fn open(folder: &HostPath, machine: &[u8]) -> anyhow::Result<(Self, Mirror)> {
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
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let records = match bytes.strip_prefix(MAGIC) {
            Some(lines) => read_lines(lines),
            None if bytes.len() < MAGIC.len() => Vec::new(),
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
        record.put_line(&mut open.line);
        // At a fixed place, so that a line cut short by a full disk is written over.
        open.file.write_all_at(&open.line, open.bytes)?;
        open.bytes += open.line.len() as u64;
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

fn write_anew(folder: &HostPath, mirror: &Mirror) -> anyhow::Result<(File, u64)> {
    let mut bytes = MAGIC.to_vec();
    for record in mirror.records() {
        record.put_line(&mut bytes);
    }
    let new = folder.join("journal.new");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .with_context(|| format!("cannot write {}", new.display()))?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_data());
    written.with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, folder.join("journal"))
        .and_then(|()| File::open(folder)?.sync_all())
        .with_context(|| format!("cannot replace the journal in {}", folder.display()))?;
    Ok((file, bytes.len() as u64))
}
