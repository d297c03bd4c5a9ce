//! `probe(2)`: how experiments reach the machine. Operations and structures: `abi::probe`.
//!
//! Only programs named in the setting `probe=` may call it; whoever may has ring 0.

mod exec;
mod exit_ring;
mod kernel_call;
mod memory;
mod vmm_log;

pub use kernel_call::{hypervisor_name, machine_info};

use crate::mm::layout::PAGE_SIZE;
use crate::{proc, settings, trace};
use abi::{Errno, probe};
use alloc::vec::Vec;
use trace_record::Payload;

/// Longest request and response in bytes.
pub const REQUEST_MAX: usize = size_of::<probe::MemoryRequest>() + probe::MEMORY_MAX;
/// Longest response: ticks of all samples.
pub const RESPONSE_MAX: usize = size_of::<probe::ExecResponse>() + 8 * probe::COUNT_MAX as usize;

/// Finds out which hypercall instruction answers, and attaches to the hypervisor's log and
/// exit records.
pub fn init() {
    kernel_call::init();
    vmm_log::start();
    exit_ring::start();
}

/// One operation. The system call layer copied the request in and copies the response, at most
/// `room` bytes, out.
///
/// # Errors
/// See `abi::probe`.
pub fn call(operation: i32, request: &[u8], room: usize) -> Result<Vec<u8>, Errno> {
    if !allowed() {
        return Err(Errno::EPERM);
    }
    let response = match operation {
        probe::EXEC => exec::exec(request, room)?,
        probe::PAGES_ALLOC => memory::alloc(request)?,
        probe::PAGES_FREE => memory::free(request)?,
        probe::PAGE_MAP => memory::map(request)?,
        probe::PAGE_ENTRY => memory::entry(request)?,
        probe::MEMORY_READ => memory::read(request, room)?,
        probe::MEMORY_WRITE => memory::write(request)?,
        probe::MEMORY_MAP => memory::map_of_loader(),
        probe::VMM_LOG => vmm_log::take(room),
        probe::MACHINE_INFO => kernel_call::machine_info_bytes(),
        probe::CHECKPOINT => {
            trace::user_event(request)?;
            trace::flush()?;
            Vec::new()
        }
        _ => return Err(Errno::EINVAL),
    };
    if response.len() > room {
        return Err(Errno::ENOBUFS);
    }
    Ok(response)
}

/// A process ended: gives back the pages it took from [`probe::PAGES_ALLOC`].
pub fn process_ended(pid: proc::Pid) {
    memory::free_all(pid);
}

fn allowed() -> bool {
    let name = proc::current_name().bytes();
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    settings::get()
        .probe
        .iter()
        .any(|program| program.as_bytes() == name)
}

/// Reads the fields of a request one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn u64(&mut self) -> Result<u64, Errno> {
        let (head, rest) = self.0.split_first_chunk::<8>().ok_or(Errno::EINVAL)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*head))
    }

    fn u32(&mut self) -> Result<u32, Errno> {
        let (head, rest) = self.0.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*head))
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }

    fn end(self) -> Result<(), Errno> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }
}

/// Address of a page of the window, or of the pages behind it.
const fn window_address(index: u64) -> u64 {
    probe::WINDOW_BASE + index * PAGE_SIZE
}

/// Sets the raw entry of a page of the caller's window.
fn map_window(index: u64, entry: u64) -> Result<(), Errno> {
    let process = proc::current();
    let mut space = process.space.lock();
    space
        .as_mut()
        .ok_or(Errno::EINVAL)?
        .map_raw(window_address(index), entry)
}

/// Records that something is about to run and, if asked, waits for the server's acknowledgement.
fn record_request(payload: &Payload<'_>, write_ahead: bool) -> Result<Option<u32>, Errno> {
    let sequence = trace::emit(payload);
    if write_ahead {
        trace::flush()?;
    }
    Ok(sequence)
}
