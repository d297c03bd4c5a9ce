//! Physical memory, which labvisor maps at its own addresses (identity, not executable).
#![expect(
    unsafe_code,
    reason = "reads and writes memory that belongs to no Rust object"
)]

use core::sync::atomic::{AtomicU8, Ordering};

/// Copies out of physical memory.
pub fn read(address: u64, bytes: &mut [u8]) {
    for (offset, byte) in bytes.iter_mut().enumerate() {
        let source = address.wrapping_add(offset as u64) as *const u8;
        // SAFETY: (1) the identity mapping covers all addresses the callers pass: `GuestMemory`
        // lets RAM below its checked end through, the start code what GRUB named; (2) a byte
        // read of it has no effect, as it is RAM; (3) volatile, because devices and the guest
        // change it behind the compiler's back.
        *byte = unsafe { source.read_volatile() };
    }
}

/// Reads a device's 32-bit register with one access.
pub fn read_register(address: u64) -> u32 {
    let register = (address & !3) as *const u32;
    // SAFETY: (1) the identity mapping covers the local APIC's page, the one place callers name;
    // (2) the address is aligned; (3) volatile, one access, as devices want it.
    unsafe { register.read_volatile() }
}

/// Reads a device's memory: with one access where the address is aligned, else byte by byte.
pub fn read_device(address: u64, bytes: &mut [u8]) {
    // SAFETY, of each: (1) the identity mapping covers the first 4 GiB, and `GuestBus` lets
    // nothing above through; (2) the address is aligned for the size; (3) what a device does when
    // it is read, the guest may ask of it with a plain instruction, too.
    match (bytes.len(), address % bytes.len().max(1) as u64) {
        (2, 0) => {
            // SAFETY: see above.
            let value = unsafe { (address as *const u16).read_volatile() };
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        (4, 0) => {
            // SAFETY: see above.
            let value = unsafe { (address as *const u32).read_volatile() };
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        (8, 0) => {
            // SAFETY: see above.
            let value = unsafe { (address as *const u64).read_volatile() };
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        _ => read(address, bytes),
    }
}

/// Writes a device's memory, in accesses as [`read_device`].
pub fn write_device(address: u64, bytes: &[u8]) {
    match (bytes, address % bytes.len().max(1) as u64) {
        (&[a, b], 0) => {
            // SAFETY: as in `read_device`; no Rust object lies in a device.
            unsafe { (address as *mut u16).write_volatile(u16::from_le_bytes([a, b])) };
        }
        (&[a, b, c, d], 0) => {
            let value = u32::from_le_bytes([a, b, c, d]);
            // SAFETY: as in `read_device`; no Rust object lies in a device.
            unsafe { (address as *mut u32).write_volatile(value) };
        }
        (&[a, b, c, d, e, f, g, h], 0) => {
            let value = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            // SAFETY: as in `read_device`; no Rust object lies in a device.
            unsafe { (address as *mut u64).write_volatile(value) };
        }
        _ => write(address, bytes),
    }
}

/// Copies into physical memory.
pub fn write(address: u64, bytes: &[u8]) {
    for (offset, byte) in bytes.iter().enumerate() {
        let target = address.wrapping_add(offset as u64) as *mut u8;
        // SAFETY: as in `read`; and no Rust object lies there: `GuestMemory` refuses labvisor's
        // own memory (the planted defect that does not is meant to break this), and the start
        // code writes only into ranges it has found free.
        unsafe { target.write_volatile(*byte) };
    }
}

/// Sets bits of one byte atomically.
pub fn set_bits(address: u64, bits: u8) {
    // SAFETY: as in `write`; an AtomicU8 has no alignment to keep.
    let byte = unsafe { AtomicU8::from_ptr(address as *mut u8) };
    byte.fetch_or(bits, Ordering::SeqCst);
}
