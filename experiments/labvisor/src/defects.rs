//! The planted defects and quirks. Their table is `defects.toml`: id, group, what a real bug of
//! the kind was, and which experiments must catch it. The handlers ask [`planted`] and
//! [`quirk`]; what is planted is chosen on labvisor's command line and never changes later.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

include!(concat!(env!("OUT_DIR"), "/planted.rs"));

static DEFECTS: Set = Set::new();
static QUIRKS: Set = Set::new();

/// Whether `defect` is planted in this run.
pub fn planted(defect: Defect) -> bool {
    DEFECTS.contains(defect as usize)
}

/// Whether `quirk` is switched on in this run.
pub fn quirk(quirk: Quirk) -> bool {
    QUIRKS.contains(quirk as usize)
}

/// A word of the command line that names nothing we have.
#[derive(Debug, PartialEq, Eq)]
pub struct Unknown<'a> {
    kind: &'static str,
    id: &'a str,
}

impl fmt::Display for Unknown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} is called {:?}", self.kind, self.id)
    }
}

/// Plants what `command_line` asks for (`defect=ID[,ID]`, `quirk=ID[,ID]`); other words are not
/// ours to judge.
pub fn plant(command_line: &str) -> Result<(), Unknown<'_>> {
    for word in command_line.split_ascii_whitespace() {
        if let Some(ids) = word.strip_prefix("defect=") {
            let find =
                |id: &str| Some(Defect::ALL.iter().find(|(_, name)| *name == id)?.0 as usize);
            DEFECTS.insert_all("defect", ids, find)?;
        } else if let Some(ids) = word.strip_prefix("quirk=") {
            let find = |id: &str| Some(Quirk::ALL.iter().find(|(_, name)| *name == id)?.0 as usize);
            QUIRKS.insert_all("quirk", ids, find)?;
        }
    }
    Ok(())
}

/// Takes everything out again, for the next test.
#[cfg(test)]
pub fn clear() {
    for set in [&DEFECTS, &QUIRKS] {
        set.0
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

/// The ids of all that is planted, defects first.
pub fn active() -> impl Iterator<Item = &'static str> {
    let defects = Defect::ALL.iter().filter(|(d, _)| planted(*d));
    let quirks = Quirk::ALL.iter().filter(|(q, _)| quirk(*q));
    defects.map(|(_, id)| *id).chain(quirks.map(|(_, id)| *id))
}

/// A set of up to 128 small numbers.
struct Set([AtomicU64; 2]);

impl Set {
    const fn new() -> Self {
        Self([AtomicU64::new(0), AtomicU64::new(0)])
    }

    fn contains(&self, number: usize) -> bool {
        self.0[number / 64].load(Ordering::Relaxed) & 1 << (number % 64) != 0
    }

    fn insert_all<'a>(
        &self,
        kind: &'static str,
        ids: &'a str,
        find: impl Fn(&str) -> Option<usize>,
    ) -> Result<(), Unknown<'a>> {
        for id in ids.split(',').filter(|id| !id.is_empty()) {
            let number = find(id).ok_or(Unknown { kind, id })?;
            self.0[number / 64].fetch_or(1 << (number % 64), Ordering::Relaxed);
        }
        Ok(())
    }
}

const _: () = assert!(Defect::ALL.len() <= 128 && Quirk::ALL.len() <= 128);
