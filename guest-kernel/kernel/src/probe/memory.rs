//! Pages, the probe window, and memory read and written with faults as answers.

use super::{Fields, map_window, window_address};
use crate::arch::cpu::IrqGuard;
use crate::arch::probe::{self as machine, Plan, Shadow};
use crate::mm::layout::PAGE_SIZE;
use crate::mm::{PhysAddr, frames, memory_map};
use crate::proc::{self, Pid};
use crate::sync::SpinLock;
use abi::Errno;
use abi::probe::{
    MEMORY_MAX, PTE_NO_EXECUTE, PTE_PRESENT, PTE_UNCACHED, PTE_WRITE, Registers, SPACE_LINEAR,
    SPACE_PHYSICAL, WINDOW_PAGES,
};
use alloc::vec;
use alloc::vec::Vec;

/// Pages one program may hold.
const PAGES_MAX: u64 = 4096;
/// The window page behind the last one: physical memory is reached through it.
const SCRATCH: u64 = WINDOW_PAGES;
/// RFLAGS.AC: supervisor code may touch user pages under SMAP.
const AC: u64 = 1 << 18;

#[derive(Clone, Copy)]
struct Owned {
    pid: Pid,
    physical: u64,
    pages: u64,
}

static OWNED: SpinLock<Vec<Owned>> = SpinLock::new("probe pages", Vec::new());

pub(super) fn alloc(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut fields = Fields(request);
    let (_, pages) = (fields.u64()?, fields.u64()?);
    fields.end()?;
    if !(1..=256).contains(&pages) {
        return Err(Errno::EINVAL);
    }
    let pid = proc::current_pid();
    let held: u64 = OWNED
        .lock()
        .iter()
        .filter(|owned| owned.pid == pid)
        .map(|owned| owned.pages)
        .sum();
    if held + pages > PAGES_MAX {
        return Err(Errno::ENOMEM);
    }
    let physical = frames::alloc_contiguous(pages as usize)
        .ok_or(Errno::ENOMEM)?
        .as_u64();
    OWNED.lock().push(Owned {
        pid,
        physical,
        pages,
    });
    Ok(physical.to_le_bytes().to_vec())
}

pub(super) fn free(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut fields = Fields(request);
    let (physical, pages) = (fields.u64()?, fields.u64()?);
    fields.end()?;
    let pid = proc::current_pid();
    let mut owned = OWNED.lock();
    let place = owned
        .iter()
        .position(|o| o.pid == pid && o.physical == physical && o.pages == pages);
    owned.swap_remove(place.ok_or(Errno::EINVAL)?);
    drop(owned);
    frames::free_contiguous(PhysAddr::new(physical), pages as usize);
    Ok(Vec::new())
}

pub(super) fn free_all(pid: Pid) {
    loop {
        let mut owned = OWNED.lock();
        let Some(place) = owned.iter().position(|owned| owned.pid == pid) else {
            return;
        };
        let gone = owned.swap_remove(place);
        drop(owned);
        frames::free_contiguous(PhysAddr::new(gone.physical), gone.pages as usize);
    }
}

pub(super) fn map(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut fields = Fields(request);
    let (index, physical, flags) = (fields.u64()?, fields.u64()?, fields.u64()?);
    fields.end()?;
    if index >= WINDOW_PAGES || !physical.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    map_window(index, if flags == 0 { 0 } else { physical | flags })?;
    Ok(window_address(index).to_le_bytes().to_vec())
}

pub(super) fn entry(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut fields = Fields(request);
    let index = fields.u64()?;
    fields.end()?;
    if index >= WINDOW_PAGES {
        return Err(Errno::EINVAL);
    }
    let process = proc::current();
    let space = process.space.lock();
    let entry = space
        .as_ref()
        .ok_or(Errno::EINVAL)?
        .entry(window_address(index));
    Ok(entry.to_le_bytes().to_vec())
}

struct Place {
    address: u64,
    len: usize,
    space: u32,
    width: u32,
}

fn place(request: &[u8]) -> Result<(Place, &[u8]), Errno> {
    let mut fields = Fields(request);
    let (address, len, space, width) = (fields.u64()?, fields.u64()?, fields.u32()?, fields.u32()?);
    let valid = (1..=MEMORY_MAX as u64).contains(&len)
        && matches!(space, SPACE_LINEAR | SPACE_PHYSICAL)
        && matches!(width, 0 | 1 | 2 | 4 | 8)
        && len.is_multiple_of(u64::from(width.max(1)));
    if !valid {
        return Err(Errno::EINVAL);
    }
    Ok((
        Place {
            address,
            len: len as usize,
            space,
            width,
        },
        fields.rest(),
    ))
}

pub(super) fn read(request: &[u8], room: usize) -> Result<Vec<u8>, Errno> {
    let (place, rest) = place(request)?;
    if !rest.is_empty() {
        return Err(Errno::EINVAL);
    }
    if room < place.len {
        return Err(Errno::ENOBUFS);
    }
    let mut bytes = vec![0; place.len];
    let target = bytes.as_mut_ptr().expose_provenance() as u64;
    transfer(&place, |address, offset, len| {
        copy(target + offset, address, len, place.width)
    })?;
    Ok(bytes)
}

pub(super) fn write(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let (place, bytes) = place(request)?;
    if bytes.len() != place.len {
        return Err(Errno::EINVAL);
    }
    let source = bytes.as_ptr().expose_provenance() as u64;
    transfer(&place, |address, offset, len| {
        copy(address, source + offset, len, place.width)
    })?;
    Ok(Vec::new())
}

/// Calls `step(linear address, offset, length)` for pieces that lie within a page.
fn transfer(place: &Place, step: impl Fn(u64, u64, u64) -> Result<(), Errno>) -> Result<(), Errno> {
    let mut offset = 0;
    while offset < place.len as u64 {
        let address = place.address.checked_add(offset).ok_or(Errno::EFAULT)?;
        let len = (PAGE_SIZE - address % PAGE_SIZE).min(place.len as u64 - offset);
        if place.space == SPACE_PHYSICAL {
            if address >= 1 << 52 {
                return Err(Errno::EFAULT);
            }
            // The scratch page belongs to this process, so no other flow of control changes it.
            let cache = if place.width == 0 { 0 } else { PTE_UNCACHED };
            let page = address - address % PAGE_SIZE;
            map_window(
                SCRATCH,
                page | PTE_PRESENT | PTE_WRITE | PTE_NO_EXECUTE | cache,
            )?;
            step(window_address(SCRATCH) + address % PAGE_SIZE, offset, len)?;
        } else {
            step(address, offset, len)?;
        }
        offset += len;
    }
    Ok(())
}

/// Copies with accesses of a width (0: bytes); a fault on the way is EFAULT.
fn copy(to: u64, from: u64, len: u64, width: u32) -> Result<(), Errno> {
    // Loop: load from rsi, store to rdi, advance both by r8, count rcx down. Plain MOV, as MMIO under
    // a hypervisor's instruction emulation needs.
    let (load_store, step): (&[u8], u64) = match width {
        2 => (&[0x66, 0x8b, 0x06, 0x66, 0x89, 0x07], 2),
        4 => (&[0x8b, 0x06, 0x89, 0x07], 4),
        8 => (&[0x48, 0x8b, 0x06, 0x48, 0x89, 0x07], 8),
        _ => (&[0x8a, 0x06, 0x88, 0x07], 1),
    };
    let mut code = load_store.to_vec();
    // add rsi, r8; add rdi, r8; dec rcx; jnz to the start
    code.extend_from_slice(&[0x4c, 0x01, 0xc6, 0x4c, 0x01, 0xc7, 0x48, 0xff, 0xc9, 0x75]);
    code.push((-(code.len() as i64 + 1)) as u8);
    let registers = Registers {
        rsi: from,
        rdi: to,
        rcx: len / step,
        r8: step,
        rflags: AC,
        ..Registers::default()
    };
    let plan = Plan {
        registers: &registers,
        code: &code,
        inner: 1,
        reload: false,
        interrupts: false,
        single_step: false,
        shadow: Shadow::None,
        ring3: None,
    };
    let guard = IrqGuard::new();
    let outcome = machine::run(&plan);
    drop(guard);
    match outcome {
        None => Err(Errno::ENOMEM),
        Some(outcome) if outcome.fault.is_some() => Err(Errno::EFAULT),
        Some(_) => Ok(()),
    }
}

/// The loader's memory map as an array of `MemoryRange`.
pub(super) fn map_of_loader() -> Vec<u8> {
    let mut out = Vec::new();
    for range in memory_map::ranges() {
        out.extend_from_slice(&range.start.to_le_bytes());
        out.extend_from_slice(&(range.end - range.start).to_le_bytes());
        out.extend_from_slice(&range.kind.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
    }
    out
}
