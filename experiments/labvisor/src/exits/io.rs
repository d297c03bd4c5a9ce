//! IN and OUT to the ports labvisor keeps (APM vol. 2, 15.10): its console, and PCI
//! configuration space where its own device appears.

use super::Vmm;
use crate::defects::{self, Defect};
use crate::machine::Machine;
use crate::vcpu::Vcpu;

const COM1: core::ops::RangeInclusive<u16> = 0x3f8..=0x3ff;

/// Ports whose accesses exit.
pub const INTERCEPTED_PORTS: &[core::ops::RangeInclusive<u16>] = &[COM1];

impl Vmm {
    pub(super) fn io(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let info = vcpu.vmcb.control.exit_info_1;
        let port = (info >> 16) as u16;
        let bytes = (info >> 4 & 7) as u8;
        let rax = vcpu.vmcb.save.rax;
        if info & 1 != 0 {
            let value = u64::from(self.port_in(m, port, bytes));
            vcpu.vmcb.save.rax = match bytes {
                1 => rax & !0xff | value & 0xff,
                2 => rax & !0xffff | value & 0xffff,
                _ => value,
            };
        } else {
            self.port_out(m, port, bytes, rax as u32);
        }
        let length = vcpu
            .vmcb
            .control
            .exit_info_2
            .wrapping_sub(vcpu.vmcb.save.rip);
        vcpu.finish_instruction(length);
    }

    /// An access that touches a hidden port goes byte by byte, so that its other bytes cannot
    /// carry the hidden ones along.
    fn port_in(&mut self, m: &mut dyn Machine, port: u16, bytes: u8) -> u32 {
        if defects::planted(Defect::IoFirstPortDecides) && !COM1.contains(&port) {
            return m.port_in(port, bytes);
        }
        let byte = |number: u8| {
            let port = port.wrapping_add(u16::from(number));
            let value = if COM1.contains(&port) {
                0xff
            } else {
                m.port_in(port, 1) & 0xff
            };
            value << (8 * number)
        };
        (0..bytes).map(byte).fold(0, |all, byte| all | byte)
    }

    fn port_out(&mut self, m: &mut dyn Machine, port: u16, bytes: u8, value: u32) {
        if defects::planted(Defect::IoFirstPortDecides) && !COM1.contains(&port) {
            m.port_out(port, bytes, value);
            return;
        }
        for number in 0..bytes {
            let port = port.wrapping_add(u16::from(number));
            if !COM1.contains(&port) {
                m.port_out(port, 1, value >> (8 * number) & 0xff);
            }
        }
    }
}
