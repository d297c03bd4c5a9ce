//! Page-table registers and TLB.
#![expect(unsafe_code, reason = "CR3 and TLB")]

use crate::arch::cpu;
use ::x86_64::registers::control::{Cr3, Cr3Flags};
use ::x86_64::structures::paging::PhysFrame;
use ::x86_64::{PhysAddr, VirtAddr};
use core::sync::atomic::Ordering;

/// Loads the root of an address space if it is not loaded already.
///
/// The tables below `root` must contain the kernel's half (every root made by `mm` does) and must
/// not be freed before another root is loaded.
pub(crate) fn load_root(root: PhysAddr) {
    let cpu = cpu::this();
    if cpu.root.swap(root.as_u64(), Ordering::Relaxed) != root.as_u64() {
        reload(root);
    }
}

/// Drops all user translations of this CPU.
pub(crate) fn flush_user() {
    let (frame, flags) = Cr3::read();
    // SAFETY: the same root again.
    unsafe { Cr3::write(frame, flags) };
}

fn reload(root: PhysAddr) {
    // SAFETY: promised to `load_root`.
    unsafe { Cr3::write(PhysFrame::containing_address(root), Cr3Flags::empty()) };
}

/// Drops one translation.
pub(crate) fn flush_page(address: u64) {
    ::x86_64::instructions::tlb::flush(VirtAddr::new_truncate(address));
}
