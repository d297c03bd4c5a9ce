//! Reads the buffer that `log_set_buf` fills (`core/vmmcall_log.c`).
//!
//! Bytes 0 to 3 are a header, the rest is a ring of characters that the hypervisor writes for ever,
//! without looking whether anybody reads. The header was meant as a count of unread bytes; since
//! 2023-06 BitVisor ANDs it with 1 instead. So the reader does not trust it: it fills the ring with a
//! sentinel that no log line holds, and whatever is not the sentinel is new.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Bytes before the ring.
pub const LOG_HEADER_LEN: usize = 4;
/// A byte that no UTF-8 or ASCII text holds.
pub const LOG_SENTINEL: u8 = 0xff;
/// The header before the first character: bit 31 tells the builds apart.
const HEADER_START: u32 = 0x8000_0000;

/// How this hypervisor treats the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogBuild {
    /// Nothing was logged yet.
    Unknown,
    /// Header counts unread bytes.
    Counting,
    /// Header is ANDed with 1 and says nothing.
    And,
}

/// A reader with a place of its own in the ring.
pub struct LogReader<'a> {
    header: &'a AtomicU32,
    ring: &'a [AtomicU8],
    next: usize,
    build: LogBuild,
    lost: u64,
}

impl<'a> LogReader<'a> {
    /// Prepares the buffer; attach it afterwards. `ring` lies [`LOG_HEADER_LEN`] bytes behind `header`.
    pub fn new(header: &'a AtomicU32, ring: &'a [AtomicU8]) -> Self {
        for byte in ring {
            byte.store(LOG_SENTINEL, Ordering::Relaxed);
        }
        header.store(HEADER_START, Ordering::Release);
        Self {
            header,
            ring,
            next: 0,
            build: LogBuild::Unknown,
            lost: 0,
        }
    }

    /// Which build wrote, as far as one can tell.
    pub const fn build(&self) -> LogBuild {
        self.build
    }

    /// Characters overwritten before they were read, as far as a counting build lets one know.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Moves new characters to `out` and returns their number.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        self.find_build();
        let mut taken = 0;
        while let (Some(slot), Some(cell)) = (out.get_mut(taken), self.ring.get(self.next)) {
            // The hypervisor stores the byte before it touches the header; Acquire keeps that order.
            let byte = cell.load(Ordering::Acquire);
            if byte == LOG_SENTINEL {
                break;
            }
            cell.store(LOG_SENTINEL, Ordering::Release);
            if self.build == LogBuild::Counting {
                self.header.fetch_sub(1, Ordering::AcqRel);
            }
            *slot = byte;
            taken += 1;
            self.next = (self.next + 1) % self.ring.len();
        }
        taken
    }

    /// Looks at the header: `HEADER_START` + n counts, 0 was ANDed. More unread bytes than the ring
    /// holds were overwritten; they are counted and taken off the header.
    fn find_build(&mut self) {
        let header = self.header.load(Ordering::Acquire);
        if self.build == LogBuild::Unknown && header != HEADER_START {
            self.build = if header & HEADER_START == 0 {
                LogBuild::And
            } else {
                LogBuild::Counting
            };
        }
        if self.build == LogBuild::Counting {
            let unread = header.wrapping_sub(HEADER_START);
            let size = self.ring.len() as u32;
            if unread > size && unread < HEADER_START {
                let over = unread - size;
                self.lost += u64::from(over);
                self.header.fetch_sub(over, Ordering::AcqRel);
            }
        }
    }
}
