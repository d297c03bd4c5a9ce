//! The console: COM2, and what `console=` adds, with xv6's line discipline for what is typed.
//!
//! Line mode: echo, backspace and ^H erase, ^U kills the line, ^D ends the input, ^P lists processes.
//! Raw mode: every byte as it comes.

mod output;

use crate::arch::irq;
use crate::drivers::keyboard::{self, Keyboard};
use crate::sync::{SpinLock, WaitQueue};
use crate::{klog, settings};
use abi::Errno;
use abi::file::{TTY_LINE, TTY_RAW};
use core::fmt;
use kcore::settings::Console;

/// Interrupt lines of COM2 and COM1.
const COM2_IRQ: u8 = 3;
const COM1_IRQ: u8 = 4;
/// Bytes of input kept.
const INPUT_SIZE: usize = 1024;

const fn control(letter: u8) -> u8 {
    letter - b'@'
}

const DELETE: u8 = 0x7f;
const BACKSPACE: u8 = 0x08;
const END_OF_INPUT: u8 = control(b'D');
const KILL_LINE: u8 = control(b'U');
const LIST_PROCESSES: u8 = control(b'P');

static KEYBOARD: SpinLock<Keyboard> = SpinLock::new("keyboard", Keyboard::new());
static INPUT: SpinLock<Input> = SpinLock::new("console", Input::new());
static ARRIVED: WaitQueue = WaitQueue::new();

struct Input {
    bytes: [u8; INPUT_SIZE],
    /// Bytes ever read, ever completed by a line end, ever typed.
    read: usize,
    complete: usize,
    typed: usize,
    raw: bool,
}

impl Input {
    const fn new() -> Self {
        Self {
            bytes: [0; INPUT_SIZE],
            read: 0,
            complete: 0,
            typed: 0,
            raw: false,
        }
    }

    fn push(&mut self, byte: u8) -> bool {
        if self.typed - self.read == INPUT_SIZE {
            return false;
        }
        self.bytes[self.typed % INPUT_SIZE] = byte;
        self.typed += 1;
        true
    }

    /// Removes the last typed byte of the unfinished line.
    fn erase(&mut self) -> bool {
        let erased = self.typed > self.complete;
        if erased {
            self.typed -= 1;
            echo(b"\x08 \x08");
        }
        erased
    }

    /// One byte from the line; returns whether a reader may go on.
    fn received(&mut self, byte: u8) -> bool {
        if self.raw {
            let pushed = self.push(byte);
            self.complete = self.typed;
            return pushed;
        }
        match byte {
            LIST_PROCESSES => crate::proc::dump(),
            KILL_LINE => while self.erase() {},
            BACKSPACE | DELETE => {
                self.erase();
            }
            _ => {
                let byte = if byte == b'\r' { b'\n' } else { byte };
                if !self.push(byte) {
                    return false;
                }
                match byte {
                    END_OF_INPUT => {}
                    b'\n' => echo(b"\n"),
                    b'\t' | 0x20..=0x7e | 0x80.. => echo(&[byte]),
                    _ => echo(&[b'^', byte + b'@']),
                }
                let full = self.typed - self.read == INPUT_SIZE;
                if byte == b'\n' || byte == END_OF_INPUT || full {
                    self.complete = self.typed;
                    return true;
                }
            }
        }
        false
    }
}

fn echo(bytes: &[u8]) {
    output::write(bytes);
}

/// Sets COM2 up for output.
pub fn init() {
    output::init();
}

/// Adds the places that the setting `console=` names, and lets input arrive.
pub fn init_input() {
    irq::register(COM2_IRQ, "console", serial_interrupt);
    for place in &settings::get().console {
        match place {
            Console::Com2 => {}
            Console::Com1 => {
                output::add_com1();
                irq::register(COM1_IRQ, "console", serial_interrupt);
            }
            Console::Vga => {
                output::add_vga();
                irq::register(keyboard::IRQ, "keyboard", keyboard_interrupt);
            }
        }
    }
    output::enable_receive_interrupts();
}

fn serial_interrupt() -> bool {
    let mut claimed = false;
    while let Some(byte) = output::receive() {
        claimed = true;
        arrived(&[byte]);
    }
    claimed
}

fn keyboard_interrupt() -> bool {
    let mut claimed = false;
    loop {
        let Some(bytes) = KEYBOARD.lock().receive() else {
            return claimed;
        };
        claimed = true;
        arrived(bytes);
    }
}

fn arrived(bytes: &[u8]) {
    let mut ready = false;
    for &byte in bytes {
        ready |= INPUT.lock().received(byte);
    }
    if ready {
        ARRIVED.wake_all();
    }
}

/// Reads a line, or what there is of it.
pub fn read(buf: &mut [u8], nonblock: bool) -> Result<usize, Errno> {
    let mut input = INPUT.lock();
    while input.read == input.complete {
        if nonblock {
            return Err(Errno::EAGAIN);
        }
        let waited;
        (input, waited) = ARRIVED.wait(input);
        waited?;
    }
    let mut len = 0;
    while len < buf.len() && input.read < input.complete {
        let byte = input.bytes[input.read % INPUT_SIZE];
        if byte == END_OF_INPUT && !input.raw {
            // Alone it means end of file; behind text it is kept for the next read.
            if len == 0 {
                input.read += 1;
            }
            break;
        }
        input.read += 1;
        buf[len] = byte;
        len += 1;
        if byte == b'\n' && !input.raw {
            break;
        }
    }
    Ok(len)
}

/// Whether `read` returns at once.
pub fn has_input() -> bool {
    let input = INPUT.lock();
    input.read < input.complete
}

/// Woken when input arrives.
pub fn input_queue() -> &'static WaitQueue {
    &ARRIVED
}

/// `TTY_LINE` or `TTY_RAW`.
pub fn set_mode(mode: i32) -> Result<(), Errno> {
    let raw = match mode {
        TTY_LINE => false,
        TTY_RAW => true,
        _ => return Err(Errno::EINVAL),
    };
    let mut input = INPUT.lock();
    input.raw = raw;
    if raw {
        input.complete = input.typed;
    }
    drop(input);
    ARRIVED.wake_all();
    Ok(())
}

/// Output of user programs; new lines become CR LF on the line.
pub fn write_user(bytes: &[u8]) {
    // In pieces: interrupts are off while the line is busy.
    for piece in bytes.chunks(64) {
        output::write(piece);
    }
}

struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        klog::append(text.as_bytes());
        output::write(text.as_bytes());
        Ok(())
    }
}

/// Serialises whole messages.
static MESSAGE: SpinLock<()> = SpinLock::new("message", ());

/// Prints a kernel message.
pub fn print(arguments: fmt::Arguments<'_>) {
    let _guard = MESSAGE.lock();
    // Writing to the line cannot fail.
    let _ = fmt::Write::write_fmt(&mut Writer, arguments);
}

/// Prints from a panic: no lock is waited for, and interrupts stay off.
pub fn print_panicking(arguments: fmt::Arguments<'_>) {
    struct Direct;
    impl fmt::Write for Direct {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            klog::append_if_free(text.as_bytes());
            output::write_panicking(text.as_bytes());
            Ok(())
        }
    }
    let _ = fmt::Write::write_fmt(&mut Direct, arguments);
}

/// Prints a kernel message with a new line.
#[macro_export]
macro_rules! println {
    () => { $crate::console::print(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($argument)*))) };
}
