//! `hv run`: the catalogue on a machine, its verdicts in a run folder.

pub mod boot;
pub mod folder;
pub mod progress;
pub mod pulse;
pub mod verdicts;
