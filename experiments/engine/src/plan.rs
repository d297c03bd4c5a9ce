//! The plan that `hv` writes and `hx` carries out, and the records that answer it.

use crate::{Head, Report, report::Findings};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
pub use trace_record::run::PlanItem;
use trace_record::{
    run::Parameter,
    verdict::{Progress, Verdict, VerdictRecord},
};

/// Reads `plan.jsonl`; the error names the line.
pub fn read(text: &str) -> Result<Vec<PlanItem>, String> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))
        })
        .collect()
}

/// Reads parameters as one types them, `name=value`, by what the head declares.
pub fn parameters<'a>(
    head: &Head,
    words: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, Parameter>, String> {
    let mut parameters = BTreeMap::new();
    for word in words {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| format!("`{word}` is not name=value"))?;
        let declared = head
            .params
            .iter()
            .find(|param| param.name == name)
            .ok_or_else(|| format!("the script has no parameter `{name}`"))?;
        parameters.insert(name.to_string(), declared.parse(value)?);
    }
    Ok(parameters)
}

/// The record that says an experiment is about to run.
pub fn started(sequence: u32, id: &str) -> Vec<u8> {
    encode(&VerdictRecord {
        sequence,
        experiment: id.to_string(),
        progress: Progress::Started,
    })
}

/// The record that says how it ended.
pub fn finished(sequence: u32, id: &str, report: Report) -> Vec<u8> {
    let Report {
        verdict,
        reason,
        detail,
        measurements,
    } = report;
    let progress = Progress::Finished {
        verdict,
        reason,
        detail,
        measurements,
    };
    encode(&VerdictRecord {
        sequence,
        experiment: id.to_string(),
        progress,
    })
}

/// A report of a failure outside the script.
pub fn failure(why: &str) -> Report {
    let mut findings = Findings::default();
    findings.add(Verdict::Error, why, None);
    findings.finish(false)
}

fn encode(record: &VerdictRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named() {
        let good = r#"{"id":"a","file":"a.rhai","seed":1,"time_limit_s":5}"#;
        assert_eq!(read(good).unwrap()[0].file, "a.rhai");
        let error = read(&format!("{good}\n\n{{\"id\":3}}\n")).unwrap_err();
        assert!(error.starts_with("line 3: "), "{error}");
    }

    #[test]
    fn records_come_back() {
        let bytes = finished(4, "x", failure("no such file"));
        let (record, len) = VerdictRecord::decode(&bytes).unwrap();
        assert_eq!(
            (len, record.sequence, record.experiment.as_str()),
            (bytes.len(), 4, "x")
        );
        assert!(matches!(
            record.progress,
            Progress::Finished {
                verdict: Verdict::Error,
                ..
            }
        ));
    }
}
