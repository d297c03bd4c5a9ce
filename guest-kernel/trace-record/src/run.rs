//! Names in a run folder, and the lines of `plan.jsonl`.
//!
//! `runs/<id>/{run.json,results.jsonl}`, and per boot
//! `mNN/{plan.jsonl,trace.hvt,verdicts.hvv,console.log,vmm.log}`.

use alloc::format;
use alloc::string::String;

/// What was run, where and how; one JSON object, written by `hv`.
pub const RUN_JSON: &str = "run.json";
/// One JSON object per experiment, written by `hv` only.
pub const RESULTS: &str = "results.jsonl";
/// What this boot shall run; one JSON object ([`PlanItem`]) per line.
pub const PLAN: &str = "plan.jsonl";
/// The trace.
pub const TRACE: &str = "trace.hvt";
/// Verdict records.
pub const VERDICTS: &str = "verdicts.hvv";
/// The guest's console.
pub const CONSOLE_LOG: &str = "console.log";
/// The hypervisor's console.
pub const VMM_LOG: &str = "vmm.log";

/// Exports of the server, by what they hold.
pub mod export {
    /// Experiments, read-only.
    pub const CATALOGUE: &str = "catalogue";
    /// Programs, read-only.
    pub const BIN: &str = "bin";
    /// Run folders, append-only.
    pub const RUNS: &str = "runs";
    /// Anything, read and write.
    pub const HOME: &str = "home";
}

/// Folder of a boot in its run folder: `m00`, `m01`, ...
pub fn machine_dir(machine: u32) -> String {
    format!("m{machine:02}")
}

/// A value of a parameter.
#[cfg(feature = "plan")]
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// `true` or `false`.
    Bool(bool),
    /// A number; the bit pattern of a u64 above `i64::MAX` is written as a negative number.
    Int(i64),
    /// Text.
    Text(String),
}

/// One line of `plan.jsonl`.
#[cfg(feature = "plan")]
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanItem {
    /// Id of the experiment.
    pub id: String,
    /// Its file in the export `catalogue`.
    pub file: String,
    /// Parameters that differ from the script's defaults.
    #[serde(default)]
    pub parameters: alloc::collections::BTreeMap<String, Parameter>,
    /// Seed of its random numbers.
    pub seed: u64,
    /// After so many seconds it is ended with ERROR.
    pub time_limit_s: u32,
}
