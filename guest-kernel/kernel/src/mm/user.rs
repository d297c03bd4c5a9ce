//! The calling process's memory: the only way by which the kernel touches it.
//!
//! Pages are looked up, and faulted in, before they are copied through the direct map, so a bad pointer
//! is EFAULT and never a fault of the kernel; SMAP can stay on all the time.

use super::address_space::{Access, AddressSpace};
use super::raw::{Plain, bytes_of, bytes_of_mut};
use crate::proc::current;
use abi::Errno;
use alloc::vec::Vec;
use kcore::umem::UserRange;

/// Runs with the calling process's address space.
pub fn with_space<T>(run: impl FnOnce(&mut AddressSpace) -> Result<T, Errno>) -> Result<T, Errno> {
    current()
        .space
        .lock()
        .as_mut()
        .map_or(Err(Errno::EFAULT), run)
}

/// Copies bytes from user memory.
pub fn copy_in(address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
    let mut rest = bytes;
    // Page by page: the lock is held, with interrupts off, for one page at most.
    for piece in UserRange::new(address, rest.len() as u64)?.pieces() {
        let (part, behind) = rest.split_at_mut(piece.length);
        with_space(|space| space.read(piece, part))?;
        rest = behind;
    }
    Ok(())
}

/// Copies bytes to user memory.
pub fn copy_out(address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let mut rest = bytes;
    for piece in UserRange::new(address, rest.len() as u64)?.pieces() {
        let (part, behind) = rest.split_at(piece.length);
        with_space(|space| space.write(piece, part))?;
        rest = behind;
    }
    Ok(())
}

/// Whether a range may be written, before something is done whose result goes there.
pub fn check_writable(address: u64, len: usize) -> Result<(), Errno> {
    let range = UserRange::new(address, len as u64)?;
    with_space(|space| space.check(range, Access::Write))
}

/// Whether a range may be read.
pub fn check_readable(address: u64, len: usize) -> Result<(), Errno> {
    let range = UserRange::new(address, len as u64)?;
    with_space(|space| space.check(range, Access::Read))
}

/// Reads a structure.
pub fn read<T: Plain + Default>(address: u64) -> Result<T, Errno> {
    let mut value = T::default();
    copy_in(address, bytes_of_mut(&mut value))?;
    Ok(value)
}

/// Writes a structure.
pub fn write<T: Plain>(address: u64, value: &T) -> Result<(), Errno> {
    copy_out(address, bytes_of(value))
}

/// Reads a path: at most PATH_MAX bytes and a NUL, without any byte beyond the NUL.
pub fn path(address: u64) -> Result<Vec<u8>, Errno> {
    string(address, abi::file::PATH_MAX + 1)
}

/// Reads a NUL-terminated string of less than `limit` bytes; ENAMETOOLONG if it is longer.
pub fn string(address: u64, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = buffer(limit)?;
    let range = UserRange::at_most(address, limit as u64)?;
    let mut done = 0;
    for piece in range.pieces() {
        let part = &mut bytes[done..done + piece.length];
        with_space(|space| space.read(piece, part))?;
        if let Some(end) = part.iter().position(|&byte| byte == 0) {
            bytes.truncate(done + end);
            return Ok(bytes);
        }
        done += piece.length;
    }
    // It ends with the user's memory, or goes on.
    Err(if done < limit {
        Errno::EFAULT
    } else {
        Errno::ENAMETOOLONG
    })
}

/// A zeroed kernel buffer, or ENOMEM.
pub fn buffer(len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    Ok(bytes)
}
