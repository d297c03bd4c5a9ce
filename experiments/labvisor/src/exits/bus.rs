//! The guest's memory as an emulated instruction sees it.

use super::Vmm;
use crate::defects::{self, Defect, Quirk};
use crate::emulate::{self, Bus};
use crate::guest_memory::{Access, Fault};
use crate::machine::Machine;
use crate::vcpu::Vcpu;
use crate::virtio::{Dma, Event};

/// Labvisor's side of a memory access.
pub(super) struct GuestBus<'a> {
    vmm: &'a mut Vmm,
    m: &'a mut dyn Machine,
}

impl<'a> GuestBus<'a> {
    pub(super) fn new(vmm: &'a mut Vmm, m: &'a mut dyn Machine) -> Self {
        Self { vmm, m }
    }

    fn note(&mut self, event: Option<Event>) {
        let text = match event {
            None => return,
            Some(Event::Reset) => "virtio-net: reset",
            Some(Event::MsixVectorRefused) => {
                if defects::quirk(Quirk::MsixVectorPanics) {
                    self.vmm.panic = Some("queue_msix_vector without MSI-X");
                }
                "virtio-net: refused a write of queue_msix_vector"
            }
            Some(Event::QueueBroken) if defects::quirk(Quirk::BadQueuePanics) => {
                self.vmm.panic = Some("a virtio queue reaches out of the guest's memory");
                return;
            }
            Some(Event::IndexOutOfBounds) => {
                self.vmm.panic = Some("index out of bounds: descriptor");
                return;
            }
            Some(Event::QueueBroken) => "virtio-net: a queue is not in order, reset needed",
        };
        self.vmm.log.line(self.m, format_args!("{text}"));
    }

    /// The offset in the device's page, if `address` is there.
    fn device_offset(&self, address: u64) -> Option<u64> {
        let window = self.vmm.net.as_ref()?.window()?;
        window.contains(&address).then(|| address - window.start)
    }
}

impl GuestBus<'_> {
    /// Whether another device's memory may be there, which the guest reaches by itself, too. Labvisor maps 4 GiB.
    fn is_passed_through(&self, address: u64, length: u64) -> bool {
        let memory = &self.vmm.memory;
        address.saturating_add(length) <= 1 << 32
            && !memory.touches_ram(address, length)
            && !memory.touches_hidden(address, length)
            && !defects::planted(Defect::EmulationKnowsRamOnly)
    }
}

impl Bus for GuestBus<'_> {
    fn read(&mut self, vcpu: &Vcpu, linear: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        for (at, part) in emulate::pieces(linear, bytes.len()) {
            let access = Access::read(vcpu);
            let address = self.vmm.memory.translate(self.m, vcpu, at, access)?;
            let bytes = &mut bytes[part];
            if let Some(offset) = self.device_offset(address)
                && let Some(net) = &mut self.vmm.net
            {
                let mut dma = Dma {
                    memory: &self.vmm.memory,
                    m: self.m,
                };
                let event = net.device.read(offset, bytes, &mut dma);
                self.note(event);
            } else if self.is_passed_through(address, bytes.len() as u64) {
                self.m.read_device(address, bytes);
            } else if self.vmm.memory.read(self.m, address, bytes).is_err() {
                bytes.fill(0xff);
            }
        }
        Ok(())
    }

    fn write(&mut self, vcpu: &Vcpu, linear: u64, bytes: &[u8]) -> Result<(), Fault> {
        for (at, part) in emulate::pieces(linear, bytes.len()) {
            let access = Access::write(vcpu);
            let address = self.vmm.memory.translate(self.m, vcpu, at, access)?;
            let bytes = &bytes[part];
            if let Some(offset) = self.device_offset(address)
                && let Some(net) = &mut self.vmm.net
            {
                let mut dma = Dma {
                    memory: &self.vmm.memory,
                    m: self.m,
                };
                let event = net.device.write(offset, bytes, &mut dma);
                self.note(event);
            } else if self.is_passed_through(address, bytes.len() as u64) {
                self.m.write_device(address, bytes);
            } else {
                // Hidden memory and what labvisor cannot reach lose what is written to them.
                let _ = self.vmm.memory.write(self.m, address, bytes);
            }
        }
        Ok(())
    }
}
