//! Serial line: 16550 (National Semiconductor PC16550D data sheet, section 8). Output is polled.

use crate::arch::port::PortRange;

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

const DIVISOR_LATCH: u8 = 0x80;
const EIGHT_BITS: u8 = 0x03;
const RECEIVED: u8 = 0x01;
const TRANSMITTER_EMPTY: u8 = 0x20;
/// DTR, RTS, and OUT2, which lets interrupts through.
const MODEM_LINES: u8 = 0x0b;

/// One serial line.
pub struct Uart {
    ports: PortRange,
}

impl Uart {
    /// The line behind these ports; usable at once for output if the BIOS set it up.
    pub const fn new(ports: PortRange) -> Self {
        Self { ports }
    }

    /// 115200 baud, 8 bits, no parity, FIFO on.
    pub fn init(&self) {
        self.ports.write(INTERRUPT_ENABLE, 0u8);
        self.ports.write(LINE_CONTROL, DIVISOR_LATCH);
        self.ports.write(DATA, 1u8);
        self.ports.write(INTERRUPT_ENABLE, 0u8);
        self.ports.write(LINE_CONTROL, EIGHT_BITS);
        self.ports.write(FIFO_CONTROL, 0x07u8);
        self.ports.write(MODEM_CONTROL, MODEM_LINES);
    }

    /// Interrupts when a byte arrives.
    pub fn enable_receive_interrupt(&self) {
        self.ports.write(INTERRUPT_ENABLE, 0x01u8);
    }

    /// Sends one byte. Gives up on a line that never gets ready (no such device).
    pub fn send(&self, byte: u8) {
        const PATIENCE: usize = 100_000;
        for _ in 0..PATIENCE {
            if self.ports.read::<u8>(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
                break;
            }
            core::hint::spin_loop();
        }
        self.ports.write(DATA, byte);
    }

    /// A received byte, if there is one.
    pub fn receive(&self) -> Option<u8> {
        let status: u8 = self.ports.read(LINE_STATUS);
        // All ones: no device.
        (status != 0xff && status & RECEIVED != 0).then(|| self.ports.read(DATA))
    }
}
