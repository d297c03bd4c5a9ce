//! MSI-X (PCI Local Bus Specification 3.0, section 6.8.2): one message for all queues.

use super::transport::bar_address;
use crate::arch::msi::Message;
use crate::drivers::mmio::Mmio;
use crate::drivers::pci::{self, Bdf};
use crate::mm::PhysAddr;

/// Message control, in the upper half of the capability's first register.
const ENABLE: u32 = 1 << 31;
const FUNCTION_MASK: u32 = 1 << 30;
/// Entry: address, address high, data, control.
const ENTRY_LEN: usize = 16;
const DATA: usize = 8;
const CONTROL: usize = 12;

/// A device's MSI-X capability.
#[derive(Clone, Copy, Debug)]
pub struct Msix {
    /// Offset of the capability in configuration space.
    pub at: u8,
}

impl Msix {
    /// Writes the message into the table's first entry and switches MSI-X on; false if the table is not
    /// where one can write to.
    pub fn enable(self, bdf: Bdf, message: Message) -> bool {
        let place = pci::read(bdf, self.at + 4);
        let Some(base) = bar_address(bdf, (place & 7) as u8) else {
            return false;
        };
        let start = base + u64::from(place & !7);
        if start >= 1 << 46 {
            return false;
        }
        let entry = Mmio::map(PhysAddr::new(start), ENTRY_LEN);
        let control = pci::read(bdf, self.at);
        pci::write(bdf, self.at, control | ENABLE | FUNCTION_MASK);
        entry.write::<u32>(0, message.address as u32);
        entry.write::<u32>(4, (message.address >> 32) as u32);
        entry.write::<u32>(DATA, message.data);
        entry.write::<u32>(CONTROL, 0);
        pci::write(bdf, self.at, (control | ENABLE) & !FUNCTION_MASK);
        true
    }

    /// Switches it off again: the device uses its line.
    pub fn disable(self, bdf: Bdf) {
        let control = pci::read(bdf, self.at);
        pci::write(bdf, self.at, control & !ENABLE);
    }
}
