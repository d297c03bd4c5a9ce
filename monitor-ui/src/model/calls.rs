//! What was probed, and how long it took: requests paired with their answers.

use std::collections::BTreeMap;

use trace_record::payload::{Exit, PROBE_KERNEL, Probe, ProbeAnswer};
use trace_record::record::CPU_HYPERVISOR;
use trace_record::record::probe_class;
use trace_record::{Class, RecordMeta};

use super::histogram::Histogram;

/// Requests that may wait for their answers; the oldest is given up beyond.
const PENDING: usize = 4096;
/// Sorts of calls kept apart; what comes beyond is one sort.
const SORTS: usize = 256;

/// What was called: one row of the latency view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A hypercall by its number in rax.
    Hypercall(u64),
    /// CPUID by its leaf.
    Cpuid(u32),
    /// A model-specific register.
    Msr(u32),
    /// An I/O port, from dx; immediate ports are not told apart.
    Port(u16),
    /// Other code, by its first bytes.
    Code(Vec<u8>),
    /// A VM exit by its code, timed by the hypervisor.
    Exit(u64),
    /// Whatever came after too many others.
    Other,
}

impl Call {
    fn of(probe: &Probe<'_>) -> Self {
        let [rax, _, rcx, rdx] = probe.registers;
        match probe_class(&probe.code) {
            Class::Hypercall => Self::Hypercall(rax),
            Class::Cpuid => Self::Cpuid(rax as u32),
            Class::Msr => Self::Msr(rcx as u32),
            Class::Port => Self::Port(rdx as u16),
            _ => Self::Code(probe.code.iter().copied().take(8).collect()),
        }
    }
}

/// What is known about one sort of call.
#[derive(Clone, Debug, Default)]
pub struct CallStats {
    /// Requests.
    pub requests: u64,
    /// Answers that were an exception.
    pub faults: u64,
    /// Ticks of one execution, one value for each answer that finished.
    pub ticks: Histogram,
}

#[derive(Clone, Debug)]
struct Pending {
    call: Call,
    tsc: u64,
    kernel: bool,
}

/// Pairs requests with answers.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    // Boot, CPU, sequence of the request.
    pending: BTreeMap<(u32, u8, u32), Pending>,
    stats: BTreeMap<Call, CallStats>,
    /// Requests given up because too many waited.
    pub given_up: u64,
    /// Answers whose request was not seen.
    pub strays: u64,
}

impl Calls {
    /// By call, hypercalls first.
    pub fn stats(&self) -> &BTreeMap<Call, CallStats> {
        &self.stats
    }

    /// Requests without an answer so far.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    fn entry(&mut self, call: &Call) -> &mut CallStats {
        let known = self.stats.contains_key(call) || self.stats.len() < SORTS;
        let call = if known { call.clone() } else { Call::Other };
        self.stats.entry(call).or_default()
    }

    /// A request was recorded.
    pub fn request(&mut self, machine: u32, meta: &RecordMeta, probe: &Probe<'_>) {
        let call = Call::of(probe);
        self.entry(&call).requests += 1;
        if self.pending.len() >= PENDING {
            self.pending.pop_first();
            self.given_up += 1;
        }
        let pending = Pending {
            call,
            tsc: meta.tsc,
            kernel: probe.flags & PROBE_KERNEL != 0,
        };
        self.pending
            .insert((machine, meta.cpu, meta.sequence), pending);
    }

    /// An answer was recorded.
    pub fn answer(&mut self, machine: u32, meta: &RecordMeta, answer: &ProbeAnswer) {
        let key = if answer.request == u32::MAX {
            // The kernel's own calls: the last one of this CPU.
            let of_cpu = (machine, meta.cpu, 0)..=(machine, meta.cpu, u32::MAX);
            let mut newest_first = self.pending.range(of_cpu).rev();
            newest_first
                .find(|(_, pending)| pending.kernel)
                .map(|(key, _)| *key)
        } else {
            Some((machine, meta.cpu, answer.request))
        };
        let Some(Pending { call, tsc, .. }) = key.and_then(|key| self.pending.remove(&key)) else {
            self.strays += 1;
            return;
        };
        let stats = self.entry(&call);
        if answer.vector != u32::MAX {
            stats.faults += 1;
        }
        if let Some(mean) = answer.total_ticks.checked_div(answer.executions) {
            // The kernel's own calls are not timed; their records' time stamps are near enough.
            let ticks = match answer.total_ticks {
                0 => meta.tsc.saturating_sub(tsc),
                _ => mean,
            };
            stats.ticks.add(ticks);
        }
    }

    /// The hypervisor recorded an exit.
    pub fn exit(&mut self, exit: &Exit) {
        let stats = self.entry(&Call::Exit(exit.code));
        stats.requests += 1;
        stats.ticks.add(exit.ticks);
    }

    /// A boot is over: what waits there is never answered.
    pub fn unanswered(&self, machine: u32) -> impl Iterator<Item = &Call> {
        self.pending
            .range((machine, 0, 0)..=(machine, CPU_HYPERVISOR, u32::MAX))
            .map(|(_, pending)| &pending.call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(code: &[u8], rax: u64) -> Probe<'_> {
        Probe {
            registers: [rax, 0, 0x10, 0x3f8],
            code: code.into(),
            ..Probe::default()
        }
    }

    fn meta(cpu: u8, sequence: u32, tsc: u64) -> RecordMeta {
        RecordMeta {
            cpu,
            sequence,
            tsc,
            ..RecordMeta::default()
        }
    }

    fn answer(request: u32, executions: u64, total_ticks: u64) -> ProbeAnswer {
        ProbeAnswer {
            request,
            vector: u32::MAX,
            executions,
            total_ticks,
            ..ProbeAnswer::default()
        }
    }

    #[test]
    fn answers_find_their_requests_by_boot_cpu_and_sequence() {
        let mut calls = Calls::default();
        calls.request(0, &meta(0, 7, 100), &probe(&[0x0f, 0x01, 0xd9], 3));
        calls.request(0, &meta(1, 7, 100), &probe(&[0x0f, 0xa2], 1));
        calls.answer(1, &meta(0, 8, 200), &answer(7, 1, 50));
        assert_eq!((calls.strays, calls.waiting()), (1, 2), "another boot");
        calls.answer(0, &meta(0, 8, 200), &answer(7, 10, 500));
        calls.answer(0, &meta(0, 9, 200), &answer(7, 10, 500));
        assert_eq!(
            (calls.strays, calls.waiting()),
            (2, 1),
            "answered once only"
        );
        let stats = &calls.stats()[&Call::Hypercall(3)];
        assert_eq!((stats.requests, stats.ticks.max()), (1, 50));
        assert_eq!(calls.unanswered(0).collect::<Vec<_>>(), [&Call::Cpuid(1)]);
    }

    #[test]
    fn the_kernels_own_answers_belong_to_its_last_request() {
        let mut calls = Calls::default();
        let mut own = probe(&[0x0f, 0x01, 0xd9], 0);
        own.flags = PROBE_KERNEL;
        calls.request(0, &meta(0, 1, 1000), &own);
        calls.request(0, &meta(0, 2, 1200), &probe(&[0x0f, 0xa2], 1));
        calls.answer(0, &meta(0, 3, 1700), &answer(u32::MAX, 1, 0));
        assert_eq!(calls.stats()[&Call::Hypercall(0)].ticks.max(), 700);
        assert_eq!(calls.waiting(), 1);
    }

    #[test]
    fn a_flood_of_requests_and_of_sorts_stays_bounded() {
        let mut calls = Calls::default();
        for number in 0..10_000 {
            calls.request(
                0,
                &meta(0, number, 0),
                &probe(&[0x0f, 0xa2], u64::from(number)),
            );
        }
        assert_eq!((calls.waiting(), calls.given_up), (4096, 10_000 - 4096));
        assert_eq!(calls.stats().len(), SORTS + 1);
        assert_eq!(calls.stats()[&Call::Other].requests, 10_000 - SORTS as u64);
    }

    #[test]
    fn faults_are_counted_and_not_timed() {
        let mut calls = Calls::default();
        calls.request(0, &meta(0, 1, 0), &probe(&[0x0f, 0x32], 0));
        let fault = ProbeAnswer {
            vector: 13,
            executions: 0,
            ..answer(1, 0, 0)
        };
        calls.answer(0, &meta(0, 2, 9), &fault);
        let stats = &calls.stats()[&Call::Msr(0x10)];
        assert_eq!((stats.faults, stats.ticks.count()), (1, 0));
    }
}
