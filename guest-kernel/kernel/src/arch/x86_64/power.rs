//! Ending: QEMU's isa-debug-exit, ACPI S5, reset, halt.
#![expect(unsafe_code, reason = "ports that end the machine")]

use crate::arch::{apic, cpu, port};
use ::x86_64::instructions::{hlt, interrupts};
use core::sync::atomic::Ordering;

/// I/O port of the isa-debug-exit device; QEMU's status becomes `value * 2 + 1`.
const DEBUG_EXIT: u16 = 0xf4;
/// Value after a kernel panic.
pub const PANIC_STATUS: u8 = 0x77;

/// Powers the machine off: isa-debug-exit where QEMU has it, else ACPI's way on a PIIX4, else halt.
pub fn off(status: u8) -> ! {
    interrupts::disable();
    // SAFETY: ending the machine is what the caller asked for; these ports move no memory.
    unsafe {
        port::write::<u32>(DEBUG_EXIT, u32::from(status));
        // PIIX4's power management block at 600h: sleep type 0 (S5), sleep enable.
        port::write::<u16>(0x604, 0x2000);
    }
    halt_this_cpu()
}

/// Resets the machine: the chipset's reset register, else the keyboard controller's pin, else halt.
pub fn reset() -> ! {
    interrupts::disable();
    // SAFETY: a reset is what the caller asked for; these ports move no memory.
    unsafe {
        port::write::<u8>(0xcf9, 0x02);
        port::write::<u8>(0xcf9, 0x06);
        port::write::<u8>(0x64, 0xfe);
    }
    halt_this_cpu()
}

/// Stops all other CPUs, for a panic.
pub fn stop_others() {
    let own = cpu::number();
    for (number, other) in cpu::all().iter().enumerate() {
        if number != own && other.online.load(Ordering::Relaxed) {
            apic::send_interrupt(other.apic_id.load(Ordering::Relaxed), apic::STOP_VECTOR);
        }
    }
}

/// Never comes back.
pub fn halt_this_cpu() -> ! {
    loop {
        interrupts::disable();
        hlt();
    }
}
