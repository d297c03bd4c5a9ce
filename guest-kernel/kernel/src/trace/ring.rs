//! One CPU's ring of encoded records.
//!
//! Positions are counted from the first byte ever written and never wrap; `position % capacity` is
//! the place in the ring. `taken` follows `written`. Bytes stay readable after they were taken until
//! others overwrite them, which is how a panic finds the last records.

use alloc::vec;
use alloc::vec::Vec;
use trace_record::record::{RECORD_MAX, encode_with_class, record_len};
use trace_record::{Class, Payload, Record, RecordMeta};

/// Records a panic shows.
pub const RECENT: usize = 32;

/// A bounded ring; what does not fit is dropped and counted.
pub struct Ring {
    bytes: Vec<u8>,
    scratch: Vec<u8>,
    written: u64,
    taken: u64,
    sequence: u32,
    recent: [u64; RECENT],
    recorded: u64,
    dropped: u64,
    dropped_unsaid: u64,
    overwrite: bool,
}

/// What a ring counted.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// Records written.
    pub recorded: u64,
    /// Records dropped.
    pub dropped: u64,
}

impl Ring {
    /// An empty ring of `capacity` bytes. It overwrites its oldest records until [`Ring::keep_unsent`].
    pub fn new(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity],
            scratch: Vec::with_capacity(2 * RECORD_MAX),
            written: 0,
            taken: 0,
            sequence: 0,
            recent: [u64::MAX; RECENT],
            recorded: 0,
            dropped: 0,
            dropped_unsaid: 0,
            overwrite: true,
        }
    }

    /// From now on records that nobody took are kept, and new ones are dropped when the ring is full.
    pub fn keep_unsent(&mut self, keep: bool) {
        self.overwrite = !keep;
    }

    /// Writes a record and returns its sequence number; `None` if it was dropped. A loss is told by
    /// a record of its own as soon as there is room.
    pub fn write(&mut self, meta: RecordMeta, class: Class, payload: &Payload<'_>) -> Option<u32> {
        self.scratch.clear();
        if self.dropped_unsaid > 0 {
            let loss = Payload::Dropped {
                count: self.dropped_unsaid,
            };
            encode_with_class(
                &RecordMeta {
                    sequence: self.sequence,
                    ..meta
                },
                Class::Meta,
                &loss,
                &mut self.scratch,
            );
        }
        let loss_len = self.scratch.len();
        let sequence = self.sequence + u32::from(loss_len > 0);
        encode_with_class(
            &RecordMeta { sequence, ..meta },
            class,
            payload,
            &mut self.scratch,
        );
        let needed = self.scratch.len() as u64;
        while self.overwrite && self.free() < needed {
            self.skip_oldest();
        }
        if self.free() < needed {
            self.dropped += 1;
            self.dropped_unsaid += 1;
            return None;
        }
        self.dropped_unsaid = 0;
        self.recorded += 1 + u64::from(loss_len > 0);
        self.recent.rotate_left(1);
        self.recent[RECENT - 1] = self.written + loss_len as u64;
        self.copy_in();
        self.sequence = sequence.wrapping_add(1);
        Some(sequence)
    }

    /// Writes a record with the sequence number its own producer gave it.
    pub fn write_foreign(&mut self, record: &Record<'_>) {
        self.scratch.clear();
        encode_with_class(
            &record.meta,
            record.class,
            &record.payload,
            &mut self.scratch,
        );
        let needed = self.scratch.len() as u64;
        while self.overwrite && self.free() < needed {
            self.skip_oldest();
        }
        if self.free() < needed {
            self.dropped += 1;
            self.dropped_unsaid += 1;
            return;
        }
        self.recorded += 1;
        self.copy_in();
    }

    fn free(&self) -> u64 {
        self.bytes.len() as u64 - (self.written - self.taken)
    }

    fn copy_in(&mut self) {
        let at = (self.written % self.bytes.len() as u64) as usize;
        let first = self.scratch.len().min(self.bytes.len() - at);
        self.bytes[at..at + first].copy_from_slice(&self.scratch[..first]);
        self.bytes[..self.scratch.len() - first].copy_from_slice(&self.scratch[first..]);
        self.written += self.scratch.len() as u64;
    }

    fn len_at(&self, position: u64) -> Option<u64> {
        let capacity = self.bytes.len() as u64;
        let low = self.bytes[(position % capacity) as usize];
        let high = self.bytes[((position + 1) % capacity) as usize];
        record_len([low, high]).ok().map(|len| len as u64)
    }

    fn skip_oldest(&mut self) {
        self.taken = match self.len_at(self.taken) {
            Some(len) => (self.taken + len).min(self.written),
            None => self.written,
        };
    }

    fn copy_out(&self, from: u64, to: u64, out: &mut Vec<u8>) {
        let capacity = self.bytes.len() as u64;
        let (start, len) = ((from % capacity) as usize, (to - from) as usize);
        let first = len.min(self.bytes.len() - start);
        out.extend_from_slice(&self.bytes[start..start + first]);
        out.extend_from_slice(&self.bytes[..len - first]);
    }

    /// Moves whole records, at most `max` bytes of them, to `out`; returns the position behind them.
    pub fn take(&mut self, max: usize, out: &mut Vec<u8>) -> u64 {
        let from = self.taken;
        let mut to = from;
        while to < self.written {
            let Some(len) = self.len_at(to) else { break };
            if to + len - from > max as u64 {
                break;
            }
            to += len;
        }
        self.copy_out(from, to, out);
        self.taken = to;
        to
    }

    /// Position behind the last record.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// What it counted.
    pub const fn counts(&self) -> Counts {
        Counts {
            recorded: self.recorded,
            dropped: self.dropped,
        }
    }

    /// Copies the last records that are not overwritten yet, oldest first, one at a time.
    pub fn for_recent(&mut self, mut show: impl FnMut(&[u8])) {
        let mut record = core::mem::take(&mut self.scratch);
        for position in self.recent {
            let alive =
                position < self.written && self.written - position <= self.bytes.len() as u64;
            if let (true, Some(len)) = (alive, self.len_at(position)) {
                record.clear();
                self.copy_out(position, (position + len).min(self.written), &mut record);
                show(&record);
            }
        }
        self.scratch = record;
    }
}
