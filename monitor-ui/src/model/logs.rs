//! Lines of text: the hypervisor's console, its log as the guest reads it, and the guest's console.

use std::collections::{BTreeMap, VecDeque};

use trace_record::escape;

/// Lines kept of each run.
pub const KEPT: usize = 20_000;
/// A line that does not end is cut here.
const LONGEST: usize = 4096;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The hypervisor's console, `vmm.log`.
    Vmm,
    /// The hypervisor's log, read by the guest and traced.
    VmmTraced,
    /// The guest's console, `console.log`.
    Guest,
}

impl Origin {
    /// A word of four letters.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Vmm => "vmm ",
            Self::VmmTraced => "log ",
            Self::Guest => "cons",
        }
    }
}

/// A line, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// From where.
    pub origin: Origin,
    /// Of which boot.
    pub machine: u32,
    /// Its text; safe to print.
    pub text: String,
}

/// Lines in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    lines: VecDeque<Line>,
    unfinished: BTreeMap<(u32, Origin), Vec<u8>>,
    forgotten: u64,
}

impl Logs {
    /// Adds bytes of a console. Lines end with a newline; carriage returns before it are dropped.
    pub fn push(&mut self, machine: u32, origin: Origin, bytes: &[u8]) {
        let mut buffer = self
            .unfinished
            .remove(&(machine, origin))
            .unwrap_or_default();
        for byte in bytes {
            if *byte == b'\n' || buffer.len() == LONGEST {
                self.line(machine, origin, &buffer);
                buffer.clear();
            }
            if *byte != b'\n' {
                buffer.push(*byte);
            }
        }
        if !buffer.is_empty() {
            self.unfinished.insert((machine, origin), buffer);
        }
    }

    /// Adds a record's text: lines of their own, whether or not they end.
    pub fn push_whole(&mut self, machine: u32, origin: Origin, bytes: &[u8]) {
        self.push(machine, origin, bytes);
        self.flush(machine, origin);
    }

    /// The file begins anew.
    pub fn flush(&mut self, machine: u32, origin: Origin) {
        if let Some(rest) = self.unfinished.remove(&(machine, origin)) {
            self.line(machine, origin, &rest);
        }
    }

    fn line(&mut self, machine: u32, origin: Origin, bytes: &[u8]) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.forgotten += 1;
        }
        self.lines.push_back(Line {
            origin,
            machine,
            text: text(bytes),
        });
    }

    /// Lines that left.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// All lines so far, those that left included.
    pub fn total(&self) -> u64 {
        self.forgotten + self.lines.len() as u64
    }

    /// The line that is `index` lines after the first one ever.
    pub fn get(&self, index: u64) -> Option<&Line> {
        let index = index.checked_sub(self.forgotten)?;
        self.lines.get(usize::try_from(index).ok()?)
    }

    /// Lines from these origins, oldest first.
    pub fn of<'a>(
        &'a self,
        origins: &'a [Origin],
    ) -> impl DoubleEndedIterator<Item = &'a Line> + 'a {
        self.lines
            .iter()
            .filter(|line| origins.contains(&line.origin))
    }

    /// Lines that did not end yet: a prompt, or the last words of a machine that died.
    pub fn unfinished(&self, origins: &[Origin]) -> Vec<Line> {
        let wanted = self
            .unfinished
            .iter()
            .filter(|((_, origin), _)| origins.contains(origin));
        wanted
            .map(|(&(machine, origin), bytes)| Line {
                origin,
                machine,
                text: text(bytes),
            })
            .collect()
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|byte| *byte != b'\r');
    escape(&bytes[..end.map_or(0, |last| last + 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_made_of_pieces_and_escaped() {
        let mut logs = Logs::default();
        logs.push(0, Origin::Vmm, b"one\r\ntw");
        logs.push(0, Origin::Guest, b"\x1b[31mred");
        logs.push(0, Origin::Vmm, b"o\r\nthree");
        let all = [Origin::Vmm, Origin::Guest];
        let texts: Vec<_> = logs.of(&all).map(|line| &*line.text).collect();
        assert_eq!(texts, ["one", "two"]);
        let open: Vec<_> = logs
            .unfinished(&all)
            .into_iter()
            .map(|line| line.text)
            .collect();
        assert_eq!(open, ["three", "\\x1b[31mred"]);
    }

    #[test]
    fn endless_lines_and_endless_logs_are_bounded() {
        let mut logs = Logs::default();
        logs.push(0, Origin::Vmm, &[b'x'; LONGEST * 2 + 10]);
        assert_eq!(logs.total(), 2);
        assert!(
            logs.of(&[Origin::Vmm])
                .all(|line| line.text.len() == LONGEST)
        );
        for _ in 0..KEPT {
            logs.push(0, Origin::Vmm, b"y\n");
        }
        assert_eq!((logs.forgotten(), logs.total()), (2, KEPT as u64 + 2));
        assert!(logs.get(1).is_none() && logs.get(2).is_some());
    }
}
