//! CPUID (APM vol. 3, appendix E): the real processor's answer without what the guest does not
//! have.

use super::Vmm;
use crate::defects::{self, Defect};
use crate::machine::Machine;
use crate::vcpu::{Vcpu, bits};

impl Vmm {
    pub(super) fn cpuid(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let leaf = vcpu.vmcb.save.rax as u32;
        let subleaf = vcpu.registers.rcx as u32;
        let mut answer = filtered(vcpu, m, leaf, subleaf);
        if defects::planted(Defect::CpuidStale) && leaf < 0x4000_0000 && leaf > m.cpuid(0, 0)[0] {
            answer = self.last_cpuid;
        }
        if defects::planted(Defect::CpuidRangePanics) && leaf >> 30 == 3 {
            self.panic = Some("index out of bounds: there are 3 CPUID ranges");
        }
        self.last_cpuid = answer;
        let [eax, ebx, ecx, edx] = answer;
        vcpu.vmcb.save.rax = u64::from(eax);
        if defects::planted(Defect::CpuidUpperHalvesKept) {
            let keep = |old: u64, new: u32| old & !0xffff_ffff | u64::from(new);
            vcpu.registers.rbx = keep(vcpu.registers.rbx, ebx);
            vcpu.registers.rcx = keep(vcpu.registers.rcx, ecx);
            vcpu.registers.rdx = keep(vcpu.registers.rdx, edx);
        } else {
            vcpu.registers.rbx = u64::from(ebx);
            vcpu.registers.rcx = u64::from(ecx);
            vcpu.registers.rdx = u64::from(edx);
        }
        let length = self.instruction_length(vcpu, m, 2);
        vcpu.finish_instruction(length);
    }
}

fn filtered(vcpu: &Vcpu, m: &dyn Machine, leaf: u32, subleaf: u32) -> [u32; 4] {
    const OSXSAVE: u32 = 1 << 27;
    const OSPKE: u32 = 1 << 4;
    const LA57: u32 = 1 << 16;
    const TSC_ADJUST: u32 = 1 << 1;
    const SVM: u32 = 1 << 2;
    const SKINIT: u32 = 1 << 12;
    let cr4 = vcpu.vmcb.save.cr4;
    let mirror = |bit: u32, on: bool| if on { bit } else { 0 };

    let mut answer = m.cpuid(leaf, subleaf);
    match leaf {
        // The processor reports labvisor's CR4, the guest wants its own.
        1 if !defects::planted(Defect::OsxsaveStale) => {
            answer[2] = answer[2] & !OSXSAVE | mirror(OSXSAVE, cr4 & bits::CR4_OSXSAVE != 0);
        }
        7 if subleaf == 0 => {
            // Labvisor emulates the register, whatever the processor has.
            answer[1] |= TSC_ADJUST;
            answer[2] = answer[2] & !(OSPKE | LA57) | mirror(OSPKE, cr4 & bits::CR4_PKE != 0);
        }
        // What lies below labvisor is not the guest's business: like a leaf beyond the last.
        0x4000_0000..=0x4fff_ffff if !defects::planted(Defect::OuterHypervisorShown) => {
            let last = m.cpuid(0, 0)[0];
            answer = filtered(vcpu, m, last, subleaf);
        }
        0x8000_0001 if !defects::planted(Defect::SvmBitShown) => answer[2] &= !(SVM | SKINIT),
        0x8000_000a if !defects::planted(Defect::SvmLeafShown) => answer = [0; 4],
        // Encrypted memory would need our help.
        0x8000_001f => answer = [0; 4],
        _ => {}
    }
    answer
}
