//! Labvisor's own log: on its console, in a ring that dbgsh shows, and in the buffer a guest
//! gave with `log_set_buf`.

use alloc::collections::VecDeque;
use core::fmt;

use crate::defects::{self, Defect, Quirk};
use crate::guest_memory::GuestMemory;
use crate::machine::Machine;

const RING: usize = 16 << 10;
/// A u32 header, then the ring of characters.
const HEADER: u64 = 4;

/// The buffer of `log_set_buf`.
struct GuestBuffer {
    base: u64,
    size: u64,
    next: u64,
}

/// The log.
#[derive(Default)]
pub struct Log {
    ring: VecDeque<u8>,
    guest: Option<GuestBuffer>,
}

impl Log {
    /// Writes a line everywhere.
    pub fn line(&mut self, m: &mut dyn Machine, text: fmt::Arguments) {
        let mut sink = Sink { log: self, m };
        let _ = fmt::write(&mut sink, format_args!("labvisor: {text}\n"));
    }

    /// The last characters written, oldest first.
    pub fn text(&self) -> impl Iterator<Item = u8> {
        self.ring.iter().copied()
    }

    /// `log_set_buf`: detaches the old buffer and attaches the new one if all of it is the
    /// guest's RAM and it has room for a character. Says whether a buffer is attached.
    pub fn attach(&mut self, memory: &GuestMemory, base: u64, size: u64) -> bool {
        if !(defects::planted(Defect::LogDetachIgnored) && base == 0) {
            self.guest = None;
        }
        let checked = if defects::planted(Defect::LogSizeTruncated) {
            size & 0xffff_ffff
        } else {
            size
        };
        let long_enough = size > HEADER || defects::planted(Defect::LogSizeUnchecked);
        let good = base != 0 && size != 0 && long_enough && memory.is_ram(base, checked);
        if good {
            self.guest = Some(GuestBuffer {
                base,
                size,
                next: HEADER,
            });
        }
        good
    }

    fn put(&mut self, m: &mut dyn Machine, byte: u8) {
        m.console(byte);
        if self.ring.len() == RING {
            self.ring.pop_front();
        }
        self.ring.push_back(byte);
        let Some(guest) = &mut self.guest else { return };
        m.write(guest.base + guest.next, &[byte]);
        guest.next += 1;
        if guest.next >= guest.size && !defects::planted(Defect::LogWrapMissed) {
            guest.next = HEADER;
        }
        let mut header = [0; 4];
        m.read(guest.base, &mut header);
        let unread = u32::from_le_bytes(header);
        let unread =
            if defects::planted(Defect::LogHeaderAnd) || defects::quirk(Quirk::LogHeaderAnd) {
                unread & 1
            } else {
                unread.wrapping_add(1)
            };
        m.write(guest.base, &unread.to_le_bytes());
    }
}

struct Sink<'a> {
    log: &'a mut Log,
    m: &'a mut dyn Machine,
}

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.log.put(self.m, byte));
        Ok(())
    }
}
