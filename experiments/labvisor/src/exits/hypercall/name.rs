//! `get_vmmcall_number`: RBX is the linear address of a name, NUL included at most 256 bytes
//! long; RAX takes its number, 0 when there is none or the name cannot be read.

use super::{FUNCTIONS, Vmm};
use crate::defects::{self, Defect};
use crate::guest_memory::Access;
use crate::machine::Machine;
use crate::vcpu::Vcpu;

const LONGEST: u64 = 256;

impl Vmm {
    pub(super) fn get_vmmcall_number(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let mut name = alloc::vec::Vec::new();
        let access = Access::read(vcpu);
        let start = vcpu.registers.rbx;
        let mut result = None;
        if self.names_locked {
            vcpu.vmcb.save.rax = 0;
            return;
        }
        for offset in 0..LONGEST {
            let at = start.wrapping_add(offset);
            let mut byte = [0; 1];
            if defects::planted(Defect::NameReadAgain) {
                for again in start..at {
                    let _ = self.memory.read_linear(m, vcpu, again, &mut byte, access);
                }
            }
            if let Err(fault) = self.memory.read_linear(m, vcpu, at, &mut byte, access) {
                if defects::planted(Defect::NameFaultInjected) {
                    vcpu.inject(fault.exception());
                    return;
                }
                self.names_locked = defects::planted(Defect::LockLeftHeld);
                if defects::planted(Defect::NameFaultEnds) {
                    result = find(&name);
                }
                break;
            }
            if byte == [0] {
                result = find(&name);
                break;
            }
            name.push(byte[0]);
        }
        if name.len() as u64 == LONGEST && defects::planted(Defect::LongNamePanics) {
            self.panic = Some("index out of bounds: the name has no end");
        }
        if name.len() as u64 == LONGEST && defects::planted(Defect::NameLengthUnchecked) {
            result = find_prefix(&name);
        }
        vcpu.vmcb.save.rax = result.unwrap_or(0);
    }
}

fn find(name: &[u8]) -> Option<u64> {
    if defects::planted(Defect::NamePrefixMatches) {
        return find_prefix(name);
    }
    let same = |(text, _): &(&str, _)| text.as_bytes() == name;
    Some(FUNCTIONS.iter().position(same)? as u64)
}

/// What a comparison of the shorter length would find.
fn find_prefix(name: &[u8]) -> Option<u64> {
    let starts = |(text, _): &(&str, _)| !name.is_empty() && name.starts_with(text.as_bytes());
    Some(FUNCTIONS.iter().position(starts)? as u64)
}
