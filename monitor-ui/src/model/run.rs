//! One run: what its files said so far.
//!
//! [`Run`] is the picture, which a pause keeps a copy of; [`Intake`] is what reading needs, and goes on.

use std::collections::BTreeMap;

use serde::Deserialize;
use trace_record::header::HeaderError;
use trace_record::record::CPU_HYPERVISOR;
use trace_record::verdict::{VerdictError, VerdictRecord};
use trace_record::{Class, FileHeader, Payload, Reader, Record, escape};

use super::calls::Calls;
use super::experiments::Experiments;
use super::logs::{Logs, Origin};
use super::rate::Rate;
use super::remote::{Moment, RemoteLog};
use super::trace::{Row, TraceLog};
use crate::feed::{FileEvent, Place, RunFile};

/// Longest run.json and longest line of a jsonl file that is read.
const TEXT_MAX: usize = 1 << 20;
/// Complaints kept.
const COMPLAINTS: usize = 20;

/// What the monitor reads of run.json; the rest is the business of `experiments`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RunInfo {
    /// `labvisor`, `none` or `bitvisor`.
    pub hypervisor: String,
    /// Which image, which defects.
    pub hypervisor_detail: String,
    /// Milliseconds from start to end; nothing while the run is on.
    pub took_ms: Option<u64>,
    /// Experiments planned.
    pub planned: u64,
    /// How often the stage "Loading MBR." was tried again.
    pub mbr_retries: u32,
    /// How often the server had to be started again.
    pub server_restarts: u32,
    /// Exit status.
    pub exit_status: Option<u8>,
    /// Ticks are those of an emulation.
    pub emulated: bool,
}

/// One boot.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The head of its trace.
    pub header: Option<FileHeader>,
    /// The kernel's last words, escaped.
    pub panic: Option<String>,
}

/// Records that never reach the table, by where they were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Dropped in the guest because a buffer was full; the guest says so.
    pub dropped: u64,
    /// Sequence numbers that never came.
    pub gaps: u64,
    /// Records that are damaged, and bytes that are none.
    pub damaged: u64,
}

impl Loss {
    /// All of them.
    pub fn total(self) -> u64 {
        self.dropped + self.gaps + self.damaged
    }
}

/// The picture of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Its id; untrusted.
    pub id: String,
    /// run.json, as far as it exists.
    pub info: Option<RunInfo>,
    /// Its boots.
    pub boots: BTreeMap<u32, Boot>,
    /// Its records.
    pub trace: TraceLog,
    /// Its probes.
    pub calls: Calls,
    /// Its experiments.
    pub experiments: Experiments,
    /// Its consoles.
    pub logs: Logs,
    /// Its remote operations.
    pub remote: RemoteLog,
    /// Records by class.
    pub by_class: [u64; Class::ALL.len()],
    /// What was lost.
    pub loss: Loss,
    /// Files that cannot be read or say nonsense, escaped.
    pub complaints: Vec<String>,
    /// Records by second of the monitor's clock.
    pub rate: Rate,
    /// When bytes came last, on the monitor's clock.
    pub last_ms: Option<u64>,
    /// Files that were not yet told to their present end.
    pub behind: usize,
    /// Nothing more can come: the source was a file and was read to its end.
    pub read_out: bool,
}

impl Run {
    /// A run of this id, of which nothing is known yet.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    /// Whether it is over: its run.json says so, or its file was read to the end.
    pub fn ended(&self) -> bool {
        let over = self
            .info
            .as_ref()
            .is_some_and(|info| info.took_ms.is_some());
        (over || self.read_out) && self.behind == 0
    }

    /// The newest boot.
    pub fn newest(&self) -> Option<(u32, &Boot)> {
        self.boots
            .last_key_value()
            .map(|(number, boot)| (*number, boot))
    }

    fn complain(&mut self, text: String) {
        if self.complaints.len() < COMPLAINTS && !self.complaints.contains(&text) {
            self.complaints.push(text);
        }
    }
}

/// What reading the files of a run needs.
#[derive(Debug, Default)]
pub struct Intake {
    files: BTreeMap<Place, File>,
}

#[derive(Debug, Default)]
struct File {
    at: u64,
    caught_up: bool,
    buffer: Vec<u8>,
    records: Option<Reader>,
    next_sequence: BTreeMap<u8, u32>,
    broken: bool,
    /// Of a trace.
    header: Option<FileHeader>,
    /// What was told of it before the file began anew: the next sequence number by CPU.
    told: BTreeMap<u8, u32>,
}

impl Intake {
    /// A file is about to be read.
    pub fn expect(&mut self, run: &mut Run, place: &Place) {
        self.files.entry(place.clone()).or_default();
        self.count_behind(run);
    }

    fn count_behind(&self, run: &mut Run) {
        run.behind = self.files.values().filter(|file| !file.caught_up).count();
    }

    /// Takes in what happened to a file.
    pub fn take(&mut self, run: &mut Run, place: &Place, event: FileEvent, now_ms: u64) {
        let file = self.files.entry(place.clone()).or_default();
        let machine = place.machine.unwrap_or(0);
        match event {
            FileEvent::Data { offset, bytes } => {
                if offset != file.at {
                    run.complain(format!(
                        "{}: bytes {} to {offset} never came",
                        place.file.name(),
                        file.at
                    ));
                }
                file.at = offset + bytes.len() as u64;
                run.last_ms = Some(now_ms);
                if !file.broken {
                    file.data(run, machine, place.file, &bytes, now_ms);
                }
            }
            // Told of a file that does not exist yet, too; then it is at its end, which is nothing.
            FileEvent::Anew => {
                if let Some(origin) = origin(place.file) {
                    run.logs.flush(machine, origin);
                }
                if file.at > 0 {
                    run.complain(format!(
                        "{}: shorter than the {} bytes that were read, or another file; read from its beginning",
                        place.file.name(),
                        file.at
                    ));
                }
                let mut told = std::mem::take(&mut file.told);
                for (cpu, next) in &file.next_sequence {
                    let told = told.entry(*cpu).or_default();
                    *told = (*told).max(*next);
                }
                *file = File {
                    caught_up: true,
                    header: file.header.take(),
                    told,
                    ..File::default()
                };
            }
            FileEvent::End => file.caught_up = true,
            FileEvent::Refused(why) => {
                file.caught_up = true;
                run.complain(format!("{}: {}", place.file.name(), escape(why.as_bytes())));
            }
        }
        self.count_behind(run);
    }
}

fn origin(file: RunFile) -> Option<Origin> {
    match file {
        RunFile::VmmLog => Some(Origin::Vmm),
        RunFile::Console => Some(Origin::Guest),
        _ => None,
    }
}

impl File {
    fn data(&mut self, run: &mut Run, machine: u32, file: RunFile, bytes: &[u8], now_ms: u64) {
        match file {
            RunFile::VmmLog => run.logs.push(machine, Origin::Vmm, bytes),
            RunFile::Console => run.logs.push(machine, Origin::Guest, bytes),
            RunFile::Trace => self.trace(run, machine, bytes, now_ms),
            RunFile::Verdicts => self.verdicts(run, machine, bytes, now_ms),
            RunFile::Plan => self.lines(run, file, bytes, |run, line| {
                run.experiments.plan(machine, line)
            }),
            RunFile::Results => {
                self.lines(run, file, bytes, |run, line| run.experiments.result(line));
            }
            RunFile::Info => {
                self.buffer.extend_from_slice(bytes);
                if self.buffer.len() > TEXT_MAX {
                    self.give_up(run, file, "too long");
                } else if let Ok(info) = serde_json::from_slice(&self.buffer) {
                    run.info = Some(info);
                }
            }
        }
    }

    fn give_up(&mut self, run: &mut Run, file: RunFile, why: &str) {
        self.broken = true;
        self.buffer = Vec::new();
        run.complain(format!("{}: {why}; nothing behind it is read", file.name()));
    }

    fn lines(
        &mut self,
        run: &mut Run,
        file: RunFile,
        bytes: &[u8],
        each: impl Fn(&mut Run, &str) -> Result<(), String>,
    ) {
        self.buffer.extend_from_slice(bytes);
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if line.trim().is_empty() {
                continue;
            }
            if let Err(why) = each(run, line.trim()) {
                run.complain(format!("{}: {}", file.name(), escape(why.as_bytes())));
            }
        }
        if self.buffer.len() > TEXT_MAX {
            self.give_up(run, file, "a line is too long");
        }
    }

    fn verdicts(&mut self, run: &mut Run, machine: u32, bytes: &[u8], now_ms: u64) {
        self.buffer.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            match VerdictRecord::decode(&self.buffer[done..]) {
                Ok((record, len)) => {
                    done += len;
                    run.experiments
                        .record(machine, record, now_ms, !self.caught_up);
                }
                Err(VerdictError::Incomplete) => break,
                Err(error) => {
                    run.loss.damaged += 1;
                    self.give_up(run, RunFile::Verdicts, &error.to_string());
                    return;
                }
            }
        }
        self.buffer.drain(..done);
    }

    fn trace(&mut self, run: &mut Run, machine: u32, bytes: &[u8], now_ms: u64) {
        let reader = match &mut self.records {
            Some(reader) => {
                reader.push(bytes);
                reader
            }
            None => {
                self.buffer.extend_from_slice(bytes);
                match FileHeader::decode(&self.buffer) {
                    Ok((header, len)) => {
                        if self.header.as_ref() != Some(&header) {
                            self.told.clear();
                        }
                        self.header = Some(header.clone());
                        run.boots.entry(machine).or_default().header = Some(header);
                        let reader = self.records.insert(Reader::new());
                        reader.push(&self.buffer[len..]);
                        self.buffer = Vec::new();
                        reader
                    }
                    Err(HeaderError::Incomplete) => return,
                    Err(error) => return self.give_up(run, RunFile::Trace, &error.to_string()),
                }
            }
        };
        while let Some(next) = reader.next_record() {
            match next {
                Ok(record) => {
                    let meta = record.meta;
                    let expected = self
                        .next_sequence
                        .insert(meta.cpu, meta.sequence.wrapping_add(1));
                    let told = self.told.get(&meta.cpu);
                    if told.is_some_and(|next| meta.sequence < *next) {
                        continue;
                    }
                    // What the hypervisor's ring loses, the guest tells by a record of its own.
                    if let Some(expected) = expected
                        && meta.cpu < CPU_HYPERVISOR
                        && meta.sequence > expected
                    {
                        run.loss.gaps += u64::from(meta.sequence - expected);
                    }
                    run.record(machine, record.into_owned(), now_ms);
                }
                Err(_) => run.loss.damaged += 1,
            }
        }
        if reader.lost_place() {
            self.give_up(run, RunFile::Trace, "a record has an impossible length");
        }
    }
}

impl Run {
    fn record(&mut self, machine: u32, record: Record<'static>, now_ms: u64) {
        let header = self.boots.entry(machine).or_default().header.as_ref();
        let hz = header.map_or(0, |header| header.tsc_hz);
        let first_tsc = header.map_or(0, |header| header.first_tsc);
        let since_ns = match hz {
            0 => 0,
            hz => {
                let ticks = i128::from(record.meta.tsc) - i128::from(first_tsc);
                let ns = ticks * 1_000_000_000 / i128::from(hz);
                i64::try_from(ns).unwrap_or(i64::MAX)
            }
        };
        let moment = Moment {
            machine,
            since_ns,
            ticks_per_us: hz / 1_000_000,
        };
        self.by_class[record.class as usize] += 1;
        self.rate.add(now_ms, 1);
        match &record.payload {
            Payload::Dropped { count } => self.loss.dropped += count,
            Payload::Panic { text } => {
                self.boots.entry(machine).or_default().panic = Some(escape(text));
            }
            Payload::ProbeRequest(probe) => self.calls.request(machine, &record.meta, probe),
            Payload::ProbeAnswer(answer) => self.calls.answer(machine, &record.meta, answer),
            Payload::Exit(exit) => self.calls.exit(exit),
            Payload::VmmLog { text } => self.logs.push_whole(machine, Origin::VmmTraced, text),
            Payload::RemoteRequest { operation, text } => {
                self.remote.request(moment, &record.meta, *operation, text);
            }
            Payload::RemoteAnswer {
                request,
                status,
                bytes,
            } => self
                .remote
                .answer(machine, &record.meta, *request, *status, *bytes),
            _ => {}
        }
        self.trace.push(Row {
            number: self.trace.total(),
            machine,
            since_ns,
            record,
        });
    }
}
