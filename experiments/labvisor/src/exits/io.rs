//! IN and OUT to the ports labvisor keeps (APM vol. 2, 15.10): its console, and PCI
//! configuration space where its own device appears.

use core::ops::RangeInclusive;

use super::{GuestBus, Vmm};
use crate::defects::{self, Defect, Quirk};
use crate::emulate::{self, Bus, RDI, RSI, Repetition};
use crate::guest_memory::{Access, Fault};
use crate::machine::Machine;
use crate::net_device;
use crate::pci;
use crate::vcpu::{Exception, Vcpu};

const COM1: RangeInclusive<u16> = 0x3f8..=0x3ff;

/// Ports whose accesses exit.
pub const INTERCEPTED_PORTS: &[RangeInclusive<u16>] = &[COM1, pci::DATA_PORTS];

/// Fields of EXITINFO1 (APM vol. 2, 15.10.2).
mod info {
    pub(super) const INPUT: u64 = 1 << 0;
    pub(super) const STRING: u64 = 1 << 2;
    pub(super) const SIZE_SHIFT: u64 = 4;
    pub(super) const PORT_SHIFT: u64 = 16;
}

impl Vmm {
    pub(super) fn io(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let exit = vcpu.vmcb.control.exit_info_1;
        let port = (exit >> info::PORT_SHIFT) as u16;
        let bytes = (exit >> info::SIZE_SHIFT & 7) as u8;
        let input = exit & info::INPUT != 0;
        if exit & info::STRING != 0 {
            match self.string_io(vcpu, m, port, input) {
                Err(_) if defects::quirk(Quirk::StringFaultPanics) => {
                    self.panic = Some("the buffer of a string instruction on a port faults");
                }
                Err(_) if defects::planted(Defect::StringFaultIsGp) => {
                    vcpu.inject(Exception::GeneralProtection(0));
                }
                Err(fault) => vcpu.inject(fault.exception()),
                Ok(()) => {}
            }
            return;
        }
        if defects::planted(Defect::PortStraddlePanics) && self.owner(port, bytes) == Owner::Mixed {
            self.panic = Some("a port access crosses the end of a range");
        }
        let rax = vcpu.vmcb.save.rax;
        if input {
            let value = u64::from(self.port_in(m, port, bytes));
            vcpu.vmcb.save.rax = match bytes {
                1 => rax & !0xff | value & 0xff,
                2 => rax & !0xffff | value & 0xffff,
                _ if defects::planted(Defect::InKeepsUpperHalf) => rax & !0xffff_ffff | value,
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
        self.follow_bar(vcpu);
    }

    /// INS or OUTS: one repetition; the instruction exits again for the next.
    fn string_io(
        &mut self,
        vcpu: &mut Vcpu,
        m: &mut dyn Machine,
        port: u16,
        input: bool,
    ) -> Result<(), Fault> {
        let (bytes, length) = self.fetch(vcpu, m);
        let instruction = emulate::decode(vcpu, &bytes[..length]);
        let repetition = Repetition::new(vcpu, &instruction);
        let size = repetition.size as u8;
        let place = if input {
            repetition.target
        } else {
            repetition.source
        };
        let Some(at) = place.filter(|_| matches!(size, 1 | 2 | 4)) else {
            vcpu.inject(Exception::InvalidOpcode);
            return Ok(());
        };
        if repetition.is_over {
            repetition.finish(vcpu, &[]);
        } else if input {
            // The page first: a fault must come before the device is read.
            self.memory.translate(m, vcpu, at, Access::write(vcpu))?;
            let value = self.port_in(m, port, size).to_le_bytes();
            GuestBus::new(self, m).write(vcpu, at, &value[..usize::from(size)])?;
            repetition.finish(vcpu, &[RDI]);
        } else {
            let mut value = [0; 4];
            GuestBus::new(self, m).read(vcpu, at, &mut value[..usize::from(size)])?;
            self.port_out(m, port, size, u32::from_le_bytes(value));
            repetition.finish(vcpu, &[RSI]);
        }
        if !defects::planted(Defect::StringBarIgnored) {
            self.follow_bar(vcpu);
        }
        Ok(())
    }

    /// An access that touches a hidden port and others goes byte by byte, so that the others
    /// cannot carry the hidden ones along.
    fn port_in(&mut self, m: &mut dyn Machine, port: u16, bytes: u8) -> u32 {
        if self.owner(port, bytes) == Owner::Mixed {
            let unchecked = is_first_port_enough(port);
            let byte = |number: u8| {
                let port = port.wrapping_add(u16::from(number));
                let value = if unchecked {
                    m.port_in(port, 1)
                } else {
                    self.port_in_one_owner(m, port, 1)
                };
                value << (8 * number)
            };
            return (0..bytes).map(byte).fold(0, |all, byte| all | byte);
        }
        self.port_in_one_owner(m, port, bytes)
    }

    fn port_in_one_owner(&self, m: &mut dyn Machine, port: u16, bytes: u8) -> u32 {
        let all = u32::MAX >> (32 - 8 * u32::from(bytes));
        match self.owner(port, bytes) {
            Owner::Console if defects::planted(Defect::ConsoleReadable) => m.port_in(port, bytes),
            Owner::Console => all,
            Owner::PciData => match &self.net {
                Some(net) if let Some(target) = net_device::target(m, net, port) => (0..bytes)
                    .map(|number| u32::from(net.function.read(target.byte(number))) << (8 * number))
                    .fold(0, |all, byte| all | byte),
                _ => m.port_in(port, bytes),
            },
            _ => m.port_in(port, bytes),
        }
    }

    fn port_out(&mut self, m: &mut dyn Machine, port: u16, bytes: u8, value: u32) {
        if self.owner(port, bytes) == Owner::Mixed {
            for number in 0..bytes {
                let value = value >> (8 * number) & 0xff;
                let one = port.wrapping_add(u16::from(number));
                if is_first_port_enough(port) {
                    m.port_out(one, 1, value);
                } else {
                    self.port_out_one_owner(m, one, 1, value);
                }
            }
            return;
        }
        self.port_out_one_owner(m, port, bytes, value);
    }

    fn port_out_one_owner(&mut self, m: &mut dyn Machine, port: u16, bytes: u8, value: u32) {
        match self.owner(port, bytes) {
            Owner::Console => {}
            Owner::PciData => match &mut self.net {
                Some(net) if let Some(target) = net_device::target(m, net, port) => {
                    let value = &value.to_le_bytes()[..usize::from(bytes)];
                    net.function.write(target, value);
                }
                _ => m.port_out(port, bytes, value),
            },
            _ => m.port_out(port, bytes, value),
        }
    }

    fn owner(&self, port: u16, bytes: u8) -> Owner {
        let last = port.saturating_add(u16::from(bytes) - 1);
        let of = |range: &RangeInclusive<u16>| (range.contains(&port), range.contains(&last));
        match (of(&COM1), of(&pci::DATA_PORTS)) {
            ((true, true), _) => Owner::Console,
            (_, (true, true)) => Owner::PciData,
            ((false, false), (false, false)) => Owner::Guest,
            _ => Owner::Mixed,
        }
    }

    /// After a write to the device's configuration space.
    fn follow_bar(&mut self, vcpu: &mut Vcpu) {
        if let Some(net) = &mut self.net
            && net.follow_bar(&self.memory, &mut self.nested) != Ok(false)
        {
            vcpu.flush_tlb();
        }
    }
}

/// Sound: never; of an access with several owners, each port has its own.
fn is_first_port_enough(first: u16) -> bool {
    defects::planted(Defect::IoFirstPortDecides)
        && !COM1.contains(&first)
        && !pci::DATA_PORTS.contains(&first)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Guest,
    Console,
    PciData,
    Mixed,
}
