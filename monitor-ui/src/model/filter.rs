//! The filter of the trace table: words that must all hold.
//!
//! `class:msr,cpuid` `kind:request` `cpu:0` `pid:3` `boot:1`, any other word is looked for in the
//! record's text; `!` before a word turns it around. Capital letters do not matter.

use trace_record::{Class, Kind};

use super::trace::Row;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Class(Vec<Class>),
    Kind(Vec<Kind>),
    Cpu(u8),
    Pid(u16),
    Boot(u32),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    test: Test,
    wanted: bool,
}

/// A filter. The default one lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    text: String,
    words: Vec<Word>,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// Which word is not understood, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = text.split_whitespace().map(Word::parse);
        Ok(Self {
            words: words.collect::<Result<_, _>>()?,
            text: text.trim().to_owned(),
        })
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether it lets this record through.
    pub fn admits(&self, row: &Row) -> bool {
        self.words.iter().all(|word| word.holds(row) == word.wanted)
    }
}

impl Word {
    fn parse(word: &str) -> Result<Self, String> {
        let (wanted, word) = match word.strip_prefix('!') {
            Some(rest) => (false, rest),
            None => (true, word),
        };
        let test = match word.split_once(':') {
            Some(("class", names)) => Test::Class(list(names, Class::from_name, || {
                names_of(Class::ALL, Class::name)
            })?),
            Some(("kind", names)) => Test::Kind(list(names, Kind::from_name, || {
                names_of(Kind::ALL, Kind::name)
            })?),
            Some(("cpu", value)) => Test::Cpu(number(word, value)?),
            Some(("pid", value)) => Test::Pid(number(word, value)?),
            Some(("boot", value)) => Test::Boot(number(word, value)?),
            _ => Test::Text(word.to_lowercase()),
        };
        Ok(Self { test, wanted })
    }

    fn holds(&self, row: &Row) -> bool {
        let record = &row.record;
        match &self.test {
            Test::Class(classes) => classes.contains(&record.class),
            Test::Kind(kinds) => kinds.contains(&record.payload.kind()),
            Test::Cpu(cpu) => record.meta.cpu == *cpu,
            Test::Pid(pid) => record.meta.pid == *pid,
            Test::Boot(boot) => row.machine == *boot,
            Test::Text(text) => record.to_string().to_lowercase().contains(text),
        }
    }
}

fn names_of<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> String {
    let names: Vec<&str> = all.iter().map(|item| name(*item)).collect();
    names.join(" ")
}

fn list<T>(
    names: &str,
    find: fn(&str) -> Option<T>,
    known: impl Fn() -> String,
) -> Result<Vec<T>, String> {
    let find = |name: &str| {
        find(&name.to_lowercase()).ok_or_else(|| format!("no \"{name}\"; there are {}", known()))
    };
    names.split(',').map(find).collect()
}

fn number<T: std::str::FromStr>(word: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{word}: \"{value}\" is no number it can be"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_record::{Payload, Record, RecordMeta};

    fn row(pid: u16, payload: Payload<'static>) -> Row {
        Row {
            number: 0,
            machine: 1,
            since_ns: 0,
            record: Record {
                meta: RecordMeta {
                    pid,
                    ..RecordMeta::default()
                },
                class: payload.class(),
                payload,
            },
        }
    }

    #[test]
    fn every_word_must_hold() {
        let fault = row(
            3,
            Payload::PageFault {
                address: 0xdead_0000,
                rip: 4,
                error_code: 2,
            },
        );
        for (text, admitted) in [
            ("", true),
            ("class:pagefault", true),
            ("class:msr,pagefault", true),
            ("class:msr", false),
            ("!class:msr pid:3 boot:1 cpu:0", true),
            ("pid:4", false),
            ("!pid:3", false),
            ("kind:fault DEAD", true),
            ("deaf", false),
        ] {
            assert_eq!(
                Filter::parse(text).unwrap().admits(&fault),
                admitted,
                "{text}"
            );
        }
    }

    #[test]
    fn a_word_that_is_not_understood_is_named() {
        let error = Filter::parse("class:msr class:mrs").unwrap_err();
        assert!(error.contains("mrs") && error.contains("cpuid"), "{error}");
        assert!(Filter::parse("pid:x").unwrap_err().contains("pid:x"));
    }
}
