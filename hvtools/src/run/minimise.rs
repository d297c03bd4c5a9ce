//! From a fuzzer that took a machine down to the smallest piece that does so again.
//!
//! A fuzzer is an experiment with the parameters `from`, `count` and `step` (cases between two checkpoints), and perhaps
//! `keep`, a bit for each part of a case. Its last acknowledged checkpoint says where it died. Trials on new machines find
//! the case, then how much of what came before is needed, then which parts of the case. What is left becomes a script
//! without parameters, which must take three machines out of three down.

use std::path::Path;

use anyhow::{Context, Result};
use engine::Head;
use engine::head::Param;
use trace_record::run::Parameter;
use trace_record::{FileHeader, Payload, Reader};

/// How often the script must take a machine down to count as a reproducer.
pub const REPETITIONS: usize = 3;

/// Some cases of a fuzzer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cases {
    /// The first.
    pub from: i64,
    /// How many.
    pub count: i64,
    /// Which parts of each are run.
    pub keep: i64,
}

/// What a trial gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// The machine died; the last checkpoint was before this case.
    Died(Option<i64>),
    /// It lived.
    Lived,
}

/// Whether an experiment is a fuzzer: the largest `keep` (0 if it has none).
pub fn is_fuzzer(head: &Head) -> Option<i64> {
    let find = |name: &str| head.params.iter().find(|param| param.name == name);
    find("from").and(find("count")).and(find("step"))?;
    Some(find("keep").and_then(largest).unwrap_or(0))
}

fn largest(param: &Param) -> Option<i64> {
    param.range.map(|(_, high)| high)
}

/// The last checkpoint in a boot's trace: its first case and how many it announced.
///
/// # Errors
/// When the trace cannot be read. A trace that ends in the middle of a record is what a crash leaves.
pub fn last_checkpoint(trace: &Path) -> Result<Option<(i64, i64)>> {
    // A machine that died before its trace began.
    if !trace.is_file() {
        return Ok(None);
    }
    let bytes = std::fs::read(trace).with_context(|| format!("cannot read {}", trace.display()))?;
    let Ok((_, length)) = FileHeader::decode(&bytes) else {
        return Ok(None);
    };
    let mut reader = Reader::new();
    reader.push(&bytes[length..]);
    let mut last = None;
    while let Some(record) = reader.next_record() {
        if let Ok(record) = record
            && let Payload::Event { text } = &record.payload
        {
            last = checkpoint(&String::from_utf8_lossy(text)).or(last);
        }
    }
    Ok(last)
}

/// `checkpoint seed=0x1 from=50 count=10`, as the engine writes it.
fn checkpoint(text: &str) -> Option<(i64, i64)> {
    let words = text.strip_prefix("checkpoint ")?;
    let value = |name: &str| {
        let mut words = words.split_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    Some((value("from")?, value("count")?))
}

/// The smallest cases that still take a machine down, starting from `window`, in which one died. `first` is the run's
/// first case, `all_parts` the largest `keep`. Nothing if it does not happen again.
///
/// # Errors
/// Those of `trial`.
pub fn minimise(
    window: Cases,
    first: i64,
    all_parts: i64,
    mut trial: impl FnMut(Cases) -> Result<Trial>,
) -> Result<Option<Cases>> {
    let whole = Cases {
        from: first,
        count: window.from + window.count - first,
        ..window
    };
    let mut culprit = None;
    for cases in [window, whole] {
        if let Trial::Died(last) = trial(cases)? {
            culprit = Some((cases, last.unwrap_or(cases.from)));
            break;
        }
    }
    let Some((known, last)) = culprit else {
        return Ok(None);
    };
    // The case alone, then with more and more of what came before it.
    let mut best = Cases {
        count: last - known.from + 1,
        ..known
    };
    let mut before = 0;
    while before < best.count - 1 {
        let cases = Cases {
            from: last - before,
            count: before + 1,
            ..known
        };
        if trial(cases)? != Trial::Lived {
            best = cases;
            break;
        }
        before = 2 * before + 1;
    }
    if best.count == 1 {
        let parts = (0..i64::BITS - 1).map(|n| 1 << n);
        for part in parts.filter(|part| all_parts & part != 0) {
            let cases = Cases {
                keep: best.keep & !part,
                ..best
            };
            if trial(cases)? != Trial::Lived {
                best = cases;
            }
        }
    }
    Ok(Some(best))
}

/// The fuzzer's script with these cases and this seed built in.
pub fn script(source: &str, cases: Cases, seed: u64) -> String {
    let fixed = [
        ("from", cases.from),
        ("count", cases.count),
        ("step", 1),
        ("keep", cases.keep),
    ];
    let line = |line: &str| -> String {
        if let Some(title) = line.strip_prefix("//! title: ") {
            return format!("//! title: Reproducer: {title}");
        }
        for (name, value) in fixed {
            let head = format!("//! param: {name} int ");
            if let Some((_, rest)) = line
                .strip_prefix(&head)
                .and_then(|rest| rest.split_once(' '))
            {
                return format!("{head}{value} {rest}");
            }
        }
        line.replace("seed()", &format!("({})", seed.cast_signed()))
    };
    source.lines().map(|text| line(text) + "\n").collect()
}

/// The parameters of a trial, as `name=value`.
pub fn words(cases: Cases, all_parts: i64) -> Vec<(String, Parameter)> {
    let mut words = vec![("from", cases.from), ("count", cases.count), ("step", 1)];
    if all_parts != 0 {
        words.push(("keep", cases.keep));
    }
    words
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Parameter::Int(value)))
        .collect()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    /// A machine that dies at case `bad` if `history` cases ran before it, and all parts of `needed` are kept.
    fn machine(bad: i64, history: i64, needed: i64) -> impl FnMut(Cases) -> Result<Trial> {
        move |cases| {
            let held = cases.from..cases.from + cases.count;
            let dies =
                held.contains(&bad) && bad - cases.from >= history && cases.keep & needed == needed;
            Ok(if dies {
                Trial::Died(Some(bad))
            } else {
                Trial::Lived
            })
        }
    }

    fn window(from: i64, count: i64) -> Cases {
        Cases {
            from,
            count,
            keep: 1023,
        }
    }

    #[test]
    fn one_case_is_found_and_its_parts() {
        let found = minimise(window(150, 50), 0, 1023, machine(173, 0, 0b1010)).unwrap();
        assert_eq!(
            found,
            Some(Cases {
                from: 173,
                count: 1,
                keep: 0b1010
            })
        );
    }

    #[test]
    fn what_came_before_is_kept_where_it_is_needed() {
        let found = minimise(window(150, 50), 0, 1023, machine(173, 5, 0)).unwrap();
        assert_eq!(found, Some(window(166, 8)));
        // More than the window holds: from the run's beginning.
        let found = minimise(window(150, 50), 0, 1023, machine(173, 100, 0)).unwrap();
        assert_eq!(found, Some(window(46, 128)));
    }

    #[test]
    fn what_does_not_happen_again_is_said() {
        let found = minimise(window(150, 50), 0, 0, |_| Ok(Trial::Lived)).unwrap();
        assert_eq!(found, None);
    }

    #[test]
    fn checkpoints_are_read() {
        assert_eq!(
            checkpoint("checkpoint seed=0x1 from=50 count=10"),
            Some((50, 10))
        );
        assert_eq!(checkpoint("phase two"), None);
    }

    #[test]
    fn every_fuzzer_of_the_catalogue_becomes_a_script_without_parameters_to_give() {
        let folder = experiments::catalogue_folder();
        let catalogue = experiments::Catalogue::load(&folder).unwrap();
        let cases = Cases {
            from: 173,
            count: 1,
            keep: 10,
        };
        let mut fuzzers = 0;
        for experiment in &catalogue.experiments {
            let Some(all_parts) = is_fuzzer(&experiment.head) else {
                continue;
            };
            fuzzers += 1;
            let text = script(&experiment.source, cases, 7);
            let head = Head::parse(&text).unwrap();
            for (name, value) in words(cases, all_parts) {
                let param = head.params.iter().find(|param| param.name == name).unwrap();
                assert_eq!(param.default, value, "{}: {name}", experiment.id);
            }
            assert!(!text.contains("seed()"), "{}", experiment.id);
            engine::compile(&experiment.file, &text).unwrap();
        }
        assert_eq!(fuzzers, 6);
    }
}
