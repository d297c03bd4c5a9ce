//! Operations on remote files, as the guest traced them.

use std::collections::{BTreeMap, VecDeque};

use protocol::Operation;
use trace_record::RecordMeta;

/// Operations kept of each run.
pub const KEPT: usize = 5_000;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 0 or -Errno.
    pub status: i32,
    /// Bytes moved.
    pub bytes: u64,
    /// Ticks from request to answer.
    pub ticks: u64,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteOperation {
    /// Counts up within the run.
    pub number: u64,
    /// Which boot.
    pub machine: u32,
    /// Who asked.
    pub pid: u16,
    /// Nanoseconds since the boot's trace began.
    pub since_ns: i64,
    /// Ticks per microsecond of the boot, 0 if unknown.
    pub ticks_per_us: u64,
    /// The protocol's operation number.
    pub operation: u8,
    /// Path or handle, escaped.
    pub text: String,
    /// How it ended, if it did.
    pub answer: Option<Answer>,
    tsc: u64,
}

impl RemoteOperation {
    /// The protocol's name of the operation.
    pub fn name(&self) -> &'static str {
        Operation::from_number(self.operation).map_or("unknown", Operation::name)
    }
}

/// All of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Requests.
    pub calls: u64,
    /// Refused ones.
    pub errors: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Pairs requests with answers and keeps the newest.
#[derive(Clone, Debug, Default)]
pub struct RemoteLog {
    operations: VecDeque<RemoteOperation>,
    pending: BTreeMap<(u32, u8, u32), u64>,
    sums: BTreeMap<u8, Sum>,
    forgotten: u64,
}

/// When and where a request was made.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Which boot.
    pub machine: u32,
    /// Nanoseconds since the boot's trace began.
    pub since_ns: i64,
    /// Ticks per microsecond.
    pub ticks_per_us: u64,
}

impl RemoteLog {
    /// A request was recorded.
    pub fn request(&mut self, moment: Moment, meta: &RecordMeta, operation: u8, text: &[u8]) {
        if self.operations.len() == KEPT {
            self.operations.pop_front();
            self.forgotten += 1;
            let first = self.forgotten;
            self.pending.retain(|_, number| *number >= first);
        }
        let number = self.total();
        self.sums.entry(operation).or_default().calls += 1;
        self.pending
            .insert((moment.machine, meta.cpu, meta.sequence), number);
        self.operations.push_back(RemoteOperation {
            number,
            machine: moment.machine,
            pid: meta.pid,
            since_ns: moment.since_ns,
            ticks_per_us: moment.ticks_per_us,
            operation,
            text: trace_record::escape(text),
            answer: None,
            tsc: meta.tsc,
        });
    }

    /// An answer was recorded.
    pub fn answer(
        &mut self,
        machine: u32,
        meta: &RecordMeta,
        request: u32,
        status: i32,
        bytes: u64,
    ) {
        // The one who waits may have moved to another CPU meanwhile; sequence numbers are the request's CPU's.
        let key = (machine, meta.cpu, request);
        let number = self.pending.remove(&key).or_else(|| {
            let mut all = self.pending.iter();
            let (key, _) =
                all.find(|((boot, _, sequence), _)| (*boot, *sequence) == (machine, request))?;
            let key = *key;
            self.pending.remove(&key)
        });
        let Some(index) = number.and_then(|number| number.checked_sub(self.forgotten)) else {
            return;
        };
        if let Some(one) = self.operations.get_mut(index as usize) {
            one.answer = Some(Answer {
                status,
                bytes,
                ticks: meta.tsc.saturating_sub(one.tsc),
            });
            let sum = self.sums.entry(one.operation).or_default();
            sum.bytes += bytes;
            sum.errors += u64::from(status < 0);
        }
    }

    /// All so far, those that left included.
    pub fn total(&self) -> u64 {
        self.forgotten + self.operations.len() as u64
    }

    /// Operations that left.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The operation with this number.
    pub fn get(&self, number: u64) -> Option<&RemoteOperation> {
        let index = number.checked_sub(self.forgotten)?;
        self.operations.get(usize::try_from(index).ok()?)
    }

    /// By operation number.
    pub fn sums(&self) -> &BTreeMap<u8, Sum> {
        &self.sums
    }

    /// Requests without an answer so far.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(sequence: u32, tsc: u64) -> RecordMeta {
        RecordMeta {
            sequence,
            tsc,
            ..RecordMeta::default()
        }
    }

    const BOOT: Moment = Moment {
        machine: 0,
        since_ns: 0,
        ticks_per_us: 1000,
    };

    #[test]
    fn answers_find_their_requests() {
        let mut log = RemoteLog::default();
        log.request(BOOT, &meta(1, 100), Operation::Read.number(), b"a");
        log.request(BOOT, &meta(2, 150), Operation::Open.number(), b"b\x1b");
        log.answer(0, &meta(3, 400), 1, 0, 4096);
        log.answer(0, &meta(4, 500), 2, -2, 0);
        log.answer(0, &meta(5, 500), 9, 0, 1);
        let one = log.get(0).unwrap();
        assert_eq!(
            one.answer.map(|answer| (answer.ticks, answer.bytes)),
            Some((300, 4096))
        );
        assert_eq!(log.get(1).unwrap().text, "b\\x1b");
        assert_eq!(
            log.sums()[&Operation::Open.number()],
            Sum {
                calls: 1,
                errors: 1,
                bytes: 0
            }
        );
        assert_eq!(log.waiting(), 0);
    }

    #[test]
    fn the_log_is_bounded() {
        let mut log = RemoteLog::default();
        for number in 0..KEPT as u32 + 5 {
            log.request(BOOT, &meta(number, 0), 6, b"x");
        }
        assert_eq!((log.forgotten(), log.waiting()), (5, KEPT));
        log.answer(0, &meta(0, 9), 2, 0, 1);
        assert_eq!(
            log.waiting(),
            KEPT,
            "the request of a forgotten operation is forgotten, too"
        );
    }
}
