//! IN and OUT.
#![expect(unsafe_code, reason = "port instructions")]

use core::arch::asm;

/// IN of 1, 2 or 4 bytes.
pub fn read(number: u16, bytes: u8) -> u32 {
    let value: u32;
    // SAFETY: IN touches no memory. What a port does is its device's business; the callers pass
    // ports of labvisor's console, of fw_cfg, and those the guest asked for, whose devices all
    // belong to the guest.
    unsafe {
        match bytes {
            1 => {
                asm!("xor eax, eax", "in al, dx", in("dx") number, out("eax") value, options(nomem, nostack))
            }
            2 => {
                asm!("xor eax, eax", "in ax, dx", in("dx") number, out("eax") value, options(nomem, nostack))
            }
            _ => asm!("in eax, dx", in("dx") number, out("eax") value, options(nomem, nostack)),
        }
    }
    value
}

/// OUT of 1, 2 or 4 bytes.
pub fn write(number: u16, bytes: u8, value: u32) {
    // SAFETY: as in `read`. A device told to do DMA could write anywhere, but it is the guest
    // that tells it, with or without us (there is no IOMMU; README, limits).
    unsafe {
        match bytes {
            1 => asm!("out dx, al", in("dx") number, in("al") value as u8, options(nomem, nostack)),
            2 => {
                asm!("out dx, ax", in("dx") number, in("ax") value as u16, options(nomem, nostack))
            }
            _ => asm!("out dx, eax", in("dx") number, in("eax") value, options(nomem, nostack)),
        }
    }
}
