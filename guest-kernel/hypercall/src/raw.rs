//! The instructions themselves, with the full register file in and out.
#![expect(unsafe_code, reason = "the one file that executes vmcall and vmmcall")]

/// The registers of a hypercall; everything else is preserved or clobbered as the System V ABI says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[expect(missing_docs, reason = "registers bear their architectural names")]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
}

// The assembly below relies on this layout.
const _: () = {
    assert!(core::mem::offset_of!(Registers, rax) == 0);
    assert!(core::mem::offset_of!(Registers, rbx) == 8);
    assert!(core::mem::offset_of!(Registers, r15) == 112);
    assert!(core::mem::size_of::<Registers>() == 120);
};

macro_rules! hypercall_function {
    ($symbol:literal, $instruction:literal) => {
        core::arch::global_asm!(
            ".pushsection .text.hypercall, \"ax\", @progbits",
            concat!(".global ", $symbol),
            concat!($symbol, ":"),
            "push rbx",
            "push rbp",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "push rdi",
            "mov rax, [rdi]",
            "mov rbx, [rdi + 8]",
            "mov rcx, [rdi + 16]",
            "mov rdx, [rdi + 24]",
            "mov rsi, [rdi + 32]",
            "mov rbp, [rdi + 48]",
            "mov r8, [rdi + 56]",
            "mov r9, [rdi + 64]",
            "mov r10, [rdi + 72]",
            "mov r11, [rdi + 80]",
            "mov r12, [rdi + 88]",
            "mov r13, [rdi + 96]",
            "mov r14, [rdi + 104]",
            "mov r15, [rdi + 112]",
            "mov rdi, [rdi + 40]",
            // The instruction's address is exported so that a #UD handler knows it.
            concat!(".global ", $symbol, "_at"),
            concat!($symbol, "_at:"),
            $instruction,
            // Behind it, whether it was executed or skipped by the handler.
            "xchg rdi, [rsp]",
            "mov [rdi], rax",
            "mov [rdi + 8], rbx",
            "mov [rdi + 16], rcx",
            "mov [rdi + 24], rdx",
            "mov [rdi + 32], rsi",
            "pop rax",
            "mov [rdi + 40], rax",
            "mov [rdi + 48], rbp",
            "mov [rdi + 56], r8",
            "mov [rdi + 64], r9",
            "mov [rdi + 72], r10",
            "mov [rdi + 80], r11",
            "mov [rdi + 88], r12",
            "mov [rdi + 96], r13",
            "mov [rdi + 104], r14",
            "mov [rdi + 112], r15",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            "ret",
            ".popsection",
        );
    };
}

hypercall_function!("hvlab_vmcall", "vmcall");
hypercall_function!("hvlab_vmmcall", "vmmcall");

unsafe extern "sysv64" {
    fn hvlab_vmcall(registers: *mut Registers);
    fn hvlab_vmmcall(registers: *mut Registers);
    static hvlab_vmcall_at: u8;
    static hvlab_vmmcall_at: u8;
}

/// Bytes of `vmcall` and of `vmmcall`: a handler of #UD skips so many.
pub const INSTRUCTION_LEN: u64 = 3;

/// Which instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instruction {
    /// Intel (SDM vol. 3C, section 30.3).
    Vmcall,
    /// AMD (APM vol. 3, VMMCALL).
    Vmmcall,
}

/// Executes a hypercall instruction.
///
/// # Safety
/// 1. The #UD handler recognises [`undefined_at`] and goes on [`INSTRUCTION_LEN`] bytes further, or
///    the caller knows that a hypervisor answers this instruction.
/// 2. The registers form a call whose effects on memory the caller allows.
pub unsafe fn execute(instruction: Instruction, registers: &mut Registers) {
    // SAFETY: both functions keep the System V ABI and touch no memory but `registers`, which is a
    // live exclusive reference; what the hypervisor does is the caller's promise 2, #UD promise 1.
    unsafe {
        match instruction {
            Instruction::Vmcall => hvlab_vmcall(registers),
            Instruction::Vmmcall => hvlab_vmmcall(registers),
        }
    }
}

/// Whether RIP of a #UD is one of the two instructions here.
pub fn undefined_at(rip: u64) -> bool {
    rip == (&raw const hvlab_vmcall_at).addr() as u64
        || rip == (&raw const hvlab_vmmcall_at).addr() as u64
}
