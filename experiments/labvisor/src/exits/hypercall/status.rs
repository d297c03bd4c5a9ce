//! `get_status`: RBX is the linear address of a buffer, RCX its size. RCX takes the text's
//! length; RAX takes 0, or 1 when the buffer is too small or not writable, and then nothing of
//! it has changed.

use super::Vmm;
use crate::defects::{self, Defect};
use crate::machine::Machine;
use crate::vcpu::Vcpu;

impl Vmm {
    pub(super) fn get_status(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let text = self.status_text(m);
        let size = vcpu.registers.rcx;
        let address = vcpu.registers.rbx;
        vcpu.registers.rcx = text.len() as u64;
        let end = address.checked_add(size);
        if end.is_none() && defects::planted(Defect::StatusEndOverflows) {
            self.panic = Some("attempt to add with overflow: the buffer's end");
        }
        let fits = text.len() as u64 <= size || defects::planted(Defect::StatusSizeIgnored);
        let written = fits
            && self
                .memory
                .write_linear(m, vcpu, address, text.as_bytes())
                .is_ok();
        vcpu.vmcb.save.rax = u64::from(!written);
    }

    pub(super) fn status_text(&self, m: &dyn Machine) -> alloc::string::String {
        alloc::format!("labvisor\ntime: tsc {}\n{}", m.ticks(), self.counters)
    }
}
