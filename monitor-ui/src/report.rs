//! The same data without a terminal: text, CSV or JSON lines on standard output, as it comes.
//!
//! All three go through the same model as the screen. Losses and changes of the connection are told
//! in the stream (text, JSON) or on standard error (CSV), so a reader never mistakes silence for an end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use trace_record::escape;

use crate::model::experiments::{Experiment, Stage};
use crate::model::run::{Loss, Run};
use crate::model::status::{State, status};
use crate::model::trace::Row;
use crate::model::{Model, Msg, update};
use crate::screen::Signals;
use crate::source::Source;

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line for people.
    Text,
    /// Records only, with a line of column names.
    Csv,
    /// One JSON object a line.
    Json,
}

/// The columns of the CSV form.
pub const CSV_COLUMNS: &str = "run,boot,number,seconds,tsc,cpu,side,pid,sequence,class,kind,text";

/// What was printed of a run.
#[derive(Default)]
struct Printed {
    records: u64,
    lines: u64,
    stages: Vec<Stage>,
    loss: Loss,
    complaints: usize,
}

/// Prints what is new in a model.
pub struct Printer<W> {
    form: Form,
    out: W,
    runs: BTreeMap<String, Printed>,
    state: Option<String>,
}

impl<W: Write> Printer<W> {
    /// Prints to `out`.
    ///
    /// # Errors
    /// When the column names cannot be written.
    pub fn new(form: Form, mut out: W) -> io::Result<Self> {
        if form == Form::Csv {
            writeln!(out, "{CSV_COLUMNS}")?;
        }
        Ok(Self {
            form,
            out,
            runs: BTreeMap::new(),
            state: None,
        })
    }

    /// Prints what came since the last time.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn print(&mut self, model: &Model) -> io::Result<()> {
        for run in &model.live().runs {
            self.run(run)?;
        }
        self.state(model)?;
        self.out.flush()
    }

    fn state(&mut self, model: &Model) -> io::Result<()> {
        let status = status(model);
        // Seconds that count up or down are no news.
        let word = match &status.state {
            State::Quiet(_) => "quiet".to_owned(),
            State::Reconnecting { .. } => "reconnecting".to_owned(),
            State::Connecting { .. } => "connecting".to_owned(),
            State::Failed(why) => format!("error: {why}"),
            other => other.word(),
        };
        if self.state.as_ref() == Some(&word) {
            return Ok(());
        }
        match self.form {
            Form::Text => writeln!(self.out, "-- {word}")?,
            Form::Json => writeln!(self.out, "{}", json!({"type": "state", "state": word}))?,
            Form::Csv => eprintln!("monitor-ui: {word}"),
        }
        self.state = Some(word);
        Ok(())
    }

    fn run(&mut self, run: &Run) -> io::Result<()> {
        let id = escape(run.id.as_bytes());
        let mut printed = self.runs.remove(&run.id).unwrap_or_default();
        let result = self.news(run, &id, &mut printed);
        self.runs.insert(run.id.clone(), printed);
        result
    }

    fn news(&mut self, run: &Run, id: &str, printed: &mut Printed) -> io::Result<()> {
        while printed.records < run.trace.total() {
            if let Some(row) = run.trace.row(printed.records) {
                self.record(id, row)?;
            }
            printed.records += 1;
        }
        if self.form != Form::Csv {
            while printed.lines < run.logs.total() {
                if let Some(line) = run.logs.get(printed.lines) {
                    let (origin, text) = (line.origin.word().trim(), &line.text);
                    match self.form {
                        Form::Text => {
                            writeln!(self.out, "{id} m{:02} {origin}: {text}", line.machine)?
                        }
                        _ => writeln!(
                            self.out,
                            "{}",
                            json!({"type": "log", "run": id, "boot": line.machine, "origin": origin, "text": text})
                        )?,
                    }
                }
                printed.lines += 1;
            }
            for (index, one) in run.experiments.list().iter().enumerate() {
                if printed.stages.get(index) != Some(&one.stage) {
                    self.experiment(id, one)?;
                }
                if index < printed.stages.len() {
                    printed.stages[index] = one.stage.clone();
                } else {
                    printed.stages.push(one.stage.clone());
                }
            }
        }
        if printed.loss != run.loss {
            let Loss {
                dropped,
                gaps,
                damaged,
            } = run.loss;
            let text =
                format!("lost: {dropped} dropped in the guest, {gaps} gaps, {damaged} damaged");
            match self.form {
                Form::Text => writeln!(self.out, "-- {id} {text}")?,
                Form::Json => writeln!(
                    self.out,
                    "{}",
                    json!({"type": "lost", "run": id, "dropped": dropped, "gaps": gaps, "damaged": damaged})
                )?,
                Form::Csv => eprintln!("monitor-ui: {id} {text}"),
            }
            printed.loss = run.loss;
        }
        for text in run.complaints.iter().skip(printed.complaints) {
            match self.form {
                Form::Text => writeln!(self.out, "-- {id} {text}")?,
                Form::Json => {
                    writeln!(
                        self.out,
                        "{}",
                        json!({"type": "complaint", "run": id, "text": text})
                    )?;
                }
                Form::Csv => eprintln!("monitor-ui: {id} {text}"),
            }
        }
        printed.complaints = run.complaints.len();
        Ok(())
    }

    fn record(&mut self, id: &str, row: &Row) -> io::Result<()> {
        let record = &row.record;
        let meta = &record.meta;
        let cpu = meta.cpu & 0x7f;
        let side = if meta.cpu & 0x80 == 0 {
            "guest"
        } else {
            "hypervisor"
        };
        let sign = if row.since_ns < 0 { "-" } else { "" };
        let ns = row.since_ns.unsigned_abs();
        let seconds = format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
        let (class, kind) = (record.class.name(), record.payload.kind().name());
        let text = record.payload.to_string();
        match self.form {
            Form::Text => writeln!(self.out, "{id} m{:02} {seconds} {record}", row.machine),
            Form::Csv => writeln!(
                self.out,
                "{},{},{},{seconds},{},{cpu},{side},{},{},{class},{kind},{}",
                quoted(id),
                row.machine,
                row.number,
                meta.tsc,
                meta.pid,
                meta.sequence,
                quoted(&text)
            ),
            Form::Json => {
                let object = json!({
                    "type": "record", "run": id, "boot": row.machine, "number": row.number, "ns": row.since_ns,
                    "tsc": meta.tsc, "cpu": cpu, "side": side, "pid": meta.pid, "sequence": meta.sequence,
                    "class": class, "kind": kind, "text": text,
                });
                writeln!(self.out, "{object}")
            }
        }
    }

    fn experiment(&mut self, id: &str, one: &Experiment) -> io::Result<()> {
        let (stage, verdict) = match &one.stage {
            Stage::Planned => ("planned", None),
            Stage::Running { .. } => ("running", None),
            Stage::Finished(verdict) => ("finished", Some(verdict.word())),
            Stage::Judged(verdict) => ("judged", Some(verdict.word())),
        };
        let (name, reason) = (escape(one.id.as_bytes()), escape(one.reason.as_bytes()));
        match self.form {
            Form::Json => {
                let object = json!({
                    "type": "experiment", "run": id, "boot": one.machine, "id": name, "stage": stage,
                    "verdict": verdict, "reason": reason, "took_ms": one.took_ms,
                });
                writeln!(self.out, "{object}")
            }
            _ => {
                let word = verdict.unwrap_or(stage);
                let line = format!(
                    "{id} m{:02} experiment {name}: {word} {reason}",
                    one.machine
                );
                writeln!(self.out, "{}", line.trim_end())
            }
        }
    }
}

/// A field of CSV (RFC 4180), and none that a spreadsheet would take for a formula.
fn quoted(text: &str) -> String {
    let text = match text.starts_with(['=', '+', '-', '@']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Prints until the run ended, nothing more can come, or a signal.
pub(crate) fn print(
    mut model: Model,
    source: &Source,
    form: Form,
    stop: Option<&AtomicBool>,
    notes: Option<&Receiver<String>>,
) -> Result<()> {
    let signals = Signals::listen()?;
    let started = Instant::now();
    let mut printer = match Printer::new(form, io::stdout().lock()) {
        Ok(printer) => printer,
        Err(error) => return end_of_pipe(error),
    };
    loop {
        let over = source.is_over();
        if signals.ended() || stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let next = source.next(Duration::from_millis(100));
        let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        update(&mut model, Msg::Tick(now_ms));
        for note in notes.iter().flat_map(|notes| notes.try_iter()) {
            update(&mut model, Msg::Note(note));
        }
        let came = next.is_some();
        if let Some(feed) = next {
            update(&mut model, Msg::Feed(feed));
        }
        if let Err(error) = printer.print(&model) {
            return end_of_pipe(error);
        }
        if came {
            continue;
        }
        match status(&model).state {
            State::Failed(why) => bail!("{why}"),
            State::Ended => return Ok(()),
            _ if over => return Ok(()),
            _ => {}
        }
    }
}

/// Whoever read us has enough: that is an end, not an error.
fn end_of_pipe(error: io::Error) -> Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(error).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{Feed, FileEvent, Place, RunFile};
    use trace_record::{FileHeader, Payload, RecordMeta, encode_record};

    #[test]
    fn fields_of_csv_cannot_break_out() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
        let mut bytes = Vec::new();
        FileHeader::default().encode(&mut bytes);
        let text = b"a,\"b\"\nc"[..].into();
        encode_record(&RecordMeta::default(), &Payload::Event { text }, &mut bytes);
        let place = Place {
            run: "=run".to_owned(),
            machine: Some(0),
            file: RunFile::Trace,
        };
        let mut model = Model::new("test");
        let event = FileEvent::Data { offset: 0, bytes };
        update(&mut model, Msg::Feed(Feed::File(place, event)));
        let mut out = Vec::new();
        let printer = Printer::new(Form::Csv, &mut out);
        printer
            .and_then(|mut printer| printer.print(&model))
            .unwrap();
        let out = String::from_utf8(out).unwrap();
        let row = out.lines().nth(1).unwrap();
        assert!(row.starts_with("\"'=run\",0,0,"), "{row}");
        assert!(row.ends_with(",\"event a,\"\"b\"\"\\nc\""), "{row}");
    }
}
