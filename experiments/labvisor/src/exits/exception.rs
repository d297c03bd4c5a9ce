//! #GP, the one exception that exits. The processor checks the operand of VMRUN, VMLOAD and
//! VMSAVE before their intercepts and raises #GP for an odd RAX (APM vol. 2, 15.7 and 15.13);
//! on a processor without SVM the same instruction is a #UD. Any other #GP is the guest's.

use super::{Stop, Vmm};
use crate::defects::{self, Defect};
use crate::emulate;
use crate::machine::Machine;
use crate::vcpu::{Exception, Vcpu};

impl Vmm {
    pub(super) fn general_protection(
        &mut self,
        vcpu: &mut Vcpu,
        m: &mut dyn Machine,
    ) -> Result<(), Stop> {
        let code = vcpu.vmcb.control.exit_info_1 as u32;
        let interrupted = vcpu.interrupted_delivery();
        if let Some(vector) = interrupted_exception(interrupted) {
            if vector == DOUBLE_FAULT {
                return Err(Stop::of_shutdown());
            }
            // Contributory exceptions and page faults (APM vol. 2, 8.2.9).
            let second = matches!(vector, 0 | 10..=14);
            if second && !defects::planted(Defect::DoubleFaultMissed) {
                vcpu.inject(Exception::DoubleFault);
                return Ok(());
            }
        }
        if interrupted == 0 && self.is_svm_instruction(vcpu, m) {
            vcpu.inject(Exception::InvalidOpcode);
        } else if defects::planted(Defect::GpRipAdvanced) {
            let (bytes, length) = self.fetch(vcpu, m);
            let instruction = emulate::decode(vcpu, &bytes[..length]);
            vcpu.vmcb.save.rip += instruction.len() as u64;
            vcpu.inject(Exception::GeneralProtection(code));
        } else if defects::planted(Defect::ErrorCodeLost) {
            vcpu.inject(Exception::GeneralProtection(0));
        } else {
            vcpu.inject(Exception::GeneralProtection(code));
        }
        Ok(())
    }

    /// Sound labvisor leaves #UD to the guest, VMCALL's too: that is the other vendor's hypercall.
    pub(super) fn invalid_opcode(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let (bytes, _) = self.fetch(vcpu, m);
        if bytes.starts_with(&[0x0f, 0x01, 0xc1]) {
            self.hypercall(vcpu, m);
        } else {
            vcpu.inject(Exception::InvalidOpcode);
        }
    }

    fn is_svm_instruction(&self, vcpu: &Vcpu, m: &mut dyn Machine) -> bool {
        let (bytes, length) = self.fetch(vcpu, m);
        let prefixes = self.prefixes(vcpu, &bytes[..length]);
        // VMRUN, VMLOAD and VMSAVE.
        matches!(bytes[prefixes..], [0x0f, 0x01, 0xd8 | 0xda | 0xdb, ..])
    }
}

const DOUBLE_FAULT: u64 = 8;

/// The vector of an event whose delivery was interrupted, if it was an exception.
fn interrupted_exception(event: u64) -> Option<u64> {
    const TYPE: u64 = 7 << 8;
    const EXCEPTION: u64 = 3 << 8;
    (event != 0 && event & TYPE == EXCEPTION).then_some(event & 0xff)
}
