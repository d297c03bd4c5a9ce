//! Calls that tell: time, processes, memory, settings, messages; and power-off.

use super::{Call, CallResult};
use crate::arch::{cpu, power};
use crate::mm::raw::bytes_of;
use crate::mm::{frames, raw, user};
use crate::proc::table::{self, RunState};
use crate::{file, klog, proc, settings, time, trace};
use abi::Errno;
use abi::info::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TSC, MemoryInfo, ProcessInfo, TICKS_PER_SECOND, TimeSpec,
};
use core::time::Duration;

/// How long power-off waits for the server to take the rest of the trace.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// Largest piece of the messages copied at once.
const CHUNK: usize = 16 * 1024;

pub(super) fn uptime(_call: &mut Call<'_>) -> CallResult {
    Ok((time::now().0 / (1_000_000_000 / TICKS_PER_SECOND)) as usize)
}

pub(super) fn gettime(call: &mut Call<'_>) -> CallResult {
    let from_ns = |ns: u64| TimeSpec {
        seconds: (ns / 1_000_000_000) as i64,
        nanoseconds: (ns % 1_000_000_000) as i64,
    };
    let value = match call.int(0) {
        CLOCK_REALTIME => from_ns(time::wall_ns()),
        CLOCK_MONOTONIC => from_ns(time::now().0),
        CLOCK_TSC => TimeSpec {
            seconds: time::tsc_hz() as i64,
            nanoseconds: time::read_tsc() as i64,
        },
        _ => return Err(Errno::EINVAL),
    };
    user::write(call.argument(1), &value).map(|()| 0)
}

pub(super) fn ps(call: &mut Call<'_>) -> CallResult {
    let (address, count) = (call.argument(0), call.length(1)?);
    let mut done = 0;
    for process in table::all() {
        if done == count {
            break;
        }
        if let Some(info) = proc::info(process) {
            user::copy_out(
                address + (done * size_of::<ProcessInfo>()) as u64,
                bytes_of(&info),
            )?;
            done += 1;
        }
    }
    Ok(done)
}

pub(super) fn meminfo(call: &mut Call<'_>) -> CallResult {
    let processes = table::all()
        .iter()
        .filter(|process| process.state.lock().run != RunState::Unused)
        .count();
    let info = MemoryInfo {
        total_pages: frames::total_count() as u64,
        free_pages: frames::free_count() as u64,
        heap_used: raw::heap_used(),
        heap_size: raw::heap_size(),
        open_files: file::open_count() as u64,
        processes: processes as u64,
        cpus: cpu::online_count() as u64,
        failed_allocations: frames::failed_count(),
    };
    user::write(call.argument(0), &info).map(|()| 0)
}

pub(super) fn getconf(call: &mut Call<'_>) -> CallResult {
    let key = user::string(call.argument(0), 64)?;
    let key = core::str::from_utf8(&key).map_err(|_| Errno::ENOENT)?;
    let value = settings::value(key).ok_or(Errno::ENOENT)?.as_bytes();
    if value.len() >= call.length(2)? {
        return Err(Errno::ERANGE);
    }
    user::copy_out(call.argument(1), value)?;
    user::copy_out(call.argument(1) + value.len() as u64, &[0])?;
    Ok(value.len())
}

pub(super) fn klog(call: &mut Call<'_>) -> CallResult {
    let mut bytes = user::buffer(call.length(1)?.min(CHUNK))?;
    let len = klog::read(call.argument(2), &mut bytes);
    user::copy_out(call.argument(0), &bytes[..len])?;
    Ok(len)
}

pub(super) fn poweroff(call: &mut Call<'_>) -> CallResult {
    let status = call.int(0);
    if status < 0 {
        crate::println!("reset");
        power::reset();
    }
    let status = status as u8;
    crate::println!("power off, status {status}");
    // The trace's end is worth a moment; a server that does not answer is not.
    if let Err(error) = trace::flush_until(Some(time::now() + LAST_FLUSH)) {
        crate::println!("trace: its end did not reach the server: {error}");
    }
    power::off(status)
}
