//! The experiments of a run: from its plans, the guest's verdict records and the host's results.

use serde::Deserialize;
use trace_record::run::PlanItem;
use trace_record::verdict::{Measurement, Progress, Verdict, VerdictRecord};

/// How far an experiment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In the plan.
    Planned,
    /// The guest began it.
    Running {
        /// When we heard of it, on the monitor's clock.
        heard_ms: u64,
        /// We heard of it late: it began at some time before.
        late: bool,
    },
    /// The guest ended it.
    Finished(Verdict),
    /// `hv` wrote its result, with the expectations applied.
    Judged(Verdict),
}

/// One experiment of a run.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Its id; untrusted.
    pub id: String,
    /// Title, once its result is there.
    pub title: String,
    /// In which boot.
    pub machine: u32,
    /// How far it is.
    pub stage: Stage,
    /// Why, one line; untrusted.
    pub reason: String,
    /// Findings; untrusted.
    pub detail: String,
    /// What was measured.
    pub measurements: Vec<Measurement>,
    /// How long it took, in milliseconds, if that is known.
    pub took_ms: Option<u64>,
    /// Its time limit in seconds.
    pub limit_s: Option<u32>,
}

impl Experiment {
    /// Its verdict, if there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        match self.stage {
            Stage::Finished(verdict) | Stage::Judged(verdict) => Some(verdict),
            Stage::Planned | Stage::Running { .. } => None,
        }
    }
}

/// What the monitor reads of a line of results.jsonl; the rest is the business of `experiments`.
#[derive(Deserialize)]
struct ResultLine {
    id: String,
    #[serde(default)]
    title: String,
    verdict: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    machine: u32,
    took_ms: Option<u64>,
}

/// All experiments of a run, in the order of the plan.
#[derive(Clone, Debug, Default)]
pub struct Experiments {
    list: Vec<Experiment>,
}

impl Experiments {
    /// In the order of the plan.
    pub fn list(&self) -> &[Experiment] {
        &self.list
    }

    /// How many have each verdict, mildest first; those with none are left out.
    pub fn tally(&self) -> Vec<(Verdict, usize)> {
        let count = |verdict| {
            let same = |one: &&Experiment| one.verdict() == Some(verdict);
            (verdict, self.list.iter().filter(same).count())
        };
        let all = Verdict::ALL.into_iter().map(count);
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// How many have a verdict.
    pub fn done(&self) -> usize {
        self.list
            .iter()
            .filter(|one| one.verdict().is_some())
            .count()
    }

    /// The one that runs now.
    pub fn running(&self) -> Option<&Experiment> {
        let runs = |one: &&Experiment| matches!(one.stage, Stage::Running { .. });
        self.list.iter().rev().find(runs)
    }

    /// The newest of this name in or before this boot, made if there is none.
    fn entry(&mut self, id: &str, machine: u32) -> &mut Experiment {
        let known = self
            .list
            .iter()
            .rposition(|one| one.id == id && one.machine <= machine);
        let index = known.unwrap_or_else(|| {
            self.list.push(Experiment {
                id: id.to_owned(),
                title: String::new(),
                machine,
                stage: Stage::Planned,
                reason: String::new(),
                detail: String::new(),
                measurements: Vec::new(),
                took_ms: None,
                limit_s: None,
            });
            self.list.len() - 1
        });
        &mut self.list[index]
    }

    /// A line of plan.jsonl. A boot after a crash plans what is left again.
    pub fn plan(&mut self, machine: u32, line: &str) -> Result<(), String> {
        let item: PlanItem = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let one = self.entry(&item.id, machine);
        if one.stage == Stage::Planned {
            one.machine = machine;
        }
        one.limit_s = Some(item.time_limit_s);
        Ok(())
    }

    /// A record of verdicts.hvv.
    pub fn record(&mut self, machine: u32, record: VerdictRecord, now_ms: u64, late: bool) {
        let one = self.entry(&record.experiment, machine);
        match record.progress {
            Progress::Started => {
                one.machine = machine;
                if one.verdict().is_none() {
                    one.stage = Stage::Running {
                        heard_ms: now_ms,
                        late,
                    };
                }
            }
            Progress::Finished {
                verdict,
                reason,
                detail,
                measurements,
            } => {
                if let Stage::Running {
                    heard_ms,
                    late: false,
                } = one.stage
                {
                    one.took_ms = Some(now_ms.saturating_sub(heard_ms));
                }
                // What hv wrote has the expectations applied and stands.
                if !matches!(one.stage, Stage::Judged(_)) {
                    one.stage = Stage::Finished(verdict);
                    one.reason = reason;
                }
                one.detail = detail;
                one.measurements = measurements;
            }
        }
    }

    /// A line of results.jsonl.
    pub fn result(&mut self, line: &str) -> Result<(), String> {
        let line: ResultLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let verdict = Verdict::from_word(&line.verdict)
            .ok_or_else(|| format!("\"{}\" is no verdict", line.verdict))?;
        let one = self.entry(&line.id, line.machine);
        one.machine = line.machine;
        one.stage = Stage::Judged(verdict);
        one.title = line.title;
        one.reason = line.reason;
        if one.detail.is_empty() {
            one.detail = line.detail;
        }
        one.took_ms = line.took_ms.or(one.took_ms);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(id: &str) -> String {
        format!(r#"{{"id":"{id}","file":"{id}.rhai","seed":1,"time_limit_s":20}}"#)
    }

    fn started(id: &str) -> VerdictRecord {
        VerdictRecord {
            sequence: 0,
            experiment: id.to_owned(),
            progress: Progress::Started,
        }
    }

    fn finished(id: &str, verdict: Verdict) -> VerdictRecord {
        let progress = Progress::Finished {
            verdict,
            reason: "because".into(),
            detail: "found".into(),
            measurements: Vec::new(),
        };
        VerdictRecord {
            sequence: 1,
            experiment: id.to_owned(),
            progress,
        }
    }

    #[test]
    fn planned_running_finished_judged() {
        let mut all = Experiments::default();
        all.plan(0, &plan("a")).unwrap();
        all.plan(0, &plan("b")).unwrap();
        all.record(0, started("a"), 1000, false);
        assert_eq!(all.running().unwrap().id, "a");
        all.record(0, finished("a", Verdict::Fail), 3500, false);
        assert!(all.running().is_none());
        assert_eq!(all.list()[0].took_ms, Some(2500));
        all.result(r#"{"id":"a","verdict":"XFAIL","reason":"known","took_ms":2400}"#)
            .unwrap();
        assert_eq!(all.tally(), [(Verdict::XFail, 1)]);
        assert_eq!((all.done(), all.list().len()), (1, 2));
        assert_eq!(all.list()[0].took_ms, Some(2400));
    }

    #[test]
    fn the_hosts_word_stands_whichever_comes_first() {
        let mut all = Experiments::default();
        all.result(r#"{"id":"a","verdict":"XFAIL","reason":"known","took_ms":1}"#)
            .unwrap();
        all.record(0, started("a"), 0, true);
        all.record(0, finished("a", Verdict::Fail), 0, true);
        assert_eq!(all.list()[0].verdict(), Some(Verdict::XFail));
        assert_eq!(all.list()[0].detail, "found");
    }

    #[test]
    fn no_time_is_claimed_for_what_was_heard_late() {
        let mut all = Experiments::default();
        all.record(0, started("a"), 0, true);
        all.record(0, finished("a", Verdict::Pass), 5000, false);
        assert_eq!(all.list()[0].took_ms, None);
    }

    #[test]
    fn what_a_crash_left_is_planned_again_once() {
        let mut all = Experiments::default();
        for id in ["a", "b"] {
            all.plan(0, &plan(id)).unwrap();
        }
        all.record(0, started("a"), 0, false);
        all.result(r#"{"id":"a","verdict":"CRASH","reason":"panic","machine":0,"took_ms":1}"#)
            .unwrap();
        all.plan(1, &plan("b")).unwrap();
        let places: Vec<_> = all
            .list()
            .iter()
            .map(|one| (&*one.id, one.machine))
            .collect();
        assert_eq!(places, [("a", 0), ("b", 1)]);
        assert_eq!(all.list()[0].verdict(), Some(Verdict::Crash));
    }

    #[test]
    fn lines_that_are_no_results_are_named() {
        let mut all = Experiments::default();
        assert!(all.plan(0, "{}").unwrap_err().contains("id"));
        assert!(
            all.result(r#"{"id":"a","verdict":"GREAT"}"#)
                .unwrap_err()
                .contains("GREAT")
        );
        assert!(all.list().is_empty());
    }
}
