//! Records as bytes: u32 length, u32 CRC32C, body; a body is a kind and its fields as in the protocol.

use protocol::codec::{DecodeError, Field, Reader};
use protocol::message::{ClientId, OpenFlags};
use protocol::name::Path;
use protocol::noise::KeyId;

use super::record::{Effect, HandleInfo, Intent, Record, RequestId, SessionInfo};
use crate::export::Identity;

/// The longest record that is believed.
const MAX_RECORD: usize = 1 << 20;

static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Appends length, CRC and body.
pub fn put_line(record: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    record.put(out);
    let length = (out.len() - start - 8) as u32;
    let crc = CRC.checksum(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads records until the end, or the first one that is not whole.
pub fn read_lines(bytes: &[u8]) -> Vec<Record> {
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
        protocol::codec::decode(body)
    };
    while let Ok(record) = line() {
        records.push(record);
    }
    records
}

/// Bytes that may be longer than a u16 says: u32 length, then the bytes.
struct Long<'a>(&'a [u8]);

impl<'a> Field<'a> for Long<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.0.len() as u32).put(out);
        out.extend_from_slice(self.0);
    }
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let n = u32::get(r, what)?;
        r.take(n as usize, what).map(Self)
    }
}

impl Field<'_> for Identity {
    fn put(&self, out: &mut Vec<u8>) {
        self.device.put(out);
        self.inode.put(out);
    }
    fn get(r: &mut Reader<'_>, what: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            device: u64::get(r, what)?,
            inode: u64::get(r, what)?,
        })
    }
}

impl Field<'_> for RequestId {
    fn put(&self, out: &mut Vec<u8>) {
        self.session.put(out);
        self.slot.put(out);
        self.sequence.put(out);
        self.asked.0.put(out);
        self.asked.1.put(out);
    }
    fn get(r: &mut Reader<'_>, _what: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            session: u64::get(r, "session")?,
            slot: u16::get(r, "slot")?,
            sequence: u32::get(r, "sequence")?,
            asked: (u8::get(r, "operation")?, u32::get(r, "length")?),
        })
    }
}

impl Field<'_> for HandleInfo {
    fn put(&self, out: &mut Vec<u8>) {
        self.export.as_bytes().put(out);
        self.path.as_path().put(out);
        self.identity.put(out);
        self.file.is_some().put(out);
        self.file.unwrap_or_default().put(out);
    }
    fn get(r: &mut Reader<'_>, _what: &'static str) -> Result<Self, DecodeError> {
        let export = String::from_utf8_lossy(<&[u8]>::get(r, "export")?).into_owned();
        let path = Path::get(r, "path")?.to_owned();
        let identity = Identity::get(r, "identity")?;
        let is_file = bool::get(r, "file")?;
        let flags = OpenFlags::get(r, "flags")?;
        Ok(Self {
            export,
            path,
            identity,
            file: is_file.then_some(flags),
        })
    }
}

impl Field<'_> for SessionInfo {
    fn put(&self, out: &mut Vec<u8>) {
        self.client.put(out);
        self.key.0.put(out);
        self.slots.put(out);
        self.max_frame.put(out);
        self.next_handle.put(out);
        Long(&self.name).put(out);
    }
    fn get(r: &mut Reader<'_>, _what: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            client: ClientId::get(r, "client")?,
            key: KeyId(r.array("key")?),
            slots: u16::get(r, "slots")?,
            max_frame: u32::get(r, "max_frame")?,
            next_handle: u32::get(r, "next_handle")?,
            name: Long::get(r, "name")?.0.to_vec(),
        })
    }
}

impl Field<'_> for Intent {
    fn put(&self, out: &mut Vec<u8>) {
        self.id.put(out);
        self.seen.put(out);
        Long(&self.payload).put(out);
    }
    fn get(r: &mut Reader<'_>, _what: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            id: RequestId::get(r, "id")?,
            seen: Identity::get(r, "seen")?,
            payload: Long::get(r, "payload")?.0.to_vec(),
        })
    }
}

impl Field<'_> for Effect {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => 0u8.put(out),
            Self::Opened { handle, base, info } => {
                1u8.put(out);
                handle.put(out);
                base.put(out);
                info.put(out);
            }
            Self::Closed(handle) => {
                2u8.put(out);
                handle.put(out);
            }
            Self::Moved {
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
    fn get(r: &mut Reader<'_>, what: &'static str) -> Result<Self, DecodeError> {
        Ok(match u8::get(r, what)? {
            0 => Self::None,
            1 => Self::Opened {
                handle: u32::get(r, "handle")?,
                base: u32::get(r, "base")?,
                info: HandleInfo::get(r, "info")?,
            },
            2 => Self::Closed(u32::get(r, "handle")?),
            3 => Self::Moved {
                from_base: u32::get(r, "from_base")?,
                from: Path::get(r, "from")?.to_owned(),
                to_base: u32::get(r, "to_base")?,
                to: Path::get(r, "to")?.to_owned(),
            },
            other => return Err(DecodeError::Value(what, other.into())),
        })
    }
}

impl Field<'_> for Record {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Start(machine) => {
                1u8.put(out);
                Long(machine).put(out);
            }
            Self::Session(session, info) => {
                2u8.put(out);
                session.put(out);
                info.put(out);
            }
            Self::End(session) => {
                3u8.put(out);
                session.put(out);
            }
            Self::Intent(intent) => {
                4u8.put(out);
                intent.put(out);
            }
            Self::Reply(id, effect, frame) => {
                5u8.put(out);
                id.put(out);
                Long(frame).put(out);
                effect.put(out);
            }
            Self::Handle(session, handle, info) => {
                6u8.put(out);
                session.put(out);
                handle.put(out);
                info.put(out);
            }
            Self::Told(session) => {
                7u8.put(out);
                session.put(out);
            }
            Self::Untold(session) => {
                8u8.put(out);
                session.put(out);
            }
            Self::Undone(id) => {
                9u8.put(out);
                id.put(out);
            }
        }
    }
    fn get(r: &mut Reader<'_>, _what: &'static str) -> Result<Self, DecodeError> {
        Ok(match u8::get(r, "kind")? {
            1 => Self::Start(Long::get(r, "machine")?.0.to_vec()),
            2 => Self::Session(u64::get(r, "session")?, SessionInfo::get(r, "info")?),
            3 => Self::End(u64::get(r, "session")?),
            4 => Self::Intent(Intent::get(r, "intent")?),
            5 => {
                let id = RequestId::get(r, "id")?;
                let frame = Long::get(r, "frame")?.0.to_vec();
                Self::Reply(id, Effect::get(r, "effect")?, frame)
            }
            6 => Self::Handle(
                u64::get(r, "session")?,
                u32::get(r, "handle")?,
                HandleInfo::get(r, "info")?,
            ),
            7 => Self::Told(u64::get(r, "session")?),
            8 => Self::Untold(u64::get(r, "session")?),
            9 => Self::Undone(RequestId::get(r, "id")?),
            other => return Err(DecodeError::Value("kind", other.into())),
        })
    }
}
