//! A run that never was, for looking at the monitor without a machine. Its records go through the
//! same bytes as real ones; the run's id begins with `demo`, and the title says it.

use std::time::Duration;

use trace_record::payload::{Exit, Probe, ProbeAnswer};
use trace_record::record::CPU_HYPERVISOR;
use trace_record::record::{encode_with_class, probe_class};
use trace_record::verdict::{Measurement, Progress, Verdict, VerdictRecord};
use trace_record::{Class, FileHeader, Payload, RecordMeta};

use super::{Ended, Sink};
use crate::feed::{Feed, FileEvent, Link, Place, RunFile};

/// The demo's run.
pub const RUN: &str = "demo";
const TSC_HZ: u64 = 2_000_000_000;
/// Steps until the run ends.
pub const STEPS: u64 = 600;
/// Steps each experiment takes.
const EXPERIMENT: u64 = 60;

const EXPERIMENTS: [(&str, Verdict, &str); 9] = [
    ("hypercall-map", Verdict::Pass, "4 hypercalls found by name"),
    (
        "hypercall-unknown",
        Verdict::Pass,
        "124 numbers return 0 and change nothing else",
    ),
    (
        "hypercall-name-unmapped",
        Verdict::Fail,
        "the hypervisor read beyond the page",
    ),
    ("svm-hidden", Verdict::Pass, "no trace of SVM"),
    ("hidden-memory", Verdict::Pass, "256 pages read as zero"),
    ("msr-sweep", Verdict::Info, "3 registers answer differently"),
    ("io-sweep", Verdict::Skip, "no second serial port"),
    (
        "virtio-ring",
        Verdict::Crash,
        "the machine's console said: panic",
    ),
    (
        "exit-cost",
        Verdict::Info,
        "a null hypercall costs 2100 ticks",
    ),
];

/// Makes the demo's feeds, step by step; the same each time.
#[derive(Debug)]
pub struct Demo {
    step: u64,
    tsc: u64,
    sequences: [u32; 2],
    random: u64,
    verdicts: u32,
    offsets: [u64; 7],
}

impl Default for Demo {
    fn default() -> Self {
        Self {
            step: 0,
            tsc: 5_000_000,
            sequences: [0; 2],
            random: 0x9e37_79b9_7f4a_7c15,
            verdicts: 0,
            offsets: [0; 7],
        }
    }
}

impl Demo {
    /// What comes before the first step.
    pub fn begin(&mut self) -> Vec<Feed> {
        let mut head = Vec::new();
        let header = FileHeader {
            tsc_hz: TSC_HZ,
            first_tsc: self.tsc,
            first_time_ns: 1_795_435_200_000_000_000,
            hypervisor: "labvisor".to_owned(),
            kernel: "HvLab kernel".to_owned(),
            machine_name: "demo, no machine at all".to_owned(),
            ..FileHeader::default()
        };
        header.encode(&mut head);
        let plan: String = EXPERIMENTS
            .iter()
            .map(|(id, ..)| {
                format!(
                    "{{\"id\":\"{id}\",\"file\":\"{id}.rhai\",\"seed\":1,\"time_limit_s\":20}}\n"
                )
            })
            .collect();
        let info = format!(
            "{{\"hypervisor\":\"labvisor\",\"planned\":{},\"emulated\":true}}",
            EXPERIMENTS.len()
        );
        let mut feeds = vec![
            Feed::Link(Link::Up),
            Feed::Run(RUN.to_owned()),
            Feed::Boot(RUN.to_owned(), 0),
        ];
        feeds.push(self.bytes(RunFile::Info, info.into_bytes()));
        feeds.push(self.bytes(RunFile::Plan, plan.into_bytes()));
        feeds.push(self.bytes(RunFile::Trace, head));
        feeds.push(self.bytes(RunFile::VmmLog, b"labvisor: 512 MiB, 1 CPU\r\n".to_vec()));
        feeds.push(self.bytes(RunFile::Console, b"HvLab kernel\r\n$ hx\r\n".to_vec()));
        for file in RunFile::OF_RUN.into_iter().chain(RunFile::OF_BOOT) {
            feeds.push(Feed::File(place(file), FileEvent::End));
        }
        feeds
    }

    /// What comes in the next step; empty when the run is over.
    pub fn step(&mut self) -> Vec<Feed> {
        if self.step > STEPS {
            return Vec::new();
        }
        let step = self.step;
        self.step += 1;
        if step == STEPS {
            let info = b"{\"hypervisor\":\"labvisor\",\"planned\":9,\"emulated\":true,\"took_ms\":60000,\"exit_status\":3}";
            self.offsets[RunFile::Info as usize] = 0;
            let anew = Feed::File(place(RunFile::Info), FileEvent::Anew);
            return vec![anew, self.bytes(RunFile::Info, info.to_vec())];
        }
        let mut records = Vec::new();
        for _ in 0..4 {
            self.probe(&mut records);
        }
        if step.is_multiple_of(10) {
            self.remote(&mut records);
            let time_ns = 1_795_435_200_000_000_000 + step * 100_000_000;
            self.record(0, &Payload::ClockPair { time_ns }, &mut records);
        }
        if step % 97 == 50 {
            self.record(0, &Payload::Dropped { count: 3 }, &mut records);
        }
        if step % 40 == 7 {
            let text = format!("net: packet {step} moved on an ISR read\n");
            self.record(
                0,
                &Payload::VmmLog {
                    text: text.as_bytes().into(),
                },
                &mut records,
            );
        }
        let mut feeds = vec![self.bytes(RunFile::Trace, records)];
        feeds.extend(self.verdict(step));
        feeds
    }

    fn verdict(&mut self, step: u64) -> Vec<Feed> {
        let Some((id, verdict, reason)) = EXPERIMENTS.get((step / EXPERIMENT) as usize) else {
            return Vec::new();
        };
        let progress = match step % EXPERIMENT {
            0 => Progress::Started,
            50 => Progress::Finished {
                verdict: *verdict,
                reason: (*reason).to_owned(),
                detail: format!("{id}: what was seen would stand here\n"),
                measurements: vec![Measurement {
                    name: "null-hypercall".to_owned(),
                    unit: "ticks".to_owned(),
                    n: 1000,
                    min: 1900,
                    p5: 2000,
                    median: 2100,
                    p95: 2600,
                    p99: 3000,
                    max: 9000,
                    samples: Vec::new(),
                }],
            },
            _ => return Vec::new(),
        };
        let record = VerdictRecord {
            sequence: self.verdicts,
            experiment: (*id).to_owned(),
            progress,
        };
        self.verdicts += 1;
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let line = format!(
            "hx: {id} {}\r\n",
            if step.is_multiple_of(EXPERIMENT) {
                "begins"
            } else {
                "ended"
            }
        );
        vec![
            self.bytes(RunFile::Verdicts, bytes),
            self.bytes(RunFile::Console, line.into_bytes()),
        ]
    }

    fn probe(&mut self, out: &mut Vec<u8>) {
        let hypercall = !self.random().is_multiple_of(3);
        let (code, rax): (&[u8], u64) = if hypercall {
            (&[0x0f, 0x01, 0xd9], self.random() % 5)
        } else {
            (&[0x0f, 0xa2], 1)
        };
        let ticks = 1900 + self.random() % 400 + (self.random() % 50 / 49) * 6000;
        let probe = Probe {
            flags: 2,
            count: 1,
            inner: 1,
            registers: [rax, 0x4000, 64, 0],
            code: code.into(),
        };
        let request = self.record(0, &Payload::ProbeRequest(probe), out);
        let exit = Exit {
            code: if hypercall { 0x81 } else { 0x72 },
            rip: 0x40_1000,
            rax,
            ticks: ticks * 2 / 3,
            ..Exit::default()
        };
        self.record(1, &Payload::Exit(exit), out);
        let answer = ProbeAnswer {
            request,
            vector: if rax == 4 { 14 } else { u32::MAX },
            registers: [0, 0x4000, 64, 0],
            executions: u64::from(rax != 4),
            min_ticks: ticks,
            total_ticks: ticks,
            rip_offset: 3,
            ..ProbeAnswer::default()
        };
        self.record_as(probe_class(code), 0, &Payload::ProbeAnswer(answer), out);
    }

    fn remote(&mut self, out: &mut Vec<u8>) {
        let operation = [3, 5, 6, 9][(self.random() % 4) as usize];
        let text = b"catalogue/exit-cost.rhai";
        let payload = Payload::RemoteRequest {
            operation,
            text: text[..].into(),
        };
        let request = self.record(0, &payload, out);
        let answer = Payload::RemoteAnswer {
            request,
            status: if self.random().is_multiple_of(9) {
                -2
            } else {
                0
            },
            bytes: self.random() % 4096,
        };
        self.record(0, &answer, out);
    }

    fn record(&mut self, side: usize, payload: &Payload<'_>, out: &mut Vec<u8>) -> u32 {
        self.record_as(payload.class(), side, payload, out)
    }

    fn record_as(
        &mut self,
        class: Class,
        side: usize,
        payload: &Payload<'_>,
        out: &mut Vec<u8>,
    ) -> u32 {
        self.tsc += 2_000_000 + self.random() % 20_000_000;
        let sequence = self.sequences[side];
        self.sequences[side] += 1;
        let meta = RecordMeta {
            tsc: self.tsc,
            sequence,
            pid: if side == 0 { 7 } else { 0 },
            cpu: side as u8 * CPU_HYPERVISOR,
            flags: 0,
        };
        encode_with_class(&meta, class, payload, out);
        sequence
    }

    fn bytes(&mut self, file: RunFile, bytes: Vec<u8>) -> Feed {
        let offset = self.offsets[file as usize];
        self.offsets[file as usize] += bytes.len() as u64;
        Feed::File(place(file), FileEvent::Data { offset, bytes })
    }

    /// xorshift64*, Marsaglia and Vigna.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

fn place(file: RunFile) -> Place {
    Place {
        run: RUN.to_owned(),
        machine: (!RunFile::OF_RUN.contains(&file)).then_some(0),
        file,
    }
}

/// Plays the demo at the speed of life.
///
/// # Errors
/// [`Ended`] when nobody listens.
pub fn play(sink: &Sink) -> Result<(), Ended> {
    let mut demo = Demo::default();
    let mut feeds = demo.begin();
    while !feeds.is_empty() {
        for feed in feeds {
            sink.send(feed)?;
        }
        std::thread::sleep(Duration::from_millis(100));
        if sink.stopped() {
            return Err(Ended);
        }
        feeds = demo.step();
    }
    Ok(())
}
