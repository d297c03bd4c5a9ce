//! What `.config` must say so that options get the values a profile wants.

use crate::dotconfig::{DotConfig, Value};
use crate::expression::{Expression, Truth};
use crate::kconfig::{Kconfig, Kind, Symbol};
use std::collections::BTreeMap;

/// One line of `.config` that changes.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Change {
    /// Option without `CONFIG_`.
    pub name: String,
    /// Old value; `None`: it had no line.
    pub from: Option<String>,
    /// New value.
    pub to: String,
    /// Why, if the profile did not ask for it itself.
    pub because: Option<String>,
}

/// Why an option cannot get its value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Conflict {
    /// Its conditions do not hold.
    #[error("{name} needs `{condition}`, which does not hold: {holds}")]
    Depends {
        /// Option.
        name: String,
        /// Condition.
        condition: String,
        /// Values of the names in the condition.
        holds: String,
    },
    /// Another option switches it on.
    #[error("{name} cannot be off: {by} selects it; switch {by} off first")]
    Selected {
        /// Option.
        name: String,
        /// Who selects it.
        by: String,
    },
    /// Two members of a choice.
    #[error("{first} and {second} exclude each other (one choice)")]
    Choice {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A text for a switch or the other way round.
    #[error("{name} is {kind}, so `{value}` is no value for it")]
    Kind {
        /// Option.
        name: String,
        /// Type in words.
        kind: &'static str,
        /// What the profile wants.
        value: String,
    },
}

/// The result.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Lines to change, in Kconfig's order.
    pub changes: Vec<Change>,
    /// Options the tree does not know.
    pub lacking: Vec<String>,
    /// What cannot be.
    pub conflicts: Vec<Conflict>,
    /// What depends on a shell macro, so that only the tree's own `make config` knows.
    pub unknown: Vec<String>,
}

struct Solver<'a> {
    kconfig: &'a Kconfig,
    config: &'a DotConfig,
    wanted: BTreeMap<String, (Value, Option<String>)>,
}

impl Solver<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        self.wanted
            .get(name)
            .map(|(value, _)| value.clone())
            .or_else(|| self.config.get(name))
    }

    fn truth(&self, name: &str) -> Truth {
        self.truth_at(name, 0)
    }

    /// Value if there is one, else the default; options without either are off.
    fn truth_at(&self, name: &str, depth: usize) -> Truth {
        match self.value(name) {
            Some(Value::Bool(value)) => value.into(),
            Some(Value::Text(_)) => Truth::Yes,
            None => self
                .kconfig
                .symbol(name)
                .map_or(Truth::No, |symbol| self.default(symbol, depth)),
        }
    }

    fn default(&self, symbol: &Symbol, depth: usize) -> Truth {
        if depth > 16 {
            return Truth::Unknown;
        }
        if let Some(choice) = symbol.choice.map(|index| &self.kconfig.choices[index]) {
            let text = choice.default.as_deref().unwrap_or(&choice.members[0]);
            return if text.contains("$(") {
                Truth::Unknown
            } else {
                (text == symbol.name).into()
            };
        }
        for default in &symbol.defaults {
            match default
                .condition
                .as_ref()
                .map_or(Truth::Yes, |condition| self.evaluate(condition, depth))
            {
                Truth::Yes => return self.evaluate(&default.value, depth),
                Truth::Unknown => return Truth::Unknown,
                Truth::No => {}
            }
        }
        Truth::No
    }

    fn evaluate(&self, expression: &Expression, depth: usize) -> Truth {
        let text_of = |name: &str| match self.truth_at(name, depth + 1) {
            _ if matches!(self.value(name), Some(Value::Text(_))) => {
                self.value(name).map_or_else(String::new, |v| v.text())
            }
            Truth::Yes => "y".to_owned(),
            _ => "n".to_owned(),
        };
        expression.truth(&|name| self.truth_at(name, depth + 1), &text_of)
    }

    /// Adds what wanted options select, again and again until nothing is new.
    fn follow_selects(&mut self) {
        loop {
            let mut found = Vec::new();
            for (name, (value, _)) in &self.wanted {
                let Some(symbol) = self
                    .kconfig
                    .symbol(name)
                    .filter(|_| *value == Value::Bool(true))
                else {
                    continue;
                };
                for select in &symbol.selects {
                    let holds = select
                        .condition
                        .as_ref()
                        .map_or(Truth::Yes, |c| self.evaluate(c, 0));
                    if holds == Truth::Yes && self.value(&select.value) != Some(Value::Bool(true)) {
                        found.push((select.value.clone(), name.clone()));
                    }
                }
            }
            let before = self.wanted.len();
            for (target, by) in found {
                let because = Some(format!("{by} selects it"));
                self.wanted
                    .entry(target)
                    .or_insert((Value::Bool(true), because));
            }
            if self.wanted.len() == before {
                return;
            }
        }
    }

    /// Switches the other members of a choice off.
    fn settle_choices(&mut self, conflicts: &mut Vec<Conflict>) {
        for choice in &self.kconfig.choices {
            let on: Vec<&String> = choice
                .members
                .iter()
                .filter(|m| {
                    self.wanted
                        .get(*m)
                        .is_some_and(|(v, _)| *v == Value::Bool(true))
                })
                .collect();
            let [chosen, rest @ ..] = on.as_slice() else {
                continue;
            };
            for other in rest {
                conflicts.push(Conflict::Choice {
                    first: (*chosen).clone(),
                    second: (*other).clone(),
                });
            }
            let because = Some(format!("{chosen} is chosen instead"));
            for member in choice.members.iter().filter(|member| member != chosen) {
                if self.value(member) == Some(Value::Bool(true)) {
                    self.wanted
                        .entry(member.clone())
                        .or_insert((Value::Bool(false), because.clone()));
                }
            }
        }
    }

    fn judge(&self, name: &str, value: &Value, out: &mut Plan) {
        let Some(symbol) = self.kconfig.symbol(name) else {
            return;
        };
        let boolean = matches!(symbol.kind, Kind::Bool | Kind::Tristate | Kind::Unknown);
        if boolean != matches!(value, Value::Bool(_)) {
            let kind = if boolean {
                "a switch"
            } else {
                "a text or number"
            };
            out.conflicts.push(Conflict::Kind {
                name: name.to_owned(),
                kind,
                value: value.text(),
            });
            return;
        }
        if *value == Value::Bool(false) {
            for other in &self.kconfig.symbols {
                let selects = other.selects.iter().any(|select| {
                    select.value == name
                        && select
                            .condition
                            .as_ref()
                            .is_none_or(|c| self.evaluate(c, 0) == Truth::Yes)
                });
                if selects && self.truth(&other.name) == Truth::Yes {
                    out.conflicts.push(Conflict::Selected {
                        name: name.to_owned(),
                        by: other.name.clone(),
                    });
                }
            }
            return;
        }
        for condition in &symbol.depends {
            match self.evaluate(condition, 0) {
                Truth::Yes => {}
                Truth::Unknown => out.unknown.push(format!("{name}: `{condition}`")),
                Truth::No => {
                    let holds: Vec<String> = condition
                        .symbols()
                        .into_iter()
                        .map(|other| match self.truth(other) {
                            Truth::Yes => format!("{other} is on"),
                            Truth::No => format!("{other} is off"),
                            Truth::Unknown => format!("{other} is unknown"),
                        })
                        .collect();
                    out.conflicts.push(Conflict::Depends {
                        name: name.to_owned(),
                        condition: condition.to_string(),
                        holds: holds.join(", "),
                    });
                }
            }
        }
    }
}

/// Works out which lines must change so that `wanted` holds.
pub fn plan(kconfig: &Kconfig, config: &DotConfig, wanted: &BTreeMap<String, Value>) -> Plan {
    let mut out = Plan::default();
    let mut solver = Solver {
        kconfig,
        config,
        wanted: BTreeMap::new(),
    };
    for (name, value) in wanted {
        if kconfig.symbol(name).is_some() {
            solver.wanted.insert(name.clone(), (value.clone(), None));
        } else {
            out.lacking.push(name.clone());
        }
    }
    solver.follow_selects();
    solver.settle_choices(&mut out.conflicts);
    for (name, (value, _)) in &solver.wanted {
        solver.judge(name, value, &mut out);
    }
    for symbol in &kconfig.symbols {
        let Some((value, because)) = solver.wanted.get(&symbol.name) else {
            continue;
        };
        let from = config.get(&symbol.name);
        if from.as_ref() != Some(value) {
            out.changes.push(Change {
                name: symbol.name.clone(),
                from: from.map(|value| value.text()),
                to: value.text(),
                because: because.clone(),
            });
        }
    }
    out
}

/// Value of an option in a tree: its line, else its default; `None` if that is unknown.
pub fn effective(kconfig: &Kconfig, config: &DotConfig, name: &str) -> Option<bool> {
    let solver = Solver {
        kconfig,
        config,
        wanted: BTreeMap::new(),
    };
    match solver.truth(name) {
        Truth::Yes => Some(true),
        Truth::No => Some(false),
        Truth::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kconfig() -> Kconfig {
        Kconfig::parse(include_str!("../tests/samples/Kconfig"), &|_| None).expect("sound")
    }

    fn run(config: &str, wanted: &[(&str, bool)]) -> Plan {
        let wanted = wanted
            .iter()
            .map(|(name, on)| ((*name).to_owned(), Value::Bool(*on)))
            .collect();
        plan(&kconfig(), &DotConfig::parse(config), &wanted)
    }

    fn changes(plan: &Plan) -> Vec<(&str, &str)> {
        plan.changes
            .iter()
            .map(|change| (change.name.as_str(), change.to.as_str()))
            .collect()
    }

    #[test]
    fn only_what_differs_changes() {
        let plan = run(
            "CONFIG_SERIAL=y\n",
            &[("SERIAL", true), ("GUEST_LOG", true)],
        );
        assert_eq!(changes(&plan), [("GUEST_LOG", "y")]);
        assert!(plan.conflicts.is_empty() && plan.lacking.is_empty());
    }

    #[test]
    fn selects_are_followed_and_reasoned() {
        let plan = run(
            "CONFIG_NET=y\n# CONFIG_NET_VIRTIO is not set\n",
            &[("NET_CARD_B", true)],
        );
        assert_eq!(changes(&plan), [("NET_CARD_B", "y"), ("NET_VIRTIO", "y")]);
        assert_eq!(
            plan.changes[1].because.as_deref(),
            Some("NET_CARD_B selects it")
        );
    }

    #[test]
    fn conflicts_say_why() {
        let plan = run("# CONFIG_ACPI is not set\n", &[("ACPI_QUIET", true)]);
        assert_eq!(
            plan.conflicts[0].to_string(),
            "ACPI_QUIET needs `ACPI`, which does not hold: ACPI is off"
        );
        let plan = run("CONFIG_NET_CARD_B=y\n", &[("NET_VIRTIO", false)]);
        assert!(
            plan.conflicts[0]
                .to_string()
                .contains("NET_CARD_B selects it")
        );
        let plan = run("", &[("PAGING_A", true), ("PAGING_B", true)]);
        assert!(matches!(plan.conflicts[..], [Conflict::Choice { .. }]));
        let plan = run("# CONFIG_NET is not set\n", &[("NET_VIRTIO", true)]);
        assert!(
            matches!(&plan.conflicts[..], [Conflict::Depends { condition, .. }] if condition == "NET")
        );
        let wanted = BTreeMap::from([("NAME".to_owned(), Value::Bool(true))]);
        let plan = super::plan(&kconfig(), &DotConfig::default(), &wanted);
        assert!(matches!(plan.conflicts[..], [Conflict::Kind { .. }]));
    }

    #[test]
    fn a_choice_moves() {
        let plan = run(
            "# CONFIG_PAGING_A is not set\nCONFIG_PAGING_B=y\n",
            &[("PAGING_A", true)],
        );
        assert_eq!(changes(&plan), [("PAGING_A", "y"), ("PAGING_B", "n")]);
    }

    #[test]
    fn what_a_tree_lacks_is_listed() {
        assert_eq!(run("", &[("STATUS", true)]).lacking, ["STATUS"]);
    }

    #[test]
    fn defaults_count_and_macros_stay_unknown() {
        let config = DotConfig::default();
        assert_eq!(effective(&kconfig(), &config, "ACPI"), Some(true));
        assert_eq!(effective(&kconfig(), &config, "SERIAL"), Some(false));
        assert_eq!(effective(&kconfig(), &config, "64"), None);
        assert_eq!(effective(&kconfig(), &config, "NET_CARD_A"), None);
        assert_eq!(effective(&kconfig(), &config, "PAGING_B"), Some(true));
    }
}
