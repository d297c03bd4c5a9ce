//! Which experiments a run has, and with which parameters.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use engine::head::{Head, Need, Risk};
use trace_record::run::PlanItem;

use super::Planned;

/// What the person asked for.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Patterns of ids; none means all.
    pub only: Vec<String>,
    /// Leave out what may take the machine down.
    pub safe: bool,
    /// Parameters by name, for every experiment that has them.
    pub parameters: Vec<(String, String)>,
    /// Seed of the random numbers.
    pub seed: u64,
}

/// Reads the catalogue and chooses.
///
/// # Errors
/// When a script's head is wrong (with file and line), a pattern matches nothing, or a parameter is nobody's.
pub fn choose(catalogue: &Path, choice: &Choice) -> Result<Vec<Planned>> {
    let mut plan = Vec::new();
    let mut unused: Vec<&String> = choice.parameters.iter().map(|(name, _)| name).collect();
    for (id, head) in heads(catalogue)? {
        let chosen = choice.only.is_empty() || choice.only.iter().any(|glob| matches(glob, &id));
        if !chosen || (choice.safe && head.risk == Risk::MayCrash) {
            continue;
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in &choice.parameters {
            if let Some(param) = head.params.iter().find(|param| &param.name == name) {
                let value = param
                    .parse(value)
                    .map_err(|why| anyhow::anyhow!("{id}: {why}"))?;
                parameters.insert(name.clone(), value);
                unused.retain(|other| *other != name);
            }
        }
        let item = PlanItem {
            file: format!("{id}.rhai"),
            id,
            parameters,
            seed: choice.seed,
            time_limit_s: head.time_limit_s,
        };
        plan.push(Planned {
            item,
            alone: head.risk == Risk::MayCrash,
            second_network: head.needs.contains(&Need::TestDevice),
        });
    }
    if let Some(name) = unused.first() {
        bail!("no chosen experiment has a parameter `{name}`");
    }
    Ok(plan)
}

fn heads(catalogue: &Path) -> Result<Vec<(String, Head)>> {
    let mut heads = Vec::new();
    let entries = std::fs::read_dir(catalogue)
        .with_context(|| format!("cannot read the catalogue {}", catalogue.display()))?;
    for entry in entries {
        let path = entry?.path();
        let (Some(id), Some("rhai")) = (
            path.file_stem().and_then(|stem| stem.to_str()),
            path.extension().and_then(|end| end.to_str()),
        ) else {
            continue;
        };
        let source = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let head = Head::parse(&source).map_err(|error| {
            anyhow::anyhow!("{}:{}:1: {}", path.display(), error.line, error.why)
        })?;
        heads.push((id.to_owned(), head));
    }
    heads.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(heads)
}

/// Shell patterns without brackets: `*` for any text, `?` for one character.
fn matches(glob: &str, text: &str) -> bool {
    match glob.chars().next() {
        None => text.is_empty(),
        Some('*') => (0..=text.len())
            .filter(|&at| text.is_char_boundary(at))
            .any(|at| matches(&glob[1..], &text[at..])),
        Some(first) => {
            let mut rest = text.chars();
            let same = rest
                .next()
                .is_some_and(|character| first == '?' || first == character);
            same && matches(&glob[first.len_utf8()..], rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        assert!(matches("hypercall-*", "hypercall-map"));
        assert!(matches("*", ""));
        assert!(matches("a?c", "abc"));
        assert!(!matches("a?c", "ac"));
        assert!(!matches("hypercall", "hypercall-map"));
    }
}
