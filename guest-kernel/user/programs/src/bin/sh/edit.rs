//! The line editor: bytes from a terminal in, text for the terminal and events out.
//!
//! What is typed at the end of the line is echoed as it is, so that a log of the console reads like
//! one; everything else redraws the line. Escape sequences are those of a VT100.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Lines that are remembered.
const HISTORY_MAX: usize = 200;
/// Characters in a line; more are ignored.
const LINE_MAX: usize = 1000;

/// What a byte led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Nothing to do but show the output.
    Edited,
    /// The line is complete.
    Line(String),
    /// Control-D on an empty line.
    End,
    /// Tab: somebody should call [`Editor::complete`] with what the text before the cursor could become.
    Complete,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    No,
    /// After ESC.
    Began,
    /// After ESC [ or ESC O, with the number so far.
    Sequence(u32),
}

/// A line that is being edited, and those before it.
pub struct Editor {
    prompt: &'static str,
    line: Vec<char>,
    cursor: usize,
    history: Vec<String>,
    /// Place in the history; its length stands for the new line.
    recalled: usize,
    /// The new line, while an old one is shown.
    unfinished: Vec<char>,
    escape: Escape,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
}

const fn control(letter: u8) -> u8 {
    letter & 0x1f
}

impl Editor {
    pub fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            line: Vec::new(),
            cursor: 0,
            history: Vec::new(),
            recalled: 0,
            unfinished: Vec::new(),
            escape: Escape::No,
            partial: Vec::new(),
        }
    }

    /// Lines entered so far, oldest first.
    pub fn history(&self) -> &[String] {
        &self.history
    }

    /// The text left of the cursor.
    pub fn before_cursor(&self) -> String {
        self.line[..self.cursor].iter().collect()
    }

    /// Takes one byte; appends what the terminal must be sent to `out`.
    pub fn feed(&mut self, byte: u8, out: &mut String) -> Event {
        if self.escape != Escape::No {
            self.continue_escape(byte, out);
            return Event::Edited;
        }
        const ERASE: u8 = 0x7f;
        match byte {
            b'\r' | b'\n' => return self.finish(out),
            b'\t' => return Event::Complete,
            0x1b => self.escape = Escape::Began,
            ERASE => self.erase(self.cursor.saturating_sub(1), self.cursor, out),
            _ if byte == control(b'h') => {
                self.erase(self.cursor.saturating_sub(1), self.cursor, out);
            }
            _ if byte == control(b'd') => match self.line.is_empty() {
                true => return Event::End,
                false => self.erase(self.cursor, self.cursor + 1, out),
            },
            _ if byte == control(b'a') => self.move_to(0, out),
            _ if byte == control(b'e') => self.move_to(self.line.len(), out),
            _ if byte == control(b'b') => self.move_to(self.cursor.saturating_sub(1), out),
            _ if byte == control(b'f') => self.move_to(self.cursor + 1, out),
            _ if byte == control(b'k') => self.erase(self.cursor, self.line.len(), out),
            _ if byte == control(b'u') => self.erase(0, self.cursor, out),
            _ if byte == control(b'w') => self.erase(self.word_start(), self.cursor, out),
            _ if byte == control(b'p') => self.recall(self.recalled.checked_sub(1), out),
            _ if byte == control(b'n') => self.recall(self.recalled.checked_add(1), out),
            _ if byte == control(b'l') => {
                out.push_str("\x1b[H\x1b[2J");
                self.redraw(out);
            }
            _ if byte == control(b'c') => {
                out.push_str("^C\n");
                self.reset();
                out.push_str(self.prompt);
            }
            0..b' ' => {}
            _ => self.text(byte, out),
        }
        Event::Edited
    }

    /// Inserts what all `candidates` have in common beyond `stem` characters; lists them if that is
    /// nothing. A sole candidate that is no directory is followed by a blank.
    pub fn complete(&mut self, stem: usize, candidates: &[String], out: &mut String) {
        let Some(first) = candidates.first() else {
            return;
        };
        let same = |index: usize, wanted: char| {
            candidates
                .iter()
                .all(|candidate| candidate.chars().nth(index) == Some(wanted))
        };
        let common = first.chars().enumerate().skip(stem);
        let mut addition: Vec<char> = common
            .take_while(|&(index, wanted)| same(index, wanted))
            .map(|(_, wanted)| wanted)
            .collect();
        if candidates.len() == 1 && !first.ends_with('/') {
            addition.push(' ');
        }
        if addition.is_empty() {
            out.push('\n');
            out.push_str(&candidates.join("  "));
            out.push('\n');
            self.redraw(out);
        }
        addition
            .into_iter()
            .for_each(|character| self.insert(character, out));
    }

    fn text(&mut self, byte: u8, out: &mut String) {
        self.partial.push(byte);
        match core::str::from_utf8(&self.partial) {
            Ok(text) => {
                let character = text.chars().next();
                self.partial.clear();
                if let Some(character) = character {
                    self.insert(character, out);
                }
            }
            Err(error) if error.error_len().is_some() => self.partial.clear(),
            Err(_) => {}
        }
    }

    fn insert(&mut self, character: char, out: &mut String) {
        if self.line.len() == LINE_MAX {
            return;
        }
        self.line.insert(self.cursor, character);
        self.cursor += 1;
        if self.cursor == self.line.len() {
            out.push(character);
        } else {
            self.redraw(out);
        }
    }

    fn erase(&mut self, from: usize, to: usize, out: &mut String) {
        let to = to.min(self.line.len());
        if from >= to {
            return;
        }
        let at_the_end = to == self.line.len() && self.cursor == to && to - from == 1;
        self.line.drain(from..to);
        self.cursor = from;
        if at_the_end {
            out.push_str("\x08 \x08");
        } else {
            self.redraw(out);
        }
    }

    fn word_start(&self) -> usize {
        let before = &self.line[..self.cursor];
        let blanks = before
            .iter()
            .rev()
            .take_while(|c| c.is_whitespace())
            .count();
        let word = before
            .iter()
            .rev()
            .skip(blanks)
            .take_while(|c| !c.is_whitespace())
            .count();
        self.cursor - blanks - word
    }

    fn move_to(&mut self, place: usize, out: &mut String) {
        let place = place.min(self.line.len());
        match place.cmp(&self.cursor) {
            core::cmp::Ordering::Less => out.push_str(&format!("\x1b[{}D", self.cursor - place)),
            core::cmp::Ordering::Equal => {}
            core::cmp::Ordering::Greater => out.push_str(&format!("\x1b[{}C", place - self.cursor)),
        }
        self.cursor = place;
    }

    fn redraw(&self, out: &mut String) {
        out.push('\r');
        out.push_str(self.prompt);
        out.extend(self.line.iter());
        out.push_str("\x1b[K");
        let behind = self.line.len() - self.cursor;
        if behind > 0 {
            out.push_str(&format!("\x1b[{behind}D"));
        }
    }

    fn recall(&mut self, place: Option<usize>, out: &mut String) {
        let Some(place) = place.filter(|&place| place <= self.history.len()) else {
            return;
        };
        if self.recalled == self.history.len() {
            self.unfinished = core::mem::take(&mut self.line);
        }
        self.recalled = place;
        self.line = match self.history.get(place) {
            Some(line) => line.chars().collect(),
            None => core::mem::take(&mut self.unfinished),
        };
        self.cursor = self.line.len();
        self.redraw(out);
    }

    fn finish(&mut self, out: &mut String) -> Event {
        out.push('\n');
        let line: String = self.line.iter().collect();
        if !line.trim().is_empty() && self.history.last() != Some(&line) {
            if self.history.len() == HISTORY_MAX {
                self.history.remove(0);
            }
            self.history.push(line.clone());
        }
        self.reset();
        Event::Line(line)
    }

    fn reset(&mut self) {
        self.line.clear();
        self.cursor = 0;
        self.recalled = self.history.len();
        self.unfinished.clear();
    }

    fn continue_escape(&mut self, byte: u8, out: &mut String) {
        self.escape = match (self.escape, byte) {
            (Escape::Began, b'[' | b'O') => Escape::Sequence(0),
            (Escape::Sequence(number), b'0'..=b'9') => {
                Escape::Sequence(number.wrapping_mul(10).wrapping_add(u32::from(byte - b'0')))
            }
            (Escape::Sequence(_), b';') => Escape::Sequence(0),
            (Escape::Sequence(number), _) => {
                match (byte, number) {
                    (b'A', _) => self.recall(self.recalled.checked_sub(1), out),
                    (b'B', _) => self.recall(self.recalled.checked_add(1), out),
                    (b'C', _) => self.move_to(self.cursor + 1, out),
                    (b'D', _) => self.move_to(self.cursor.saturating_sub(1), out),
                    (b'H', _) | (b'~', 1 | 7) => self.move_to(0, out),
                    (b'F', _) | (b'~', 4 | 8) => self.move_to(self.line.len(), out),
                    (b'~', 3) => self.erase(self.cursor, self.cursor + 1, out),
                    _ => {}
                }
                Escape::No
            }
            _ => Escape::No,
        };
    }
}
