//! Arguments, options, the current directory and boot settings.

use crate::error::{Error, Result};
use crate::sys;
use alloc_crate::string::String;
use alloc_crate::vec::Vec;

/// All arguments, the program's name first. Bytes that are not UTF-8 end the argument they are in.
pub fn args() -> impl Iterator<Item = &'static str> {
    (0..)
        .map_while(sys::argument)
        .map(|bytes| match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        })
}

/// Own name without its folder, for messages.
pub fn program() -> &'static str {
    let name = args().next().unwrap_or("?");
    name.rsplit('/').next().unwrap_or(name)
}

/// The arguments after the program's name.
pub fn operands() -> Vec<&'static str> {
    args().skip(1).collect()
}

/// Options and operands of a command line, as [`options`] read them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    given: Vec<(char, &'a str)>,
    /// What is not an option.
    pub operands: Vec<&'a str>,
}

impl<'a> Options<'a> {
    /// Whether the option was given.
    pub fn has(&self, option: char) -> bool {
        self.value(option).is_some()
    }

    /// The value of the option, empty for one that takes none; the last one counts.
    pub fn value(&self, option: char) -> Option<&'a str> {
        let mut given = self.given.iter().rev();
        given
            .find(|(name, _)| *name == option)
            .map(|(_, value)| *value)
    }

    /// The value of an option as a number, or `default`.
    pub fn number<T: core::str::FromStr>(&self, option: char, default: T) -> Result<T> {
        self.value(option)
            .map_or(Ok(default), |value| value.parse().map_err(|_| Error::Usage))
    }
}

/// Reads the program's own options. `known` lists their letters, a colon after those with a value;
/// options end at the first operand or at `--`.
pub fn options(known: &str) -> Result<Options<'static>> {
    parse_options(known, args().skip(1))
}

/// [`options`] on any list of arguments.
pub fn parse_options<'a>(
    known: &str,
    arguments: impl Iterator<Item = &'a str>,
) -> Result<Options<'a>> {
    let mut options = Options::default();
    let mut arguments = arguments.peekable();
    while let Some(word) = arguments.next_if(|word| word.len() > 1 && word.starts_with('-')) {
        if word == "--" {
            break;
        }
        for (at, letter) in word[1..].char_indices() {
            let place = known.find(letter).filter(|_| letter != ':');
            let tail = &known[place.ok_or(Error::Usage)? + letter.len_utf8()..];
            if !tail.starts_with(':') {
                options.given.push((letter, ""));
                continue;
            }
            let rest = &word[1 + at + letter.len_utf8()..];
            let value = if rest.is_empty() {
                arguments.next().ok_or(Error::Usage)?
            } else {
                rest
            };
            options.given.push((letter, value));
            break;
        }
    }
    options.operands = arguments.collect();
    Ok(options)
}

/// Room for the value of a setting; `start=` may be a whole script.
const SETTING_BYTES: usize = 4096;

/// A boot setting (`server`, `run`, `start`, ...), `None` if it is not set.
pub fn setting(key: &str) -> Option<String> {
    let mut value = alloc_crate::vec![0; SETTING_BYTES];
    let len = sys::getconf(key, &mut value).ok()?;
    let text = core::str::from_utf8(value.get(..len)?).ok()?;
    Some(String::from(text.trim_end_matches('\0')))
}

/// Changes the current directory.
pub fn set_current_dir(path: &str) -> Result<()> {
    sys::chdir(path).map_err(|errno| Error::new(path, errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn parse<'a>(known: &str, words: &[&'a str]) -> Result<Options<'a>> {
        parse_options(known, words.iter().copied())
    }

    #[test]
    fn options_end_at_the_first_operand() {
        let options = parse("lc:", &["-lc3", "-c", "4", "a", "-l"]).expect("valid");
        assert!(options.has('l'));
        assert_eq!(options.value('c'), Some("4"));
        assert_eq!(options.number('c', 0u32), Ok(4));
        assert_eq!(options.operands, vec!["a", "-l"]);
    }

    #[test]
    fn a_dash_alone_is_an_operand_and_two_end_the_options() {
        assert_eq!(
            parse("l", &["-", "x"]).expect("valid").operands,
            vec!["-", "x"]
        );
        assert_eq!(
            parse("l", &["--", "-l"]).expect("valid").operands,
            vec!["-l"]
        );
    }

    #[test]
    fn wrong_options_are_wrong_usage() {
        for words in [&["-x"][..], &["-c"], &["-:"], &["-c", "many"]] {
            let result = parse("c:", words).and_then(|options| options.number('c', 0u8));
            assert_eq!(result, Err(Error::Usage), "{words:?}");
        }
    }
}
