//! The settings of a boot: `key=value` words from fw_cfg or the Multiboot command line.
//!
//! A bad value never stops the boot: the setting keeps its default, and the complaint is printed.
//!
//! ```
//! use kcore::settings::{Console, Settings};
//! let (settings, complaints) = Settings::parse("kernel server=10.0.2.2 console=com7 start=echo,hi");
//! assert_eq!(settings.server, Some(([10, 0, 2, 2], 7049)));
//! assert_eq!(settings.start, ["echo", "hi"]);
//! assert_eq!(settings.console, [Console::Com2]);
//! assert_eq!(complaints[0].to_string(), "console=com7: wanted com1, com2 or vga, several with commas");
//! ```

use crate::net::settings::{Address, Address6, parse_address, parse_address6, parse_server};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The port of a file server when the setting names none.
pub const DEFAULT_PORT: u16 = 7049;
/// Longest token, in bytes.
const MAX_TOKEN: usize = 64;

/// A place for the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Serial port at 3f8h.
    Com1,
    /// Serial port at 2f8h.
    Com2,
    /// Text screen.
    Vga,
}

/// Run and boot: `run=RUNID/mNN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The run's id: a name below the export `runs`.
    pub id: String,
    /// The boot's number within the run.
    pub machine: u32,
}

/// `key=ID:SECRET`, the key of the file server's noise mode.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Key {
    /// Nothing was said: plain mode, with the token.
    #[default]
    Absent,
    /// Something was said that is no key: never a reason to speak plain.
    Bad,
    /// The text: 32 and 64 hexadecimal digits.
    Given(String),
}

impl fmt::Debug for Key {
    /// Not the key itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::Bad => "Bad",
            Self::Given(_) => "Given",
        })
    }
}

/// What the words said, or the defaults.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `server=IP[:PORT]`: what `server:/` means.
    pub server: Option<([u8; 4], u16)>,
    /// `token=HEX`: for the server's plain mode.
    pub token: Vec<u8>,
    /// `key=ID:SECRET`: for the server's noise mode. With it the token is of no use.
    pub key: Key,
    /// `run=RUNID/mNN`: the run folder of this boot below the export `runs`.
    pub run: Option<Run>,
    /// `ip=dhcp|A.B.C.D/LEN[,GATEWAY[,DNS]]`.
    pub ip: Address,
    /// `ip6=slaac|off|ADDRESS/LEN[,GATEWAY]`.
    pub ip6: Address6,
    /// `console=com2`: where the console is.
    pub console: Vec<Console>,
    /// `probe=hx,hc,dbgsh`: the programs that may call probe.
    pub probe: Vec<String>,
    /// `start=COMMAND`: what init runs; commas stand for blanks.
    pub start: Vec<String>,
    /// Whether `start=` was given, so that the machine powers off with the command's status.
    pub powers_off: bool,
}

/// A word that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    word: String,
    wanted: &'static str,
}

impl fmt::Display for Complaint {
    /// The word with control bytes escaped; a secret is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self.word.split_once('=') {
            Some(("token", _)) => "token=...",
            Some(("key", _)) => "key=...",
            _ => &self.word,
        };
        write!(f, "{}: wanted {}", shown.escape_debug(), self.wanted)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: None,
            token: Vec::new(),
            key: Key::Absent,
            run: None,
            ip: Address::Dhcp,
            ip6: Address6::Router,
            console: vec![Console::Com2],
            probe: ["hx", "hc", "dbgsh"].map(String::from).into(),
            start: vec![String::from("sh")],
            powers_off: false,
        }
    }
}

impl fmt::Debug for Settings {
    /// Everything but the secrets: settings are printed at boot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("server", &self.server)
            .field("token_bytes", &self.token.len())
            .field("key", &self.key)
            .field("run", &self.run)
            .field("ip", &self.ip)
            .field("ip6", &self.ip6)
            .field("console", &self.console)
            .field("probe", &self.probe)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the words. Those without `=` (the kernel's own name) and unknown keys say nothing to
    /// the kernel; programs can ask for them. Of a repeated key the last good one counts.
    pub fn parse(text: &str) -> (Self, Vec<Complaint>) {
        let mut settings = Self::default();
        let mut complaints = Vec::new();
        for word in words(text) {
            let Some((key, value)) = word.split_once('=') else {
                continue;
            };
            if let Err(wanted) = settings.set(key, value) {
                complaints.push(Complaint {
                    word: word.to_owned(),
                    wanted,
                });
            }
        }
        (settings, complaints)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "server" => {
                let server = parse_server(value, DEFAULT_PORT).map_err(|_| "IP or IP:PORT")?;
                self.server = Some(server);
            }
            "token" => self.token = parse_hex(value).ok_or("1 to 64 bytes in hexadecimal")?,
            "key" => {
                if is_key(value) {
                    self.key = Key::Given(value.to_owned());
                } else {
                    if self.key == Key::Absent {
                        self.key = Key::Bad;
                    }
                    return Err("ID:SECRET, 32 and 64 hexadecimal digits");
                }
            }
            "run" => self.run = Some(parse_run(value).ok_or("RUNID/mNN")?),
            "ip" => {
                let wanted = "dhcp or ADDRESS/LEN[,GATEWAY[,DNS]]";
                self.ip = parse_address(value).map_err(|_| wanted)?;
            }
            "ip6" => {
                let wanted = "slaac, off or ADDRESS/LEN[,GATEWAY]";
                self.ip6 = parse_address6(value).map_err(|_| wanted)?;
            }
            "console" => {
                let places = value.split(',').map(parse_console).collect::<Option<_>>();
                self.console = places.ok_or("com1, com2 or vga, several with commas")?;
            }
            "probe" => {
                let names = list(value);
                if names.iter().any(|name| name.contains('/')) {
                    return Err("names of programs with commas, no paths");
                }
                self.probe = names;
            }
            "start" => {
                self.start = Some(list(value))
                    .filter(|words| !words.is_empty())
                    .ok_or("a command")?;
                self.powers_off = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Run id and number of the boot, empty and 0 without a run.
    pub fn run_parts(&self) -> (&str, u32) {
        self.run
            .as_ref()
            .map_or(("", 0), |run| (&run.id, run.machine))
    }
}

/// The value of a key in the words, the last one if repeated: for settings that only programs know.
/// Token and key are none of them.
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let values = words(text).filter_map(|word| word.split_once('='));
    values
        .filter(|(name, _)| *name == key && !["token", "key"].contains(name))
        .last()
        .map(|(_, value)| value)
}

/// The words; a file read from fw_cfg may end in a newline or NUL.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_ascii_whitespace() || c == '\0')
        .filter(|word| !word.is_empty())
}

fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .filter(|word| !word.is_empty())
        .map(String::from)
        .collect()
}

fn parse_console(name: &str) -> Option<Console> {
    match name {
        "com1" => Some(Console::Com1),
        "com2" => Some(Console::Com2),
        "vga" => Some(Console::Vga),
        _ => None,
    }
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.is_empty() || pairs.len() > MAX_TOKEN {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

fn is_key(text: &str) -> bool {
    let digits =
        |part: &str, len| part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_once(':')
        .is_some_and(|(id, secret)| digits(id, 32) && digits(secret, 64))
}

fn parse_run(text: &str) -> Option<Run> {
    let (id, boot) = text.split_once('/')?;
    let digits = boot.strip_prefix('m').filter(|digits| digits.len() >= 2)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if id.is_empty() || id.len() > 64 || id.starts_with('.') || !id.bytes().all(is_plain) {
        return None;
    }
    let machine = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())??;
    Some(Run {
        id: id.to_owned(),
        machine,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::settings::StaticAddress;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn every_setting_is_understood() {
        let text = "kernel server=10.0.2.2:7050 token=00ffA5 run=20261123-1/m07 ip=10.0.0.5/24,10.0.0.1 \
                    console=com1,vga probe=hx start=ls,-l,/boot later=on\n\0";
        let (settings, complaints) = Settings::parse(text);
        assert_eq!(complaints, []);
        assert_eq!(settings.server, Some(([10, 0, 2, 2], 7050)));
        assert_eq!(settings.token, [0, 0xff, 0xa5]);
        assert_eq!(settings.run_parts(), ("20261123-1", 7));
        let address = StaticAddress {
            address: [10, 0, 0, 5],
            prefix_len: 24,
            gateway: Some([10, 0, 0, 1]),
            dns: None,
        };
        assert_eq!(settings.ip, Address::Static(address));
        assert_eq!(settings.console, [Console::Com1, Console::Vga]);
        assert_eq!(settings.probe, ["hx"]);
        assert_eq!(settings.start, ["ls", "-l", "/boot"]);
        assert!(settings.powers_off);
        assert_eq!(value(text, "later"), Some("on"));
        assert_eq!(value(text, "token"), None);
        assert!(
            !format!("{settings:?}").contains("255"),
            "the token is not printed"
        );
    }

    #[test]
    fn a_key_is_taken_and_told_to_nobody() {
        let key = format!("{}:{}", "0a".repeat(16), "5e".repeat(32));
        let text = format!("key={key} key=later");
        let (settings, complaints) = Settings::parse(&text);
        assert_eq!(settings.key, Key::Given(key), "the good one stays");
        assert_eq!(complaints.len(), 1);
        assert_eq!(value(&text, "key"), None);
        assert!(!format!("{settings:?}{complaints:?}").contains("5e5e"));
    }

    #[test]
    fn nothing_said_means_defaults() {
        let (settings, complaints) = Settings::parse("");
        assert_eq!(
            (settings.clone(), complaints),
            (Settings::default(), vec![])
        );
        assert_eq!(settings.run_parts(), ("", 0));
        assert_eq!(settings.start, ["sh"]);
        assert!(!settings.powers_off);
    }

    #[test]
    fn a_bad_value_leaves_the_default_and_is_named() {
        let bad = [
            "server=",
            "server=host",
            "server=1.2.3.4:0",
            "token=",
            "token=abc",
            "token=zz",
            "run=x",
            "run=../m01",
            "run=a/b/m01",
            "run=/m01",
            "run=a/m1",
            "run=a/m+1",
            "run=a/m99999999999",
            "ip=1.2.3.4",
            "ip=auto",
            "console=",
            "console=com3",
            "probe=/bin/hx",
            "start=",
            "start=,",
        ];
        for word in bad {
            let (settings, complaints) = Settings::parse(word);
            assert_eq!(settings, Settings::default(), "{word}");
            assert_eq!(complaints.len(), 1, "{word}");
        }
        let (settings, complaints) = Settings::parse("key=secret");
        assert_eq!(
            settings.key,
            Key::Bad,
            "a typing error must not lead to plain mode"
        );
        assert_eq!(
            complaints[0].to_string(),
            "key=...: wanted ID:SECRET, 32 and 64 hexadecimal digits"
        );
        let (_, complaints) = Settings::parse("token=secret server=\u{1b}[2J");
        assert_eq!(
            complaints[0].to_string(),
            "token=...: wanted 1 to 64 bytes in hexadecimal"
        );
        assert!(!complaints[1].to_string().contains('\u{1b}'));
    }
}
