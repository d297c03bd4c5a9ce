//! A split virtqueue (virtio 1.2, 2.7), from the device's side. The driver is not trusted: every
//! address goes through [`crate::guest_memory`], every index and length is checked.

use alloc::vec::Vec;

use super::{Dma, LONGEST_PACKET};
use crate::defects::{self, Defect};

const LARGEST: u16 = 256;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const NO_INTERRUPT: u16 = 1;

/// The driver's rings are not in order.
pub struct Broken;

/// One queue, as the driver programmed it.
pub struct Queue {
    pub(super) size: u16,
    pub(super) enabled: bool,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    next_available: u16,
    next_used: u16,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            size: LARGEST,
            enabled: false,
            descriptors: 0,
            available: 0,
            used: 0,
            next_available: 0,
            next_used: 0,
        }
    }
}

struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

impl Queue {
    /// A power of two up to the largest; another size is ignored.
    pub(super) fn set_size(&mut self, size: u16) {
        let good = size.is_power_of_two() && size <= LARGEST;
        if good || defects::planted(Defect::QueueSizeUnchecked) && size != 0 {
            self.size = size;
        }
    }

    /// Whether the driver wants to hear of used buffers.
    pub(super) fn wants_interrupt(&self, dma: &mut Dma) -> bool {
        let flags = read_u16(dma, self.available);
        flags.is_ok_and(|flags| flags & NO_INTERRUPT == 0)
    }

    /// The bytes of the next chain to send, which is then used up. A chain longer than any
    /// packet gives its beginning only, one byte too long.
    pub(super) fn take_sent(&mut self, dma: &mut Dma) -> Result<Option<Vec<u8>>, Broken> {
        let Some(head) = self.next_head(dma)? else {
            return Ok(None);
        };
        let mut packet = Vec::new();
        for descriptor in self.chain(dma, head, 0)? {
            let room = LONGEST_PACKET + 1 - packet.len().min(LONGEST_PACKET + 1);
            let length = room.min(descriptor.length as usize);
            let start = packet.len();
            packet.resize(start + length, 0);
            let target = &mut packet[start..];
            if defects::planted(Defect::SendReadsHidden) {
                dma.m.read(descriptor.address, target);
            } else {
                let read = dma.memory.read(dma.m, descriptor.address, target);
                read.map_err(|_| Broken)?;
            }
        }
        self.give_back(dma, head, 0)?;
        Ok(Some(packet))
    }

    /// Puts `bytes` into the next receive chain, as many as it holds. `false`: there is none.
    pub(super) fn give_received(&mut self, dma: &mut Dma, bytes: &[u8]) -> Result<bool, Broken> {
        let Some(head) = self.next_head(dma)? else {
            return Ok(false);
        };
        let mut rest = bytes;
        for descriptor in self.chain(dma, head, WRITE)? {
            let length = if defects::planted(Defect::ReceiveIgnoresLength) {
                rest.len()
            } else {
                rest.len().min(descriptor.length as usize)
            };
            write(dma, descriptor.address, &rest[..length])?;
            rest = &rest[length..];
        }
        let stored = bytes.len() - rest.len();
        let told = if defects::planted(Defect::UsedLengthWrong) {
            bytes.len() + super::HEADER
        } else {
            stored
        };
        self.give_back(dma, head, told as u32)?;
        Ok(true)
    }

    /// The head of the next chain that the driver made available.
    fn next_head(&mut self, dma: &mut Dma) -> Result<Option<u16>, Broken> {
        let index = read_u16(dma, self.available + 2)?;
        let waiting = index.wrapping_sub(self.next_available);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.size && !defects::planted(Defect::AvailableJumpAccepted) {
            return Err(Broken);
        }
        let slot = u64::from(self.next_available % self.size);
        let head = read_u16(dma, self.available.wrapping_add(4 + 2 * slot))?;
        if head >= self.size && !defects::planted(Defect::DescriptorIndexUnchecked) {
            return Err(Broken);
        }
        self.next_available = self.next_available.wrapping_add(1);
        Ok(Some(head))
    }

    /// The descriptors of a chain, all of them readable (`direction` 0) or writable.
    fn chain(&self, dma: &mut Dma, head: u16, direction: u16) -> Result<Vec<Descriptor>, Broken> {
        let mut chain = Vec::new();
        let mut index = head;
        let mut links = 0;
        loop {
            let descriptor = self.descriptor(dma, index)?;
            let wrong_way = descriptor.flags & WRITE != direction;
            if wrong_way && !defects::planted(Defect::DirectionIgnored) {
                return Err(Broken);
            }
            if descriptor.flags & INDIRECT != 0 {
                return Err(Broken);
            }
            let (flags, next) = (descriptor.flags, descriptor.next);
            if defects::planted(Defect::ChainLoopEndless) {
                // Only what has bytes counts.
                if descriptor.length > 0 && chain.len() < usize::from(self.size) {
                    chain.push(descriptor);
                }
            } else {
                links += 1;
                chain.push(descriptor);
            }
            if flags & NEXT == 0 {
                return Ok(chain);
            }
            if links >= self.size {
                return Err(Broken);
            }
            index = next;
        }
    }

    fn descriptor(&self, dma: &mut Dma, index: u16) -> Result<Descriptor, Broken> {
        if index >= self.size && !defects::planted(Defect::DescriptorIndexUnchecked) {
            return Err(Broken);
        }
        let mut bytes = [0; 16];
        let at = self.descriptors.wrapping_add(16 * u64::from(index));
        read(dma, at, &mut bytes)?;
        let part = |range: core::ops::Range<usize>| super::number(&bytes[range]);
        Ok(Descriptor {
            address: part(0..8),
            length: part(8..12) as u32,
            flags: part(12..14) as u16,
            next: part(14..16) as u16,
        })
    }

    fn give_back(&mut self, dma: &mut Dma, head: u16, length: u32) -> Result<(), Broken> {
        let slot = u64::from(self.next_used % self.size);
        let mut element = [0; 8];
        element[..2].copy_from_slice(&head.to_le_bytes());
        element[4..].copy_from_slice(&length.to_le_bytes());
        write(dma, self.used.wrapping_add(4 + 8 * slot), &element)?;
        self.next_used = self.next_used.wrapping_add(1);
        write(
            dma,
            self.used.wrapping_add(2),
            &self.next_used.to_le_bytes(),
        )
    }
}

fn read(dma: &mut Dma, address: u64, bytes: &mut [u8]) -> Result<(), Broken> {
    dma.memory.read(dma.m, address, bytes).map_err(|_| Broken)
}

fn read_u16(dma: &mut Dma, address: u64) -> Result<u16, Broken> {
    let mut bytes = [0; 2];
    read(dma, address, &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

fn write(dma: &mut Dma, address: u64, bytes: &[u8]) -> Result<(), Broken> {
    if defects::planted(Defect::ReceiveIntoHidden) {
        dma.m.write(address, bytes);
        return Ok(());
    }
    dma.memory.write(dma.m, address, bytes).map_err(|_| Broken)
}
