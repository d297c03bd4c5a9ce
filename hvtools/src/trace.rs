//! `hv trace`: what a guest recorded, from its trace file.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use harness::Outcome;
use monitor_ui::Output;
use trace_record::{FileHeader, Reader, run};

/// What to do with a trace.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the records, one a line.
    Show {
        /// A trace file, a boot's folder, or a run folder (its first boot).
        path: PathBuf,
    },
    /// Write the records in a format that other programs read.
    Export {
        /// A trace file, a boot's folder, or a run folder (its first boot).
        path: PathBuf,
        /// CSV, one record a line.
        #[arg(long, group = "format")]
        csv: bool,
        /// JSON, one record a line (the default).
        #[arg(long, group = "format")]
        json: bool,
    },
}

/// Does it.
///
/// # Errors
/// When there is no trace, or it is damaged from its beginning.
pub fn run(command: &Command) -> Result<Outcome> {
    match command {
        Command::Show { path } => show(&trace_file(path)),
        Command::Export { path, csv, .. } => {
            let mut monitor = monitor_ui::Options::file(trace_file(path));
            monitor.output = if *csv { Output::Csv } else { Output::Json };
            monitor_ui::run(monitor)?;
            Ok(Outcome::AsExpected)
        }
    }
}

fn trace_file(path: &Path) -> PathBuf {
    let candidates = [
        path.join(run::TRACE),
        path.join(run::machine_dir(0)).join(run::TRACE),
    ];
    candidates
        .into_iter()
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| path.to_owned())
}

fn show(path: &Path) -> Result<Outcome> {
    let bytes =
        std::fs::read(path).with_context(|| format!("cannot read the trace {}", path.display()))?;
    let (header, length) = match FileHeader::decode(&bytes) {
        Ok(found) => found,
        Err(error) => bail!("{} is no trace: {error}", path.display()),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    writeln!(
        out,
        "run {} on {}, {} MHz",
        harness::escaped(String::from_utf8_lossy(&header.run).trim_end_matches('\0')),
        harness::escaped(&header.hypervisor),
        header.tsc_hz / 1_000_000
    )?;
    let mut reader = Reader::new();
    reader.push(&bytes[length..]);
    let mut damaged = 0u64;
    while let Some(record) = reader.next_record() {
        match record {
            Ok(record) => writeln!(out, "{record}")?,
            Err(error) => {
                damaged += 1;
                writeln!(out, "-- {error}")?;
            }
        }
    }
    out.flush()?;
    if reader.pending() > 0 {
        eprintln!(
            "hv: the last record is incomplete: {} bytes",
            reader.pending()
        );
    }
    Ok(if damaged > 0 {
        Outcome::Ours
    } else {
        Outcome::AsExpected
    })
}
