//! The virtio network card (Virtual I/O Device 1.2, section 5.1), QEMU's and BitVisor's.
//!
//! - A frame is one descriptor: header and frame lie side by side in one buffer of a [`Ring`].
//! - Doorbells are rung by `flush`, once for many frames, and only if the device wants to hear.
//! - BitVisor moves received frames into the ring only while we read the ISR register, so
//!   [`Receiver`] reads it when the ring is empty and it is allowed to (see [`Pump`]).
//! - A device that lies (see `kcore::net::tokens`) is not used until it was reset.
//! - Nothing here waits without a bound.

mod msix;
pub mod regs;
mod transport;

pub use transport::{PciTransport, ProbeError, is_net};

use crate::arch::msi::Message;
use msix::Msix;

use crate::drivers::dma::virtio::{BUFFER_LEN, Buffer, Interrupts, Ring};
use crate::drivers::pci::Function;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use kcore::net::port::{FRAME_MAX, Receive, Transmit};
use kcore::net::tokens::Lie;
use regs::{HEADER_LEN, queue};
use transport::Setup;

/// Descriptors of each ring: more than a TCP window of frames. (BitVisor and QEMU allow 256.)
const RING_LEN: usize = 128;
/// Frames after which a doorbell is rung although more follow: the device may begin, and BitVisor's
/// transmit ring behind it is not overrun.
const FRAMES_PER_DOORBELL: usize = 32;
/// Used transmit buffers are taken back when fewer than this are free.
const REAP_BELOW: usize = RING_LEN / 2;

const _: () = assert!(HEADER_LEN + FRAME_MAX <= BUFFER_LEN);

/// What only the driver counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Doorbell writes.
    pub notifies: AtomicU64,
    /// Reads of the ISR register.
    pub isr_reads: AtomicU64,
    /// Lies told and resets done.
    pub errors: AtomicU64,
    /// Frames dropped because the card was broken.
    pub dropped: AtomicU64,
}

/// What both halves share.
pub struct Card {
    registers: PciTransport,
    msix: Option<Msix>,
    /// Counters.
    pub counters: Counters,
}

impl Card {
    /// Finds the registers of a function and resets the device.
    pub fn probe(function: &Function) -> Result<Arc<Self>, ProbeError> {
        let (registers, msix) = PciTransport::new(function)?;
        registers.reset()?;
        Ok(Arc::new(Self {
            registers,
            msix,
            counters: Counters::default(),
        }))
    }

    /// Whether the device can interrupt by message. Only then may a vector be written: BitVisor calls
    /// through an uninitialised pointer otherwise.
    pub fn has_messages(&self) -> bool {
        self.msix.is_some()
    }

    /// Lets queues started from now on interrupt by this message; false if the device cannot.
    pub fn use_message(&self, message: Message) -> bool {
        let enabled = self
            .msix
            .is_some_and(|msix| msix.enable(self.registers.bdf(), message));
        if enabled {
            self.registers.use_vector(0);
        }
        enabled
    }

    /// Back to the interrupt line.
    pub fn use_line(&self) {
        self.registers.use_vector(regs::NO_VECTOR);
        if let Some(msix) = self.msix {
            msix.disable(self.registers.bdf());
        }
    }

    /// The registers.
    pub fn registers(&self) -> &PciTransport {
        &self.registers
    }

    /// Starts the device from reset, with fresh rings.
    #[inline(never)]
    pub fn start(self: &Arc<Self>) -> Result<(Receiver, Sender), ProbeError> {
        let registers = &self.registers;
        registers.reset()?;
        registers.negotiate()?;
        let mut setup = Setup::new(registers);
        let mut receive = Ring::boxed(&mut setup, queue::RECEIVE).map_err(ProbeError::Queue)?;
        let mut transmit = Ring::boxed(&mut setup, queue::TRANSMIT).map_err(ProbeError::Queue)?;
        for queue in [queue::RECEIVE, queue::TRANSMIT] {
            registers.check_vector(queue)?;
            registers.find_doorbell(queue)?;
        }
        transmit.set_interrupts(Interrupts::Unwanted);
        while let Some(buffer) = receive.take_free() {
            receive.lend_empty(buffer).map_err(ProbeError::Queue)?;
        }
        registers.start();
        self.ring(queue::RECEIVE);
        let receiver = Receiver {
            card: Arc::clone(self),
            ring: Some(receive),
            waiting: None,
            lie: None,
            pump: Pump::Closed,
            refilled: false,
        };
        let sender = Sender {
            card: Arc::clone(self),
            ring: Some(transmit),
            unannounced: 0,
            lie: None,
        };
        Ok((receiver, sender))
    }

    fn ring(&self, queue: u16) {
        self.counters.notifies.fetch_add(1, Ordering::Relaxed);
        self.registers.notify(queue);
        crate::net::tap::notified(queue);
    }

    /// Reads the ISR register.
    pub fn read_isr(&self) -> u8 {
        self.counters.isr_reads.fetch_add(1, Ordering::Relaxed);
        self.registers.read_isr()
    }
}

/// Whether the receiver may read the ISR register when its ring is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pump {
    /// No: an interrupt will tell.
    Closed,
    /// Yes, and again as long as that brings frames.
    Open,
}

/// The receiving half.
pub struct Receiver {
    card: Arc<Card>,
    /// None while there is no working device.
    ring: Option<Box<Ring<RING_LEN>>>,
    waiting: Option<(Buffer, usize)>,
    lie: Option<Lie>,
    pump: Pump,
    refilled: bool,
}

impl Receiver {
    /// Opens or closes the pump.
    pub fn set_pump(&mut self, pump: Pump) {
        self.pump = pump;
    }

    /// Asks for interrupts, or for none; whether frames came in before the request took hold.
    pub fn set_interrupts(&mut self, wanted: Interrupts) -> bool {
        self.ring.as_mut().is_some_and(|ring| {
            ring.set_interrupts(wanted);
            ring.has_used()
        })
    }

    /// Rings the doorbell for returned buffers if the device waits for them.
    pub fn flush(&mut self) {
        if core::mem::take(&mut self.refilled)
            && self.ring.as_ref().is_some_and(|ring| ring.wants_notify())
        {
            self.card.ring(queue::RECEIVE);
        }
    }

    /// The lie the device told, if it did.
    pub fn lie(&self) -> Option<Lie> {
        self.lie
    }

    /// A half without a device: takes nothing in.
    pub fn broken(card: Arc<Card>) -> Self {
        Self {
            card,
            ring: None,
            waiting: None,
            lie: None,
            pump: Pump::Closed,
            refilled: false,
        }
    }

    fn look(&mut self) -> bool {
        let Some(ring) = &mut self.ring else {
            return false;
        };
        if self.lie.is_some() {
            return false;
        }
        match ring.take_written(HEADER_LEN) {
            Ok(Some((buffer, len))) => self.waiting = Some((buffer, len)),
            Ok(None) => {}
            Err(lie) => self.lie = Some(lie),
        }
        self.waiting.is_some()
    }
}

impl Receive for Receiver {
    fn ready(&mut self) -> bool {
        if self.waiting.is_some() || self.look() {
            return true;
        }
        if self.pump == Pump::Open {
            self.card.read_isr();
            if self.look() {
                return true;
            }
            self.pump = Pump::Closed;
        }
        false
    }

    fn take<R>(&mut self, f: impl FnOnce(&[u8]) -> R) -> R {
        let (Some((buffer, len)), Some(ring)) = (self.waiting.take(), &mut self.ring) else {
            return f(&[]);
        };
        let result = f(&ring.bytes(&buffer)[HEADER_LEN..HEADER_LEN + len]);
        // A queue has a descriptor for each of its buffers, so this cannot fail; the buffer would
        // only be missing.
        let lent = ring.lend_empty(buffer);
        debug_assert!(lent.is_ok());
        self.refilled = true;
        result
    }
}

/// The sending half.
pub struct Sender {
    card: Arc<Card>,
    /// None while there is no working device.
    ring: Option<Box<Ring<RING_LEN>>>,
    /// Frames in the ring since the last doorbell.
    unannounced: usize,
    lie: Option<Lie>,
}

impl Sender {
    /// Rings the doorbell for frames the device was not told about.
    pub fn flush(&mut self) {
        if core::mem::take(&mut self.unannounced) > 0
            && self.ring.as_ref().is_some_and(|ring| ring.wants_notify())
        {
            self.card.ring(queue::TRANSMIT);
        }
    }

    /// Rings the doorbell if the device still has frames: for a doorbell that got lost.
    pub fn remind(&mut self) {
        self.reap();
        if self.ring.as_ref().is_some_and(|ring| ring.lent() > 0) {
            self.card.ring(queue::TRANSMIT);
        }
    }

    /// The lie the device told, if it did.
    pub fn lie(&self) -> Option<Lie> {
        self.lie
    }

    /// A half without a device: frames vanish.
    pub fn broken(card: Arc<Card>) -> Self {
        Self {
            card,
            ring: None,
            unannounced: 0,
            lie: None,
        }
    }

    fn reap(&mut self) {
        if let (Some(ring), None) = (&mut self.ring, self.lie)
            && let Err(lie) = ring.reap_read()
        {
            self.lie = Some(lie);
        }
    }
}

impl Transmit for Sender {
    fn ready(&mut self) -> bool {
        let Some(ring) = &self.ring else { return true };
        if ring.free_count() < REAP_BELOW {
            self.reap();
        }
        let Some(ring) = &mut self.ring else {
            return true;
        };
        if ring.has_free() {
            return true;
        }
        // Full: hear of the next free buffer, and look once more for one that came just before.
        self.flush();
        if let Some(ring) = &mut self.ring {
            ring.set_interrupts(Interrupts::Wanted);
        }
        self.reap();
        let free = self.ring.as_ref().is_some_and(|ring| ring.has_free());
        if let (true, Some(ring)) = (free, &mut self.ring) {
            ring.set_interrupts(Interrupts::Unwanted);
        }
        free
    }

    fn send<R>(&mut self, len: usize, f: impl FnOnce(&mut [u8]) -> (R, bool)) -> R {
        let len = len.min(FRAME_MAX);
        let Some((ring, buffer)) = self.ring.as_mut().and_then(|ring| {
            let buffer = ring.take_free()?;
            Some((ring, buffer))
        }) else {
            self.card.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return f(&mut [0; FRAME_MAX][..len]).0;
        };
        let bytes = ring.bytes_mut(&buffer);
        bytes[..HEADER_LEN].fill(0);
        let (result, send) = f(&mut bytes[HEADER_LEN..HEADER_LEN + len]);
        if !send {
            ring.put_free(buffer);
            return result;
        }
        if ring.lend_filled(buffer, HEADER_LEN + len).is_ok() {
            self.unannounced += 1;
            if self.unannounced >= FRAMES_PER_DOORBELL {
                self.flush();
            }
        }
        result
    }
}
