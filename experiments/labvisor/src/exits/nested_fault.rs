//! An access that the nested page table refuses (APM vol. 2, 15.25.6).

use super::{Stop, Vmm};
use crate::machine::Machine;
use crate::vcpu::{Exception, Vcpu};

impl Vmm {
    pub(super) fn nested_fault(
        &mut self,
        vcpu: &mut Vcpu,
        _m: &mut dyn Machine,
    ) -> Result<(), Stop> {
        vcpu.inject(Exception::GeneralProtection);
        Ok(())
    }
}
