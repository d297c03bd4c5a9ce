//! Random operations whose every loss and every repetition shows, while somebody disturbs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use protocol::codec::Rest;
use protocol::host::{Error, Files, Options};
use protocol::message::{Append, Kind, OpenFlags};

/// A small generator: the same seed, the same operations.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What one client did.
pub struct Outcome {
    pub appends: u64,
    pub names: u64,
    pub resumed: u32,
}

/// Works in `rw/<name>` until `stop`: appends numbered records with several in flight, makes, moves and
/// removes names that nobody else uses. Every answer must be the one that a single execution gives.
pub fn work(
    options: Options,
    name: &str,
    seed: u64,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Result<Outcome, Error> {
    let mut random = Random(seed | 1);
    let mut files = Files::connect(options.named(name).patient(None))?;
    let home = format!("rw/{name}");
    files.mkdir(&home)?;
    let log = files
        .open(
            &format!("{home}/log"),
            OpenFlags::APPEND | OpenFlags::CREATE,
            0o644,
        )?
        .handle;
    let mut outcome = Outcome {
        appends: 0,
        names: 0,
        resumed: 0,
    };
    let mut model: BTreeMap<String, Kind> = BTreeMap::new();
    let mut fresh = 0;
    let mut boot = 0;
    while !stop.load(Ordering::Relaxed) {
        if let Some(agreed) = files.session().agreed()
            && agreed.boot_id != boot
        {
            boot = agreed.boot_id;
            outcome.resumed += 1;
        }
        let mut flying = VecDeque::new();
        for _ in 0..random.below(6) {
            let record = record(outcome.appends);
            let append = Append {
                handle: log,
                expected: outcome.appends * 16,
                data: Rest(&record),
            };
            flying.push_back(files.session().submit(&append)?);
            outcome.appends += 1;
        }
        for ticket in flying {
            files.session().wait(ticket)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        fresh += 1;
        let new = format!("{home}/n{fresh}");
        let victim = (!model.is_empty()).then(|| {
            let nth = random.below(model.len() as u64) as usize;
            model
                .iter()
                .nth(nth)
                .map(|(name, kind)| (name.clone(), *kind))
                .unwrap()
        });
        match (random.below(4), victim) {
            (1, _) => {
                files.mkdir(&new)?;
                model.insert(new, Kind::Directory);
            }
            (0, _) | (_, None) => {
                let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
                let opened = files.open(&new, flags, 0o644)?;
                assert!(opened.created);
                files.write_at(opened.handle, 0, new.as_bytes())?;
                files.close(opened.handle)?;
                model.insert(new, Kind::File);
            }
            (2, Some((old, kind))) => {
                files.rename(&old, &new)?;
                model.remove(&old);
                model.insert(new, kind);
            }
            (_, Some((old, _))) => {
                files.remove(&old)?;
                model.remove(&old);
            }
        }
        outcome.names += 1;
        done.fetch_add(1, Ordering::Relaxed);
    }
    let content = files.read(&format!("{home}/log"))?;
    let expected: Vec<u8> = (0..outcome.appends).flat_map(record).collect();
    assert!(
        content == expected,
        "{name}: the log has {} bytes of {}",
        content.len(),
        expected.len()
    );
    let mut names: BTreeMap<String, Kind> = files
        .list(&home)?
        .into_iter()
        .map(|item| (format!("{home}/{}", item.name), item.kind))
        .collect();
    names.remove(&format!("{home}/log"));
    assert_eq!(names, model, "{name}: names");
    files.goodbye();
    Ok(outcome)
}

fn record(number: u64) -> [u8; 16] {
    let mut record = [0; 16];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    record
}

/// `clients` work while `disturb` is called `rounds` times; the sums of what they did.
pub fn run(
    options: &Options,
    clients: u64,
    rounds: u32,
    seed: u64,
    mut disturb: impl FnMut(u32, &mut Random),
) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..clients)
        .map(|client| {
            let (options, stop, done) = (options.clone(), stop.clone(), done.clone());
            std::thread::spawn(move || {
                work(
                    options,
                    &format!("c{client}"),
                    seed.wrapping_add(client * 7919),
                    &stop,
                    &done,
                )
            })
        })
        .collect();
    let mut random = Random(seed | 1);
    for round in 0..rounds {
        // Not before somebody got something done since the last disturbance.
        let before = done.load(Ordering::Relaxed);
        while done.load(Ordering::Relaxed) < before + 1 + random.below(20)
            && !threads.iter().any(|t| t.is_finished())
        {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_micros(random.below(3000)));
        disturb(round, &mut random);
    }
    stop.store(true, Ordering::Relaxed);
    let mut sum = Outcome {
        appends: 0,
        names: 0,
        resumed: 0,
    };
    for thread in threads {
        let outcome = thread.join().unwrap().unwrap();
        sum.appends += outcome.appends;
        sum.names += outcome.names;
        sum.resumed += outcome.resumed;
    }
    sum
}
