//! VMMCALL: BitVisor's hypercall interface. RAX is the number of the function and takes the
//! result, RBX and RCX are the arguments, nothing else changes. A number without a function
//! gives 0.

mod dbgsh;
mod name;
mod status;

pub use dbgsh::Shell;

use super::Vmm;
use crate::defects::{self, Defect, Quirk};
use crate::machine::Machine;
use crate::vcpu::Vcpu;

type Function = fn(&mut Vmm, &mut Vcpu, &mut dyn Machine);

/// The functions; the place is the number. A guest asks number 0 for the others.
const FUNCTIONS: &[(&str, Function)] = &[
    ("get_vmmcall_number", Vmm::get_vmmcall_number),
    ("dbgsh", Vmm::dbgsh),
    ("log_set_buf", Vmm::log_set_buf),
    ("get_status", Vmm::get_status),
    ("lab_trace_ring", Vmm::lab_trace_ring),
];

impl Vmm {
    pub(super) fn hypercall(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let length = self.instruction_length(vcpu, m, 3);
        vcpu.finish_instruction(length);
        let number = if defects::planted(Defect::NumberTruncated) {
            vcpu.vmcb.save.rax & 0xffff_ffff
        } else {
            vcpu.vmcb.save.rax
        };
        if defects::planted(Defect::NumberIndexPanics) && number == FUNCTIONS.len() as u64 {
            self.panic = Some("index out of bounds: no such hypercall");
        }
        match FUNCTIONS.get(usize::try_from(number).unwrap_or(usize::MAX)) {
            Some((_, function)) => function(self, vcpu, m),
            None => {
                self.after_unknown_hypercall = defects::planted(Defect::ExitStateLeft);
                if !defects::planted(Defect::UnknownNumberKept) {
                    vcpu.vmcb.save.rax = 0;
                }
            }
        }
        if defects::planted(Defect::HypercallClobbersRdx) {
            vcpu.registers.rdx = m.ticks();
        }
    }

    /// `log_set_buf`: RBX is a physical address, RCX a size; 0 detaches. Returns nothing, and
    /// is for the guest's kernel only.
    fn log_set_buf(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        if vcpu.is_user() && !defects::planted(Defect::LogFromUser) {
            return;
        }
        let base = vcpu.registers.rbx;
        let size = vcpu.registers.rcx;
        if defects::quirk(Quirk::LogInHiddenPanics) {
            let hidden = base != 0 && size != 0 && self.memory.touches_hidden(base, size);
            self.panic = hidden.then_some("log buffer in hidden memory");
        }
        if self.log.attach(&self.memory, base, size) {
            self.log
                .line(m, format_args!("log goes to {base:#x}, {size:#x} bytes"));
        }
    }
}
