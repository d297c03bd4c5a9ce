//! Traces in other people's formats.

pub mod chrome;
pub mod ctf;

use harness::Outcome;
use trace_record::Payload;
use trace_record::record::CPU_HYPERVISOR;

/// What became of a trace's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Written.
    pub records: u64,
    /// Could not be read.
    pub damaged: u64,
}

impl Exported {
    /// Tells it on standard error.
    #[must_use]
    pub fn told(self) -> Outcome {
        eprintln!(
            "hv: {} records, {} damaged ones left out",
            self.records, self.damaged
        );
        if self.damaged > 0 {
            Outcome::Ours
        } else {
            Outcome::AsExpected
        }
    }
}

/// Whether the hypervisor wrote a record, and for which CPU.
fn side(cpu: u8) -> (bool, u8) {
    (cpu & CPU_HYPERVISOR != 0, cpu & !CPU_HYPERVISOR)
}

/// The numbers of a payload, by name. A kind always has the same ones: they are a format's fields.
fn numbers(payload: &Payload<'_>) -> Vec<(&'static str, u64)> {
    const REGISTERS: [&str; 4] = ["rax", "rbx", "rcx", "rdx"];
    match payload {
        Payload::ClockPair { time_ns } => vec![("time_ns", *time_ns)],
        Payload::Dropped { count } => vec![("count", *count)],
        Payload::ProbeRequest(probe) => {
            let head = [
                ("flags", u64::from(probe.flags)),
                ("count", probe.count.into()),
                ("inner", probe.inner.into()),
            ];
            head.into_iter()
                .chain(REGISTERS.into_iter().zip(probe.registers))
                .collect()
        }
        Payload::ProbeAnswer(answer) => {
            let head = [
                ("request", u64::from(answer.request)),
                ("vector", answer.vector.into()),
                ("error_code", answer.error_code),
                ("executions", answer.executions),
                ("min_ticks", answer.min_ticks),
                ("total_ticks", answer.total_ticks),
            ];
            head.into_iter()
                .chain(REGISTERS.into_iter().zip(answer.registers))
                .collect()
        }
        Payload::PageFault {
            address,
            rip,
            error_code,
        } => vec![
            ("address", *address),
            ("rip", *rip),
            ("error_code", *error_code),
        ],
        Payload::VirtioNotify { queue } => vec![("queue", (*queue).into())],
        Payload::Interrupt { vector } => vec![("vector", (*vector).into())],
        Payload::RemoteRequest { operation, .. } => vec![("operation", (*operation).into())],
        Payload::RemoteAnswer {
            request,
            status,
            bytes,
        } => vec![
            ("request", (*request).into()),
            // The bit pattern: statuses are 0 or negative.
            ("status", i64::from(*status).cast_unsigned()),
            ("bytes", *bytes),
        ],
        Payload::Switch { from, to } => vec![("from", (*from).into()), ("to", (*to).into())],
        Payload::Exit(exit) => vec![
            ("code", exit.code),
            ("info1", exit.info1),
            ("info2", exit.info2),
            ("rip", exit.rip),
            ("rax", exit.rax),
            ("ticks", exit.ticks),
        ],
        Payload::Packet { sent, wire_len, .. } => {
            vec![("sent", (*sent).into()), ("wire_len", (*wire_len).into())]
        }
        Payload::Panic { .. }
        | Payload::VirtioReset { .. }
        | Payload::Event { .. }
        | Payload::VmmLog { .. } => Vec::new(),
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! A small trace with a request, its answer, the exit between them, a fault, and text of a guest that means ill.

    use std::borrow::Cow;
    use trace_record::payload::{Exit, Probe, ProbeAnswer};
    use trace_record::{FileHeader, Payload, Reader, RecordMeta, encode_record};

    pub(crate) const EVIL: &str = "\u{1b}]0;x\u{7}\"}],<script>\n";

    pub(crate) fn trace() -> (FileHeader, Reader) {
        let header = FileHeader {
            tsc_hz: 2_000_000_000,
            first_tsc: 1000,
            first_time_ns: 1_700_000_000_500_000_000,
            hypervisor: "labvisor".into(),
            ..FileHeader::default()
        };
        let request = Payload::ProbeRequest(Probe {
            count: 1,
            inner: 1,
            registers: [7, 0, 0, 0],
            code: Cow::Borrowed(&[0x0f, 0x01, 0xd9]),
            ..Probe::default()
        });
        let answer = Payload::ProbeAnswer(ProbeAnswer {
            request: 1,
            vector: u32::MAX,
            ..ProbeAnswer::default()
        });
        let exit = Payload::Exit(Exit {
            code: 0x81,
            ticks: 400,
            ..Exit::default()
        });
        let event = Payload::Event {
            text: EVIL.as_bytes().into(),
        };
        let meta = |tsc, sequence, cpu| RecordMeta {
            tsc,
            sequence,
            cpu,
            ..RecordMeta::default()
        };
        let mut bytes = Vec::new();
        encode_record(&meta(2000, 0, 0), &event, &mut bytes);
        encode_record(&meta(3000, 1, 0), &request, &mut bytes);
        encode_record(&meta(7000, 2, 0), &answer, &mut bytes);
        // The hypervisor's records come late, as in a real trace.
        encode_record(&meta(5000, 0, 0x80), &exit, &mut bytes);
        let mut damaged = Vec::new();
        encode_record(&meta(8000, 3, 0), &event, &mut damaged);
        damaged[30] ^= 1;
        bytes.extend(damaged);
        let mut reader = Reader::new();
        reader.push(&bytes);
        (header, reader)
    }
}
