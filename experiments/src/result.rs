//! `results.jsonl` and `run.json`: the truth about a run, from which every other format is made.

use crate::{Expectations, Experiment};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};
use trace_record::{
    run::{PlanItem, RESULTS, RUN_JSON},
    verdict::{Measurement, Verdict},
};

/// One line of `results.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultLine {
    /// The experiment.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its group.
    pub group: String,
    /// `safe` or `may-crash`.
    pub risk: String,
    /// The verdict with expectations applied: PASS, FAIL, INFO, SKIP, ERROR, XFAIL, XPASS, CRASH, HANG, WEDGED or LOST.
    #[serde(with = "word")]
    #[schemars(with = "String")]
    pub verdict: Verdict,
    /// The verdict before expectations were applied.
    #[serde(with = "word")]
    #[schemars(with = "String")]
    pub raw_verdict: Verdict,
    /// Why, in one line; text from the guest, untrusted.
    pub reason: String,
    /// Findings and notes; text from the guest, untrusted.
    #[serde(default)]
    pub detail: String,
    /// The expectation that made it XFAIL or XPASS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expectation: Option<Expected>,
    /// Parameters that differ from the defaults.
    #[serde(default)]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Seed of the random numbers.
    pub seed: u64,
    /// CRC-32C of the script, in hexadecimal.
    pub script: String,
    /// In which boot: `mNN` of the run folder.
    pub machine: u32,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What was measured.
    #[serde(default)]
    pub measurements: Vec<Row>,
}

/// Why a failure was expected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Expected {
    /// Why.
    pub reason: String,
    /// Where to read about it.
    pub reference: String,
}

/// One measured row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// Name.
    pub name: String,
    /// Unit: `ticks`, ...
    pub unit: String,
    /// Number of samples.
    pub n: u64,
    /// Smallest.
    pub min: u64,
    /// 5th percentile.
    pub p5: u64,
    /// Median.
    pub median: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest.
    pub max: u64,
    /// Raw samples in the order they were taken, at most 10,000.
    #[serde(default)]
    pub samples: Vec<u32>,
}

impl From<Measurement> for Row {
    fn from(m: Measurement) -> Row {
        Row {
            name: m.name,
            unit: m.unit,
            n: m.n,
            min: m.min,
            p5: m.p5,
            median: m.median,
            p95: m.p95,
            p99: m.p99,
            max: m.max,
            samples: m.samples,
        }
    }
}

/// What came of one experiment, before expectations.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The line of the plan.
    pub item: PlanItem,
    /// The verdict that the guest sent or the harness found.
    pub verdict: Verdict,
    /// Why, in one line.
    pub reason: String,
    /// Findings and notes.
    pub detail: String,
    /// What was measured.
    pub measurements: Vec<Measurement>,
    /// In which boot.
    pub machine: u32,
    /// How long it took.
    pub took: Duration,
}

impl ResultLine {
    /// Applies the expectations and adds what the head says.
    pub fn new(experiment: &Experiment, raw: Raw, expectations: &Expectations) -> ResultLine {
        let (verdict, expectation) =
            expectations.apply(&experiment.id, raw.verdict, &raw.reason, &raw.detail);
        ResultLine {
            id: experiment.id.clone(),
            title: experiment.head.title.clone(),
            group: experiment.head.group.clone(),
            risk: experiment.head.risk.word().into(),
            verdict,
            raw_verdict: raw.verdict,
            reason: raw.reason,
            detail: raw.detail,
            expectation: expectation.map(|one| Expected {
                reason: one.reason.clone(),
                reference: one.reference.clone(),
            }),
            parameters: raw
                .item
                .parameters
                .iter()
                .map(|(name, value)| (name.clone(), serde_json::json!(value)))
                .collect(),
            seed: raw.item.seed,
            script: format!("{:08x}", experiment.checksum()),
            machine: raw.machine,
            took_ms: u64::try_from(raw.took.as_millis()).unwrap_or(u64::MAX),
            measurements: raw.measurements.into_iter().map(Row::from).collect(),
        }
    }

    /// A line of an experiment that is in no catalogue, for tests of what reads results:
    /// `ResultLine { reason, ..ResultLine::sample(verdict) }`.
    #[must_use]
    pub fn sample(verdict: Verdict) -> ResultLine {
        ResultLine {
            id: "x".into(),
            title: "t".into(),
            group: "time".into(),
            risk: "safe".into(),
            verdict,
            raw_verdict: verdict,
            reason: String::new(),
            detail: String::new(),
            expectation: None,
            parameters: BTreeMap::new(),
            seed: 1,
            script: "0".into(),
            machine: 0,
            took_ms: 1,
            measurements: Vec::new(),
        }
    }
}

/// `run.json`: what was run, where and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunInfo {
    /// The run's id: the folder's name.
    pub id: String,
    /// `labvisor`, `none` or `bitvisor`.
    pub hypervisor: String,
    /// What exactly: path and checksum of the image, planted defects.
    #[serde(default)]
    pub hypervisor_detail: String,
    /// Seconds since 1970 at the start.
    pub started: u64,
    /// Milliseconds from start to end; nothing while the run is on or if it was killed.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// Seed from which the experiments' seeds come.
    pub seed: u64,
    /// Experiments planned.
    pub planned: u64,
    /// Machines started.
    #[serde(default)]
    pub machines: u32,
    /// How often the stage "Loading MBR." was tried again.
    #[serde(default)]
    pub mbr_retries: u32,
    /// How often the server had to be started again.
    #[serde(default)]
    pub server_restarts: u32,
    /// Exit status of the run.
    #[serde(default)]
    pub exit_status: Option<u8>,
    /// Whether the machine is software emulation: ticks are shown there, never compared.
    pub emulated: bool,
    /// CPU model, accelerator, memory, versions: whatever tells two runs apart.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

mod word {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use trace_record::verdict::Verdict;

    pub(super) fn serialize<S: Serializer>(
        verdict: &Verdict,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(verdict.word())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Verdict, D::Error> {
        let word = String::deserialize(deserializer)?;
        Verdict::from_word(&word).ok_or_else(|| D::Error::custom(format!("no verdict `{word}`")))
    }
}

/// Appends lines to `results.jsonl`, each one at once.
#[derive(Debug)]
pub struct ResultWriter(fs::File);

impl ResultWriter {
    /// Creates the file in the run folder; it must not exist.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(folder: &Path) -> io::Result<ResultWriter> {
        fs::OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(folder.join(RESULTS))
            .map(ResultWriter)
    }

    /// Appends a line.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, line: &ResultLine) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.0.write_all(&bytes)
    }
}

/// Writes `run.json`, replacing it in one step.
///
/// # Errors
/// What the system says.
pub fn write_run(folder: &Path, info: &RunInfo) -> io::Result<()> {
    let new = folder.join("run.json.new");
    fs::write(&new, serde_json::to_vec_pretty(info)?)?;
    fs::rename(new, folder.join(RUN_JSON))
}

/// A run that was read back.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    /// `run.json`.
    pub info: RunInfo,
    /// `results.jsonl`.
    pub results: Vec<ResultLine>,
}

/// Why a run folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is wrong.
    #[error("{}:{line}: {source}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What.
        source: serde_json::Error,
    },
}

impl Run {
    /// Reads a run folder. An incomplete last line, as a killed run leaves it, is left out.
    ///
    /// # Errors
    /// A file is missing or wrong.
    pub fn load(folder: &Path) -> Result<Run, RunError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| RunError::Read { path, source })
        };
        let parse = |name: &str, line, source| RunError::Parse {
            path: folder.join(name),
            line,
            source,
        };
        let info = serde_json::from_str(&read(RUN_JSON)?)
            .map_err(|source| parse(RUN_JSON, source.line(), source))?;
        let text = read(RESULTS)?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut results = Vec::new();
        for (index, line) in complete
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
        {
            let line =
                serde_json::from_str(line).map_err(|source| parse(RESULTS, index + 1, source))?;
            results.push(line);
        }
        Ok(Run {
            folder: folder.to_path_buf(),
            info,
            results,
        })
    }

    /// The worst verdict's exit status.
    pub fn exit_status(&self) -> u8 {
        exit_status(self.results.iter().map(|line| line.verdict))
    }
}

/// Exit status of a run with these verdicts: 0 as expected, 1 FAIL or XPASS, 2 ERROR or LOST, 3 CRASH, HANG or WEDGED.
pub fn exit_status(verdicts: impl Iterator<Item = Verdict>) -> u8 {
    verdicts.map(Verdict::exit_status).max().unwrap_or(0)
}

/// The JSON schemas of `results.jsonl` (one line) and `run.json`: file name and text.
pub fn schemas() -> [(&'static str, String); 2] {
    let text = |schema: schemars::Schema| {
        let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
        text.push('\n');
        text
    };
    [
        (
            "results.schema.json",
            text(schemars::schema_for!(ResultLine)),
        ),
        ("run.schema.json", text(schemars::schema_for!(RunInfo))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> ResultLine {
        let catalogue =
            crate::Catalogue::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue"))
                .unwrap();
        let experiment = catalogue.get("hypercall-map").unwrap();
        let raw = Raw {
            item: experiment.plan(7, &[]).unwrap(),
            verdict: Verdict::Fail,
            reason: "expected \u{1b}[31m0, saw <b>1</b>".into(),
            detail: String::new(),
            measurements: vec![Measurement {
                name: "x".into(),
                n: 1,
                samples: vec![3],
                ..Measurement::default()
            }],
            machine: 2,
            took: Duration::from_millis(1500),
        };
        ResultLine::new(experiment, raw, &Expectations::default())
    }

    #[test]
    fn a_run_folder_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let info = RunInfo {
            id: "r1".into(),
            hypervisor: "none".into(),
            ..RunInfo::default()
        };
        write_run(folder.path(), &info).unwrap();
        let mut writer = ResultWriter::create(folder.path()).unwrap();
        writer.add(&line()).unwrap();
        writer.add(&line()).unwrap();
        // A killed run leaves half a line.
        writer.0.write_all(b"{\"id\":\"half").unwrap();
        let run = Run::load(folder.path()).unwrap();
        assert_eq!(run.info, info);
        assert_eq!(run.results, [line(), line()]);
        assert_eq!(run.exit_status(), 1);
        assert!(
            ResultWriter::create(folder.path()).is_err(),
            "results are never overwritten"
        );
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        write_run(folder.path(), &RunInfo::default()).unwrap();
        fs::write(folder.path().join(RESULTS), "{\"id\":1}\n").unwrap();
        let error = Run::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("results.jsonl:1: "), "{error}");
    }

    #[test]
    fn the_worst_verdict_decides_the_exit_status() {
        use Verdict as V;
        assert_eq!(exit_status([].into_iter()), 0);
        assert_eq!(
            exit_status([V::Pass, V::XFail, V::Skip, V::Info].into_iter()),
            0
        );
        assert_eq!(exit_status([V::Pass, V::XPass].into_iter()), 1);
        assert_eq!(exit_status([V::Lost, V::Fail].into_iter()), 2);
        assert_eq!(exit_status([V::Error, V::Wedged].into_iter()), 3);
    }

    #[test]
    fn the_schemas_in_the_tree_are_those_of_the_types() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
        for (name, text) in schemas() {
            let path = folder.join(name);
            if std::env::var_os("HVLAB_BLESS").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, &text).unwrap();
            }
            assert_eq!(
                fs::read_to_string(&path).unwrap_or_default(),
                text,
                "run with HVLAB_BLESS=1 to renew {name}"
            );
        }
    }
}
