//! Labvisor's console: COM1, 115200 8N1, polled. The guest cannot see it.

use core::fmt;

use super::port;

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const TRANSMITTER_EMPTY: u32 = 1 << 5;

/// The console; it has no state of its own.
pub struct Console;

impl Console {
    /// Programs the UART.
    pub fn init() {
        const DIVISOR_LATCH: u32 = 0x80;
        const EIGHT_BITS: u32 = 3;
        for (register, value) in [
            (1, 0), // no interrupts
            (3, DIVISOR_LATCH),
            (0, 1), // 115200
            (1, 0),
            (3, EIGHT_BITS),
            (2, 7), // FIFO on and empty
            (4, 3), // DTR, RTS
        ] {
            port::write(COM1 + register, 1, value);
        }
    }

    /// Sends one byte; a console that never gets ready is given up for this byte.
    pub fn put(&self, byte: u8) {
        const PATIENCE: u32 = 1_000_000;
        for _ in 0..PATIENCE {
            if port::read(LINE_STATUS, 1) & TRANSMITTER_EMPTY != 0 {
                break;
            }
        }
        port::write(COM1, 1, u32::from(byte));
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}
