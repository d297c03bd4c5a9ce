//! PS/2 keyboard: scan codes of set 1, US layout (IBM PS/2 Hardware Interface Technical Reference).

use crate::arch::port::{KEYBOARD_DATA, KEYBOARD_STATUS};

/// The keyboard's interrupt line.
pub const IRQ: u8 = 1;

const OUTPUT_FULL: u8 = 0x01;
const RELEASED: u8 = 0x80;
const LEFT_SHIFT: u8 = 0x2a;
const RIGHT_SHIFT: u8 = 0x36;
const CONTROL: u8 = 0x1d;
const CAPS_LOCK: u8 = 0x3a;
/// The next code is one of the keys that the first PC did not have.
const EXTENDED: u8 = 0xe0;

/// What keys 00h to 39h mean, alone and with shift; 0 for nothing.
const PLAIN: &[u8; 0x3a] =
    b"\0\x1b1234567890-=\x08\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
const SHIFTED: &[u8; 0x3a] =
    b"\0\x1b!@#$%^&*()_+\x08\tQWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

/// Which keys are held.
pub struct Keyboard {
    shift: bool,
    control: bool,
    caps_lock: bool,
    extended: bool,
}

impl Keyboard {
    /// Nothing held.
    pub const fn new() -> Self {
        Self {
            shift: false,
            control: false,
            caps_lock: false,
            extended: false,
        }
    }

    /// Takes one code from the controller. None if it has none; else the bytes it stands for.
    pub fn receive(&mut self) -> Option<&'static [u8]> {
        let status: u8 = KEYBOARD_STATUS.read(0);
        if status == 0xff || status & OUTPUT_FULL == 0 {
            return None;
        }
        Some(self.decode(KEYBOARD_DATA.read(0)))
    }

    fn decode(&mut self, code: u8) -> &'static [u8] {
        if code == EXTENDED {
            self.extended = true;
            return b"";
        }
        let extended = core::mem::take(&mut self.extended);
        let pressed = code & RELEASED == 0;
        match code & !RELEASED {
            LEFT_SHIFT | RIGHT_SHIFT if !extended => self.shift = pressed,
            CONTROL => self.control = pressed,
            CAPS_LOCK if pressed => self.caps_lock = !self.caps_lock,
            key if pressed && extended => return arrow(key),
            key if pressed => return self.meaning(key),
            _ => {}
        }
        b""
    }

    fn meaning(&self, key: u8) -> &'static [u8] {
        let index = usize::from(key);
        let Some(&plain) = PLAIN.get(index) else {
            return b"";
        };
        if self.control {
            // Every control character is the letter's lower five bits.
            const CONTROLS: &[u8; 32] = b"\0\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\
                \x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f";
            let control = usize::from(plain & 0x1f);
            return if plain.is_ascii_lowercase() {
                &CONTROLS[control..=control]
            } else {
                b""
            };
        }
        let shifted = self.shift != (self.caps_lock && plain.is_ascii_lowercase());
        let table = if shifted { SHIFTED } else { PLAIN };
        if plain == 0 {
            b""
        } else {
            &table[index..=index]
        }
    }
}

/// Cursor keys, as a terminal sends them.
fn arrow(key: u8) -> &'static [u8] {
    match key {
        0x48 => b"\x1b[A",
        0x50 => b"\x1b[B",
        0x4d => b"\x1b[C",
        0x4b => b"\x1b[D",
        0x47 => b"\x1b[H",
        0x4f => b"\x1b[F",
        0x53 => b"\x1b[3~",
        _ => b"",
    }
}
