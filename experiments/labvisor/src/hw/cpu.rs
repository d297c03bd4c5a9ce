//! Registers of the processor: model-specific ones, CPUID, the time-stamp counter, and the
//! instructions that stop it.
#![expect(unsafe_code, reason = "privileged instructions")]

use core::arch::{asm, x86_64};

const EFER: u32 = 0xc000_0080;
const VM_HSAVE_PA: u32 = 0xc001_0117;
const VM_CR: u32 = 0xc001_0114;

/// RDMSR of a register that exists.
pub fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading a register changes nothing; one that does not exist ends in our trap
    // handler's panic, not in undefined behaviour.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR of a register that exists.
pub fn write_msr(number: u32, value: u64) {
    // SAFETY: the callers write (1) EFER and VM_HSAVE_PA at the start, below, and (2) what the
    // exit handlers let through, which is checked not to cover labvisor's memory.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    }
}

/// CPUID: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// The time-stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: every processor with SVM has RDTSC, and CR4.TSD does not concern ring 0.
    unsafe { x86_64::_rdtsc() }
}

/// Whether the firmware locked SVM off (APM vol. 2, 15.30.1).
pub fn svm_locked_off() -> bool {
    const SVMDIS: u64 = 1 << 4;
    read_msr(VM_CR) & SVMDIS != 0
}

/// Switches SVM on; `host_save` is the physical address of a free page (APM vol. 2, 15.4 and
/// 15.30.4).
pub fn enable_svm(host_save: u64) {
    const SVME: u64 = 1 << 12;
    write_msr(EFER, read_msr(EFER) | SVME);
    write_msr(VM_HSAVE_PA, host_save);
}

/// Stops for ever. Interrupts are off.
pub fn halt() -> ! {
    loop {
        // SAFETY: halting with interrupts off touches nothing.
        unsafe { asm!("hlt", options(nomem, nostack)) };
    }
}
