//! `hv experiments`: what there is to run.

use anyhow::{Result, bail};
use clap::Subcommand;
use engine::head::End;
use experiments::{Catalogue, Experiment};
use harness::Outcome;

use crate::workspace::Workspace;

/// What to tell about the catalogue.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the experiments: id, risk, title.
    List {
        /// Only these: an id, a pattern as in `hypercall-*`, or `group:NAME`.
        only: Vec<String>,
    },
    /// Show an experiment: its claim, how it could be wrong, its parameters.
    Show {
        /// Its id.
        id: String,
    },
    /// Run every script dry on the host; mistakes are told by file, line and column.
    Check,
}

/// Tells it.
///
/// # Errors
/// When the catalogue cannot be read or has no such experiment.
pub fn run(workspace: &Workspace, command: &Command) -> Result<Outcome> {
    let catalogue = Catalogue::load(&workspace.path("experiments/catalogue"))?;
    match command {
        Command::List { only } => list(&catalogue.select(only)?),
        Command::Show { id } => match catalogue.get(id) {
            Some(experiment) => show(experiment),
            None => bail!("there is no experiment `{id}` (`cargo hv experiments list` shows all)"),
        },
        Command::Check => {
            let mistakes = catalogue.check();
            mistakes
                .iter()
                .for_each(|mistake| println!("{}", harness::escaped(&mistake.to_string())));
            if !mistakes.is_empty() {
                return Ok(Outcome::Unexpected);
            }
            println!("{} experiments, no mistakes", catalogue.experiments.len());
        }
    }
    Ok(Outcome::AsExpected)
}

fn list(chosen: &[&Experiment]) {
    let mut group = "";
    for experiment in chosen {
        if experiment.head.group != group {
            group = &experiment.head.group;
            println!("{group}");
        }
        println!(
            "  {:36} {:10} {}",
            experiment.id,
            experiment.head.risk.word(),
            experiment.head.title
        );
    }
    println!("{} experiments", chosen.len());
}

fn show(experiment: &Experiment) {
    let head = &experiment.head;
    println!("{}: {}\n", experiment.id, head.title);
    let needs: Vec<String> = head.needs.iter().map(ToString::to_string).collect();
    let rows = [
        ("group", head.group.clone()),
        ("claim", head.claim.clone()),
        ("mechanism", head.mechanism.clone()),
        ("sound", head.sound.clone()),
        ("weak", head.weak.clone()),
        ("cannot tell", head.cannot_tell.clone()),
        ("risk", head.risk.word().to_owned()),
        (
            "ends with",
            match head.ends {
                End::Verdict => String::new(),
                End::Reset => "a reset of the machine".to_owned(),
            },
        ),
        ("no defect", head.no_defect.clone().unwrap_or_default()),
        ("needs", needs.join(", ")),
        (
            "without hypervisor",
            head.without_hypervisor.word().to_owned(),
        ),
        ("time limit", format!("{} s", head.time_limit_s)),
        ("sources", head.sources.join("\n")),
    ];
    for (name, text) in rows.iter().filter(|(_, text)| !text.is_empty()) {
        println!(
            "{name:>18}  {}",
            text.replace('\n', "\n                    ")
        );
    }
    for param in &head.params {
        let range = param
            .range
            .map_or_else(String::new, |(low, high)| format!(" in {low}..{high}"));
        let default = engine::head::text_of(&param.default);
        println!(
            "{:>18}  {} {} = {default}{range}: {}",
            "parameter",
            param.kind(),
            param.name,
            param.text
        );
    }
    println!(
        "{:>18}  experiments/catalogue/{}",
        "script", experiment.file
    );
}
