//! What a person should look at, found by rules. A new rule is one more line in [`RULES`].

use trace_record::verdict::Verdict;

use super::logs::Origin;
use super::run::Run;

/// Looks at a run and says what is wrong, if anything is.
pub struct Rule {
    /// Its name, for tests and help.
    pub name: &'static str,
    look: fn(&Run) -> Option<String>,
}

/// All rules, gravest first.
pub const RULES: &[Rule] = &[
    Rule {
        name: "machine-died",
        look: |run| {
            let dead =
                |verdict| matches!(verdict, Verdict::Crash | Verdict::Hang | Verdict::Wedged);
            let all = run.experiments.list().iter();
            let ids: Vec<&str> = all
                .filter(|one| one.verdict().is_some_and(dead))
                .map(|one| one.id.as_str())
                .collect();
            some(&ids, |ids| {
                format!(
                    "took its machine down: {}",
                    trace_record::escape(ids.as_bytes())
                )
            })
        },
    },
    Rule {
        name: "guest-panic",
        look: |run| {
            let mut boots = run.boots.iter();
            boots.find_map(|(number, boot)| {
                let text = boot.panic.as_ref()?;
                Some(format!("the guest of boot {number} panicked: {text}"))
            })
        },
    },
    Rule {
        name: "vmm-panic",
        look: |run| {
            let mut lines = run.logs.of(&[Origin::Vmm, Origin::VmmTraced]);
            let line = lines.find(|line| {
                let text = line.text.to_ascii_lowercase();
                text.starts_with("panic") || text.starts_with("labvisor: panic")
            })?;
            Some(format!("the hypervisor panicked: {}", line.text))
        },
    },
    Rule {
        name: "lost-records",
        look: |run| {
            let loss = run.loss;
            (loss.total() > 0).then(|| {
                format!(
                    "lost records: {} dropped in the guest, {} gaps, {} damaged",
                    loss.dropped, loss.gaps, loss.damaged
                )
            })
        },
    },
    Rule {
        name: "failed",
        look: |run| {
            let bad = |verdict: Verdict| matches!(verdict.exit_status(), 1 | 2);
            let all = run.experiments.list().iter();
            let ids: Vec<&str> = all
                .filter(|one| one.verdict().is_some_and(bad))
                .map(|one| one.id.as_str())
                .collect();
            some(&ids, |ids| {
                format!("not as expected: {}", trace_record::escape(ids.as_bytes()))
            })
        },
    },
    Rule {
        name: "unanswered",
        look: |run| {
            let (newest, _) = run.newest()?;
            let older = run
                .boots
                .keys()
                .filter(|number| **number < newest || run.ended());
            let count: usize = older
                .map(|number| run.calls.unanswered(*number).count())
                .sum();
            (count > 0).then(|| format!("{count} probes of finished boots were never answered"))
        },
    },
    Rule {
        name: "complaints",
        look: |run| run.complaints.first().cloned(),
    },
];

fn some(ids: &[&str], say: impl Fn(String) -> String) -> Option<String> {
    (!ids.is_empty()).then(|| say(ids.join(", ")))
}

/// What the rules found.
pub fn warnings(run: &Run) -> Vec<(&'static str, String)> {
    let found = RULES.iter().map(|rule| (rule.name, (rule.look)(run)));
    found
        .filter_map(|(name, text)| Some((name, text?)))
        .collect()
}
