//! `hv matrix`: every planted defect on labvisor, with the experiments that must catch it.

pub mod changes;
pub mod crew;
pub mod mutants;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use clap::Args;
use experiments::matrix::{Matrix, Row};
use experiments::{Catalogue, catalogue_folder, defects, defects_file, table};
use harness::{Hypervisor, MachineConfig, Outcome};

use self::crew::{Crew, Order};
use self::mutants::Wanted;
use crate::build::{self, Freshness};
use crate::interrupt::Interrupt;
use crate::needs::Consent;
use crate::run::folder::RunFolder;
use crate::run::kept::Kept;
use crate::service;
use crate::workspace::Workspace;

/// Columns of the table.
const WIDTH: usize = 150;
/// The name of the order without a defect.
const CLEAN: &str = "clean";

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// Only these: an id, a pattern as in `quirk=*`, `group:NAME`, or an experiment; all by default.
    pub only: Vec<String>,
    /// Show the table of planted defects and run nothing.
    #[arg(long)]
    list: bool,
    /// Machines at a time [default: one for each CPU of the host].
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only the K-th of N parts, as in `2/4`.
    #[arg(long, value_name = "K/N", value_parser = parse_part)]
    part: Option<Part>,
    /// Instead: N small random changes to labvisor's exit handlers, one at a time; which does the catalogue notice?
    #[arg(long, value_name = "N", conflicts_with_all = ["only", "list", "part", "json"])]
    mutants: Option<usize>,
    /// With --mutants: which changes.
    #[arg(long, default_value_t = 1, requires = "mutants")]
    seed: u64,
    /// Instead: the changes that survived in the mutants.json of an earlier run's folder, once more.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "list", "part", "json", "mutants"])]
    survivors: Option<PathBuf>,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Take the binaries that are there, without asking cargo.
    #[arg(long)]
    no_build: bool,
    /// Where the run folders are made, one for each defect, instead of `target/matrix`.
    #[arg(long, value_name = "FOLDER")]
    runs: Option<PathBuf>,
}

/// One of several parts of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// From 1.
    number: usize,
    of: usize,
}

fn parse_part(text: &str) -> Result<Part, String> {
    let wrong = || format!("`{text}` is no part: it looks like 2/4");
    let (number, of) = text.split_once('/').ok_or_else(wrong)?;
    let part = Part {
        number: number.parse().map_err(|_| wrong())?,
        of: of.parse().map_err(|_| wrong())?,
    };
    if part.number == 0 || part.number > part.of {
        return Err(wrong());
    }
    Ok(part)
}

impl Part {
    /// Every `of`-th row: neighbours are alike and would make parts of unlike length.
    fn holds(self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

/// Runs the matrix.
///
/// # Errors
/// When something cannot be read, built or started, or a word names nothing.
pub fn run(workspace: &Workspace, consent: Consent, options: &Options) -> Result<Outcome> {
    let all = defects::load(&defects_file())?;
    let catalogue = Catalogue::load(&catalogue_folder())?;
    let named: BTreeSet<&str> = all
        .iter()
        .flat_map(|one| one.caught_by.iter().map(String::as_str))
        .collect();
    let unnamed = catalogue
        .experiments
        .iter()
        .filter(|one| !named.contains(one.id.as_str()));
    let without_defect = unnamed.map(|one| one.id.clone()).collect();
    let mut rows = defects::select(all, &options.only)?;
    if let Some(part) = options.part {
        let mut index = 0..;
        rows.retain(|_| index.next().is_some_and(|index| part.holds(index)));
    }
    if options.list {
        for row in &rows {
            println!(
                "{:9} {:44} {:6} {}",
                row.group,
                row.option(),
                row.verdict.word(),
                row.caught_by.join(" ")
            );
        }
        println!("{} planted", rows.len());
        return Ok(Outcome::AsExpected);
    }
    let freshness = Freshness::of(options.no_build);
    let disk = build::boot_disk(workspace, consent, freshness)?;
    service::build_if_needed(workspace, freshness)?;
    let runs = match &options.runs {
        Some(runs) => runs.clone(),
        None => workspace.path("target/matrix"),
    };
    let folder = RunFolder::create(&runs, SystemTime::now())?;
    let jobs = options.jobs.unwrap_or_else(cpus);
    let wanted = match (&options.survivors, options.mutants) {
        (Some(file), _) => Some(Wanted::Survivors(file)),
        (None, Some(count)) => Some(Wanted::Random(count, options.seed)),
        (None, None) => None,
    };
    if let Some(wanted) = wanted {
        return mutants::run(workspace, &wanted, jobs, folder.path());
    }

    // Where the catalogue lacks an experiment, its row is not run; that is a finding, too.
    let known = |ids: &[String]| -> Vec<String> {
        let known = ids.iter().filter(|id| catalogue.get(id).is_some());
        known.cloned().collect()
    };
    let clean: Vec<String> = rows
        .iter()
        .flat_map(|row| row.caught_by.iter().cloned())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut orders = vec![Order {
        name: CLEAN.to_owned(),
        labvisor: String::new(),
        experiments: known(&clean),
        shared: true,
        until_found: false,
    }];
    orders.extend(rows.iter().map(|row| Order {
        name: format!("{}-{}", row.kind.word(), row.id),
        labvisor: row.option(),
        experiments: known(&row.caught_by),
        shared: false,
        until_found: false,
    }));
    orders.retain(|order| !order.experiments.is_empty());

    let machine = MachineConfig::new(Hypervisor::Labvisor, disk, PathBuf::new());
    let kept = Kept::of(workspace, &machine)?;
    let crew = Crew {
        workspace,
        machine,
        kept: kept.as_ref(),
        catalogue: &catalogue,
        folder: folder.path(),
        jobs,
        interrupt: &Interrupt::watch()?,
    };
    eprintln!(
        "hv: {} defects on labvisor, {} machines at a time, run folders in {}",
        rows.len(),
        crew.jobs,
        folder.path().display()
    );
    let start = Instant::now();
    let mut matrix = Matrix {
        without_defect,
        ..Matrix::default()
    };
    let mut judged: Vec<Option<Row>> = rows.iter().map(|_| None).collect();
    let mut done = 0;
    crew.work(orders, |name, run| {
        matrix.machines += run.info.machines;
        if name == CLEAN {
            matrix.add_clean(&clean, &run.results);
            eprintln!("hv: without a defect: {}", table::counts(&run.results));
            return;
        }
        done += 1;
        let at = rows
            .iter()
            .position(|row| format!("{}-{}", row.kind.word(), row.id) == name);
        if let Some(at) = at {
            let row = Row::judge(&rows[at], &run.results, run.info.took_ms.unwrap_or(0));
            eprintln!("{}", progress(done, rows.len(), &row));
            judged[at] = Some(row);
        }
    })?;
    if crew.interrupt.requested() {
        return Ok(Outcome::Interrupted);
    }
    matrix.rows = rows
        .iter()
        .zip(judged)
        .map(|(planted, row)| row.unwrap_or_else(|| Row::judge(planted, &[], 0)))
        .collect();
    matrix.compare_rows();
    matrix.took_ms = u64::try_from(start.elapsed().as_millis())?;
    std::fs::write(folder.path().join("matrix.json"), matrix.json())
        .context("cannot write matrix.json")?;
    if options.json {
        println!("{}", matrix.json());
    } else {
        println!("\n{}", matrix.text(WIDTH));
    }
    Ok(match matrix.exit_status() {
        0 => Outcome::AsExpected,
        1 => Outcome::Unexpected,
        _ => Outcome::Ours,
    })
}

fn progress(done: usize, total: usize, row: &Row) -> String {
    let worst = row.cells.iter().max_by_key(|cell| cell.catch);
    let (verdict, reason) = worst.map_or(("-", ""), |cell| {
        (cell.verdict.unwrap_or("-"), cell.reason.as_str())
    });
    let seconds = row.took_ms as f64 / 1000.0;
    let line = format!(
        "[{done:>3}/{total}] {:7} {:40} {seconds:5.1} s  {verdict}: {reason}",
        row.catch().word(),
        row.option
    );
    table::one_line(&line, WIDTH)
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_and_whole() {
        let parts: Vec<Part> = (1..=3)
            .map(|number| parse_part(&format!("{number}/3")).unwrap())
            .collect();
        for index in 0..10 {
            assert_eq!(parts.iter().filter(|part| part.holds(index)).count(), 1);
        }
        for wrong in ["", "1", "0/2", "3/2", "a/b", "1/0"] {
            assert!(parse_part(wrong).is_err(), "{wrong}");
        }
    }
}
