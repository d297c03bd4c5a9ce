//! Where the console's output goes: always COM2, and whatever `console=` adds.

use crate::arch::port::{COM1, COM2};
use crate::drivers::uart::Uart;
use crate::drivers::vga::Vga;
use crate::sync::SpinLock;

/// The places.
pub(super) struct Output {
    com2: Uart,
    com1: Option<Uart>,
    vga: Option<Vga>,
}

static OUTPUT: SpinLock<Output> = SpinLock::new(
    "console output",
    Output {
        com2: Uart::new(COM2),
        com1: None,
        vga: None,
    },
);

/// Sets COM2 up.
pub(super) fn init() {
    OUTPUT.lock().com2.init();
}

/// Adds COM1, which must not be the hypervisor's.
pub(super) fn add_com1() {
    let uart = Uart::new(COM1);
    uart.init();
    OUTPUT.lock().com1 = Some(uart);
}

/// Adds the text screen.
pub(super) fn add_vga() {
    let screen = Vga::new();
    OUTPUT.lock().vga = Some(screen);
}

/// Lets received bytes interrupt.
pub(super) fn enable_receive_interrupts() {
    let output = OUTPUT.lock();
    for uart in output.uarts() {
        uart.enable_receive_interrupt();
    }
}

/// A byte that came in on a serial line.
pub(super) fn receive() -> Option<u8> {
    OUTPUT.lock().uarts().find_map(Uart::receive)
}

impl Output {
    fn uarts(&self) -> impl Iterator<Item = &Uart> {
        core::iter::once(&self.com2).chain(&self.com1)
    }

    fn write(&mut self, bytes: &[u8]) {
        for uart in self.uarts() {
            for &byte in bytes {
                if byte == b'\n' {
                    uart.send(b'\r');
                }
                uart.send(byte);
            }
        }
        if let Some(screen) = &mut self.vga {
            screen.write(bytes);
        }
    }
}

/// Writes text; new lines become CR LF on serial lines.
pub(super) fn write(bytes: &[u8]) {
    OUTPUT.lock().write(bytes);
}

/// Writes from a panic: waits for nobody. If the lock is held, COM2 at least gets the text.
pub(super) fn write_panicking(bytes: &[u8]) {
    if let Some(mut output) = OUTPUT.try_lock() {
        output.write(bytes);
        return;
    }
    Output {
        com2: Uart::new(COM2),
        com1: None,
        vga: None,
    }
    .write(bytes);
}
