//! `hv bench-net`: the guest's TCP throughput on several hypervisors, in turns, with what it costs beside the bytes:
//! interrupts, doorbells and ISR reads that the guest's driver counted, and exits.
//!
//! Labvisor counts its exits (get_status). BitVisor on AMD does not, but what the guest counted tells the least that there
//! were: its virtio-net is emulated, so each doorbell and each ISR read is an exit, and so is each interrupt, which it
//! takes first and passes on.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use harness::{Console, Hypervisor, Machine, MachineConfig, Outcome, Sign, Watch};

use crate::bench;
use crate::build::{self, Freshness};
use crate::needs::Consent;
use crate::run::boot::MBR_ATTEMPTS;
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
/// How often a boot is looked at.
const LOOK: Duration = Duration::from_secs(1);
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
    let disk = build::boot_disk(workspace, consent, Freshness::of(options.no_build))?;
    let answer = bench::answer(Ipv4Addr::LOCALHOST.into())?;
    let peer = harness::seen_from_guest(answer);
    // tcpbench wants the port by itself.
    let (host, port) = peer.split_once(':').context("an address has a port")?;
    let peer = format!("-p {port} {host}");
    let mut stalls = 0;
    let mut rows: Vec<[Vec<Sample>; 2]> = vec![Default::default(); hypervisors.len()];
    for round in 1..=options.rounds {
        for (hypervisor, row) in hypervisors.iter().zip(&mut rows) {
            eprintln!("hv: round {round}, {hypervisor}");
            let measured = past_stalls(&mut stalls, || {
                let logs = tempfile::tempdir().context("cannot create a temporary folder")?;
                let mut config =
                    MachineConfig::new(hypervisor.clone(), disk.clone(), logs.path().to_owned());
                if options.shadow_paging {
                    // QEMU takes the last one.
                    config.further = vec!["-cpu".into(), "EPYC,+svm,-npt".into()];
                }
                measure(config, &peer, options.mib)
            });
            let samples = measured.with_context(|| format!("on {hypervisor}"))?;
            for (samples, sample) in row.iter_mut().zip(samples) {
                samples.push(sample);
            }
        }
    }
    let longest = hypervisors
        .iter()
        .map(|hypervisor| label(hypervisor, WAYS[1].0).len());
    let width = longest.max().unwrap_or(0).max(32);
    println!(
        "{} MiB each way, {} rounds; medians, and per megabyte\n{:width$}{:>8}  {:>10} {:>9} {:>9} {:>9}",
        options.mib, options.rounds, "", "MiB/s", "interrupts", "doorbells", "ISR reads", "exits"
    );
    for (hypervisor, row) in hypervisors.iter().zip(rows) {
        for ((way, _), samples) in WAYS.iter().zip(row) {
            println!("{}", line(&label(hypervisor, way), width, samples));
        }
    }
    if stalls > 0 {
        println!("BitVisor stopped at \"Loading MBR.\" {stalls} times and was started again");
    }
    Ok(Outcome::AsExpected)
}

/// Does it again, and counts it, as long as BitVisor's boot stops (`None`), up to a limit.
fn past_stalls<T>(stalls: &mut u32, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    for left in (0..MBR_ATTEMPTS).rev() {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        if left > 0 {
            *stalls += 1;
            eprintln!("hv: BitVisor stopped at \"Loading MBR.\"; starting it again ({stalls})");
        }
    }
    bail!("BitVisor stopped at \"Loading MBR.\" {MBR_ATTEMPTS} times")
}

/// Waits for the guest's shell; false when BitVisor stopped at "Loading MBR.".
fn boots(machine: &Machine, console: &mut Console) -> Result<bool> {
    let config = machine.config();
    let mut watch = Watch::new(
        config.hypervisor.clone(),
        config.vmm_log(),
        config.console_log(),
    );
    let deadline = Instant::now() + LIMIT;
    loop {
        match console.wait_for(PROMPT, LOOK) {
            Ok(_) => return Ok(true),
            Err(silence) if silence.ended || Instant::now() > deadline => {
                return Err(silence.into());
            }
            Err(_) => {}
        }
        match watch.look(machine.effort()) {
            Some(Sign::StuckLoadingMbr) => return Ok(false),
            Some(Sign::HypervisorPanic(words)) => bail!("the hypervisor panicked: {words}"),
            Some(Sign::GuestPanic(words)) => bail!("the guest panicked: {words}"),
            None => {}
        }
    }
}

/// One boot: both ways; `None` when BitVisor stopped at "Loading MBR.".
fn measure(config: MachineConfig, peer: &str, mib: u64) -> Result<Option<[Sample; 2]>> {
    let hypervisor = config.hypervisor.clone();
    let machine = Machine::start(config)?;
    let mut console = machine.console()?;
    if !boots(&machine, &mut console)? {
        return Ok(None);
    }
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
    Ok(Some([transfer(WAYS[0].1)?, transfer(WAYS[1].1)?]))
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

/// With the path of a BitVisor: there may be two.
fn label(hypervisor: &Hypervisor, way: &str) -> String {
    format!("guest on {hypervisor} {way}")
}

/// A row: of the transfer with the median speed all numbers, and every speed behind them.
fn line(label: &str, width: usize, mut samples: Vec<Sample>) -> String {
    let speeds: Vec<String> = samples
        .iter()
        .map(|sample| format!("{:.1}", sample.mib_per_second))
        .collect();
    samples.sort_by(|a, b| a.mib_per_second.total_cmp(&b.mib_per_second));
    let median = samples[samples.len() / 2];
    format!(
        "{label:width$}{:8.1}  {:>10} {:>9} {:>9} {:>9}  ({})",
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
    fn two_bitvisors_have_two_labels() {
        let [one, other] = ["/one/bitvisor.elf", "/other/bitvisor.elf"]
            .map(|path| label(&Hypervisor::BitVisor(path.into()), "sends"));
        assert_eq!(one, "guest on bitvisor:/one/bitvisor.elf sends");
        assert_ne!(one, other);
    }

    #[test]
    fn a_boot_that_stops_is_done_again_and_counted_but_not_for_ever() {
        let (mut stalls, mut boots) = (0, 0);
        let second = past_stalls(&mut stalls, || {
            boots += 1;
            Ok((boots == 2).then_some(boots))
        });
        assert_eq!((second.unwrap(), stalls), (2, 1));
        let (mut stalls, mut boots) = (0, 0);
        let never: Result<()> = past_stalls(&mut stalls, || {
            boots += 1;
            Ok(None)
        });
        assert!(never.is_err());
        assert_eq!((boots, stalls), (MBR_ATTEMPTS, MBR_ATTEMPTS - 1));
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
        let row = line(&label(&Hypervisor::None, "sends"), 32, samples);
        assert!(row.starts_with("guest on none sends "), "{row}");
        assert!(row.ends_with("(9.0 1.0 5.0)"), "{row}");
        let numbers: Vec<&str> = row.split_whitespace().skip(4).take(5).collect();
        assert_eq!(numbers, ["5.0", "50", "2", "3", "4"], "{row}");
    }
}
