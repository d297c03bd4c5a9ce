//! A trace record: a head of 24 bytes, a payload, padding to a multiple of 8.
//!
//! | offset | field |
//! |---|---|
//! | 0 | u16 length of the record, a multiple of 8, at most 4096 |
//! | 2 | u8 kind |
//! | 3 | u8 flags, zero so far |
//! | 4 | u32 CRC-32C of the record with this field zero |
//! | 8 | u64 TSC |
//! | 16 | u32 sequence, per CPU |
//! | 20 | u16 pid |
//! | 22 | u8 CPU; 80h + n: written by the hypervisor for CPU n |
//! | 23 | u8 class |

use crate::bytes::pad8;
use crate::{CRC32C, Class, Kind, Payload};
use alloc::vec::Vec;

/// Length of a record's head in bytes.
pub const HEAD_LEN: usize = 24;
/// Longest record in bytes.
pub const RECORD_MAX: usize = 4096;
/// Added to the CPU number of records that the hypervisor wrote.
pub const CPU_HYPERVISOR: u8 = 0x80;

/// What a record's head carries besides kind and class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordMeta {
    /// Time stamp counter.
    pub tsc: u64,
    /// Counts up by one for each record of this CPU.
    pub sequence: u32,
    /// Process, 0 for none.
    pub pid: u16,
    /// CPU.
    pub cpu: u8,
    /// Zero so far.
    pub flags: u8,
}

/// A decoded record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Head.
    pub meta: RecordMeta,
    /// Class.
    pub class: Class,
    /// What it says.
    pub payload: Payload<'a>,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The length field is not a multiple of 8 from 24 to 4096. Nothing behind it can be found.
    Length {
        /// What it says.
        len: u16,
    },
    /// The checksum does not fit.
    Checksum {
        /// What the record says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A kind this reader does not know (a newer minor version).
    UnknownKind {
        /// Its number.
        kind: u8,
    },
    /// A class this reader does not know.
    UnknownClass {
        /// Its number.
        class: u8,
    },
    /// The payload is shorter than its kind needs.
    Payload {
        /// Kind.
        kind: Kind,
    },
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length { len } => write!(f, "impossible record length {len}"),
            Self::Checksum { stored, computed } => {
                write!(f, "checksum {stored:08x}, the bytes give {computed:08x}")
            }
            Self::UnknownKind { kind } => write!(f, "unknown kind {kind}"),
            Self::UnknownClass { class } => write!(f, "unknown class {class}"),
            Self::Payload { kind } => write!(f, "payload of a {} record is too short", kind.name()),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Which class probed code belongs to: that of the first instruction in it that can exit, by its
/// opcode (AMD APM vol. 3, opcode maps). Bytes of a longer instruction can look like one; the
/// class is for sorting, never for judging.
pub fn probe_class(code: &[u8]) -> Class {
    for at in 0..code.len() {
        match (code[at], code.get(at + 1), code.get(at + 2)) {
            (0x0f, Some(0x01), Some(0xc1 | 0xd9)) => return Class::Hypercall,
            (0x0f, Some(0xa2), _) => return Class::Cpuid,
            (0x0f, Some(0x30 | 0x32), _) => return Class::Msr,
            (0xe4..=0xe7 | 0xec..=0xef | 0x6c..=0x6f, _, _) => return Class::Port,
            _ => {}
        }
    }
    Class::Code
}

/// Appends a record with the class its payload belongs to.
pub fn encode_record(meta: &RecordMeta, payload: &Payload<'_>, out: &mut Vec<u8>) {
    encode_with_class(meta, payload.class(), payload, out);
}

/// Appends a record with a given class; an answer has its request's.
pub fn encode_with_class(
    meta: &RecordMeta,
    class: Class,
    payload: &Payload<'_>,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, payload.kind() as u8, meta.flags, 0, 0, 0, 0]);
    out.extend_from_slice(&meta.tsc.to_le_bytes());
    out.extend_from_slice(&meta.sequence.to_le_bytes());
    out.extend_from_slice(&meta.pid.to_le_bytes());
    out.extend_from_slice(&[meta.cpu, class as u8]);
    payload.encode(out);
    pad8(out, start);
    let len = (out.len() - start) as u16;
    out[start..start + 2].copy_from_slice(&len.to_le_bytes());
    let crc = CRC32C.checksum(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The length a record claims, from its first two bytes.
///
/// # Errors
/// [`DecodeError::Length`] if no record can have it.
pub fn record_len(first: [u8; 2]) -> Result<usize, DecodeError> {
    let len = u16::from_le_bytes(first);
    let bytes = usize::from(len);
    if (HEAD_LEN..=RECORD_MAX).contains(&bytes) && bytes.is_multiple_of(8) {
        Ok(bytes)
    } else {
        Err(DecodeError::Length { len })
    }
}

fn checksum(record: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(&record[..4]);
    digest.update(&[0; 4]);
    digest.update(&record[8..]);
    digest.finalize()
}

impl Record<'_> {
    /// The same with bytes of its own, to keep.
    pub fn into_owned(self) -> Record<'static> {
        Record {
            meta: self.meta,
            class: self.class,
            payload: self.payload.into_owned(),
        }
    }
}

impl<'a> Record<'a> {
    /// Decodes one whole record: `bytes` has exactly the length its head claims.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let claimed = bytes
            .first_chunk::<2>()
            .map_or(0, |first| u16::from_le_bytes(*first));
        let Some((head, payload)) = bytes.split_first_chunk::<HEAD_LEN>() else {
            return Err(DecodeError::Length { len: claimed });
        };
        if record_len([head[0], head[1]])? != bytes.len() {
            return Err(DecodeError::Length { len: claimed });
        }
        let stored = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let computed = checksum(bytes);
        if stored != computed {
            return Err(DecodeError::Checksum { stored, computed });
        }
        let kind = Kind::from_number(head[2]).ok_or(DecodeError::UnknownKind { kind: head[2] })?;
        let class =
            Class::from_number(head[23]).ok_or(DecodeError::UnknownClass { class: head[23] })?;
        let meta = RecordMeta {
            tsc: u64::from_le_bytes([
                head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
            ]),
            sequence: u32::from_le_bytes([head[16], head[17], head[18], head[19]]),
            pid: u16::from_le_bytes([head[20], head[21]]),
            cpu: head[22],
            flags: head[3],
        };
        let payload = Payload::decode(kind, payload).ok_or(DecodeError::Payload { kind })?;
        Ok(Self {
            meta,
            class,
            payload,
        })
    }
}
