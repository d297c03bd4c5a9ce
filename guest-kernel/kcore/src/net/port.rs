//! What smoltcp takes for its network card.
//!
//! A card is two halves, [`Receive`] and [`Transmit`], because smoltcp answers a frame while it
//! still reads it. [`Port`] joins them and adds what a card does not do: frames to our own address
//! come back to us (so 127.0.0.1 works, even without any card), and a connection request to a
//! listener whose backlog is full is dropped instead of refused, so that the peer tries again.

use super::frame::{Destination, for_ourselves, is_credible, tcp_syn_port};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Largest Ethernet frame without its checksum.
pub const FRAME_MAX: usize = 1514;
/// Largest IP packet.
pub const MTU: usize = FRAME_MAX - 14;
/// Frames to ourselves that may wait; more are dropped, as on a wire.
const LOOPED_MAX: usize = 256;

/// The receiving half of a card.
pub trait Receive {
    /// Whether a frame is waiting; the card is asked if need be.
    fn ready(&mut self) -> bool;
    /// Hands the waiting frame to `f` and returns its buffer to the card. Only after `ready`.
    fn take<R>(&mut self, f: impl FnOnce(&[u8]) -> R) -> R;
}

/// The sending half of a card.
pub trait Transmit {
    /// Whether a frame can be sent now.
    fn ready(&mut self) -> bool;
    /// Lets `f` write a frame of `len` bytes; the bool it returns says whether to send it or to
    /// forget it. Only after `ready`.
    fn send<R>(&mut self, len: usize, f: impl FnOnce(&mut [u8]) -> (R, bool)) -> R;
}

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the card.
    In,
    /// To the card.
    Out,
}

/// Sees every frame that goes over the card.
pub trait Tap {
    /// A frame, as on the wire.
    fn frame(&mut self, direction: Direction, frame: &[u8]);
}

impl Tap for () {
    fn frame(&mut self, _direction: Direction, _frame: &[u8]) {}
}

/// A machine without a card.
#[derive(Debug, Default)]
pub struct NoCard;

impl Receive for NoCard {
    fn ready(&mut self) -> bool {
        false
    }
    fn take<R>(&mut self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(&[])
    }
}

impl Transmit for NoCard {
    fn ready(&mut self) -> bool {
        true
    }
    fn send<R>(&mut self, len: usize, f: impl FnOnce(&mut [u8]) -> (R, bool)) -> R {
        let mut scratch = [0; FRAME_MAX];
        f(&mut scratch[..len.min(FRAME_MAX)]).0
    }
}

/// Counters of frames over the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Connection requests dropped because the listener's backlog was full.
    pub rx_dropped: u64,
    /// Frames to ourselves dropped because too many waited.
    pub tx_dropped: u64,
}

/// What both tokens of smoltcp write to.
#[derive(Debug)]
struct Meter<T> {
    counters: Cell<Counters>,
    tap: RefCell<T>,
}

impl<T: Tap> Meter<T> {
    fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    fn frame(&self, direction: Direction, frame: &[u8]) {
        self.count(|c| match direction {
            Direction::In => {
                c.rx_frames += 1;
                c.rx_bytes += frame.len() as u64;
            }
            Direction::Out => {
                c.tx_frames += 1;
                c.tx_bytes += frame.len() as u64;
            }
        });
        self.tap.borrow_mut().frame(direction, frame);
    }
}

/// A card and our own loopback, as smoltcp wants it.
#[derive(Debug)]
pub struct Port<Rx, Tx, T = ()> {
    /// The card's receiving half.
    pub rx: Rx,
    /// The card's sending half.
    pub tx: Tx,
    meter: Meter<T>,
    mac: [u8; 6],
    /// Own addresses, for answering our own questions about them.
    own: Vec<IpAddr>,
    /// Ports of listeners that take no further connection now.
    full: Vec<u16>,
    looped: VecDeque<Vec<u8>>,
}

impl<Rx: Receive, Tx: Transmit, T: Tap> Port<Rx, Tx, T> {
    /// A port with the card's hardware address.
    pub fn new(rx: Rx, tx: Tx, tap: T, mac: [u8; 6]) -> Self {
        Self {
            rx,
            tx,
            meter: Meter {
                counters: Cell::new(Counters::default()),
                tap: RefCell::new(tap),
            },
            mac,
            own: Vec::new(),
            full: Vec::new(),
            looped: VecDeque::new(),
        }
    }

    /// The card's hardware address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// What went through.
    pub fn counters(&self) -> Counters {
        self.meter.counters.get()
    }

    /// Whether a frame to ourselves waits.
    pub fn has_looped(&self) -> bool {
        !self.looped.is_empty()
    }

    /// Tells which addresses are ours.
    pub fn set_own(&mut self, own: Vec<IpAddr>) {
        self.own = own;
    }

    /// Tells which listening ports take no further connection now.
    pub fn set_full(&mut self, full: impl Iterator<Item = u16>) {
        self.full.clear();
        self.full.extend(full);
    }
}

/// A received frame, at the card or looped.
pub struct RxFrame<'a, Rx, T> {
    rx: &'a mut Rx,
    meter: &'a Meter<T>,
    full: &'a [u16],
    own: &'a [IpAddr],
    looped: Option<Vec<u8>>,
}

impl<Rx: Receive, T: Tap> RxToken for RxFrame<'_, Rx, T> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let Self {
            rx,
            meter,
            full,
            own,
            looped,
        } = self;
        // smoltcp ignores an empty frame; it has no other way to be told "not this one".
        let deliver = |frame: &[u8]| match tcp_syn_port(frame) {
            Some(port) if full.contains(&port) => {
                meter.count(|c| c.rx_dropped += 1);
                f(&[])
            }
            _ => f(frame),
        };
        match looped {
            Some(frame) => deliver(&frame),
            None => rx.take(|frame| {
                meter.frame(Direction::In, frame);
                deliver(if is_credible(frame, own) { frame } else { &[] })
            }),
        }
    }
}

/// Room for a frame to send.
pub struct TxFrame<'a, Tx, T> {
    tx: &'a mut Tx,
    meter: &'a Meter<T>,
    mac: [u8; 6],
    own: &'a [IpAddr],
    looped: &'a mut VecDeque<Vec<u8>>,
}

impl<Tx: Transmit, T: Tap> TxToken for TxFrame<'_, Tx, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Self {
            tx,
            meter,
            mac,
            own,
            looped,
        } = self;
        let mut loop_back = |frame: Vec<u8>| {
            if looped.len() < LOOPED_MAX {
                looped.push_back(frame);
            } else {
                meter.count(|c| c.tx_dropped += 1);
            }
        };
        tx.send(len, |buffer| {
            let result = f(buffer);
            let send = match for_ourselves(buffer, mac, own) {
                Destination::Elsewhere => true,
                Destination::Ourselves => {
                    loop_back(buffer.to_vec());
                    false
                }
                Destination::AnswerToOurselves(answer) => {
                    loop_back(answer);
                    false
                }
            };
            if send {
                meter.frame(Direction::Out, buffer);
            }
            (result, send)
        })
    }
}

impl<Rx: Receive, Tx: Transmit, T: Tap> Device for Port<Rx, Tx, T> {
    type RxToken<'a>
        = RxFrame<'a, Rx, T>
    where
        Self: 'a;
    type TxToken<'a>
        = TxFrame<'a, Tx, T>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        if !self.tx.ready() {
            // An answer could not leave; the frame waits.
            return None;
        }
        let looped = self.looped.pop_front();
        if looped.is_none() && !self.rx.ready() {
            return None;
        }
        let rx = RxFrame {
            rx: &mut self.rx,
            meter: &self.meter,
            full: &self.full,
            own: &self.own,
            looped,
        };
        let tx = TxFrame {
            tx: &mut self.tx,
            meter: &self.meter,
            mac: self.mac,
            own: &self.own,
            looped: &mut self.looped,
        };
        Some((rx, tx))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Self::TxToken<'_>> {
        self.tx.ready().then_some(TxFrame {
            tx: &mut self.tx,
            meter: &self.meter,
            mac: self.mac,
            own: &self.own,
            looped: &mut self.looped,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities
    }
}
