//! Labvisor's own network device: virtio-net whose wire is a loop from transmit to receive
//! (virtio 1.2, 4.1 and 5.1), with the habits of BitVisor's: packets move to the receive queue
//! only when the ISR register is read, all queues share one notification address, there is no
//! MSI-X, status bits can only be added.
//!
//! | offset in the BAR | what |
//! |---|---|
//! | 000h | common configuration |
//! | 100h | notification, 2 bytes for all queues |
//! | 200h | ISR |
//! | 300h | device configuration: the MAC address |

mod queue;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::defects::{self, Defect};
use crate::guest_memory::GuestMemory;
use crate::machine::Machine;
use queue::{Broken, Queue};

/// Offset of the notification address.
pub const NOTIFY: u64 = 0x100;
/// Offset of the ISR register.
pub const ISR: u64 = 0x200;
/// Offset of the device configuration.
pub const DEVICE: u64 = 0x300;
/// Length of the common configuration.
pub const COMMON_LENGTH: u64 = 56;

const MAC: [u8; 6] = [0x02, b'l', b'a', b'b', 0, 1];
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// The header before each packet (virtio 1.2, 5.1.6), with num_buffers.
const HEADER: usize = 12;
const LONGEST_PACKET: usize = 2048;
const WIRE_CAPACITY: usize = 256;

/// Feature bits: MAC address, modern interface, addresses as the platform translates them.
const FEATURES: u64 = 1 << 5 | 1 << 32 | 1 << 33;

mod status {
    pub(super) const DRIVER_OK: u8 = 4;
    pub(super) const FEATURES_OK: u8 = 8;
    pub(super) const NEEDS_RESET: u8 = 64;
}

/// What a register access led to, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The driver reset the device.
    Reset,
    /// The driver wrote an MSI-X vector, which the device does not have.
    MsixVectorRefused,
    /// A queue is not in order; the device wants a reset.
    QueueBroken,
    /// A queue's index was used unchecked; only with a defect.
    IndexOutOfBounds,
}

/// The guest's memory, for the device's accesses.
pub struct Dma<'a> {
    /// The guest's address space.
    pub memory: &'a GuestMemory,
    /// The machine.
    pub m: &'a mut dyn Machine,
}

/// The device.
#[derive(Default)]
pub struct Device {
    feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    status: u8,
    queue_select: u16,
    queues: [Queue; 2],
    isr: u8,
    wire: VecDeque<Vec<u8>>,
    last_read: u8,
}

impl Device {
    /// A read of the BAR's page; any width, any alignment.
    pub fn read(&mut self, offset: u64, bytes: &mut [u8], dma: &mut Dma) -> Option<Event> {
        let mut event = None;
        if covers(offset, bytes.len(), ISR) {
            event = self.receive(dma);
        }
        let common = self.common();
        for (number, byte) in bytes.iter_mut().enumerate() {
            let at = offset + number as u64;
            *byte = match at {
                0..COMMON_LENGTH => common[at as usize],
                ISR => core::mem::take(&mut self.isr),
                DEVICE if defects::planted(Defect::MulticastMac) => MAC[0] | 1,
                DEVICE..0x306 => MAC[(at - DEVICE) as usize],
                _ if defects::planted(Defect::StaleRegisterBytes) => self.last_read,
                _ => 0,
            };
            self.last_read = *byte;
        }
        event
    }

    /// A write to the BAR's page; any width, any alignment.
    pub fn write(&mut self, offset: u64, bytes: &[u8], dma: &mut Dma) -> Option<Event> {
        if covers(offset, bytes.len(), NOTIFY) {
            let skip = (NOTIFY - offset) as usize;
            let value = number(&bytes[skip..(skip + 2).min(bytes.len())]);
            let any = defects::planted(Defect::NotifyAnyQueue);
            return if value == TRANSMIT as u64 || any {
                self.transmit(dma)
            } else {
                None
            };
        }
        let mut common = self.common();
        for (number, byte) in bytes.iter().enumerate() {
            if let Some(place) = common.get_mut(offset as usize + number) {
                *place = *byte;
            }
        }
        let mut event = None;
        for (start, length) in FIELDS {
            let touched =
                (*start as u64) < offset + bytes.len() as u64 && offset < (start + length) as u64;
            if touched {
                let value = number(&common[*start..start + length]);
                event = self.write_field(*start, value).or(event);
            }
        }
        event
    }

    /// The common configuration (virtio 1.2, 4.1.4.3) as bytes.
    fn common(&self) -> [u8; COMMON_LENGTH as usize] {
        let mut bytes = [0; COMMON_LENGTH as usize];
        let mut put = |offset: usize, value: &[u8]| {
            bytes[offset..offset + value.len()].copy_from_slice(value);
        };
        put(0x00, &self.feature_select.to_le_bytes());
        put(0x04, &half(FEATURES, self.feature_select).to_le_bytes());
        put(0x08, &self.driver_feature_select.to_le_bytes());
        let driver = half(self.driver_features, self.driver_feature_select);
        put(0x0c, &driver.to_le_bytes());
        put(0x10, &NO_VECTOR.to_le_bytes());
        put(0x12, &(self.queues.len() as u16).to_le_bytes());
        put(0x14, &[self.status]);
        put(0x15, &[1]);
        put(0x16, &self.queue_select.to_le_bytes());
        if let Some(queue) = self.queues.get(usize::from(self.queue_select)) {
            put(0x18, &queue.size.to_le_bytes());
            put(0x1a, &NO_VECTOR.to_le_bytes());
            put(0x1c, &u16::from(queue.enabled).to_le_bytes());
            put(0x20, &queue.descriptors.to_le_bytes());
            put(0x28, &queue.available.to_le_bytes());
            put(0x30, &queue.used.to_le_bytes());
        }
        bytes
    }

    fn write_field(&mut self, field: usize, value: u64) -> Option<Event> {
        match field {
            0x00 => self.feature_select = value as u32,
            0x08 => self.driver_feature_select = value as u32,
            0x0c => {
                let shift = match self.driver_feature_select {
                    0 => 0,
                    1 => 32,
                    _ => return None,
                };
                self.driver_features &= !(0xffff_ffff << shift);
                self.driver_features |= value << shift;
            }
            0x14 => return self.write_status(value as u8),
            0x16 => self.queue_select = value as u16,
            0x1a => return Some(Event::MsixVectorRefused),
            _ => {
                let queue = self.queues.get_mut(usize::from(self.queue_select))?;
                match field {
                    0x18 => queue.set_size(value as u16),
                    0x1c => queue.enabled = value & 0xffff != 0,
                    0x20 => queue.descriptors = value,
                    0x28 => queue.available = value,
                    0x30 => queue.used = value,
                    _ => {}
                }
            }
        }
        None
    }

    fn write_status(&mut self, value: u8) -> Option<Event> {
        if value == 0 {
            let queues = core::mem::take(&mut self.queues);
            *self = Self::default();
            if defects::planted(Defect::ResetKeepsQueues) {
                self.queues = queues;
                self.status = status::DRIVER_OK;
            }
            return Some(Event::Reset);
        }
        let unoffered = self.driver_features & !FEATURES != 0;
        if value & status::FEATURES_OK != 0
            && unoffered
            && !defects::planted(Defect::FeaturesUnchecked)
        {
            return None;
        }
        if defects::planted(Defect::StatusReplaced) {
            self.status = value;
            return None;
        }
        self.status |= value & !status::NEEDS_RESET;
        None
    }

    fn ready(&self, queue: usize) -> bool {
        let driver_ok = self.status & status::DRIVER_OK != 0;
        let started = driver_ok || defects::planted(Defect::MovesBeforeDriverOk);
        let enabled = self.queues[queue].enabled || defects::planted(Defect::QueueEnableIgnored);
        started && enabled && self.status & status::NEEDS_RESET == 0
    }

    /// Takes all that the driver wants to send onto the wire.
    fn transmit(&mut self, dma: &mut Dma) -> Option<Event> {
        while self.ready(TRANSMIT) {
            let packet = match self.queues[TRANSMIT].take_sent(dma) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(Broken) => return self.broken(),
            };
            let fits = packet.len() <= LONGEST_PACKET && packet.len() > HEADER;
            let mut packet = packet;
            if defects::planted(Defect::PacketTailLost) {
                packet.truncate(packet.len() / 4 * 4);
            }
            if fits && self.wire.len() < WIRE_CAPACITY {
                self.wire.push_back(packet[HEADER..].to_vec());
            }
            self.isr |= u8::from(self.queues[TRANSMIT].wants_interrupt(dma));
        }
        None
    }

    /// Moves what is on the wire into the driver's receive buffers. A packet without a buffer
    /// waits.
    fn receive(&mut self, dma: &mut Dma) -> Option<Event> {
        while self.ready(RECEIVE)
            && let Some(packet) = self.wire.front()
        {
            let mut bytes = Vec::from([0; HEADER]);
            bytes[10] = 1;
            bytes.extend(packet);
            match self.queues[RECEIVE].give_received(dma, &bytes) {
                Ok(true) => drop(self.wire.pop_front()),
                Ok(false) => break,
                Err(Broken) => return self.broken(),
            }
            self.isr |= u8::from(self.queues[RECEIVE].wants_interrupt(dma));
        }
        None
    }

    fn broken(&mut self) -> Option<Event> {
        if defects::planted(Defect::QueueIndexPanics) {
            return Some(Event::IndexOutOfBounds);
        }
        self.status |= status::NEEDS_RESET;
        Some(Event::QueueBroken)
    }
}

const NO_VECTOR: u16 = 0xffff;

/// Offset and length of the common configuration's writable fields.
const FIELDS: &[(usize, usize)] = &[
    (0x00, 4),
    (0x08, 4),
    (0x0c, 4),
    (0x14, 1),
    (0x16, 2),
    (0x18, 2),
    (0x1a, 2),
    (0x1c, 2),
    (0x20, 8),
    (0x28, 8),
    (0x30, 8),
];

fn half(value: u64, select: u32) -> u32 {
    match select {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn covers(offset: u64, length: usize, register: u64) -> bool {
    offset <= register && register < offset + length as u64
}
