//! The world switch: into the guest and back (APM vol. 2, 15.5).
#![expect(unsafe_code, reason = "VMRUN and the register save around it")]

use core::arch::global_asm;
use core::mem::offset_of;

use labvisor::vcpu::{Registers, Vcpu};

use super::image;

// RDI: the guest's registers; RSI: the VMCB's physical address. The processor swaps RAX, RSP,
// RIP, RFLAGS, segments and control registers by itself, VMLOAD and VMSAVE what it leaves out.
// After #VMEXIT the global interrupt flag is clear: no interrupt reaches labvisor.
global_asm!(
    ".text",
    "world_switch:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "mov rax, rsi",
    "mov rbx, [rdi + 0x00]",
    "mov rcx, [rdi + 0x08]",
    "mov rdx, [rdi + 0x10]",
    "mov rsi, [rdi + 0x18]",
    "mov rbp, [rdi + 0x28]",
    "mov r8,  [rdi + 0x30]",
    "mov r9,  [rdi + 0x38]",
    "mov r10, [rdi + 0x40]",
    "mov r11, [rdi + 0x48]",
    "mov r12, [rdi + 0x50]",
    "mov r13, [rdi + 0x58]",
    "mov r14, [rdi + 0x60]",
    "mov r15, [rdi + 0x68]",
    "mov rdi, [rdi + 0x20]",
    "vmload rax",
    "vmrun rax",
    "vmsave rax",
    "xchg rdi, [rsp]",
    "mov [rdi + 0x00], rbx",
    "mov [rdi + 0x08], rcx",
    "mov [rdi + 0x10], rdx",
    "mov [rdi + 0x18], rsi",
    "mov [rdi + 0x28], rbp",
    "mov [rdi + 0x30], r8",
    "mov [rdi + 0x38], r9",
    "mov [rdi + 0x40], r10",
    "mov [rdi + 0x48], r11",
    "mov [rdi + 0x50], r12",
    "mov [rdi + 0x58], r13",
    "mov [rdi + 0x60], r14",
    "mov [rdi + 0x68], r15",
    "pop rax",
    "mov [rdi + 0x20], rax",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "cld",
    "ret",
);

const _: () = {
    assert!(offset_of!(Registers, rbx) == 0x00);
    assert!(offset_of!(Registers, rcx) == 0x08);
    assert!(offset_of!(Registers, rdx) == 0x10);
    assert!(offset_of!(Registers, rsi) == 0x18);
    assert!(offset_of!(Registers, rdi) == 0x20);
    assert!(offset_of!(Registers, rbp) == 0x28);
    assert!(offset_of!(Registers, r8_to_r15) == 0x30);
};

unsafe extern "C" {
    fn world_switch(registers: *mut Registers, vmcb: u64);
}

/// Runs the guest until its next exit.
pub fn run(vcpu: &mut Vcpu) {
    let vmcb = image::physical(&raw const *vcpu.vmcb as u64);
    // SAFETY: (1) SVM is on and the host save area set, see `cpu::enable_svm`; (2) `registers`
    // and the VMCB are exclusively ours while the guest runs; (3) the VMCB's nested page table
    // keeps the guest out of labvisor's memory, so nothing of ours changes but these two;
    // (4) the switch restores all registers a C function must keep.
    unsafe { world_switch(&raw mut vcpu.registers, vmcb) };
}
