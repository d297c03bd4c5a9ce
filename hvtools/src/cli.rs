//! The commands and their options. This text is the manual: `hv --help`, `hv COMMAND --help`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use harness::{Machine, Outcome};

use crate::access::Access;
use crate::build::{self, Freshness};
use crate::interrupt::Interrupt;
use crate::machine::MachineOptions;
use crate::needs::Consent;
use crate::run::command::{self, Request};
use crate::run::plan::Choice;
use crate::run::replay;
use crate::service::{self, Note};
use crate::testing::{self, Which};
use crate::workspace::Workspace;
use crate::{
    bench, bench_net, bench_snfs, bench_trace, catalogue, debug, doctor, fs, fsck, matrix, media,
    monitor, network, results, run, scaffold, shell, trace,
};

/// HvLab: a small traced guest, experiments against the hypervisor below it, and what came out.
///
/// Exit status: 0 as expected, 1 FAIL or XPASS, 2 ERROR or LOST, 3 CRASH, HANG or WEDGED, 4 set-up, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "hv", bin_name = "cargo hv", max_term_width = 110)]
struct Cli {
    /// Install what is missing, by sudo where needed; root does so anyway.
    #[arg(long, global = true)]
    yes: bool,
    /// Install nothing, not even as root: name the command.
    #[arg(long, global = true, conflicts_with = "yes")]
    no_install: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what this machine has, what it lacks and how to get it.
    Doctor,
    /// Build the guest (kernel, user programs, labvisor) and its boot disk.
    Build,
    /// Make the boot disk from the guest binaries that are built.
    Image,
    /// Run the experiments on a machine and show what came out.
    Run(RunOptions),
    /// Boot the guest and sit at its console; Ctrl-] ends it.
    Shell(ShellOptions),
    /// Measure remote files from the guest beside TCP and the cipher alone, in one boot.
    BenchFiles(BenchOptions),
    /// Measure the guest's TCP on several hypervisors in turns, with interrupts, doorbells and exits per megabyte.
    BenchNet(bench_net::Options),
    /// Watch a run live, replay one from its folder, or see a demo.
    Monitor(monitor::Options),
    /// Show what there is to run.
    #[command(subcommand)]
    Experiments(catalogue::Command),
    /// Plant each defect in labvisor and see whether its experiments catch it.
    Matrix(matrix::Options),
    /// Write a run's report: one HTML page, JUnit XML or KTAP.
    Report(results::Report),
    /// Show what differs between two runs: verdicts, where their traces part, and times.
    Compare(results::Compare),
    /// Repeat one experiment of a run from its folder.
    Replay(replay::Options),
    /// Begin an experiment or a planted defect.
    #[command(subcommand)]
    New(scaffold::Command),
    /// Show or export what a guest recorded.
    #[command(subcommand)]
    Trace(trace::Command),
    /// Work with files of a server, by default that of the run that goes on here.
    Fs(fs::Options),
    /// Measure the file server beside diod (a 9P server) and a TCP ping-pong, all in one run.
    BenchSnfs(bench_snfs::Options),
    /// Measure what tracing costs the guest, and how many records a second reach the host.
    BenchTrace(bench_trace::Options),
    /// Read, apply and check the configuration of a BitVisor tree.
    #[command(subcommand)]
    Bitvisor(bitvisor_config::cli::Command),
    /// Make a medium that starts the guest on a real PC, on BitVisor or without; see bitvisor-config/REAL-PC.md.
    Media(media::Options),
    /// Boot the guest under gdb.
    Gdb(MachineOptions),
    /// Run every test: on the host, then in the guest. HV_BITVISOR_ELF=PATH adds a real BitVisor.
    Test(TestOptions),
    /// Check a root file system image.
    Fsck {
        /// The image, as in target/guest/image/fs.img.
        image: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ShellOptions {
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    access: Access,
    /// Run this command instead of a shell, show what it prints, and end with its status.
    #[arg(short = 'c', value_name = "COMMAND")]
    command: Option<String>,
    /// With -c: give up after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    time_limit: u64,
    /// Keep console.log and vmm.log in this folder.
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct BenchOptions {
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    access: Access,
    /// How much in each measurement.
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    mib: u32,
    /// How often everything is measured; medians are shown.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Give up after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    time_limit: u64,
}

#[derive(Debug, Args)]
struct RunOptions {
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    access: Access,
    /// Only these experiments: an id, a pattern as in `hypercall-*`, or `group:NAME`; may be repeated.
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Only experiments that cannot take the machine down.
    #[arg(long)]
    safe: bool,
    /// A parameter for every experiment that has one of this name; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// Where run folders are made, instead of `runs`.
    #[arg(long, value_name = "FOLDER")]
    runs: Option<PathBuf>,
    /// Another catalogue than the workspace's.
    #[arg(long, value_name = "FOLDER")]
    catalogue: Option<PathBuf>,
    /// Seed of the experiments' random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Start no QEMU: write the settings to this file and wait until somebody starts a machine with them, a real PC with
    /// a medium of `hv media --settings-file FILE` for example. With --safe one start is enough.
    #[arg(long, value_name = "FILE")]
    by_hand: Option<PathBuf>,
    /// Watch the run on the monitor's screen; `q` leaves it.
    #[arg(long)]
    monitor: bool,
    /// End the run after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    time_limit: Option<u64>,
}

#[derive(Debug, Args)]
struct TestOptions {
    /// Only the tests that boot a machine.
    #[arg(long, conflicts_with = "host")]
    guest: bool,
    /// Only the tests that need no machine.
    #[arg(long)]
    host: bool,
    /// Only tests whose names hold this text.
    filter: Option<String>,
}

/// Runs `hv` with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let set_up = error.use_stderr();
            // The terminal may be gone; the status still tells.
            let _ = error.print();
            return if set_up {
                Outcome::Setup.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match dispatch(&cli) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("hv: {}", harness::escaped(&format!("{error:#}")));
            Outcome::Setup.into()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<Outcome> {
    let workspace = Workspace::find()?;
    let consent = match (cli.yes, cli.no_install) {
        (true, _) => Consent::Given,
        (_, true) => Consent::Refused,
        _ => Consent::IfRoot,
    };
    match &cli.command {
        Command::Doctor => doctor::run(&workspace),
        Command::Build => {
            build::boot_disk(&workspace, consent, Freshness::Build).map(|_| Outcome::AsExpected)
        }
        Command::Image => {
            build::boot_disk(&workspace, consent, Freshness::AsBuilt).map(|_| Outcome::AsExpected)
        }
        Command::Run(options) => run_command(&workspace, consent, options),
        Command::Shell(options) => shell_command(&workspace, consent, options),
        Command::BenchFiles(options) => bench_command(&workspace, consent, options),
        Command::BenchNet(options) => bench_net::run(&workspace, consent, options),
        Command::Monitor(options) => monitor::run(&workspace, options),
        Command::Experiments(command) => catalogue::run(&workspace, command),
        Command::Matrix(options) => matrix::run(&workspace, consent, options),
        Command::Report(options) => results::report(&workspace, options),
        Command::Compare(options) => results::compare(&workspace, options),
        Command::Replay(options) => replay::run(&workspace, consent, options),
        Command::New(command) => scaffold::run(command),
        Command::Trace(command) => trace::run(&workspace, command),
        Command::BenchSnfs(options) => bench_snfs::run(&workspace, consent, options),
        Command::BenchTrace(options) => bench_trace::run(&workspace, consent, options),
        Command::Fs(options) => fs::run(&workspace, consent, options),
        Command::Bitvisor(command) => bitvisor_command(command),
        Command::Media(options) => media::run(&workspace, consent, options),
        Command::Gdb(options) => gdb_command(&workspace, consent, options),
        Command::Test(options) => {
            let which = match (options.guest, options.host) {
                (true, _) => Which::Guest,
                (_, true) => Which::Host,
                _ => Which::All,
            };
            testing::run(&workspace, consent, which, options.filter.as_deref())
        }
        Command::Fsck { image } => fsck::run(image),
    }
}

fn shell_command(
    workspace: &Workspace,
    consent: Consent,
    options: &ShellOptions,
) -> Result<Outcome> {
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let logs = options
        .logs
        .clone()
        .unwrap_or_else(|| scratch.path().to_owned());
    let mut config = options.machine.config(workspace, consent, logs)?;
    if let Some(command) = &options.command {
        config.settings = config.settings.with("start", command);
    }
    let interrupt = Interrupt::watch()?;
    let runs = workspace.path("runs");
    let server = match options.access.is_reached_from(&config.network) {
        true => {
            let catalogue = workspace.path("experiments/catalogue");
            let freshness = options.machine.freshness();
            let access = &options.access;
            Some(service::start_at(
                workspace, &runs, &catalogue, freshness, access,
            )?)
        }
        false => {
            eprintln!(
                "hv: no server:/ files: the guest's network does not reach this host's loopback (--listen IP --noise is for that)"
            );
            None
        }
    };
    let _note = match &server {
        Some(server) => Some(Note::leave(workspace, server, None)?),
        None => None,
    };
    if let Some(server) = &server {
        config.settings = server.settings(config.settings);
    }
    let traced = !options.machine.trace.is_empty();
    let boot = match &server {
        Some(_) if traced => {
            let boot = run::traced_boot(&runs, &mut config)?;
            if options.logs.is_none() {
                config.logs.clone_from(&boot);
            }
            Some(boot)
        }
        None if traced => bail!("a trace goes to the file server, which this guest does not reach"),
        _ => None,
    };
    let mut machine = Machine::start(config)?;
    let outcome = match &options.command {
        Some(_) => shell::watch(
            &mut machine,
            Duration::from_secs(options.time_limit),
            &interrupt,
        )?,
        None => shell::interactive(&mut machine, &interrupt)?,
    };
    network::tell(&machine.config().network);
    if let Some(boot) = boot {
        eprintln!("hv: the trace is in {}", boot.display());
    }
    let vmm = machine.vmm_text();
    if outcome == Outcome::Died && !vmm.is_empty() {
        eprintln!(
            "hv: the hypervisor's last lines:\n{}",
            harness::last_lines(&vmm, 30)
        );
    }
    Ok(outcome)
}

/// The guest's program does the work; this end answers it.
fn bench_command(
    workspace: &Workspace,
    consent: Consent,
    options: &BenchOptions,
) -> Result<Outcome> {
    options.access.check()?;
    let peer = bench::answer(options.access.listen().ip())?;
    let (mib, rounds) = (options.mib, options.rounds);
    let peer = harness::seen_from_guest(peer);
    let file = format!("server:/home/.snfsbench-{}", std::process::id());
    let shell = ShellOptions {
        machine: options.machine.clone(),
        access: options.access.clone(),
        command: Some(format!("snfsbench -m {mib} -n {rounds} {peer} {file}")),
        time_limit: options.time_limit,
        logs: None,
    };
    shell_command(workspace, consent, &shell)
}

fn gdb_command(
    workspace: &Workspace,
    consent: Consent,
    options: &MachineOptions,
) -> Result<Outcome> {
    let logs = tempfile::tempdir().context("cannot create a temporary folder")?;
    let config = options.config(workspace, consent, logs.path().to_owned())?;
    debug::run(workspace, config, &Interrupt::watch()?)
}

fn run_command(workspace: &Workspace, consent: Consent, options: &RunOptions) -> Result<Outcome> {
    let choice = Choice {
        only: options.only.clone(),
        safe: options.safe,
        parameters: options.parameters.clone(),
        seed: options.seed,
        exactly: Vec::new(),
    };
    let folder = options
        .catalogue
        .clone()
        .unwrap_or_else(|| workspace.path("experiments/catalogue"));
    let catalogue = command::check(&folder, &choice)?;
    let logs = PathBuf::new(); // each boot of the run has its own folder
    let mut machine = options.machine.config(workspace, consent, logs)?;
    machine.by_hand.clone_from(&options.by_hand);
    network::must_reach_server(&machine.network, &options.access)?;
    let time_limit = options.time_limit.map(Duration::from_secs);
    let (outcome, _) = command::run(
        workspace,
        catalogue,
        machine,
        &Request {
            choice,
            time_limit,
            freshness: options.machine.freshness(),
            access: options.access.clone(),
            monitor: options.monitor,
            runs: options
                .runs
                .clone()
                .unwrap_or_else(|| workspace.path("runs")),
        },
    )?;
    Ok(outcome)
}

fn bitvisor_command(command: &bitvisor_config::cli::Command) -> Result<Outcome> {
    let status = bitvisor_config::cli::run(command)?;
    Ok(if status == ExitCode::SUCCESS {
        Outcome::AsExpected
    } else {
        Outcome::Unexpected
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_manual_is_sound() {
        Cli::command().debug_assert();
    }

    /// Words as a shell would split them; single quotes are all that the README uses.
    fn words(line: &str) -> Vec<String> {
        let parts = line.split('\'').enumerate();
        let words = parts.flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        words.collect()
    }

    #[test]
    fn every_command_of_the_readme_is_one_of_ours() {
        let readme = include_str!("../../README.md");
        let blocks = readme
            .split("```sh\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
        assert!(lines.len() >= 5, "the README lost its commands");
        for line in lines {
            // Where its output goes is the shell's business.
            let command = line.split(" > ").next().unwrap_or(line);
            let words = words(command);
            assert_eq!(words[..2], ["cargo", "hv"], "{line}");
            if let Err(error) = Cli::try_parse_from(&words[1..]) {
                panic!("{line}: {error}");
            }
        }
    }
}
