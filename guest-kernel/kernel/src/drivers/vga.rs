//! Text screen: 80 columns, 25 lines (IBM VGA, mode 3). Knows as much of a terminal's sequences as
//! the shell's line editor uses.

use super::mmio::Mmio;
use crate::arch::port::VGA_CRTC;
use crate::mm::PhysAddr;

const BUFFER: u64 = 0xb_8000;
const COLUMNS: usize = 80;
const LINES: usize = 25;
/// Light grey on black.
const ATTRIBUTE: u16 = 0x0700;
const BLANK: u16 = ATTRIBUTE | b' ' as u16;
const CURSOR_HIGH: u8 = 0x0e;
const CURSOR_LOW: u8 = 0x0f;
const ESCAPE: u8 = 0x1b;

/// How much of an escape sequence has come.
#[derive(Clone, Copy)]
enum Sequence {
    None,
    Escape,
    /// Behind `ESC [`, with the number so far.
    Number(usize),
}

/// The screen.
pub struct Vga {
    cells: Mmio,
    column: usize,
    line: usize,
    sequence: Sequence,
}

impl Vga {
    /// Maps the screen and clears it.
    pub fn new() -> Self {
        let mut screen = Self {
            cells: Mmio::map(PhysAddr::new(BUFFER), COLUMNS * LINES * 2),
            column: 0,
            line: 0,
            sequence: Sequence::None,
        };
        for line in 0..LINES {
            screen.clear(line, 0);
        }
        screen.show_cursor();
        screen
    }

    fn set(&mut self, line: usize, column: usize, cell: u16) {
        self.cells.write((line * COLUMNS + column) * 2, cell);
    }

    /// Blanks a line from a column on.
    fn clear(&mut self, line: usize, from: usize) {
        for column in from..COLUMNS {
            self.set(line, column, BLANK);
        }
    }

    fn scroll(&mut self) {
        for at in 0..(LINES - 1) * COLUMNS {
            let below: u16 = self.cells.read((at + COLUMNS) * 2);
            self.cells.write(at * 2, below);
        }
        self.clear(LINES - 1, 0);
    }

    fn next_line(&mut self) {
        if self.line + 1 == LINES {
            self.scroll();
        } else {
            self.line += 1;
        }
    }

    /// Shows text; `\n` alone starts a new line at the left.
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.put(byte);
        }
        self.show_cursor();
    }

    fn put(&mut self, byte: u8) {
        match (self.sequence, byte) {
            (Sequence::None, ESCAPE) => self.sequence = Sequence::Escape,
            (Sequence::None, _) => self.plain(byte),
            (Sequence::Escape, b'[') => self.sequence = Sequence::Number(0),
            (Sequence::Number(number), b'0'..=b'9') => {
                let number = (number * 10 + usize::from(byte - b'0')).min(COLUMNS);
                self.sequence = Sequence::Number(number);
            }
            (Sequence::Number(number), _) => {
                self.sequence = Sequence::None;
                self.command(byte, number);
            }
            (Sequence::Escape, _) => self.sequence = Sequence::None,
        }
    }

    fn plain(&mut self, byte: u8) {
        match byte {
            b'\n' => {
                self.column = 0;
                self.next_line();
            }
            b'\r' => self.column = 0,
            0x08 => self.column = self.column.saturating_sub(1),
            b'\t' => self.column = (self.column / 8 + 1) * 8,
            0x20.. => {
                self.set(self.line, self.column, ATTRIBUTE | u16::from(byte));
                self.column += 1;
            }
            _ => {}
        }
        if self.column >= COLUMNS {
            self.column = 0;
            self.next_line();
        }
    }

    fn command(&mut self, letter: u8, number: usize) {
        let steps = number.max(1);
        match letter {
            b'D' => self.column = self.column.saturating_sub(steps),
            b'C' => self.column = (self.column + steps).min(COLUMNS - 1),
            b'K' => self.clear(self.line, self.column),
            _ => {}
        }
    }

    fn show_cursor(&self) {
        let at = (self.line * COLUMNS + self.column) as u16;
        for (register, value) in [(CURSOR_HIGH, at >> 8), (CURSOR_LOW, at)] {
            VGA_CRTC.write(0, register);
            VGA_CRTC.write(1, value as u8);
        }
    }
}
