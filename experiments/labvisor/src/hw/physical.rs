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
