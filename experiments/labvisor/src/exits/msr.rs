//! RDMSR and WRMSR of the registers that are not the guest's to have (APM vol. 2, 15.11).

use super::Vmm;
use crate::defects::{self, Defect, Quirk};
use crate::machine::Machine;
use crate::vcpu::{Exception, Vcpu, bits};

const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1b;
const TSC_ADJUST: u32 = 0x3b;
const EFER: u32 = 0xc000_0080;
const PATCH_LOADER: u32 = 0xc001_0020;
const VM_CR: u32 = 0xc001_0114;
const IGNNE: u32 = 0xc001_0115;
const SMM_CTL: u32 = 0xc001_0116;
const VM_HSAVE_PA: u32 = 0xc001_0117;
const SVM_LOCK_KEY: u32 = 0xc001_0118;

/// Registers whose reads and writes exit. The processor exits by itself for registers that the
/// permission map does not cover.
pub const INTERCEPTED: &[u32] = &[
    TSC,
    APIC_BASE,
    TSC_ADJUST,
    EFER,
    PATCH_LOADER,
    VM_CR,
    IGNNE,
    SMM_CTL,
    VM_HSAVE_PA,
    SVM_LOCK_KEY,
];

/// The register refuses: #GP(0).
struct Refused;

impl Vmm {
    pub(super) fn msr(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let number = vcpu.registers.rcx as u32;
        if defects::planted(Defect::MsrIndexPanics) && number > 0xc001_1fff {
            self.panic = Some("index out of bounds: there are 3 MSR ranges");
        }
        let is_write = vcpu.vmcb.control.exit_info_1 & 1 != 0;
        let outcome = if is_write {
            let high = vcpu.registers.rdx & 0xffff_ffff;
            let value = high << 32 | vcpu.vmcb.save.rax & 0xffff_ffff;
            self.write_msr(vcpu, m, number, value)
        } else {
            self.read_msr(vcpu, m, number).map(|value| {
                let kept = if defects::planted(Defect::RdmsrUpperHalvesKept) {
                    !0xffff_ffff
                } else {
                    0
                };
                vcpu.vmcb.save.rax = vcpu.vmcb.save.rax & kept | value & 0xffff_ffff;
                vcpu.registers.rdx = vcpu.registers.rdx & kept | value >> 32;
            })
        };
        match outcome {
            Ok(()) => {
                let length = self.instruction_length(vcpu, m, 2);
                vcpu.finish_instruction(length);
            }
            Err(Refused) if defects::planted(Defect::MsrFaultIsUd) => {
                vcpu.inject(Exception::InvalidOpcode);
            }
            Err(Refused) => {
                if defects::planted(Defect::FaultRipAdvanced) {
                    vcpu.vmcb.save.rip += self.instruction_length(vcpu, m, 2);
                }
                vcpu.inject(Exception::GeneralProtection(0));
            }
        }
    }

    fn read_msr(&self, vcpu: &Vcpu, m: &dyn Machine, number: u32) -> Result<u64, Refused> {
        match number {
            TSC if defects::planted(Defect::TscMsrWithoutOffset) => Ok(m.ticks()),
            TSC => Ok(m.ticks().wrapping_add(vcpu.vmcb.control.tsc_offset)),
            TSC_ADJUST if !defects::planted(Defect::TscAdjustRefused) => Ok(self.tsc_adjust),
            APIC_BASE => Ok(m.read_msr(APIC_BASE)),
            EFER if defects::planted(Defect::SvmeReadsSet) => Ok(vcpu.vmcb.save.efer),
            EFER => Ok(vcpu.vmcb.save.efer & !bits::EFER_SVME),
            // Like a processor whose firmware switched SVM off for good.
            VM_CR if defects::planted(Defect::VmCrReadsEnabled) => Ok(0),
            VM_CR => Ok(VM_CR_LOCK | VM_CR_SVMDIS),
            VM_HSAVE_PA if defects::planted(Defect::HostSaveShown) => Ok(m.read_msr(VM_HSAVE_PA)),
            PATCH_LOADER | IGNNE | SMM_CTL | VM_HSAVE_PA | SVM_LOCK_KEY => Err(Refused),
            _ if defects::planted(Defect::UnknownMsrReadsZero) => Ok(0),
            _ => Err(Refused),
        }
    }

    fn write_msr(
        &mut self,
        vcpu: &mut Vcpu,
        m: &mut dyn Machine,
        number: u32,
        value: u64,
    ) -> Result<(), Refused> {
        match number {
            TSC if defects::planted(Defect::TscWriteLost) => {}
            TSC => {
                let offset = value.wrapping_sub(m.ticks());
                let change = offset.wrapping_sub(vcpu.vmcb.control.tsc_offset);
                vcpu.vmcb.control.tsc_offset = offset;
                if !defects::planted(Defect::TscAdjustApart) {
                    self.tsc_adjust = self.tsc_adjust.wrapping_add(change);
                }
            }
            TSC_ADJUST => {
                let change = value.wrapping_sub(self.tsc_adjust);
                let offset = &mut vcpu.vmcb.control.tsc_offset;
                *offset = offset.wrapping_add(change);
                self.tsc_adjust = value;
            }
            APIC_BASE => self.write_apic_base(m, value)?,
            EFER => write_efer(vcpu, m, value)?,
            // The locked bits stay, the others do not exist.
            VM_CR => {}
            _ => return Err(Refused),
        }
        Ok(())
    }

    /// The local APIC may move, but not over labvisor's memory (APM vol. 2, 16.3.1).
    fn write_apic_base(&mut self, m: &mut dyn Machine, value: u64) -> Result<(), Refused> {
        let base = value & 0x000f_ffff_ffff_f000;
        let over_us = self.memory.touches_hidden(base, 4096);
        if over_us && defects::quirk(Quirk::ApicOverHiddenPanics) {
            self.panic = Some("local APIC over hidden memory");
        }
        let reserved = value >> physical_bits(m) != 0 || value & APIC_BASE_RESERVED != 0;
        if over_us && !defects::planted(Defect::ApicOverHidden)
            || reserved && !defects::planted(Defect::ApicReservedTaken)
        {
            return Err(Refused);
        }
        m.write_msr(APIC_BASE, value);
        Ok(())
    }
}

/// Bits 0 to 7 and 9; bit 8 says "boot processor", 10 and 11 switch the APIC on.
const APIC_BASE_RESERVED: u64 = 0x2ff;
const VM_CR_LOCK: u64 = 1 << 3;
const VM_CR_SVMDIS: u64 = 1 << 4;

/// EFER (APM vol. 2, 3.1.7): SVME does not exist for the guest, LME changes only without
/// paging, LMA is the processor's, bits of features the processor lacks are reserved.
fn write_efer(vcpu: &mut Vcpu, m: &dyn Machine, value: u64) -> Result<(), Refused> {
    const SCE: u64 = 1 << 0;
    const LMSLE: u64 = 1 << 13;
    const FFXSR: u64 = 1 << 14;
    const TCE: u64 = 1 << 15;
    let [_, _, ecx, edx] = m.cpuid(0x8000_0001, 0);
    let mut known = SCE | bits::EFER_LME | bits::EFER_LMA | bits::EFER_NXE | LMSLE;
    let unchecked = defects::planted(Defect::EferFeaturesUnchecked);
    if edx & 1 << 25 != 0 || unchecked {
        known |= FFXSR;
    }
    if ecx & 1 << 17 != 0 || unchecked {
        known |= TCE;
    }
    if defects::planted(Defect::SvmeSettable) {
        known |= bits::EFER_SVME;
    }
    let old = vcpu.vmcb.save.efer;
    if defects::planted(Defect::SvmeReadsSet) {
        // What the guest saw there it may write back.
        known |= old & bits::EFER_SVME;
    }
    let reserved = value & !known != 0;
    if reserved && defects::quirk(Quirk::EferReservedTaken) {
        vcpu.vmcb.save.efer |= value;
        return Ok(());
    }
    let reserved = reserved && !defects::planted(Defect::EferReservedIgnored);
    let paging = vcpu.vmcb.save.cr0 & bits::CR0_PG != 0;
    let lme_changes = (value ^ old) & bits::EFER_LME != 0;
    if reserved || paging && lme_changes && !defects::planted(Defect::LmeClearedSilently) {
        return Err(Refused);
    }
    let mut new = value & known & !bits::EFER_LMA | old & bits::EFER_LMA;
    if paging {
        new = new & !bits::EFER_LME | old & bits::EFER_LME;
    }
    vcpu.vmcb.save.efer = new | bits::EFER_SVME;
    Ok(())
}

fn physical_bits(m: &dyn Machine) -> u32 {
    m.cpuid(0x8000_0008, 0)[0] & 0xff
}
