//! The 32-bit entry, and the door to the Multiboot2 information structure.
#![expect(unsafe_code, reason = "entry from the boot loader")]

use multiboot2::{BootInformation, BootInformationHeader};

core::arch::global_asm!(include_str!("boot.s"), options(att_syntax));

/// Magic number in eax at the entry (Multiboot2 specification 2.0, section 3.3).
const MAGIC: u32 = 0x36d7_6289;

/// Called by `boot.s` on the boot stack, on boot page tables, interrupts off.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(magic: u32, info: u32) -> ! {
    // SAFETY: 1. boot.s calls this once, before anything else runs. 2. The boot tables map the first
    // 4 GiB at DIRECT_MAP, and the loader put the structure below 4 GiB (it hands over 32 bits).
    // 3. `info` is only read if the magic says that a Multiboot2 loader filled it in.
    let parsed = (magic == MAGIC).then(|| unsafe {
        let address = crate::mm::layout::DIRECT_MAP + u64::from(info);
        BootInformation::load(address as *const BootInformationHeader)
    });
    match parsed {
        Some(Ok(boot_information)) => crate::main(&boot_information, u64::from(info)),
        _ => crate::main_without_loader(),
    }
}
