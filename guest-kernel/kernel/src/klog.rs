//! The kernel's own messages, kept in a ring for `dmesg`.

use crate::sync::SpinLock;
use core::fmt::{self, Write};

/// Bytes kept.
const SIZE: usize = 64 * 1024;

struct Ring {
    bytes: [u8; SIZE],
    /// Bytes ever written.
    written: usize,
}

static RING: SpinLock<Ring> = SpinLock::new(
    "klog",
    Ring {
        bytes: [0; SIZE],
        written: 0,
    },
);

impl Ring {
    fn append(&mut self, text: &[u8]) {
        for &byte in text {
            self.bytes[self.written % SIZE] = byte;
            self.written += 1;
        }
    }
}

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes());
        Ok(())
    }
}

/// Keeps a message.
pub fn append(text: &[u8]) {
    RING.lock().append(text);
}

/// Keeps a message that no console shows.
pub fn note(message: fmt::Arguments<'_>) {
    // `append` cannot fail, so an error would be one of the message's own.
    let _ = RING.lock().write_fmt(message);
}

/// Keeps a message unless the ring is being written (for panics).
pub fn append_if_free(text: &[u8]) {
    if let Some(mut ring) = RING.try_lock() {
        ring.append(text);
    }
}

/// Copies from an absolute position on; what is no longer kept is skipped. Returns the bytes copied.
pub fn read(offset: u64, buf: &mut [u8]) -> usize {
    let ring = RING.lock();
    let oldest = ring.written.saturating_sub(SIZE);
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .max(oldest)
        .min(ring.written);
    let len = (ring.written - start).min(buf.len());
    for (index, byte) in buf[..len].iter_mut().enumerate() {
        *byte = ring.bytes[(start + index) % SIZE];
    }
    len
}
