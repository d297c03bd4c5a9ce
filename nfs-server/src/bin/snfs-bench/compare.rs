//! This server beside a ping-pong and diod, taking turns: what disturbs the machine disturbs all three.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use protocol::host::{Files, Options};
use protocol::message::{Getattr, OpenFlags, Read};

use crate::{DEPTH, Exchange, TOKEN, Table, measure, ninep, pingpong, snfs};

/// Turns of each.
const ROUNDS: u32 = 9;

/// One of those that take turns.
struct Contender<'a> {
    name: &'static str,
    exchange: Box<dyn Exchange + 'a>,
    samples: Vec<Duration>,
    /// Of each round: operations a second at depth 1 (by the median) and at [`DEPTH`].
    rates: Vec<(f64, f64)>,
}

impl<'a> Contender<'a> {
    fn new(name: &'static str, exchange: impl Exchange + 'a) -> Self {
        Self {
            name,
            exchange: Box::new(exchange),
            samples: Vec::new(),
            rates: Vec::new(),
        }
    }

    fn turn(&mut self, time: Duration) -> anyhow::Result<()> {
        let (samples, deep) = measure(&mut *self.exchange, time)?;
        let median = samples[samples.len() / 2].as_secs_f64();
        self.rates.push((1.0 / median, deep));
        self.samples.extend(samples);
        Ok(())
    }

    fn print(&mut self, table: &Table, what: &str, bytes: usize) {
        self.samples.sort_unstable();
        let deep = median(self.rates.iter().map(|rate| rate.1).collect());
        table.print(
            &format!("{}, {what}", self.name),
            bytes,
            &self.samples,
            deep,
        );
    }

    /// Our share of another's rates, in percent: the median of the rounds, each of which compares neighbours in time.
    fn share_of(&self, other: &Self) -> (f64, f64) {
        let shares = |pick: fn(&(f64, f64)) -> f64| {
            let pairs = self.rates.iter().zip(&other.rates);
            median(
                pairs
                    .map(|(ours, theirs)| 100.0 * pick(ours) / pick(theirs))
                    .collect(),
            )
        };
        (shares(|rate| rate.0), shares(|rate| rate.1))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Attributes, 4 KiB and 64 KiB that are in the page cache.
pub fn compare(table: &Table, folder: &Path, server: SocketAddr) -> anyhow::Result<()> {
    let diod = ninep::Diod::start(folder)
        .inspect_err(|error| println!("diod: not measured ({error:#})"))
        .ok();
    let mut files = Files::connect(Options::new(server, TOKEN))?;
    let handle = files.open("files/big", OpenFlags::READ, 0)?.handle;
    for (what, bytes, request, reply) in [
        ("getattr", 0, 28, 59),
        ("read 4 KiB", 4096, 40, 24 + 4096),
        ("read 64 KiB", 65536, 40, 24 + 65536),
    ] {
        let ping_pong = pingpong::PingPong::start(request, reply)?;
        let mut all = vec![Contender::new("ping-pong", ping_pong)];
        if bytes == 0 {
            all.push(Contender::new("snfs", snfs(&mut files, Getattr { handle })));
        } else {
            let (offset, count) = (0, bytes as u32);
            let read = Read {
                handle,
                offset,
                count,
            };
            all.push(Contender::new("snfs", snfs(&mut files, read)));
        }
        if let Some(diod) = &diod {
            // Its largest message is 64 KiB with the head.
            let asked = match bytes {
                0 => ninep::What::Getattr,
                count => ninep::What::Read((count as u32).min(65536 - 24)),
            };
            all.push(Contender::new("diod", diod.connect(asked)?));
        }
        for _ in 0..ROUNDS {
            for contender in &mut all {
                contender.turn(table.time / ROUNDS)?;
            }
        }
        for contender in &mut all {
            contender.print(table, what, bytes);
        }
        for other in [0, 2].into_iter().filter_map(|at| all.get(at)) {
            let (single, deep) = all[1].share_of(other);
            println!(
                "  snfs does {single:.0} % of {} at depth 1, {deep:.0} % at depth {DEPTH} ({what}; median of {ROUNDS} rounds)",
                other.name
            );
        }
    }
    files.goodbye();
    Ok(())
}
