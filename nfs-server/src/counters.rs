//! What was done: per session and operation.

use std::fmt::Write;
use std::time::Instant;

use protocol::message::Operation;

/// One operation's counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// How often.
    pub calls: u64,
    /// How many of them were refused.
    pub errors: u64,
    /// Payload bytes in both directions.
    pub bytes: u64,
    /// When last.
    pub last: Option<Instant>,
}

/// A counter for each operation.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    table: [Count; Operation::ALL.len()],
}

impl Counts {
    /// Counts a request.
    pub fn add(&mut self, operation: Operation, failed: bool, bytes: u64) {
        // Operations are numbered from 1 without gaps; a test of the protocol pins that.
        let count = &mut self.table[usize::from(operation.number()) - 1];
        count.calls += 1;
        count.errors += u64::from(failed);
        count.bytes += bytes;
        count.last = Some(Instant::now());
    }

    /// The used ones.
    pub fn used(&self) -> impl Iterator<Item = (Operation, &Count)> {
        Operation::ALL
            .iter()
            .copied()
            .zip(&self.table)
            .filter(|(_, count)| count.calls > 0)
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.table.iter_mut().zip(&other.table) {
            mine.calls += theirs.calls;
            mine.errors += theirs.errors;
            mine.bytes += theirs.bytes;
        }
    }
}

/// Numbers beside the sessions'.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Open connections.
    pub connections: u64,
    /// Connections so far.
    pub accepted: u64,
    /// Refused hellos.
    pub refused: u64,
    /// Connections that the server ended because of the client.
    pub dropped: u64,
}

/// The text that Prometheus reads.
pub fn prometheus(totals: Totals, sessions: &[(u64, String, Counts)]) -> String {
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(
            out,
            "# HELP snfs_{name} {help}\n# TYPE snfs_{name} {kind}\nsnfs_{name} {value}"
        );
    };
    metric(
        "connections",
        "gauge",
        "Open connections.",
        totals.connections,
    );
    metric(
        "accepted_total",
        "counter",
        "Connections so far.",
        totals.accepted,
    );
    metric(
        "refused_total",
        "counter",
        "Refused hellos.",
        totals.refused,
    );
    metric(
        "dropped_total",
        "counter",
        "Connections ended because of what the client did.",
        totals.dropped,
    );
    metric(
        "sessions",
        "gauge",
        "Sessions, connected or not.",
        sessions.len() as u64,
    );
    type Get = fn(&Count) -> u64;
    let columns: [(&str, &str, Get); 3] = [
        ("requests_total", "Requests.", |c| c.calls),
        ("errors_total", "Refused requests.", |c| c.errors),
        ("bytes_total", "Payload bytes in both directions.", |c| {
            c.bytes
        }),
    ];
    for (name, help, get) in columns {
        let _ = writeln!(out, "# HELP snfs_{name} {help}\n# TYPE snfs_{name} counter");
        for (id, client, counts) in sessions {
            for (operation, count) in counts.used() {
                let operation = operation.name().to_lowercase();
                let client = client
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                let _ = writeln!(
                    out,
                    "snfs_{name}{{session=\"{id:016x}\",client=\"{client}\",operation=\"{operation}\"}} {}",
                    get(count)
                );
            }
        }
    }
    out
}
