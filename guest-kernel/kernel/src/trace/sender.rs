//! Moves the rings to the server.

use super::RINGS;
use crate::arch::cpu::MAX_CPUS;
use crate::remote::channel::{self, AppendFile};
use crate::sync::{SpinLock, WaitQueue, WaitResult};
use crate::time::Instant;
use crate::{settings, time};
use abi::Errno;
use abi::info::TraceStats;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use trace_record::{FileHeader, Payload, run};

/// Largest append in bytes.
const BATCH: usize = 60 * 1024;
/// How long a record may lie in a ring.
const PERIOD: Duration = Duration::from_millis(20);
/// How often the time of day is recorded.
const CLOCK_PERIOD: Duration = Duration::from_secs(1);

struct Progress {
    /// Positions the server has acknowledged, per CPU.
    acknowledged: [u64; MAX_CPUS],
    stats: TraceStats,
    hurry: bool,
}

static ACTIVE: AtomicBool = AtomicBool::new(false);
static PROGRESS: SpinLock<Progress> = SpinLock::new(
    "trace progress",
    Progress {
        acknowledged: [0; MAX_CPUS],
        stats: TraceStats {
            recorded: 0,
            dropped: 0,
            acknowledged: 0,
            bytes: 0,
            transport_packets: 0,
            connected: 0,
        },
        hurry: false,
    },
);
/// Woken when somebody waits for an acknowledgement.
static WORK: WaitQueue = WaitQueue::new();
/// Woken when something was acknowledged.
static DONE: WaitQueue = WaitQueue::new();

pub(super) fn start() {
    if settings::get().server.is_none() || settings::get().run.is_none() {
        return;
    }
    ACTIVE.store(true, Ordering::Relaxed);
    for ring in &RINGS {
        if let Some(ring) = ring.lock().as_mut() {
            ring.keep_unsent(true);
        }
    }
    crate::proc::spawn_kernel_thread("trace", run);
}

pub(super) fn stats() -> TraceStats {
    let mut stats = PROGRESS.lock().stats;
    stats.transport_packets = channel::packets();
    stats
}

/// Waits until the server has answered for every record emitted before the call. Without a server
/// there is nobody to wait for.
///
/// # Errors
/// EINTR if the caller was killed meanwhile; EIO if the trace ended because the server refused it.
pub fn flush() -> Result<(), Errno> {
    flush_until(None)
}

/// As [`flush`], but no longer than to `deadline`.
///
/// # Errors
/// Those of [`flush`]; ETIMEDOUT.
pub fn flush_until(deadline: Option<Instant>) -> Result<(), Errno> {
    if !ACTIVE.load(Ordering::Relaxed) {
        return Ok(());
    }
    let mut targets = [0; MAX_CPUS];
    for (target, ring) in targets.iter_mut().zip(&RINGS) {
        *target = ring.lock().as_ref().map_or(0, |ring| ring.written());
    }
    let mut progress = PROGRESS.lock();
    while progress
        .acknowledged
        .iter()
        .zip(&targets)
        .any(|(done, target)| done < target)
    {
        if !ACTIVE.load(Ordering::Relaxed) {
            return Err(Errno::EIO);
        }
        progress.hurry = true;
        WORK.wake_all();
        let (guard, result) = DONE.wait_until(progress, deadline);
        match result {
            WaitResult::Woken => {}
            WaitResult::TimedOut => return Err(Errno::ETIMEDOUT),
            WaitResult::Killed => return Err(Errno::EINTR),
        }
        progress = guard;
    }
    Ok(())
}

fn run() {
    if let Err(errno) = send_for_ever() {
        crate::println!(
            "trace: the server refused {}: {errno}; recording goes on in memory",
            run::TRACE
        );
    }
    for ring in &RINGS {
        if let Some(ring) = ring.lock().as_mut() {
            ring.keep_unsent(false);
        }
    }
    ACTIVE.store(false, Ordering::Relaxed);
    PROGRESS.lock().stats.connected = 0;
    DONE.wake_all();
}

fn send_for_ever() -> Result<(), Errno> {
    let file = channel::open_append(run::TRACE)?;
    let mut batch = Vec::with_capacity(BATCH);
    header().encode(&mut batch);
    append(&file, &mut batch, None)?;
    PROGRESS.lock().stats.connected = 1;
    let mut clock_due = time::now();
    loop {
        if time::now() >= clock_due {
            super::emit(&Payload::ClockPair {
                time_ns: time::wall_ns(),
            });
            clock_due = time::now() + CLOCK_PERIOD;
        }
        let mut positions = [None; MAX_CPUS];
        for (position, ring) in positions.iter_mut().zip(&RINGS) {
            let room = BATCH - batch.len();
            *position = ring.lock().as_mut().map(|ring| ring.take(room, &mut batch));
        }
        if batch.is_empty() {
            let mut progress = PROGRESS.lock();
            if !progress.hurry {
                (progress, _) = WORK.wait_until(progress, Some(time::now() + PERIOD));
            }
            progress.hurry = false;
            continue;
        }
        append(&file, &mut batch, Some(&positions))?;
    }
}

fn append(
    file: &AppendFile,
    batch: &mut Vec<u8>,
    positions: Option<&[Option<u64>; MAX_CPUS]>,
) -> Result<(), Errno> {
    file.append(batch)?;
    let mut progress = PROGRESS.lock();
    progress.stats.bytes += batch.len() as u64;
    if let Some(positions) = positions {
        progress.stats.acknowledged += count_records(batch);
        for (done, position) in progress.acknowledged.iter_mut().zip(positions) {
            *done = position.unwrap_or(*done);
        }
    }
    drop(progress);
    batch.clear();
    DONE.wake_all();
    Ok(())
}

fn count_records(mut batch: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(len) = batch
        .first_chunk::<2>()
        .and_then(|first| trace_record::record::record_len(*first).ok())
    {
        batch = batch.get(len..).unwrap_or_default();
        count += 1;
    }
    count
}

fn header() -> FileHeader {
    let settings = settings::get();
    let (run_id, machine) = settings.run_parts();
    let mut run = [0; 16];
    let len = run_id.len().min(16);
    run[..len].copy_from_slice(&run_id.as_bytes()[..len]);
    let machine_info = crate::probe::machine_info();
    let text = |bytes: &[u8]| {
        alloc::string::String::from_utf8_lossy(bytes)
            .trim_matches(['\0', ' '])
            .into()
    };
    FileHeader {
        tsc_hz: time::tsc_hz(),
        first_tsc: time::read_tsc(),
        first_time_ns: time::wall_ns(),
        run,
        machine,
        boot: 0,
        hypervisor: crate::probe::hypervisor_name().into(),
        kernel: concat!("hvlab ", env!("CARGO_PKG_VERSION")).into(),
        machine_name: text(&machine_info.brand),
    }
}
