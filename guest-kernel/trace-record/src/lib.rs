//! Formats that leave the guest: the trace file and its records, verdict records, and the names of
//! the files in a run folder.
//!
//! Everything is little-endian. Decoding never panics, never allocates more than the bytes it was
//! given, and says why it refuses. Time and CPU number are arguments; nothing here reads a clock.
//!
//! ```
//! use trace_record::{Payload, Reader, RecordMeta, encode_record};
//!
//! let mut file = Vec::new();
//! let meta = RecordMeta { tsc: 1000, sequence: 0, pid: 3, cpu: 0, flags: 0 };
//! encode_record(&meta, &Payload::Dropped { count: 7 }, &mut file);
//! let mut reader = Reader::new();
//! reader.push(&file);
//! let record = reader.next_record().expect("whole").expect("sound");
//! assert_eq!(record.to_string(), "          1000 c0 p3    #0 meta       dropped 7 records");
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bytes;
pub mod header;
pub mod kind;
pub mod payload;
pub mod reader;
pub mod record;
pub mod run;
mod text;
pub mod verdict;

pub use header::FileHeader;
pub use kind::{Class, Kind};
pub use payload::Payload;
pub use reader::Reader;
pub use record::{DecodeError, Record, RecordMeta, encode_record};
pub use text::escape;

/// CRC-32C (Castagnoli), as in RFC 3720 appendix B.4.
pub(crate) const CRC32C: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

#[cfg(test)]
mod table_test;
