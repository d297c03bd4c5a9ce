//! Which experiments a run has, and with which parameters.

use anyhow::{Result, bail};
use engine::head::Need;
use experiments::{Catalogue, Experiment};
use trace_record::run::PlanItem;

use super::Planned;

/// What the person asked for.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Ids, patterns with `*`, or `group:NAME`; none means all.
    pub only: Vec<String>,
    /// Leave out what may take the machine down.
    pub safe: bool,
    /// `name=value`, for every chosen experiment that has a parameter of this name.
    pub parameters: Vec<String>,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Lines of another run's plan, to be repeated as they are, seed and parameters.
    pub exactly: Vec<PlanItem>,
}

/// Chooses.
///
/// # Errors
/// When a script is wrong (with file, line and column), a pattern names nothing, or a parameter is nobody's.
pub fn choose(catalogue: &Catalogue, choice: &Choice) -> Result<Vec<Planned>> {
    let mut mistakes: Vec<String> = catalogue.mistakes.iter().map(ToString::to_string).collect();
    let compiled = catalogue
        .experiments
        .iter()
        .filter_map(|one| engine::compile(&one.file, &one.source).err());
    mistakes.extend(compiled);
    if !mistakes.is_empty() {
        bail!("the catalogue has mistakes:\n  {}", mistakes.join("\n  "));
    }
    let chosen = catalogue.select(&choice.only)?;
    let chosen: Vec<&Experiment> = chosen
        .into_iter()
        .filter(|one| !(choice.safe && one.may_crash()))
        .collect();
    if let Some(word) = choice
        .parameters
        .iter()
        .find(|word| !chosen.iter().any(|one| has(one, word)))
    {
        bail!("no chosen experiment has the parameter of `{word}` (it looks like name=value)");
    }
    let item = |experiment: &&Experiment| -> Result<Planned> {
        let words: Vec<String> = choice
            .parameters
            .iter()
            .filter(|word| has(experiment, word))
            .cloned()
            .collect();
        let exact = choice.exactly.iter().find(|item| item.id == experiment.id);
        let item = match exact {
            Some(item) => item.clone(),
            None => experiment.plan(choice.seed, &words)?,
        };
        Ok(planned(experiment, item))
    };
    chosen.iter().map(item).collect()
}

/// An experiment's line of the plan, with what its head says about the machine.
pub fn planned(experiment: &Experiment, item: PlanItem) -> Planned {
    Planned {
        item,
        alone: experiment.may_crash(),
        second_network: experiment.head.needs.contains(&Need::TestDevice),
    }
}

/// Whether the experiment has the parameter that `name=value` sets.
fn has(experiment: &Experiment, word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| {
        experiment
            .head
            .params
            .iter()
            .any(|param| param.name == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose_from_ours(choice: &Choice) -> Result<Vec<Planned>> {
        choose(
            &Catalogue::load(&experiments::catalogue_folder()).unwrap(),
            choice,
        )
    }

    #[test]
    fn patterns_choose_and_wrong_ones_are_said() {
        let some = choose_from_ours(&Choice {
            only: vec!["hypercall-*".into()],
            ..Choice::default()
        })
        .unwrap();
        assert!(
            !some.is_empty()
                && some
                    .iter()
                    .all(|planned| planned.item.id.starts_with("hypercall-"))
        );
        assert!(
            choose_from_ours(&Choice {
                only: vec!["no-such-one".into()],
                ..Choice::default()
            })
            .is_err()
        );
    }

    #[test]
    fn a_parameter_that_nobody_has_is_said() {
        let error = choose_from_ours(&Choice {
            parameters: vec!["no-such=1".into()],
            ..Choice::default()
        })
        .unwrap_err();
        assert!(error.to_string().contains("no-such=1"), "{error}");
    }
}
