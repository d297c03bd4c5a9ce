//! PCI configuration space of labvisor's network device (PCI Local Bus Specification 3.0,
//! chapter 6; virtio 1.2, 4.1.4). It appears in a free slot of bus 0; the other functions of
//! the slot do not exist, everything else is the guest's own hardware.

use core::ops::Range;

use crate::defects::{self, Defect};
use crate::virtio;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const COMMAND: usize = 0x04;
const BAR2: usize = 0x18;
const COMMAND_MEMORY: u8 = 1 << 1;
const COMMAND_WRITABLE: [u8; 2] = [0b111, 0b100];
const LENGTH: u32 = 4096;

/// The ports of the configuration data register.
pub const DATA_PORTS: core::ops::RangeInclusive<u16> = CONFIG_DATA..=CONFIG_DATA + 3;

/// Which byte of which function a configuration access means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    bus: u8,
    slot: u8,
    function: u8,
    offset: usize,
}

impl Target {
    /// From the value of port CF8h and the data port used; `None` when CF8h does not say
    /// "configuration".
    pub fn new(address: u32, port: u16) -> Option<Self> {
        (address >> 31 != 0 && DATA_PORTS.contains(&port)).then(|| Self {
            bus: (address >> 16) as u8,
            slot: (address >> 11 & 31) as u8,
            function: (address >> 8 & 7) as u8,
            offset: (address & 0xfc) as usize + usize::from(port.wrapping_sub(CONFIG_DATA) & 3),
        })
    }

    /// The byte `number` places further on.
    pub fn byte(self, number: u8) -> Self {
        Self {
            offset: self.offset + usize::from(number),
            ..self
        }
    }
}

/// The function's configuration space.
pub struct Function {
    slot: u8,
    bytes: [u8; 256],
}

impl Function {
    /// In `slot`, with its registers at physical address `base`.
    pub fn new(slot: u8, base: u32) -> Self {
        let mut bytes = [0; 256];
        let mut put = |offset: usize, value: &[u8]| {
            bytes[offset..offset + value.len()].copy_from_slice(value);
        };
        put(0x00, &[0xf4, 0x1a, 0x00, 0x10]); // virtio, transitional network device
        put(0x04, &[0x07, 0x00, 0x10, 0x00]); // decoding on; capability list
        put(0x08, &[0, 0, 0, 2]); // network controller
        put(BAR2, &base.to_le_bytes());
        put(0x2c, &[0xf4, 0x1a, 0x01, 0x00]);
        put(0x34, &[0x50]);
        let mut capability = |at: usize, next: u8, kind: u8, offset: u64, length: u32| {
            let size = if kind == 2 { 20 } else { 16 };
            put(at, &[9, next, size, kind, 2, 0, 0, 0]);
            put(at + 8, &(offset as u32).to_le_bytes());
            put(at + 12, &length.to_le_bytes());
        };
        capability(0x50, 0x80, 1, 0, virtio::COMMON_LENGTH as u32);
        // The multiplier behind it is 0: one address for all queues.
        capability(0x80, 0x60, 2, virtio::NOTIFY, 2);
        capability(0x60, 0x70, 3, virtio::ISR, 4);
        capability(0x70, 0x00, 4, virtio::DEVICE, 64);
        Self { slot, bytes }
    }

    /// Whether the access means this slot.
    pub fn owns(&self, target: Target) -> bool {
        target.bus == 0 && target.slot == self.slot
    }

    /// One byte; all ones for a function the slot does not have.
    pub fn read(&self, target: Target) -> u8 {
        if target.function == 0 || defects::planted(Defect::PhantomFunctions) {
            self.bytes[target.offset % self.bytes.len()]
        } else {
            0xff
        }
    }

    /// Writes bytes from `target` on. Only the command register and BAR2 can be written.
    pub fn write(&mut self, target: Target, bytes: &[u8]) {
        if target.function != 0 {
            return;
        }
        for (number, byte) in bytes.iter().enumerate() {
            let offset = target.offset + number;
            let writable = match offset {
                COMMAND => COMMAND_WRITABLE[0],
                0x05 => COMMAND_WRITABLE[1],
                0x00..0x04 if defects::planted(Defect::PciIdsWritable) => 0xff,
                0x19 if defects::planted(Defect::BarSizeWrong) => 0xff,
                0x19 => (!(LENGTH - 1) >> 8) as u8,
                0x1a | 0x1b => 0xff,
                _ => 0,
            };
            if let Some(place) = self.bytes.get_mut(offset) {
                *place = *place & !writable | byte & writable;
            }
        }
    }

    /// The physical addresses at which the registers appear, if they do.
    pub fn window(&self) -> Option<Range<u64>> {
        let mut base = [0; 4];
        base.copy_from_slice(&self.bytes[BAR2..BAR2 + 4]);
        let base = u32::from_le_bytes(base);
        let decodes = self.bytes[COMMAND] & COMMAND_MEMORY != 0;
        let sizing = base == !(LENGTH - 1);
        (decodes && base != 0 && !sizing)
            .then(|| u64::from(base)..u64::from(base) + u64::from(LENGTH))
    }
}

/// The real configuration address register.
pub const ADDRESS_PORT: u16 = CONFIG_ADDRESS;
/// The real configuration data register.
pub const DATA_PORT: u16 = CONFIG_DATA;
