//! The trace: what happened, recorded as it happens, on the host before anything can get lost.
//!
//! Every CPU has a ring of its own behind a leaf lock, so a record may be emitted from anywhere. A
//! kernel thread ([`sender`]) moves the rings to `trace.hvt` in the run folder of this boot. A full
//! ring drops new records, counts them, and says so in the trace. Without a server the rings keep the
//! most recent records for a panic to show.
//!
//! Write-ahead: [`flush`] returns when the server has answered for all that this call came after.

pub mod ring;
mod sender;

use crate::arch::cpu::{self, IrqGuard, MAX_CPUS};
use crate::sync::SpinLock;
use crate::{println, proc, settings, time};
use abi::Errno;
use abi::info::{TRACE_FLUSH, TRACE_GET_CLASSES, TRACE_SET_CLASSES, TRACE_STATS, TraceStats};
use core::sync::atomic::{AtomicU64, Ordering};
use ring::Ring;
use trace_record::{Class, Payload, Record, RecordMeta};

pub use sender::{flush, flush_until};

/// Bytes in the ring of one CPU.
const RING_LEN: usize = 1 << 20;

static RINGS: [SpinLock<Option<Ring>>; MAX_CPUS] =
    [const { SpinLock::new("trace ring", None) }; MAX_CPUS];
static CLASSES: AtomicU64 = AtomicU64::new(Class::DEFAULT_MASK | 1);

/// Gives each CPU its ring. Records emitted before are dropped. The setting `trace=CLASS[,CLASS]...` names classes that
/// are on from the start besides the usual ones.
pub fn init(cpus: usize) {
    for name in settings::value("trace")
        .into_iter()
        .flat_map(|names| names.split(','))
    {
        match Class::from_name(name) {
            Some(class) => drop(CLASSES.fetch_or(class.bit(), Ordering::Relaxed)),
            None => println!("trace: no class {}", name.escape_debug()),
        }
    }
    for ring in &RINGS[..cpus.min(MAX_CPUS)] {
        let new = Ring::new(RING_LEN);
        *ring.lock() = Some(new);
    }
}

/// Starts the thread that sends the rings to the server, if the settings name a server and a run.
pub fn start() {
    sender::start();
}

/// Whether a class is switched on: one load and one branch.
#[inline]
pub fn enabled(class: Class) -> bool {
    CLASSES.load(Ordering::Relaxed) & class.bit() != 0
}

/// Records `payload` if its class is on; returns the record's sequence number on this CPU.
pub fn emit(payload: &Payload<'_>) -> Option<u32> {
    emit_as(payload.class(), payload)
}

/// Records an answer in the class of its request.
pub fn emit_as(class: Class, payload: &Payload<'_>) -> Option<u32> {
    if !enabled(class) {
        return None;
    }
    let _irq = IrqGuard::new();
    let number = cpu::number();
    let pid = proc::trace_pid();
    let meta = RecordMeta {
        tsc: time::read_tsc(),
        sequence: 0,
        pid,
        cpu: number as u8,
        flags: 0,
    };
    RINGS[number].lock().as_mut()?.write(meta, class, payload)
}

/// Passes on a record that the hypervisor wrote, as it is.
pub fn forward(record: &Record<'_>) {
    if enabled(record.class) {
        let _irq = IrqGuard::new();
        if let Some(ring) = RINGS[cpu::number()].lock().as_mut() {
            ring.write_foreign(record);
        }
    }
}

/// System call `tracectl`. `stats` is filled for `TRACE_STATS`.
///
/// # Errors
/// EINVAL for an unknown operation or class; what [`flush`] says.
pub fn control(op: i32, argument: u64, stats: &mut TraceStats) -> Result<usize, Errno> {
    match op {
        TRACE_GET_CLASSES => Ok(CLASSES.load(Ordering::Relaxed) as usize),
        TRACE_SET_CLASSES => {
            if argument >> Class::ALL.len() != 0 {
                return Err(Errno::EINVAL);
            }
            Ok(CLASSES.swap(argument | Class::Meta.bit(), Ordering::Relaxed) as usize)
        }
        TRACE_STATS => {
            *stats = sender::stats();
            for ring in &RINGS {
                if let Some(ring) = ring.lock().as_ref() {
                    let counts = ring.counts();
                    stats.recorded += counts.recorded;
                    stats.dropped += counts.dropped;
                }
            }
            Ok(0)
        }
        TRACE_FLUSH => flush().map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}

/// System call `traceevent`: a program says something.
///
/// # Errors
/// EINVAL if the text is longer than a record takes.
pub fn user_event(text: &[u8]) -> Result<usize, Errno> {
    if text.len() > trace_record::payload::TEXT_MAX {
        return Err(Errno::EINVAL);
    }
    emit(&Payload::Event { text: text.into() });
    Ok(0)
}

/// Shows the last records of every CPU whose ring is free, for a panic.
pub fn for_last_records(mut show: impl FnMut(&Record<'_>)) {
    for ring in &RINGS {
        let Some(mut guard) = ring.try_lock() else {
            continue;
        };
        let Some(ring) = guard.as_mut() else { continue };
        ring.for_recent(|bytes| {
            if let Ok(record) = Record::decode(bytes) {
                show(&record);
            }
        });
    }
}
