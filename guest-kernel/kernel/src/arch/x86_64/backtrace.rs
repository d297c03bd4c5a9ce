//! Walking the frame pointers of the kernel's stack.
#![expect(unsafe_code, reason = "reads the stack")]

use crate::mm::kernel_space;

/// Most frames shown.
const MAX_FRAMES: usize = 32;

/// Calls `visit` with return addresses, innermost first, from here or from a trap's (rip, rbp).
pub fn walk(start: Option<(u64, u64)>, mut visit: impl FnMut(u64)) {
    let mut rbp: u64 = match start {
        Some((rip, rbp)) => {
            visit(rip);
            rbp
        }
        None => {
            let own: u64;
            // SAFETY: copies a register.
            unsafe {
                core::arch::asm!("mov {}, rbp", out(reg) own, options(nomem, nostack, preserves_flags))
            };
            own
        }
    };
    for _ in 0..MAX_FRAMES {
        if !rbp.is_multiple_of(8) || rbp < 1 << 63 || !kernel_space::is_mapped(rbp, 16) {
            return;
        }
        // SAFETY: 16 mapped, aligned bytes of the kernel's half (checked); whatever they hold is only shown.
        let [next, address] = unsafe { *(rbp as *const [u64; 2]) };
        if address == 0 {
            return;
        }
        visit(address);
        if next <= rbp {
            return;
        }
        rbp = next;
    }
}
