//! What the CPU can do, and turning on what protects us.
#![expect(unsafe_code, reason = "control registers")]

use ::x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use ::x86_64::registers::model_specific::Msr;
use raw_cpuid::CpuId;

/// Protections in use, for the boot message.
#[derive(Clone, Copy, Default)]
pub struct Protections {
    /// The kernel cannot execute user pages.
    pub smep: bool,
    /// The kernel cannot touch user pages by accident; it uses the direct map.
    pub smap: bool,
    /// User code cannot read the descriptor table registers.
    pub umip: bool,
}

/// Turns on SSE for user programs (`fxsave`), write protection in ring 0, SMEP, SMAP and UMIP where
/// they exist. FSGSBASE stays off: entry.s relies on GS base being ours.
pub fn init_cpu() -> Protections {
    let extended = CpuId::new().get_extended_feature_info();
    let has = |test: fn(&raw_cpuid::ExtendedFeatures) -> bool| extended.as_ref().is_some_and(test);
    let protections = Protections {
        smep: has(raw_cpuid::ExtendedFeatures::has_smep),
        smap: has(raw_cpuid::ExtendedFeatures::has_smap),
        umip: has(raw_cpuid::ExtendedFeatures::has_umip),
    };
    let mut cr4 = Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE;
    cr4.set(
        Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION,
        protections.smep,
    );
    cr4.set(
        Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION,
        protections.smap,
    );
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, protections.umip);
    // SAFETY: none of these bits changes how the kernel's own mappings are used: the kernel has no
    // mapping of user pages with the user bit that it executes or touches.
    unsafe {
        Cr4::update(|flags| {
            flags.insert(cr4 | Cr4Flags::PAGE_GLOBAL);
            flags.remove(Cr4Flags::FSGSBASE);
        });
        Cr0::update(|flags| {
            flags.insert(
                Cr0Flags::WRITE_PROTECT | Cr0Flags::NUMERIC_ERROR | Cr0Flags::MONITOR_COPROCESSOR,
            );
            flags.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
        });
    }
    protections
}

/// Reads the APIC base register.
pub(super) fn read_apic_base(msr: Msr) -> u64 {
    // SAFETY: every 64-bit CPU has the register; reading it changes nothing.
    unsafe { msr.read() }
}
