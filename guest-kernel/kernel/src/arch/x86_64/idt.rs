//! Interrupt descriptor table: all 256 vectors, shared by all CPUs.
#![expect(unsafe_code, reason = "loading the table")]

use crate::arch::{entry, gdt};
use ::x86_64::VirtAddr;
use ::x86_64::instructions::tables::lidt;
use ::x86_64::structures::DescriptorTablePointer;
use spin::Once;

/// A 64-bit interrupt gate (AMD64 manual volume 2, 3.44, section 4.8.4).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    ist: u8,
    /// Present, privilege level, type Eh: interrupt gate.
    attributes: u8,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<Gate>() == 16);

static IDT: Once<[Gate; 256]> = Once::new();

fn gate(vector: u8) -> Gate {
    let address = entry::stub_address(vector);
    // int3 and into may be raised by user code; the other gates refuse `int n` with #GP.
    let privilege = if matches!(vector, 3 | 4) { 3 << 5 } else { 0 };
    Gate {
        offset_low: address as u16,
        selector: gdt::KERNEL_CODE.0,
        ist: gdt::ist_of(vector),
        attributes: 0x8e | privilege,
        offset_middle: (address >> 16) as u16,
        offset_high: (address >> 32) as u32,
        reserved: 0,
    }
}

/// Loads the table on this CPU, building it first if need be.
pub fn init() {
    let table = IDT.call_once(|| core::array::from_fn(|vector| gate(vector as u8)));
    let pointer = DescriptorTablePointer {
        limit: (size_of_val(table) - 1) as u16,
        base: VirtAddr::from_ptr(table),
    };
    // SAFETY: the table is static and complete; every stub leads to `trap_handler`.
    unsafe { lidt(&pointer) };
}
