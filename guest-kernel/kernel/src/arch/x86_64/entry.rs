//! Assembly entry points, and programming the CPU to use `syscall`.
#![expect(unsafe_code, reason = "assembly entry points and their MSRs")]

use crate::arch::{gdt, trap::TrapFrame};
use ::x86_64::VirtAddr;
use ::x86_64::registers::model_specific::{Efer, EferFlags, LStar, SFMask, Star};
use ::x86_64::registers::rflags::RFlags;

core::arch::global_asm!(include_str!("entry.s"), options(att_syntax));

unsafe extern "C" {
    fn trap_stubs();
    fn syscall_entry();
    fn enter_user(frame: *const TrapFrame) -> !;
}

/// Address of the stub of one vector.
pub(super) fn stub_address(vector: u8) -> u64 {
    trap_stubs as *const () as u64 + 16 * u64::from(vector)
}

/// Makes this CPU accept `syscall` (AMD64 manual volume 2, 3.44, section 6.1.1).
pub fn init_syscall() {
    LStar::write(VirtAddr::new(syscall_entry as *const () as u64));
    SFMask::write(
        RFlags::INTERRUPT_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::TRAP_FLAG
            | RFlags::ALIGNMENT_CHECK
            | RFlags::NESTED_TASK,
    );
    Star::write(
        gdt::USER_CODE,
        gdt::USER_DATA,
        gdt::KERNEL_CODE,
        gdt::KERNEL_DATA,
    )
    .expect("the GDT has the order that syscall and sysret want");
    // SAFETY: adds SCE and NXE to what boot.s set; the entry point above is in place.
    unsafe {
        Efer::update(|flags| {
            flags.insert(EferFlags::SYSTEM_CALL_EXTENSIONS | EferFlags::NO_EXECUTE_ENABLE)
        })
    };
}

/// Leaves for user mode with these registers; the kernel stack below them is forgotten.
pub fn leave_for_user(frame: &TrapFrame) -> ! {
    assert!(frame.is_user(), "leaving for user mode with a kernel frame");
    // SAFETY: 1. the frame selects ring 3 (asserted), so whatever it holds is the user's affair.
    // 2. entry.s turns interrupts off before it gives up the stack, and never comes back.
    unsafe { enter_user(frame) }
}

/// System call entry from entry.s. Returns whether `sysret` may be used for the way back.
#[unsafe(no_mangle)]
extern "C" fn syscall_handler(frame: &mut TrapFrame) -> bool {
    ::x86_64::instructions::interrupts::enable();
    let full_return = crate::syscall::dispatch(frame);
    crate::arch::trap::before_user(frame);
    // sysret with a non-canonical rip faults in ring 0 on Intel CPUs; user addresses end well below.
    !full_return && frame.rip < crate::mm::layout::USER_TOP
}
