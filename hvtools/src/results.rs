//! `hv report` and `hv compare`: what is made of run folders.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use experiments::{Run, compare, formats, report, table};
use harness::Outcome;

use crate::workspace::{Workspace, from_here};

/// The newest run, in place of a run folder.
pub const LATEST: &str = "latest";
/// The run before it.
const PREVIOUS: &str = "previous";
/// Columns of the comparison.
const WIDTH: usize = 150;

/// Which form of a run.
#[derive(Debug, Args)]
pub struct Report {
    /// The run folder, its name below `runs`, `latest` or `previous`.
    #[arg(default_value = LATEST)]
    run: PathBuf,
    /// As JUnit XML, for CI systems.
    #[arg(long, group = "form")]
    junit: bool,
    /// As KTAP, the kernel's test protocol.
    #[arg(long, group = "form")]
    ktap: bool,
    /// The measurements as a table.
    #[arg(long, group = "form")]
    measurements: bool,
    /// Write here; `-` is standard output [default: report.html, junit.xml or ktap.txt in the run folder].
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Two runs.
#[derive(Debug, Args)]
pub struct Compare {
    /// The run folder before, its name below `runs`, `latest` or `previous`.
    #[arg(default_value = PREVIOUS)]
    before: PathBuf,
    /// The run folder after.
    #[arg(default_value = LATEST)]
    after: PathBuf,
}

/// Writes the report. The exit status is that of the run.
///
/// # Errors
/// When the run folder cannot be read or the file cannot be written.
pub fn report(workspace: &Workspace, options: &Report) -> Result<Outcome> {
    let folder = folder(workspace, &options.run)?;
    let run = Run::load(&folder)?;
    let (text, name) = match (options.junit, options.ktap, options.measurements) {
        (true, _, _) => (formats::junit(&run), "junit.xml"),
        (_, true, _) => (formats::ktap(&run), "ktap.txt"),
        (_, _, true) => (table::measurements(&run), "measurements.txt"),
        _ => (report::html(&run), "report.html"),
    };
    let file = match &options.output {
        Some(file) if file == Path::new("-") => {
            print!("{text}");
            return Ok(status(&run));
        }
        Some(file) => file.clone(),
        None => folder.join(name),
    };
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    println!(
        "{}: {}",
        from_here(&file).display(),
        table::counts(&run.results)
    );
    Ok(status(&run))
}

fn status(run: &Run) -> Outcome {
    Outcome::of_verdicts(run.exit_status())
}

/// Shows what differs: nothing differing is 0, anything 1.
///
/// # Errors
/// When a run folder cannot be read.
pub fn compare(workspace: &Workspace, options: &Compare) -> Result<Outcome> {
    let before = Run::load(&folder(workspace, &options.before)?)?;
    let after = Run::load(&folder(workspace, &options.after)?)?;
    let comparison = compare::compare(&before, &after);
    print!("{}", comparison.text(WIDTH));
    Ok(
        if comparison.verdicts.is_empty() && comparison.times.is_empty() {
            Outcome::AsExpected
        } else {
            Outcome::Unexpected
        },
    )
}

/// A run folder by its path, by its name below `runs`, or as `latest` or `previous`. What is neither comes back as the
/// path it may be.
///
/// # Errors
/// When there are not as many runs yet.
pub fn folder(workspace: &Workspace, name: &Path) -> Result<PathBuf> {
    let runs = workspace.path("runs");
    if name.exists() {
        return Ok(name.to_owned());
    }
    match name.to_str() {
        Some(LATEST) => newest(&runs, 0),
        Some(PREVIOUS) => newest(&runs, 1),
        _ => {
            let below = runs.join(name);
            Ok(if below.is_dir() {
                below
            } else {
                name.to_owned()
            })
        }
    }
}

/// Names of run folders are times: the last one is the newest. The one that has so many after it.
fn newest(runs: &Path, after: usize) -> Result<PathBuf> {
    let entries = std::fs::read_dir(runs)
        .with_context(|| format!("there is no run in {} yet", runs.display()))?;
    let folders = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join(trace_record::run::RUN_JSON).is_file());
    let mut folders: Vec<PathBuf> = folders.collect();
    folders.sort();
    match folders.into_iter().rev().nth(after) {
        Some(folder) => Ok(folder),
        None => bail!(
            "there are not {} runs in {} yet (`cargo hv run`)",
            after + 1,
            runs.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_has_the_last_name() {
        let runs = tempfile::tempdir().unwrap();
        assert!(newest(runs.path(), 0).is_err());
        for name in ["20261123-120000", "20261123-120001", "zzz"] {
            std::fs::create_dir(runs.path().join(name)).unwrap();
        }
        for name in ["20261123-120000", "20261123-120001"] {
            std::fs::write(runs.path().join(name).join("run.json"), "{}").unwrap();
        }
        let newest = |after| newest(runs.path(), after);
        assert!(newest(0).unwrap().ends_with("20261123-120001"));
        assert!(newest(1).unwrap().ends_with("20261123-120000"));
        let error = newest(2).unwrap_err().to_string();
        assert!(error.starts_with("there are not 3 runs"), "{error}");
    }
}
