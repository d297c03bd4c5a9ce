//! The 32-bit entry and what GRUB hands over.
#![expect(
    unsafe_code,
    reason = "assembly entry; GRUB's structure is found by address"
)]

use alloc::vec::Vec;
use core::arch::global_asm;

use labvisor::multiboot::{self, Info};

global_asm!(include_str!("boot.s"));

/// Where the start code jumps to, with the registers of GRUB's Multiboot2 entry.
#[unsafe(no_mangle)]
extern "C" fn labvisor_main(magic: u32, info: u32) -> ! {
    crate::start(magic, info)
}

/// GRUB's information structure, or `None` when it was not GRUB (or not Multiboot2) that
/// started us.
pub fn information(magic: u32, address: u32) -> Option<Info> {
    if magic != multiboot::MAGIC {
        return None;
    }
    let mut length = [0; 4];
    super::physical::read(u64::from(address), &mut length);
    let mut bytes: Vec<u8> = alloc::vec![0; u32::from_le_bytes(length) as usize];
    super::physical::read(u64::from(address), &mut bytes);
    Some(Info::read(&bytes))
}
