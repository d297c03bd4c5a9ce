//! Reads records from bytes that arrive in pieces, as a follower of a growing file gets them.

use crate::record::{DecodeError, RECORD_MAX, Record, record_len};
use alloc::vec::Vec;

/// Cuts a stream of bytes into records. Holds at most one push plus one incomplete record.
#[derive(Default, Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    start: usize,
    damaged: u64,
    lost: bool,
}

impl Reader {
    /// An empty reader, at the first record (behind the file's head).
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            damaged: 0,
            lost: false,
        }
    }

    /// Adds bytes. Take all records out before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole record; `None` when more bytes are needed.
    ///
    /// A record with a bad checksum, kind or payload is an `Err` and is skipped. An impossible
    /// length is an `Err` once; nothing behind it can be read and the reader stays silent.
    pub fn next_record(&mut self) -> Option<Result<Record<'_>, DecodeError>> {
        if self.lost {
            return None;
        }
        let rest = &self.buffer[self.start..];
        let first = *rest.first_chunk::<2>()?;
        match record_len(first) {
            Err(error) => {
                self.lost = true;
                self.damaged += 1;
                Some(Err(error))
            }
            Ok(len) => {
                let bytes = rest.get(..len)?;
                self.start += len;
                let record = Record::decode(bytes);
                if record.is_err() {
                    self.damaged += 1;
                }
                Some(record)
            }
        }
    }

    /// Records that could not be read so far.
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether the reader lost its place for good.
    pub const fn lost_place(&self) -> bool {
        self.lost
    }

    /// Bytes of an incomplete record, at most [`RECORD_MAX`].
    pub fn pending(&self) -> usize {
        debug_assert!(self.lost || self.buffer.len() - self.start <= RECORD_MAX || self.start == 0);
        self.buffer.len() - self.start
    }
}
