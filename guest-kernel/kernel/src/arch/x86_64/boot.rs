//! The 32-bit entry, and the door to what the boot loader left in memory.
#![expect(unsafe_code, reason = "entry from the boot loader")]

use multiboot2::{BootInformation, BootInformationHeader};

use crate::mm::layout::DIRECT_MAP;
use crate::mm::memory_map::BootInfo;
use crate::mm::pvh;

core::arch::global_asm!(include_str!("boot.s"), options(att_syntax));

/// Magic number in eax at the entry (Multiboot2 specification 2.0, section 3.3).
const MULTIBOOT2: u32 = 0x36d7_6289;
/// What the boot tables map.
const MAPPED: u64 = 1 << 32;

/// What the boot tables show of memory, before anything in it is given away.
pub struct LoaderMemory(());

impl LoaderMemory {
    /// Bytes at a physical address below 4 GiB; None beyond.
    pub fn bytes(&self, address: u64, len: u64) -> Option<&[u8]> {
        let end = address.checked_add(len)?;
        if end > MAPPED || address == 0 {
            return None;
        }
        // SAFETY: 1. The boot tables map the first 4 GiB at DIRECT_MAP, and `kernel_main` makes the one value of
        // this type, which is gone before others are loaded. 2. Nobody writes meanwhile: there is one CPU, without
        // interrupts, and no allocator. 3. Any bytes are bytes; what device memory answers is rubbish, no harm.
        Some(unsafe {
            core::slice::from_raw_parts((DIRECT_MAP + address) as *const u8, len as usize)
        })
    }
}

/// Called by `boot.s` on the boot stack, on boot page tables, interrupts off.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(magic: u32, info: u32) -> ! {
    let at = u64::from(info);
    let left = match magic {
        MULTIBOOT2 => {
            // SAFETY: 1. boot.s calls this once, before anything else runs. 2. The boot tables map the first
            // 4 GiB at DIRECT_MAP, and the loader put the structure below 4 GiB (it hands over 32 bits).
            // 3. `info` is only read if the magic says that a Multiboot2 loader filled it in.
            let loaded =
                unsafe { BootInformation::load((DIRECT_MAP + at) as *const BootInformationHeader) };
            loaded
                .ok()
                .map(|information| BootInfo::of_multiboot2(&information, at))
        }
        pvh::MAGIC => pvh::read(&LoaderMemory(()), at),
        _ => None,
    };
    match left {
        Some(left) => crate::main(left),
        None => crate::main_without_loader(),
    }
}
