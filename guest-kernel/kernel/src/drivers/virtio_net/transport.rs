//! virtio over PCI.
//!
//! Unlike the transport of virtio-drivers, a doorbell here is one store: its address is looked up
//! once. Under BitVisor each access to these registers is a VM exit of 50 to 80 microseconds.

use super::msix::Msix;
use super::regs::{NET_DEVICES, NO_VECTOR, VENDOR, capability, common, feature};
use crate::drivers::dma::virtio::SetUp;
use crate::drivers::mmio::Mmio;
use crate::drivers::pci::{self, Bdf, Function, register};
use crate::mm::PhysAddr;
use crate::time;
use core::fmt;
use core::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use core::time::Duration;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A device that has not reset itself after this long never will.
const RESET_PATIENCE: Duration = Duration::from_millis(500);
/// Memory and bus master in the command register, and interrupts not disabled.
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_BUS_MASTER: u32 = 1 << 2;
const COMMAND_INTERRUPTS_OFF: u32 = 1 << 10;
/// Status register: the device has a capability list.
const STATUS_CAPABILITIES: u32 = 1 << 20;
/// First capability.
const CAPABILITIES: u8 = 0x34;

/// What is wrong with a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeError {
    /// It has no capability list, so no modern interface.
    NoCapabilities,
    /// A structure is missing; its `cfg_type`.
    Missing(u8),
    /// A structure lies outside of memory BARs, or is too short; its `cfg_type`.
    BadRegion(u8),
    /// It did not reset.
    NoReset,
    /// It does not offer VERSION_1.
    Legacy,
    /// It refused the features.
    FeaturesRefused,
    /// It did not take the interrupt vector of a queue.
    NoVector(u16),
    /// A doorbell is outside the notify structure.
    BadDoorbell(u16),
    /// Setting up the queues failed.
    Queue(virtio_drivers::Error),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapabilities => f.write_str("no PCI capabilities"),
            Self::Missing(kind) => write!(f, "no virtio structure of type {kind}"),
            Self::BadRegion(kind) => {
                write!(f, "virtio structure of type {kind} is not in a memory BAR")
            }
            Self::NoReset => f.write_str("does not reset"),
            Self::Legacy => f.write_str("legacy interface only"),
            Self::FeaturesRefused => f.write_str("refuses our features"),
            Self::NoVector(queue) => write!(f, "queue {queue} takes no interrupt vector"),
            Self::BadDoorbell(queue) => {
                write!(f, "doorbell of queue {queue} lies outside its registers")
            }
            Self::Queue(error) => write!(f, "queue set-up: {error}"),
        }
    }
}

/// A structure inside a BAR.
#[derive(Clone, Copy)]
struct Region {
    bar: u8,
    offset: u32,
    len: u32,
}

/// The registers of one device.
pub struct PciTransport {
    bdf: Bdf,
    common: Mmio,
    notify: Mmio,
    isr: Mmio,
    device: Mmio,
    notify_multiplier: usize,
    doorbells: [AtomicUsize; 2],
    /// The vector queues are given where the device has MSI-X and it is on, else `NO_VECTOR`.
    vector: AtomicU16,
}

/// The same registers while queues are set up: what virtio-drivers wants.
pub struct Setup<'a> {
    registers: &'a PciTransport,
    used_ring: u64,
}

impl<'a> Setup<'a> {
    /// For queues of this device.
    pub fn new(registers: &'a PciTransport) -> Self {
        Self {
            registers,
            used_ring: 0,
        }
    }
}

impl SetUp for Setup<'_> {
    fn used_ring(&self) -> PhysAddr {
        PhysAddr::new(self.used_ring)
    }
}

impl PciTransport {
    /// Finds and maps the registers. The device is not touched yet.
    pub fn new(function: &Function) -> Result<(Self, Option<Msix>), ProbeError> {
        let bdf = function.bdf;
        let mut found: [Option<Region>; 5] = [None; 5];
        let mut notify_multiplier = 0;
        let mut msix = None;
        if pci::read(bdf, register::COMMAND) & STATUS_CAPABILITIES == 0 {
            return Err(ProbeError::NoCapabilities);
        }
        let mut at = pci::read(bdf, CAPABILITIES) as u8 & 0xfc;
        // A list cannot be longer than configuration space has room for; a lying device may loop it.
        for _ in 0..48 {
            if at < 0x40 {
                break;
            }
            let head = pci::read(bdf, at);
            let (id, next, cap_len, kind) = (
                head as u8,
                (head >> 8) as u8,
                (head >> 16) as u8,
                (head >> 24) as u8,
            );
            match id {
                capability::MSIX => msix = Some(Msix { at }),
                capability::VENDOR if cap_len >= 16 => {
                    let slot = found
                        .get_mut(usize::from(kind))
                        .filter(|slot| slot.is_none());
                    if let Some(slot) = slot {
                        *slot = Some(Region {
                            bar: pci::read(bdf, at.wrapping_add(4)) as u8,
                            offset: pci::read(bdf, at.wrapping_add(8)),
                            len: pci::read(bdf, at.wrapping_add(12)),
                        });
                        if kind == capability::NOTIFY && cap_len >= 20 {
                            notify_multiplier = pci::read(bdf, at.wrapping_add(16)) as usize;
                        }
                    }
                }
                _ => {}
            }
            at = next & 0xfc;
        }
        let command = pci::read(bdf, register::COMMAND) & 0xffff;
        let wanted = (command | COMMAND_MEMORY | COMMAND_BUS_MASTER) & !COMMAND_INTERRUPTS_OFF;
        if wanted != command {
            pci::write(bdf, register::COMMAND, wanted);
        }
        let map = |kind: u8, least: usize| {
            let region = found[usize::from(kind)].ok_or(ProbeError::Missing(kind))?;
            map_region(bdf, region, least).ok_or(ProbeError::BadRegion(kind))
        };
        let transport = Self {
            bdf,
            common: map(capability::COMMON, common::LEN)?,
            notify: map(capability::NOTIFY, 2)?,
            isr: map(capability::ISR, 1)?,
            device: map(capability::DEVICE, 6)?,
            notify_multiplier,
            doorbells: [const { AtomicUsize::new(0) }; 2],
            vector: AtomicU16::new(NO_VECTOR),
        };
        Ok((transport, msix))
    }

    /// Where the device sits.
    pub fn bdf(&self) -> Bdf {
        self.bdf
    }

    /// Queues set up from now on interrupt by this entry of the MSI-X table; `NO_VECTOR`: by the line.
    pub fn use_vector(&self, vector: u16) {
        self.vector.store(vector, Ordering::Relaxed);
    }

    /// Resets the device; bounded.
    pub fn reset(&self) -> Result<(), ProbeError> {
        self.write_status(DeviceStatus::empty());
        let deadline = time::now() + RESET_PATIENCE;
        while self.common.read::<u8>(common::DEVICE_STATUS) != 0 {
            if time::now() > deadline {
                return Err(ProbeError::NoReset);
            }
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// Steps 2 to 6 of the initialisation (section 3.1.1), after a reset.
    pub fn negotiate(&self) -> Result<(), ProbeError> {
        let half = |select: u32| {
            self.common
                .write::<u32>(common::DEVICE_FEATURE_SELECT, select);
            u64::from(self.common.read::<u32>(common::DEVICE_FEATURE))
        };
        self.write_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        let features = (half(1) << 32 | half(0)) & feature::SUPPORTED;
        if features & feature::VERSION_1 == 0 {
            return Err(ProbeError::Legacy);
        }
        for (select, bits) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.common
                .write::<u32>(common::DRIVER_FEATURE_SELECT, select);
            self.common.write::<u32>(common::DRIVER_FEATURE, bits);
        }
        self.write_status(
            DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK,
        );
        if self.status().contains(DeviceStatus::FEATURES_OK) {
            Ok(())
        } else {
            Err(ProbeError::FeaturesRefused)
        }
    }

    /// Step 8: the device may work.
    pub fn start(&self) {
        self.write_status(
            DeviceStatus::ACKNOWLEDGE
                | DeviceStatus::DRIVER
                | DeviceStatus::FEATURES_OK
                | DeviceStatus::DRIVER_OK,
        );
    }

    fn write_status(&self, status: DeviceStatus) {
        self.common
            .write::<u8>(common::DEVICE_STATUS, status.bits() as u8);
    }

    fn status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.common.read::<u8>(common::DEVICE_STATUS).into())
    }

    /// Rings a queue's doorbell: one store.
    pub fn notify(&self, queue: u16) {
        self.notify.write::<u16>(
            self.doorbells[usize::from(queue)].load(Ordering::Relaxed),
            queue,
        );
    }

    /// Whether a queue took the vector it was given (section 4.1.5.1.2).
    pub fn check_vector(&self, queue: u16) -> Result<(), ProbeError> {
        let vector = self.vector.load(Ordering::Relaxed);
        if vector == NO_VECTOR {
            return Ok(());
        }
        self.common.write::<u16>(common::QUEUE_SELECT, queue);
        let took = self.common.read::<u16>(common::QUEUE_MSIX_VECTOR) == vector;
        if took {
            Ok(())
        } else {
            Err(ProbeError::NoVector(queue))
        }
    }

    /// Looks up the doorbell of a queue.
    pub fn find_doorbell(&self, queue: u16) -> Result<(), ProbeError> {
        self.common.write::<u16>(common::QUEUE_SELECT, queue);
        let step = usize::from(self.common.read::<u16>(common::QUEUE_NOTIFY_OFF));
        let offset = step
            .checked_mul(self.notify_multiplier)
            .filter(|offset| offset % 2 == 0 && offset + 2 <= self.notify.size())
            .ok_or(ProbeError::BadDoorbell(queue))?;
        self.doorbells[usize::from(queue)].store(offset, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the interrupt status, which acknowledges the interrupt. Under BitVisor this is also what
    /// moves received frames into the ring.
    pub fn read_isr(&self) -> u8 {
        self.isr.read::<u8>(0)
    }

    /// The hardware address.
    pub fn mac(&self) -> [u8; 6] {
        core::array::from_fn(|index| self.device.read::<u8>(index))
    }
}

/// Maps a structure if it lies in a memory BAR below 2^46 and has the room.
fn map_region(bdf: Bdf, region: Region, least: usize) -> Option<Mmio> {
    let base = bar_address(bdf, region.bar)?;
    let len = (region.len as usize).min(64 << 10);
    if len < least || !region.offset.is_multiple_of(4) {
        return None;
    }
    let start = base
        .checked_add(u64::from(region.offset))
        .filter(|start| *start < 1 << 46)?;
    Some(Mmio::map(PhysAddr::new(start), len))
}

/// The address of a memory BAR.
pub fn bar_address(bdf: Bdf, bar: u8) -> Option<u64> {
    if bar > 5 {
        return None;
    }
    let low = pci::read(bdf, register::BAR0 + 4 * bar);
    let base = match low & 0b111 {
        0b000 => u64::from(low & !0xf),
        0b100 if bar < 5 => {
            u64::from(low & !0xf) | u64::from(pci::read(bdf, register::BAR0 + 4 * bar + 4)) << 32
        }
        _ => return None,
    };
    (base != 0).then_some(base)
}

/// Only what `VirtQueue::new` calls does something; the rest of the initialisation is above.
impl Transport for Setup<'_> {
    fn device_type(&self) -> DeviceType {
        DeviceType::Network
    }

    fn read_device_features(&mut self) -> u64 {
        feature::SUPPORTED
    }

    fn write_driver_features(&mut self, _features: u64) {}

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.registers
            .common
            .write::<u16>(common::QUEUE_SELECT, queue);
        self.registers.common.read::<u16>(common::QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        self.registers.notify(queue);
    }

    fn get_status(&self) -> DeviceStatus {
        self.registers.status()
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.registers.write_status(status);
    }

    fn set_guest_page_size(&mut self, _size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: u64,
        driver_area: u64,
        device_area: u64,
    ) {
        self.used_ring = device_area;
        let common = &self.registers.common;
        common.write::<u16>(common::QUEUE_SELECT, queue);
        common.write::<u16>(common::QUEUE_SIZE, size as u16);
        common.write::<u64>(common::QUEUE_DESC, descriptors);
        common.write::<u64>(common::QUEUE_DRIVER, driver_area);
        common.write::<u64>(common::QUEUE_DEVICE, device_area);
        let vector = self.registers.vector.load(Ordering::Relaxed);
        if vector != NO_VECTOR {
            common.write::<u16>(common::QUEUE_MSIX_VECTOR, vector);
        }
        common.write::<u16>(common::QUEUE_ENABLE, 1);
    }

    /// Queues of this transport end with a reset only.
    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.registers
            .common
            .write::<u16>(common::QUEUE_SELECT, queue);
        self.registers.common.read::<u16>(common::QUEUE_ENABLE) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_retain(self.registers.read_isr().into())
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        _offset: usize,
    ) -> virtio_drivers::Result<T> {
        Err(virtio_drivers::Error::Unsupported)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _offset: usize,
        _value: T,
    ) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::Unsupported)
    }
}

/// Whether a function is a virtio network card.
pub fn is_net(function: &Function) -> bool {
    function.vendor == VENDOR && NET_DEVICES.contains(&function.device)
}
