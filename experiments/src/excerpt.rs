//! The part of a boot's trace that belongs to one experiment: hx writes `begin ID` and `end ID` events.

use std::{collections::BTreeMap, fs, path::Path};

use trace_record::{FileHeader, Payload, Reader, Record, run};

/// Records of one experiment that are kept at most: the last ones.
const KEPT: usize = 20_000;

/// What a trace holds of each experiment.
#[derive(Clone, Debug, Default)]
pub struct Excerpts(BTreeMap<String, Vec<Record<'static>>>);

impl Excerpts {
    /// Of a boot's folder. What cannot be read is absent: a trace is evidence, not a condition.
    pub fn of_boot(folder: &Path) -> Excerpts {
        let bytes = fs::read(folder.join(run::TRACE)).unwrap_or_default();
        match FileHeader::decode(&bytes) {
            Ok((_, length)) => Excerpts::of_records(&bytes[length..]),
            Err(_) => Excerpts::default(),
        }
    }

    fn of_records(bytes: &[u8]) -> Excerpts {
        let mut excerpts = Excerpts::default();
        let mut reader = Reader::new();
        reader.push(bytes);
        let mut current: Option<String> = None;
        while let Some(record) = reader.next_record() {
            let Ok(record) = record else { continue };
            if let Payload::Event { text } = &record.payload {
                let text = String::from_utf8_lossy(text);
                if let Some(id) = text.strip_prefix("begin ") {
                    current = Some(id.to_owned());
                } else if text.starts_with("end ") {
                    current = None;
                }
            }
            if let Some(id) = &current {
                let records = excerpts.0.entry(id.clone()).or_default();
                if records.len() == KEPT {
                    records.remove(0);
                }
                records.push(record.into_owned());
            }
        }
        excerpts
    }

    /// The last `count` records of an experiment that tell of it: its requests, answers, exits, events, and the VMM's log.
    pub fn last(&self, id: &str, count: usize) -> Vec<&Record<'static>> {
        let telling = |record: &&Record<'static>| {
            !matches!(
                record.payload,
                Payload::PageFault { .. }
                    | Payload::ClockPair { .. }
                    | Payload::Switch { .. }
                    | Payload::Interrupt { .. }
                    | Payload::RemoteRequest { .. }
                    | Payload::RemoteAnswer { .. }
            )
        };
        let records: Vec<_> = self
            .0
            .get(id)
            .into_iter()
            .flatten()
            .filter(telling)
            .collect();
        records[records.len().saturating_sub(count)..].to_vec()
    }

    /// What an experiment asked of the machine and what it got, without what differs from boot to boot: time, order
    /// numbers, costs.
    pub fn dialogue(&self, id: &str) -> Vec<String> {
        self.0
            .get(id)
            .into_iter()
            .flatten()
            .filter_map(line_of_dialogue)
            .collect()
    }
}

fn line_of_dialogue(record: &Record<'_>) -> Option<String> {
    match &record.payload {
        Payload::ProbeRequest(_) => Some(record.payload.to_string()),
        Payload::ProbeAnswer(answer) => {
            let [rax, rbx, rcx, rdx] = answer.registers;
            let end = match answer.vector {
                u32::MAX => "done".to_owned(),
                vector => format!("vector {vector} error {:#x}", answer.error_code),
            };
            Some(format!(
                "answer {end} at +{} rax={rax:#x} rbx={rbx:#x} rcx={rcx:#x} rdx={rdx:#x}",
                answer.rip_offset
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_record::{RecordMeta, encode_record};

    fn trace(payloads: &[Payload<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            encode_record(&RecordMeta::default(), payload, &mut bytes);
        }
        bytes
    }

    fn event(text: &str) -> Payload<'_> {
        Payload::Event {
            text: text.as_bytes().into(),
        }
    }

    #[test]
    fn records_belong_to_the_experiment_that_runs() {
        let bytes = trace(&[
            event("before"),
            event("begin a"),
            event("of a"),
            Payload::Interrupt { vector: 32 },
            event("end a"),
            event("between"),
            event("begin b"),
            event("of b"),
        ]);
        let excerpts = Excerpts::of_records(&bytes);
        let texts = |id| -> Vec<String> {
            let records = excerpts.last(id, 9);
            records.iter().map(|one| one.payload.to_string()).collect()
        };
        assert_eq!(texts("a"), ["event begin a", "event of a"]);
        assert_eq!(texts("b"), ["event begin b", "event of b"]);
        assert!(texts("c").is_empty());
    }

    #[test]
    fn a_dialogue_holds_no_time_and_no_order() {
        let answer = |request, ticks| {
            Payload::ProbeAnswer(trace_record::payload::ProbeAnswer {
                request,
                vector: u32::MAX,
                min_ticks: ticks,
                ..Default::default()
            })
        };
        let one = Excerpts::of_records(&trace(&[event("begin a"), answer(1, 10)]));
        let other = Excerpts::of_records(&trace(&[event("begin a"), answer(2, 99)]));
        assert_eq!(one.dialogue("a"), other.dialogue("a"));
        assert_eq!(one.dialogue("a").len(), 1);
    }
}
