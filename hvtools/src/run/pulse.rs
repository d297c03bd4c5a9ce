//! The guest's heartbeat, as the host sees it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trace_record::payload::PROBE_INTERRUPTS_OFF;
use trace_record::{FileHeader, Payload, Reader, run};

/// Tells how long a guest has been silent.
///
/// The guest's kernel writes a clock record into its trace every second, whatever its programs do; each is a request
/// that the server answered. So the growth of the files that only this boot writes is its pulse.
#[derive(Debug)]
pub struct Pulse {
    files: [PathBuf; 2],
    sizes: [u64; 2],
    last: Option<Instant>,
}

impl Pulse {
    /// Of the boot with this folder.
    #[must_use]
    pub fn of(folder: &Path) -> Pulse {
        let files = [folder.join(run::TRACE), folder.join(run::VERDICTS)];
        Pulse {
            files,
            sizes: [0; 2],
            last: None,
        }
    }

    /// How long nothing came; `None` before the first sign of life.
    pub fn silence(&mut self) -> Option<Duration> {
        let sizes = self
            .files
            .each_ref()
            .map(|file| std::fs::metadata(file).map_or(0, |meta| meta.len()));
        if sizes != self.sizes {
            self.sizes = sizes;
            self.last = Some(Instant::now());
        }
        self.last.map(|last| last.elapsed())
    }
}

/// Whether the last thing that a boot's trace tells is a request that runs with interrupts off: then the silence was
/// declared. Such a request is on the host before it is executed only if it was written ahead.
#[must_use]
pub fn silence_is_declared(folder: &Path) -> bool {
    let bytes = std::fs::read(folder.join(run::TRACE)).unwrap_or_default();
    let Ok((_, length)) = FileHeader::decode(&bytes) else {
        return false;
    };
    let mut reader = Reader::new();
    reader.push(&bytes[length..]);
    let mut declared = None;
    while let Some(record) = reader.next_record() {
        let Ok(record) = record else { continue };
        match &record.payload {
            Payload::ProbeRequest(probe) => {
                let off = probe.flags & PROBE_INTERRUPTS_OFF != 0;
                declared = off.then_some(record.meta.sequence);
            }
            Payload::ProbeAnswer(answer) if declared == Some(answer.request) => declared = None,
            _ => {}
        }
    }
    declared.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_begins_with_the_first_byte_and_anew_with_each_further_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut pulse = Pulse::of(folder.path());
        assert_eq!(pulse.silence(), None);
        std::fs::write(folder.path().join(run::TRACE), b"x").unwrap();
        assert!(pulse.silence().unwrap() < Duration::from_secs(1));
        pulse.last = Instant::now().checked_sub(Duration::from_secs(60));
        assert!(pulse.silence().unwrap() >= Duration::from_secs(60));
        std::fs::write(folder.path().join(run::VERDICTS), b"y").unwrap();
        assert!(pulse.silence().unwrap() < Duration::from_secs(1));
    }

    #[test]
    fn only_an_unanswered_request_with_interrupts_off_declares_a_silence() {
        use trace_record::payload::{Probe, ProbeAnswer};
        use trace_record::{RecordMeta, encode_record};
        let folder = tempfile::tempdir().unwrap();
        let declared = |payloads: &[Payload<'_>]| {
            let mut bytes = Vec::new();
            FileHeader::default().encode(&mut bytes);
            for (sequence, payload) in (0..).zip(payloads) {
                let meta = RecordMeta {
                    sequence,
                    ..RecordMeta::default()
                };
                encode_record(&meta, payload, &mut bytes);
            }
            std::fs::write(folder.path().join(run::TRACE), bytes).unwrap();
            silence_is_declared(folder.path())
        };
        let request = |flags| {
            Payload::ProbeRequest(Probe {
                flags,
                ..Probe::default()
            })
        };
        let answer = |request| {
            Payload::ProbeAnswer(ProbeAnswer {
                request,
                ..ProbeAnswer::default()
            })
        };
        assert!(!declared(&[]));
        assert!(declared(&[request(PROBE_INTERRUPTS_OFF)]));
        assert!(!declared(&[request(0)]));
        assert!(!declared(&[request(PROBE_INTERRUPTS_OFF), answer(0)]));
        assert!(declared(&[
            request(0),
            answer(0),
            request(PROBE_INTERRUPTS_OFF)
        ]));
    }
}
