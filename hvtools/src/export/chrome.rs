//! The trace-event format, JSON object form ("Trace Event Format", the Chromium project), which Perfetto reads, too.
//!
//! Process 1 is the guest, with a thread for each of its processes; process 2 is the hypervisor, with a thread for each
//! CPU. A request and its answer are one span, and so is an exit; everything else is an instant.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Map, Value, json};
use trace_record::payload::Probe;
use trace_record::{FileHeader, Payload, Reader, Record, escape};

use super::{Exported, numbers, side};

const GUEST: u32 = 1;
const HYPERVISOR: u32 = 2;

/// Writes everything that the reader has.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    header: &FileHeader,
    reader: &mut Reader,
    mut out: impl Write,
) -> io::Result<Exported> {
    let mut writer = Writer {
        hz: header.tsc_hz.max(1),
        open: BTreeMap::new(),
        out: &mut out,
        comma: false,
    };
    let mut exported = Exported::default();
    write!(writer.out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    for (process, name) in [
        (GUEST, "guest".to_owned()),
        (HYPERVISOR, escape(header.hypervisor.as_bytes())),
    ] {
        writer.event(
            &json!({"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}}),
        )?;
    }
    while let Some(record) = reader.next_record() {
        match record {
            Ok(record) => {
                exported.records += 1;
                writer.record(&record)?;
            }
            Err(_) => exported.damaged += 1,
        }
    }
    writer.unanswered()?;
    writeln!(writer.out, "\n]}}")?;
    Ok(exported)
}

/// A request that waits for its answer.
struct Open {
    tsc: u64,
    name: String,
    thread: u32,
    args: Map<String, Value>,
}

struct Writer<'a, W> {
    hz: u64,
    open: BTreeMap<(u8, u32), Open>,
    out: &'a mut W,
    comma: bool,
}

impl<W: Write> Writer<'_, W> {
    fn event(&mut self, event: &Value) -> io::Result<()> {
        let comma = if self.comma { "," } else { "" };
        self.comma = true;
        write!(self.out, "{comma}\n{event}")
    }

    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        let (hypervisor, cpu) = side(record.meta.cpu);
        let name = record.payload.kind().name();
        let mut args = args(&record.payload);
        let thread = if hypervisor {
            u32::from(cpu)
        } else {
            u32::from(record.meta.pid)
        };
        let process = if hypervisor { HYPERVISOR } else { GUEST };
        match &record.payload {
            Payload::ProbeRequest(probe) => {
                let name = format!("{} {}", record.class.name(), code(probe));
                let open = Open {
                    tsc: record.meta.tsc,
                    name,
                    thread,
                    args,
                };
                self.open
                    .insert((record.meta.cpu, record.meta.sequence), open);
                Ok(())
            }
            Payload::ProbeAnswer(answer) => {
                match self.open.remove(&(record.meta.cpu, answer.request)) {
                    Some(mut request) => {
                        for (name, value) in args {
                            request.args.insert(format!("answer_{name}"), value);
                        }
                        let ticks = record.meta.tsc.saturating_sub(request.tsc);
                        self.span(
                            GUEST,
                            request.thread,
                            &request.name,
                            request.tsc,
                            ticks,
                            request.args,
                        )
                    }
                    None => self.instant(process, thread, name, record.meta.tsc, args),
                }
            }
            Payload::Exit(exit) => {
                args.insert("cpu".to_owned(), cpu.into());
                let name = format!("exit {:#x}", exit.code);
                self.span(process, thread, &name, record.meta.tsc, exit.ticks, args)
            }
            _ => self.instant(process, thread, name, record.meta.tsc, args),
        }
    }

    fn span(
        &mut self,
        process: u32,
        thread: u32,
        name: &str,
        tsc: u64,
        ticks: u64,
        args: Map<String, Value>,
    ) -> io::Result<()> {
        let (ts, dur) = (self.microseconds(tsc), self.microseconds(ticks));
        self.event(&json!({
            "ph": "X", "name": name, "pid": process, "tid": thread, "ts": ts, "dur": dur, "args": args
        }))
    }

    fn instant(
        &mut self,
        process: u32,
        thread: u32,
        name: &str,
        tsc: u64,
        args: Map<String, Value>,
    ) -> io::Result<()> {
        let ts = self.microseconds(tsc);
        self.event(&json!({
            "ph": "i", "s": "t", "name": name, "pid": process, "tid": thread, "ts": ts, "args": args
        }))
    }

    /// Requests whose answer never came: the machine may have died of them.
    fn unanswered(&mut self) -> io::Result<()> {
        for open in std::mem::take(&mut self.open).into_values() {
            let name = format!("{} (no answer)", open.name);
            self.instant(GUEST, open.thread, &name, open.tsc, open.args)?;
        }
        Ok(())
    }

    /// Of a TSC: since the machine's start.
    fn microseconds(&self, ticks: u64) -> f64 {
        ticks as f64 * 1e6 / self.hz as f64
    }
}

/// 64-bit values as text: JavaScript's numbers would round them.
fn args(payload: &Payload<'_>) -> Map<String, Value> {
    let mut args: Map<String, Value> = numbers(payload)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), format!("{value:#x}").into()))
        .collect();
    args.insert("text".to_owned(), payload.to_string().into());
    args
}

fn code(probe: &Probe<'_>) -> String {
    probe
        .code
        .iter()
        .take(8)
        .fold(String::new(), |mut text, byte| {
            text += &format!("{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::samples;

    #[test]
    fn requests_and_exits_are_spans_and_all_of_it_is_json() {
        let (header, mut reader) = samples::trace();
        let mut out = Vec::new();
        let exported = write(&header, &mut reader, &mut out).unwrap();
        assert_eq!((exported.records, exported.damaged), (4, 1));
        let value: Value = serde_json::from_slice(&out).unwrap();
        let events = value["traceEvents"].as_array().unwrap();
        let spans: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(spans.len(), 2, "{events:?}");
        let hypercall = spans.iter().find(|span| span["pid"] == GUEST).unwrap();
        // From tick 3000 to 7000 at 2 GHz.
        assert_eq!(
            (hypercall["ts"].as_f64(), hypercall["dur"].as_f64()),
            (Some(1.5), Some(2.0))
        );
        assert_eq!(hypercall["name"], "hypercall 0f01d9");
        assert_eq!(hypercall["args"]["rax"], "0x7");
        let exit = spans.iter().find(|span| span["pid"] == HYPERVISOR).unwrap();
        assert_eq!(
            (exit["ts"].as_f64(), exit["dur"].as_f64()),
            (Some(2.5), Some(0.2))
        );
        let event = events.iter().find(|event| event["ph"] == "i").unwrap();
        assert!(event["args"]["text"].as_str().unwrap().contains("<script>"));
    }

    #[test]
    fn a_request_without_an_answer_is_told() {
        let (header, _) = samples::trace();
        let mut bytes = Vec::new();
        let request = Payload::ProbeRequest(Probe::default());
        trace_record::encode_record(&trace_record::RecordMeta::default(), &request, &mut bytes);
        let mut reader = Reader::new();
        reader.push(&bytes);
        let mut out = Vec::new();
        write(&header, &mut reader, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("(no answer)"), "{text}");
    }
}
