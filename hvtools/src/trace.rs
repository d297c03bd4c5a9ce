//! `hv trace`: what a guest recorded, from its trace file.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use harness::Outcome;
use monitor_ui::Output;
use trace_record::{FileHeader, Reader, run};

use crate::workspace::Workspace;
use crate::{export, pcapng, results};

/// What to do with a trace.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the records, one a line.
    Show {
        /// A trace file, a boot's folder, or a run folder (its first boot), also as its name below `runs` or `latest`.
        path: PathBuf,
    },
    /// Write the records in a format that other programs read.
    Export {
        /// A trace file, a boot's folder, or a run folder (its first boot), also as its name below `runs` or `latest`.
        path: PathBuf,
        /// CSV, one record a line.
        #[arg(long, group = "format")]
        csv: bool,
        /// JSON, one record a line (the default).
        #[arg(long, group = "format")]
        json: bool,
        /// The frames that the guest sent and received as pcapng, for Wireshark and tcpdump; the class `packet` must
        /// have been on, as with `--trace packet`.
        #[arg(long, group = "format")]
        pcap: bool,
        /// The trace-event format of Chrome and Perfetto: requests and exits as spans, the guest's side and the
        /// hypervisor's one above the other. Open it in ui.perfetto.dev or chrome://tracing.
        #[arg(long, group = "format")]
        chrome: bool,
        /// Common Trace Format 1.8 (babeltrace2, Trace Compass), into this new folder.
        #[arg(long, group = "format", value_name = "FOLDER")]
        ctf: Option<PathBuf>,
    },
}

/// Does it.
///
/// # Errors
/// When there is no trace, or it is damaged from its beginning.
pub fn run(workspace: &Workspace, command: &Command) -> Result<Outcome> {
    let (Command::Show { path } | Command::Export { path, .. }) = command;
    let file = trace_file(&results::folder(workspace, path)?);
    match command {
        Command::Show { .. } => show(&file),
        Command::Export { pcap: true, .. } => pcap(&file),
        Command::Export { chrome: true, .. } => {
            let (header, mut reader) = open(&file)?;
            let mut out = BufWriter::new(std::io::stdout().lock());
            let done = export::chrome::write(&header, &mut reader, &mut out)?;
            out.flush()?;
            Ok(done.told())
        }
        Command::Export {
            ctf: Some(folder), ..
        } => {
            let (header, mut reader) = open(&file)?;
            Ok(export::ctf::write(&header, &mut reader, folder)?.told())
        }
        Command::Export { csv, .. } => {
            let mut monitor = monitor_ui::Options::file(file);
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

/// A trace's head, and a reader of its records.
fn open(path: &Path) -> Result<(FileHeader, Reader)> {
    let bytes =
        std::fs::read(path).with_context(|| format!("cannot read the trace {}", path.display()))?;
    let (header, length) = match FileHeader::decode(&bytes) {
        Ok(found) => found,
        Err(error) => bail!("{} is no trace: {error}", path.display()),
    };
    let mut reader = Reader::new();
    reader.push(&bytes[length..]);
    Ok((header, reader))
}

fn pcap(path: &Path) -> Result<Outcome> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        bail!("pcapng is nothing for a terminal: send it to a file with `> FILE.pcapng`");
    }
    let (header, mut reader) = open(path)?;
    let mut writer = pcapng::Writer::begin(BufWriter::new(stdout.lock()), &header)?;
    let mut damaged = 0u64;
    while let Some(record) = reader.next_record() {
        match record {
            Ok(record) => writer.record(&record)?,
            Err(_) => damaged += 1,
        }
    }
    let exported = writer.end()?;
    eprintln!("hv: {} frames", exported.frames);
    if exported.frames == 0 {
        eprintln!("hv: the class `packet` was off; `--trace packet` switches it on");
    }
    if exported.lost + damaged > 0 {
        eprintln!(
            "hv: {} records of the trace were lost, {damaged} are damaged: frames may be missing",
            exported.lost
        );
    }
    Ok(if damaged > 0 {
        Outcome::Ours
    } else {
        Outcome::AsExpected
    })
}

fn show(path: &Path) -> Result<Outcome> {
    let (header, mut reader) = open(path)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    writeln!(
        out,
        "run {} on {}, {} MHz",
        harness::escaped(String::from_utf8_lossy(&header.run).trim_end_matches('\0')),
        harness::escaped(&header.hypervisor),
        header.tsc_hz / 1_000_000
    )?;
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
