//! An access that the nested page table refuses (APM vol. 2, 15.25.6): to the registers of
//! labvisor's network device, to memory that is hidden, or to where nothing is.

use super::{GuestBus, Stop, Vmm};
use crate::defects::{self, Defect, Quirk};
use crate::emulate::{self, Failure};
use crate::guest_memory::Access;
use crate::machine::Machine;
use crate::vcpu::{Exception, Vcpu};

/// Bits of EXITINFO1.
mod info {
    pub(super) const WRITE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const FETCH: u64 = 1 << 4;
    /// The access was the processor's own, walking the guest's page tables.
    pub(super) const TABLE_WALK: u64 = 1 << 33;
}

impl Vmm {
    pub(super) fn nested_fault(
        &mut self,
        vcpu: &mut Vcpu,
        m: &mut dyn Machine,
    ) -> Result<(), Stop> {
        let info = vcpu.vmcb.control.exit_info_1;
        let address = vcpu.vmcb.control.exit_info_2;
        if defects::quirk(Quirk::HiddenWritePanics) {
            let hidden = self.memory.touches_hidden(address, 1);
            self.panic = (hidden && info & info::WRITE != 0).then_some("write to hidden memory");
        }
        // No exception can be delivered over such memory: the guest shuts down.
        if vcpu.interrupted_delivery() != 0 {
            return Err(Stop::NoTables);
        }
        if info & info::FETCH != 0 && info & info::TABLE_WALK == 0 {
            vcpu.inject(Exception::GeneralProtection(0));
            return Ok(());
        }
        let (bytes, length) = self.fetch(vcpu, m);
        let instruction = emulate::decode(vcpu, &bytes[..length]);
        let walk = info & info::TABLE_WALK != 0;
        let at = vcpu.instruction_address();
        let operand = emulate::operand_address(vcpu, &instruction).unwrap_or(at);
        if walk && defects::planted(Defect::TableFaultCodeNested) {
            vcpu.inject(Exception::PageFault {
                code: (info & (info::WRITE | info::USER | info::FETCH)) as u32,
                address: operand,
            });
            return Ok(());
        }
        // Tables in memory that is not the guest's read as zeros: not present. What the guest did
        // there, the instruction tells; the nested fault calls each walk a write by a user.
        if walk && let Err(fault) = self.memory.translate(m, vcpu, at, Access::fetch(vcpu)) {
            vcpu.inject(fault.exception());
            return Ok(());
        }
        match emulate::execute(vcpu, &mut GuestBus::new(self, m), &instruction) {
            Ok(()) => {}
            Err(Failure::Fault(fault)) => vcpu.inject(fault.exception()),
            Err(Failure::Unsupported) if walk => vcpu.inject(Exception::PageFault {
                code: (info & info::USER) as u32,
                address: operand,
            }),
            Err(Failure::Unsupported) if defects::quirk(Quirk::OddInstructionPanics) => {
                self.panic = Some("an instruction on a device register is not supported");
            }
            Err(Failure::Unsupported) => vcpu.inject(Exception::InvalidOpcode),
        }
        Ok(())
    }
}
