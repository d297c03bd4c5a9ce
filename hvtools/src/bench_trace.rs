//! `hv bench-trace`: what tracing costs the guest, and how many records a second reach the host.
//!
//! Two boots on labvisor. The first counts instructions instead of time (QEMU's `-icount`), so that a tick of the guest's
//! counter is an instruction, and has no server. The second has one; its trace is read back and its records are counted.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use harness::{Hypervisor, Machine, MachineConfig, Outcome};
use trace_record::{FileHeader, Payload, Reader, run};

use crate::build::{self, Freshness};
use crate::interrupt::Interrupt;
use crate::needs::Consent;
use crate::run::traced_boot;
use crate::workspace::Workspace;
use crate::{service, shell};

/// For each boot.
const LIMIT: Duration = Duration::from_secs(180);
/// What the guest's program puts into its records.
const TEXT: &[u8] = b"tracebench: ";

/// How much.
#[derive(Debug, Args)]
pub struct Options {
    /// Hypercalls of each kind.
    #[arg(long, default_value_t = 301)]
    samples: u32,
    /// Records to send.
    #[arg(long, default_value_t = 200_000)]
    records: u64,
    /// Take the guest binaries that are there, without asking cargo.
    #[arg(long)]
    no_build: bool,
}

/// Measures.
///
/// # Errors
/// When something is missing, does not compile or start, or the server's trace lacks records.
pub fn run(workspace: &Workspace, consent: Consent, options: &Options) -> Result<Outcome> {
    let freshness = Freshness::of(options.no_build);
    let disk = build::boot_disk(workspace, consent, freshness)?;
    let interrupt = Interrupt::watch()?;
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;

    println!("-icount: a tick is an instruction");
    let logs = scratch.path().join("icount");
    std::fs::create_dir(&logs)?;
    let mut config = MachineConfig::new(Hypervisor::Labvisor, disk.clone(), logs);
    config.icount_shift = Some(0);
    config.settings = config
        .settings
        .with("probe", "tracebench")
        .with("start", &format!("tracebench -n {}", options.samples));
    let outcome = shell::watch(&mut Machine::start(config)?, LIMIT, &interrupt)?;
    if outcome != Outcome::AsExpected {
        return Ok(outcome);
    }

    println!("\nwith time as it is: to the server on this host");
    let runs = scratch.path().join("runs");
    let catalogue = workspace.path("experiments/catalogue");
    let server = service::start(workspace, &runs, &catalogue, freshness)?;
    let mut config = MachineConfig::new(Hypervisor::Labvisor, disk, Default::default());
    config.settings = server
        .settings(config.settings)
        .with("start", &format!("tracebench -r {}", options.records));
    let boot = traced_boot(&runs, &mut config)?;
    config.logs.clone_from(&boot);
    let outcome = shell::watch(&mut Machine::start(config)?, LIMIT, &interrupt)?;
    if outcome != Outcome::AsExpected {
        return Ok(outcome);
    }
    let held = count(&boot.join(run::TRACE))?;
    println!("{held} of {} records are on the host", options.records);
    Ok(if held == options.records {
        Outcome::AsExpected
    } else {
        Outcome::Unexpected
    })
}

/// The program's records in a trace.
fn count(trace: &Path) -> Result<u64> {
    let bytes = std::fs::read(trace).with_context(|| format!("cannot read {}", trace.display()))?;
    let header = FileHeader::decode(&bytes);
    ensure!(header.is_ok(), "{} is no trace", trace.display());
    let mut reader = Reader::new();
    reader.push(&bytes[header.map_or(0, |(_, length)| length)..]);
    let mut held = 0;
    while let Some(record) = reader.next_record() {
        let payload = record.map(|record| record.payload);
        if let Ok(Payload::Event { text }) = payload {
            held += u64::from(text.starts_with(TEXT));
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_record::{RecordMeta, encode_record};

    #[test]
    fn only_the_programs_own_records_count() {
        let mut bytes = Vec::new();
        FileHeader::default().encode(&mut bytes);
        for text in [
            &b"tracebench: one"[..],
            b"something else",
            b"tracebench: two",
        ] {
            let text = text.into();
            encode_record(&RecordMeta::default(), &Payload::Event { text }, &mut bytes);
        }
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace.hvt");
        std::fs::write(&trace, &bytes).unwrap();
        assert_eq!(count(&trace).unwrap(), 2);
        std::fs::write(&trace, b"nonsense").unwrap();
        assert!(count(&trace).is_err());
    }
}
