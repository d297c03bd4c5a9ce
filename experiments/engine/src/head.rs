//! The head of a script: `//!` lines before the first statement, read without running the script.
//!
//! ```text
//! //! title: Unknown hypercall numbers return 0
//! //! group: hypercall
//! //! claim: A number that no hypercall has returns 0
//! //!   and changes no other register.
//! //! param: limit int 256 in 1..65536 | numbers 0 to limit-1 are tried
//! ```
//!
//! A key stands at the start of a line, its text may go on in lines that are indented further.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use trace_record::run::Parameter as Value;

/// What an experiment may do to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Shares a machine with others.
    Safe,
    /// May take the hypervisor or the guest down; runs in a machine of its own.
    MayCrash,
}

impl Risk {
    /// The word in the head.
    pub fn word(self) -> &'static str {
        match self {
            Risk::Safe => "safe",
            Risk::MayCrash => "may-crash",
        }
    }
}

/// What an experiment does on a machine without a hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutHypervisor {
    /// Says SKIP with the reason.
    Skip,
    /// Runs; what it finds is INFO.
    Info,
    /// Runs as the control, with the same verdicts.
    Run,
}

impl WithoutHypervisor {
    /// The word in the head.
    pub fn word(self) -> &'static str {
        match self {
            WithoutHypervisor::Skip => "skip",
            WithoutHypervisor::Info => "info",
            WithoutHypervisor::Run => "run",
        }
    }
}

/// How an experiment ends when all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a verdict of its own.
    Verdict,
    /// With a reset of the machine, which the harness sees: that is its PASS.
    Reset,
}

/// What must be there for an experiment to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A hypervisor that answers the vendor's instruction.
    Hypervisor,
    /// A hypercall of this name.
    Hypercall(String),
    /// A CPU of this vendor: `amd` or `intel`.
    Cpu(String),
    /// The second virtio network device.
    TestDevice,
    /// RAM that is missing from the memory map below 4 GiB.
    HiddenMemory,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Hypervisor => f.write_str("hypervisor"),
            Need::Hypercall(name) => write!(f, "hypercall {name}"),
            Need::Cpu(vendor) => write!(f, "cpu {vendor}"),
            Need::TestDevice => f.write_str("test-device"),
            Need::HiddenMemory => f.write_str("hidden-memory"),
        }
    }
}

/// A parameter that the script declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its value if nobody gives another; says the type, too.
    pub default: Value,
    /// Smallest and largest integer.
    pub range: Option<(i64, i64)>,
    /// What it means.
    pub text: String,
}

impl Param {
    /// Reads a value of this parameter's type from text and checks the range.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match &self.default {
            Value::Int(_) => {
                let value = integer(text)
                    .ok_or_else(|| format!("{}: {text:?} is no integer", self.name))?;
                if let Some((low, high)) = self.range
                    && !(low..=high).contains(&value)
                {
                    return Err(format!("{}: {value} is not in {low}..{high}", self.name));
                }
                Value::Int(value)
            }
            Value::Bool(_) => match text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(format!("{}: {text:?} is neither true nor false", self.name)),
            },
            Value::Text(_) => Value::Text(text.to_string()),
        };
        Ok(value)
    }

    /// Checks that a value has this parameter's type and range.
    pub fn check(&self, value: Value) -> Result<Value, String> {
        match (&self.default, &value) {
            (Value::Text(_), Value::Text(_)) => Ok(value),
            _ => self.parse(&text_of(&value)),
        }
    }

    /// The word for the type.
    pub fn kind(&self) -> &'static str {
        match self.default {
            Value::Int(_) => "int",
            Value::Bool(_) => "bool",
            Value::Text(_) => "text",
        }
    }
}

/// A value as one writes it.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Int(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Text(value) => value.clone(),
    }
}

/// Everything a head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// One line for lists.
    pub title: String,
    /// Group: `hypercall`, `cpuid-msr`, `memory`, ...
    pub group: String,
    /// What a sound hypervisor guarantees.
    pub claim: String,
    /// How the experiment looks.
    pub mechanism: String,
    /// What a sound hypervisor shows.
    pub sound: String,
    /// What a weak one shows.
    pub weak: String,
    /// What looks alike to this experiment.
    pub cannot_tell: String,
    /// Parameters in the order of the head.
    pub params: Vec<Param>,
    /// Risk.
    pub risk: Risk,
    /// How it ends when all is well.
    pub ends: End,
    /// Why no planted defect of labvisor can make it fail, where none can.
    pub no_defect: Option<String>,
    /// Needs.
    pub needs: Vec<Need>,
    /// What it does without a hypervisor.
    pub without_hypervisor: WithoutHypervisor,
    /// Seconds after which the script is ended.
    pub time_limit_s: u32,
    /// Manuals, source files, advisories.
    pub sources: Vec<String>,
}

/// The groups, in the order of reports.
pub const GROUPS: [&str; 8] = [
    "hypercall",
    "cpuid-msr",
    "memory",
    "exception",
    "io-pci",
    "virtio",
    "time",
    "robustness",
];

/// What is wrong with a head, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadError {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

const ONCE: [&str; 12] = [
    "title",
    "group",
    "claim",
    "mechanism",
    "sound",
    "weak",
    "cannot_tell",
    "risk",
    "without_hypervisor",
    "time_limit",
    "ends",
    "no_defect",
];
const MANY: [&str; 3] = ["param", "needs", "source"];

impl Head {
    /// Reads the head of a script.
    pub fn parse(source: &str) -> Result<Head, HeadError> {
        let entries = entries(source)?;
        for (key, _, line) in &entries {
            let seen = entries.iter().filter(|(other, _, _)| other == key).count();
            if ONCE.contains(&key.as_str()) && seen > 1 {
                return Err(HeadError {
                    line: *line,
                    why: format!("`{key}` stands {seen} times"),
                });
            }
        }
        let end = entries.last().map_or(1, |(_, _, line)| *line);
        let get = |key: &str| {
            entries
                .iter()
                .find(|(known, _, _)| known == key)
                .map(|(_, text, line)| (text.clone(), *line))
                .filter(|(text, _)| !text.is_empty())
                .ok_or_else(|| HeadError {
                    line: end,
                    why: format!("the head lacks `{key}`"),
                })
        };
        let all = |key: &'static str| {
            entries
                .iter()
                .filter(move |(known, _, _)| known == key)
                .map(|(_, text, line)| (text, *line))
        };
        let fail = |line: usize, why: String| HeadError { line, why };

        let (group, line) = get("group")?;
        if !GROUPS.contains(&group.as_str()) {
            return Err(fail(
                line,
                format!("group `{group}` is none of {}", GROUPS.join(", ")),
            ));
        }
        let (risk, line) = get("risk")?;
        let risk = match risk.as_str() {
            "safe" => Risk::Safe,
            "may-crash" => Risk::MayCrash,
            other => {
                return Err(fail(
                    line,
                    format!("risk `{other}` is neither safe nor may-crash"),
                ));
            }
        };
        let (without, line) = get("without_hypervisor")?;
        let without_hypervisor = match without.as_str() {
            "skip" => WithoutHypervisor::Skip,
            "info" => WithoutHypervisor::Info,
            "run" => WithoutHypervisor::Run,
            other => {
                return Err(fail(
                    line,
                    format!("without_hypervisor `{other}` is none of skip, info, run"),
                ));
            }
        };
        let ends = match get("ends") {
            Err(_) => End::Verdict,
            Ok((word, _)) if word == "reset" => End::Reset,
            Ok((word, line)) => {
                return Err(fail(line, format!("ends `{word}` is not `reset`")));
            }
        };
        if ends == End::Reset && risk == Risk::Safe {
            return Err(fail(line, "what ends with a reset is not safe".into()));
        }
        let (limit, line) = get("time_limit")?;
        let time_limit_s = limit
            .strip_suffix('s')
            .and_then(|digits| digits.trim().parse().ok())
            .filter(|seconds| (1..=3600).contains(seconds))
            .ok_or_else(|| {
                fail(
                    line,
                    format!("time_limit `{limit}` is not of the form `10 s`, at most 3600"),
                )
            })?;
        let mut params = Vec::new();
        for (text, line) in all("param") {
            params.push(param(text).map_err(|why| fail(line, why))?);
        }
        let mut needs = Vec::new();
        for (text, line) in all("needs") {
            needs.push(need(text).map_err(|why| fail(line, why))?);
        }
        let sources: Vec<String> = all("source").map(|(text, _)| text.clone()).collect();
        if sources.is_empty() {
            return Err(fail(end, "the head lacks `source`".into()));
        }
        Ok(Head {
            title: get("title")?.0,
            group,
            claim: get("claim")?.0,
            mechanism: get("mechanism")?.0,
            sound: get("sound")?.0,
            weak: get("weak")?.0,
            cannot_tell: get("cannot_tell")?.0,
            params,
            risk,
            ends,
            no_defect: get("no_defect").ok().map(|(text, _)| text),
            needs,
            without_hypervisor,
            time_limit_s,
            sources,
        })
    }
}

/// Key, text, line.
fn entries(source: &str) -> Result<Vec<(String, String, usize)>, HeadError> {
    let mut found: Vec<(String, String, usize)> = Vec::new();
    for (index, line) in source.lines().enumerate() {
        let line_number = index + 1;
        let Some(text) = line.strip_prefix("//!") else {
            if line.trim().is_empty() {
                continue;
            }
            break;
        };
        if text.trim().is_empty() {
            continue;
        }
        let indent = text.len() - text.trim_start().len();
        if indent > 1 {
            let Some((_, so_far, _)) = found.last_mut() else {
                return Err(HeadError {
                    line: line_number,
                    why: "the first line of the head is indented".into(),
                });
            };
            so_far.push(' ');
            so_far.push_str(text.trim());
            continue;
        }
        let Some((key, rest)) = text.trim().split_once(':') else {
            return Err(HeadError {
                line: line_number,
                why: format!("`{}` is not `key: text`", text.trim()),
            });
        };
        if !ONCE.contains(&key) && !MANY.contains(&key) {
            return Err(HeadError {
                line: line_number,
                why: format!("unknown key `{key}`"),
            });
        }
        found.push((key.to_string(), rest.trim().to_string(), line_number));
    }
    if found.is_empty() {
        return Err(HeadError {
            line: 1,
            why: "the script has no head of `//! key: text` lines".into(),
        });
    }
    Ok(found)
}

/// `name type default [in low..high] | text`
fn param(text: &str) -> Result<Param, String> {
    let (declaration, meaning) = text
        .split_once('|')
        .ok_or_else(|| "a parameter is `name type default [in low..high] | meaning`".to_string())?;
    let mut words = declaration.split_whitespace();
    let (Some(name), Some(kind), Some(default)) = (words.next(), words.next(), words.next()) else {
        return Err("a parameter has a name, a type and a default".into());
    };
    if !name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    {
        return Err(format!(
            "parameter name `{name}` has other characters than a-z, 0-9 and _"
        ));
    }
    let range = match (words.next(), words.next(), words.next()) {
        (None, ..) => None,
        (Some("in"), Some(range), None) => {
            let bounds = range
                .split_once("..")
                .and_then(|(low, high)| Some((integer(low)?, integer(high)?)));
            Some(bounds.ok_or_else(|| format!("range `{range}` is not `low..high`"))?)
        }
        _ => return Err(format!("`{}` is not understood", declaration.trim())),
    };
    let kind = match kind {
        "int" => Value::Int(0),
        "bool" => Value::Bool(false),
        "text" => Value::Text(String::new()),
        other => return Err(format!("type `{other}` is none of int, bool, text")),
    };
    if range.is_some() && !matches!(kind, Value::Int(_)) {
        return Err("only integers have a range".into());
    }
    let mut param = Param {
        name: name.into(),
        default: kind,
        range,
        text: meaning.trim().into(),
    };
    param.default = param.parse(default.trim_matches('"'))?;
    Ok(param)
}

fn need(text: &str) -> Result<Need, String> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("hypervisor"), None, None) => Ok(Need::Hypervisor),
        (Some("hypercall"), Some(name), None) => Ok(Need::Hypercall(name.into())),
        (Some("cpu"), Some(vendor @ ("amd" | "intel")), None) => Ok(Need::Cpu(vendor.into())),
        (Some("test-device"), None, None) => Ok(Need::TestDevice),
        (Some("hidden-memory"), None, None) => Ok(Need::HiddenMemory),
        _ => Err(format!(
            "`{text}` is none of: hypervisor, hypercall NAME, cpu amd, cpu intel, test-device, hidden-memory"
        )),
    }
}

/// A decimal or hexadecimal integer; hexadecimal ones are bit patterns.
pub fn integer(text: &str) -> Option<i64> {
    let clean = text.trim().replace('_', "");
    match clean.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|value| value as i64),
        None => clean.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "//! title: A title\n//! group: hypercall\n//! claim: one\n//!   two\n//! mechanism: m\n\
        //! sound: s\n//! weak: w\n//! cannot_tell: c\n//! risk: safe\n//! needs: hypercall dbgsh\n\
        //! param: limit int 256 in 1..0x1000 | numbers\n//! param: name text \"\" | a name\n\
        //! without_hypervisor: skip\n//! time_limit: 10 s\n//! source: core/vmmcall.c\n\npass(\"x\");\n";

    #[test]
    fn a_complete_head_is_read() {
        let head = Head::parse(GOOD).unwrap();
        assert_eq!(head.claim, "one two");
        assert_eq!(head.time_limit_s, 10);
        assert_eq!(head.needs, [Need::Hypercall("dbgsh".into())]);
        assert_eq!(head.params[0].default, Value::Int(256));
        assert_eq!(head.params[0].range, Some((1, 0x1000)));
        assert_eq!(head.params[1].default, Value::Text(String::new()));
        assert_eq!(
            head.params[0].parse("0").unwrap_err(),
            "limit: 0 is not in 1..4096"
        );
    }

    #[test]
    fn every_fault_is_named_with_its_line() {
        let cases = [
            (GOOD.replace("risk: safe", "risk: mild"), 9, "risk `mild`"),
            (
                GOOD.replace("group: hypercall", "group: nonsense"),
                2,
                "group `nonsense`",
            ),
            (
                GOOD.replace("time_limit: 10 s", "time_limit: soon"),
                14,
                "time_limit `soon`",
            ),
            (GOOD.replace("title:", "titel:"), 1, "unknown key `titel`"),
            (GOOD.replace("//! sound: s\n", ""), 14, "lacks `sound`"),
            (
                GOOD.replace("//! source: core/vmmcall.c\n", ""),
                14,
                "lacks `source`",
            ),
            (
                GOOD.replace("limit int 256", "limit int 0"),
                11,
                "0 is not in",
            ),
            (GOOD.replace("limit int", "limit float"), 11, "type `float`"),
            (
                GOOD.replace("needs: hypercall dbgsh", "needs: luck"),
                10,
                "`luck` is none of",
            ),
            (
                GOOD.replace("risk: safe", "risk: may-crash\n//! ends: well"),
                10,
                "ends `well`",
            ),
            (
                GOOD.replace("risk: safe", "risk: safe\n//! ends: reset"),
                14,
                "is not safe",
            ),
            (
                GOOD.replace("//! weak: w", "//! sound: w"),
                6,
                "stands 2 times",
            ),
            ("pass(\"x\");".to_string(), 1, "no head"),
        ];
        for (source, line, why) in cases {
            let error = Head::parse(&source).unwrap_err();
            assert!(error.why.contains(why), "{error} should say {why}");
            assert_eq!(error.line, line, "{error}");
        }
    }
}
