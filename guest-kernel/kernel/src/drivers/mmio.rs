//! Device registers in memory: the only volatile access in the kernel.
//!
//! Every access is one plain MOV of the register's width: BitVisor's emulator takes nothing else.
#![expect(unsafe_code, reason = "volatile access to device registers")]

use crate::mm::PhysAddr;

mod sealed {
    pub trait Sealed {}
}

/// Widths of registers: u8, u16, u32, u64.
pub trait Register: Copy + sealed::Sealed {
    /// One load.
    ///
    /// # Safety
    /// `pointer` is aligned and mapped.
    unsafe fn load(pointer: *const Self) -> Self;
    /// One store.
    ///
    /// # Safety
    /// `pointer` is aligned and mapped.
    unsafe fn store(pointer: *mut Self, value: Self);
}

macro_rules! register {
    ($($kind:ty, $class:ident, $width:literal;)*) => {$(
        impl sealed::Sealed for $kind {}
        impl Register for $kind {
            unsafe fn load(pointer: *const Self) -> Self {
                let value: $kind;
                // SAFETY: the caller's promise.
                unsafe {
                    core::arch::asm!(concat!("mov {value", $width, "}, [{pointer}]"),
                        pointer = in(reg) pointer, value = out($class) value,
                        options(nostack, preserves_flags));
                }
                value
            }
            unsafe fn store(pointer: *mut Self, value: Self) {
                // SAFETY: the caller's promise.
                unsafe {
                    core::arch::asm!(concat!("mov [{pointer}], {value", $width, "}"),
                        pointer = in(reg) pointer, value = in($class) value,
                        options(nostack, preserves_flags));
                }
            }
        }
    )*};
}

register! {
    u8, reg_byte, "";
    u16, reg, ":x";
    u32, reg, ":e";
    u64, reg, ":r";
}

/// A mapped range of device registers.
#[derive(Debug)]
pub struct Mmio {
    base: *mut u8,
    len: usize,
}

// SAFETY: each access is a single load or store; drivers lock what takes several.
unsafe impl Send for Mmio {}
// SAFETY: as above.
unsafe impl Sync for Mmio {}

impl Mmio {
    /// Maps registers, uncached. The mapping stays for ever.
    pub fn map(physical: PhysAddr, len: usize) -> Self {
        Self {
            base: crate::mm::map_mmio(physical, len),
            len,
        }
    }

    /// Bytes in the range.
    pub fn size(&self) -> usize {
        self.len
    }

    fn check<T>(&self, offset: usize) -> *mut T {
        let fits = offset
            .checked_add(size_of::<T>())
            .is_some_and(|end| end <= self.len);
        assert!(
            fits && offset.is_multiple_of(size_of::<T>()),
            "register {offset:#x} outside the device or unaligned"
        );
        self.base.wrapping_add(offset).cast()
    }

    /// Reads a register.
    pub fn read<T: Register>(&self, offset: usize) -> T {
        // SAFETY: inside the mapping and aligned (checked).
        unsafe { T::load(self.check(offset)) }
    }

    /// Writes a register.
    pub fn write<T: Register>(&self, offset: usize, value: T) {
        // SAFETY: inside the mapping and aligned (checked). Device registers are no Rust objects; a device
        // masters the bus only with addresses that its driver took from a `DmaBuffer`.
        unsafe { T::store(self.check(offset), value) }
    }
}
