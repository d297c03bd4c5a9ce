//! `hv bench-net`: the guest's TCP throughput on several hypervisors, in turns, with what it costs beside the bytes:
//! interrupts, doorbells and ISR reads that the guest's driver counted, and exits.
//!
//! Labvisor counts its exits (get_status). BitVisor on AMD does not, but what the guest counted tells the least that there
//! were: its virtio-net is emulated, so each doorbell and each ISR read is an exit, and so is each interrupt, which it
//! takes first and passes on.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use harness::{Console, Hypervisor, Machine, MachineConfig, Outcome};

use crate::bench;
use crate::build::{self, Freshness};
use crate::needs::Consent;
use crate::workspace::Workspace;

/// What to measure.
#[derive(Debug, Args)]
pub struct Options {
    /// On what: labvisor, none, or bitvisor:PATH; may be repeated [default: none and labvisor].
    #[arg(long)]
    hypervisor: Vec<Hypervisor>,
    /// How much in each direction.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// How often, each time on new machines.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Take nested paging from the emulated processor, so that BitVisor shadows the guest's page tables.
    #[arg(long)]
    shadow_paging: bool,
    /// Take the guest binaries that are there, without asking cargo.
    #[arg(long)]
    no_build: bool,
}

/// For a boot, and for a transfer: a limit for what never ends, not a measure.
const LIMIT: Duration = Duration::from_secs(180);
const PROMPT: &str = "$ ";
const WAYS: [(&str, &str); 2] = [("sends", ""), ("receives", "-r ")];

/// One transfer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    mib_per_second: f64,
    /// Per megabyte, as all of these.
    interrupts: u64,
    doorbells: u64,
    isr_reads: u64,
    exits: Exits,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Exits {
    /// There is nobody to exit to.
    None,
    Counted(u64),
    AtLeast(u64),
}

impl fmt::Display for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exits::None => f.write_str("-"),
            Exits::Counted(count) => write!(f, "{count}"),
            Exits::AtLeast(count) => write!(f, ">= {count}"),
        }
    }
}

/// Measures and prints the table.
///
/// # Errors
/// When a machine cannot be set up or does not do what it should.
pub fn run(workspace: &Workspace, consent: Consent, options: &Options) -> Result<Outcome> {
    let mut hypervisors = options.hypervisor.clone();
    if hypervisors.is_empty() {
        hypervisors = vec![Hypervisor::None, Hypervisor::Labvisor];
    }
    ensure!(
        !options.shadow_paging || !hypervisors.contains(&Hypervisor::Labvisor),
        "labvisor needs nested paging: name other hypervisors with --shadow-paging"
    );
    let freshness = match options.no_build {
        true => Freshness::AsBuilt,
        false => Freshness::Build,
    };
    let disk = build::boot_disk(workspace, consent, freshness)?;
    let answer = bench::answer(Ipv4Addr::LOCALHOST.into())?;
    let peer = harness::seen_from_guest(answer);
    // tcpbench wants the port by itself.
    let (host, port) = peer.split_once(':').context("an address has a port")?;
    let peer = format!("-p {port} {host}");
    let mut rows: Vec<[Vec<Sample>; 2]> = vec![Default::default(); hypervisors.len()];
    for round in 1..=options.rounds {
        for (hypervisor, row) in hypervisors.iter().zip(&mut rows) {
            eprintln!("hv: round {round}, {hypervisor}");
            let logs = tempfile::tempdir().context("cannot create a temporary folder")?;
            let mut config =
                MachineConfig::new(hypervisor.clone(), disk.clone(), logs.path().to_owned());
            if options.shadow_paging {
                // QEMU takes the last one.
                config.further = vec!["-cpu".into(), "EPYC,+svm,-npt".into()];
            }
            let samples =
                measure(config, &peer, options.mib).with_context(|| format!("on {hypervisor}"))?;
            for (samples, sample) in row.iter_mut().zip(samples) {
                samples.push(sample);
            }
        }
    }
    println!(
        "{} MiB each way, {} rounds; medians, and per megabyte\n{:32}{:>8}  {:>10} {:>9} {:>9} {:>9}",
        options.mib, options.rounds, "", "MiB/s", "interrupts", "doorbells", "ISR reads", "exits"
    );
    for (hypervisor, row) in hypervisors.iter().zip(rows) {
        for ((way, _), samples) in WAYS.iter().zip(row) {
            println!("{}", line(hypervisor.name(), way, samples));
        }
    }
    Ok(Outcome::AsExpected)
}

/// One boot: both ways.
fn measure(config: MachineConfig, peer: &str, mib: u64) -> Result<[Sample; 2]> {
    let hypervisor = config.hypervisor.clone();
    let machine = Machine::start(config)?;
    let mut console = machine.console()?;
    console.wait_for(PROMPT, LIMIT)?;
    let deadline = Instant::now() + LIMIT;
    while console
        .run("ifconfig", PROMPT, LIMIT)?
        .contains("address  0.0.0.0")
    {
        ensure!(Instant::now() < deadline, "the guest got no address");
    }
    let mut exits = total_exits(&mut console)?;
    let mut transfer = |way: &str| -> Result<Sample> {
        let said = console.run(&format!("tcpbench {way}-m {mib} {peer}"), PROMPT, LIMIT)?;
        let now = total_exits(&mut console)?;
        let counted = exits.zip(now).map(|(before, now)| (now - before) / mib);
        exits = now;
        sample(&said, &hypervisor, counted)
            .with_context(|| format!("the guest's tcpbench said: {said}"))
    };
    Ok([transfer(WAYS[0].1)?, transfer(WAYS[1].1)?])
}

/// All exits so far, where get_status counts them.
fn total_exits(console: &mut Console) -> Result<Option<u64>> {
    let status = console.run("hc -s", PROMPT, LIMIT)?;
    let counts = status.lines().filter_map(|line| {
        let (_, count) = line.strip_prefix("exits.")?.split_once(": ")?;
        count.split(' ').next()?.parse::<u64>().ok()
    });
    Ok(counts.fold(None, |sum, count| Some(sum.unwrap_or(0) + count)))
}

/// What tcpbench said, as numbers.
fn sample(said: &str, hypervisor: &Hypervisor, counted: Option<u64>) -> Option<Sample> {
    let speed = said.lines().find_map(|line| line.strip_suffix(" MiB/s"))?;
    let costs = said
        .lines()
        .find_map(|line| line.strip_prefix("per megabyte: "))?;
    let mut counts = costs
        .split(", ")
        .map(|cost| cost.split(' ').next()?.parse::<u64>().ok());
    let (interrupts, doorbells, isr_reads) = (counts.next()??, counts.next()??, counts.next()??);
    let exits = match (hypervisor, counted) {
        (Hypervisor::None, _) => Exits::None,
        (_, Some(count)) => Exits::Counted(count),
        (Hypervisor::BitVisor(_), None) => Exits::AtLeast(interrupts + doorbells + isr_reads),
        (Hypervisor::Labvisor, None) => return None,
    };
    Some(Sample {
        mib_per_second: speed.rsplit(' ').next()?.parse().ok()?,
        interrupts,
        doorbells,
        isr_reads,
        exits,
    })
}

/// A row: of the transfer with the median speed all numbers, and every speed behind them.
fn line(hypervisor: &str, way: &str, mut samples: Vec<Sample>) -> String {
    let speeds: Vec<String> = samples
        .iter()
        .map(|sample| format!("{:.1}", sample.mib_per_second))
        .collect();
    samples.sort_by(|a, b| a.mib_per_second.total_cmp(&b.mib_per_second));
    let median = samples[samples.len() / 2];
    format!(
        "{:32}{:8.1}  {:>10} {:>9} {:>9} {:>9}  ({})",
        format!("guest on {hypervisor} {way}"),
        median.mib_per_second,
        median.interrupts,
        median.doorbells,
        median.isr_reads,
        median.exits.to_string(),
        speeds.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "16777216 bytes in 1.600 s: 10.00 MiB/s\n\
                        per megabyte: 30 interrupts, 700 doorbells, 40 ISR reads\n";

    #[test]
    fn what_tcpbench_says_becomes_numbers() {
        let exits = |hypervisor: Hypervisor, counted| {
            let sample = sample(SAID, &hypervisor, counted).unwrap();
            assert_eq!(sample.mib_per_second, 10.0);
            assert_eq!(
                (sample.interrupts, sample.doorbells, sample.isr_reads),
                (30, 700, 40)
            );
            sample.exits
        };
        assert_eq!(exits(Hypervisor::None, None), Exits::None);
        assert_eq!(exits(Hypervisor::Labvisor, Some(9)), Exits::Counted(9));
        let bitvisor = Hypervisor::BitVisor("x".into());
        assert_eq!(exits(bitvisor, None), Exits::AtLeast(770));
        assert_eq!(sample("tcpbench: no route", &Hypervisor::None, None), None);
    }

    #[test]
    fn a_row_has_the_numbers_of_its_median() {
        let sample = |mib_per_second, interrupts| Sample {
            mib_per_second,
            interrupts,
            doorbells: 2,
            isr_reads: 3,
            exits: Exits::Counted(4),
        };
        let samples = vec![sample(9.0, 90), sample(1.0, 10), sample(5.0, 50)];
        let row = line("none", "sends", samples);
        assert!(row.starts_with("guest on none sends "), "{row}");
        assert!(row.ends_with("(9.0 1.0 5.0)"), "{row}");
        let numbers: Vec<&str> = row.split_whitespace().skip(4).take(5).collect();
        assert_eq!(numbers, ["5.0", "50", "2", "3", "4"], "{row}");
    }
}
