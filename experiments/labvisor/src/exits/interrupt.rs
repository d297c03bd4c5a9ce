//! Interrupts go to the guest without an exit. Only a quirk has to do with them.

use super::Vmm;
use crate::machine::Machine;
use crate::vcpu::{Vcpu, bits};

const APIC_BASE: u32 = 0x1b;
/// The local APIC's timer in its local vector table (APM vol. 2, 16.4.1).
const TIMER: u64 = 0x320;
const MASKED: u32 = 1 << 16;
const FIRST_INTERRUPT: u32 = 32;
/// One of so many exits, or the guest would do nothing else.
const EVERY: u64 = 8;

impl Vmm {
    /// Delivers the guest's timer interrupt although the guest has interrupts off: what a guest of
    /// BitVisor sees in QEMU 7.2, whose VMRUN remembers the vector of an event that was injected
    /// and may deliver it a second time, whatever RFLAGS.IF says. No interrupt controller knows of
    /// the repetition.
    pub(super) fn repeat_interrupt(&mut self, vcpu: &mut Vcpu, m: &dyn Machine) {
        let on = vcpu.vmcb.save.rflags & bits::RFLAGS_IF != 0;
        if on || vcpu.vmcb.control.event_injection != 0 {
            return;
        }
        let apic = m.read_msr(APIC_BASE) & 0x000f_ffff_ffff_f000;
        let timer = m.read_register(apic + TIMER);
        let vector = timer & 0xff;
        if timer & MASKED != 0 || vector < FIRST_INTERRUPT {
            return;
        }
        self.exits_without_interrupts += 1;
        if self.exits_without_interrupts.is_multiple_of(EVERY) {
            vcpu.inject_interrupt(vector as u8);
        }
    }
}
