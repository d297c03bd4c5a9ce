//! What smoltcp takes for its network card.
//!
//! A card is two halves, [`Receive`] and [`Transmit`], because smoltcp answers a frame while it
//! still reads it. [`Port`] joins them and adds what a card does not do: frames to our own address
//! come back to us (so 127.0.0.1 works, even without any card), and a connection request to a
//! listener whose backlog is full is dropped instead of refused, so that the peer tries again.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
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
    own: Vec<[u8; 4]>,
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
    pub fn set_own(&mut self, own: Vec<[u8; 4]>) {
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
    looped: Option<Vec<u8>>,
}

impl<Rx: Receive, T: Tap> RxToken for RxFrame<'_, Rx, T> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let Self {
            rx,
            meter,
            full,
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
                deliver(frame)
            }),
        }
    }
}

/// Room for a frame to send.
pub struct TxFrame<'a, Tx, T> {
    tx: &'a mut Tx,
    meter: &'a Meter<T>,
    mac: [u8; 6],
    own: &'a [[u8; 4]],
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

const ETHERTYPE: core::ops::Range<usize> = 12..14;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];

/// Where a frame about to be sent really goes.
#[derive(PartialEq, Eq, Debug)]
enum Destination {
    Elsewhere,
    Ourselves,
    /// It asks who has one of our own addresses: this is the answer.
    AnswerToOurselves(Vec<u8>),
}

fn for_ourselves(frame: &[u8], mac: [u8; 6], own: &[[u8; 4]]) -> Destination {
    if frame.get(..6) == Some(&mac) {
        return Destination::Ourselves;
    }
    // An ARP request (RFC 826): Ethernet header 14, then operation at 6, sender at 8, target
    // address at 24.
    let arp = match frame.get(ETHERTYPE) {
        Some(kind) if kind == ARP => frame.get(14..42),
        _ => None,
    };
    match arp {
        Some(arp) if arp[6..8] == [0, 1] && own.iter().any(|own| own == &arp[24..28]) => {
            let mut answer = Vec::with_capacity(42);
            answer.extend_from_slice(&mac);
            answer.extend_from_slice(&mac);
            answer.extend_from_slice(&ARP);
            answer.extend_from_slice(&arp[..6]);
            answer.extend_from_slice(&[0, 2]);
            answer.extend_from_slice(&mac);
            answer.extend_from_slice(&arp[24..28]);
            answer.extend_from_slice(&mac);
            answer.extend_from_slice(&arp[14..18]);
            Destination::AnswerToOurselves(answer)
        }
        _ => Destination::Elsewhere,
    }
}

/// The TCP header in a frame: IPv4, not a later fragment.
fn tcp_header(frame: &[u8]) -> Option<&[u8]> {
    if frame.get(ETHERTYPE)? != IPV4 {
        return None;
    }
    let ip = frame.get(14..)?;
    let header = usize::from(*ip.first()? & 0x0f) * 4;
    let later_fragment = ip.get(6)? & 0x1f != 0 || *ip.get(7)? != 0;
    if *ip.get(9)? != 6 || later_fragment {
        return None;
    }
    ip.get(header..)
}

/// Source and destination port of a TCP segment in a frame.
pub fn tcp_ports(frame: &[u8]) -> Option<(u16, u16)> {
    let tcp = tcp_header(frame)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    Some((port(0)?, port(2)?))
}

/// The port a frame asks a TCP connection of: SYN without ACK or RST.
fn tcp_syn_port(frame: &[u8]) -> Option<u16> {
    let flags = *tcp_header(frame)?.get(13)?;
    (flags & 0x16 == 0x02).then_some(tcp_ports(frame)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn arp_request(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend_from_slice(&MAC);
        frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend_from_slice(&MAC);
        frame.extend_from_slice(&sender);
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&target);
        frame
    }

    #[test]
    fn questions_about_ourselves_are_answered_here() {
        let own = [[10, 0, 2, 15], [127, 0, 0, 1]];
        let request = arp_request([10, 0, 2, 15], [127, 0, 0, 1]);
        let Destination::AnswerToOurselves(answer) = for_ourselves(&request, MAC, &own) else {
            panic!("127.0.0.1 is ours");
        };
        assert_eq!(answer.len(), 42);
        assert_eq!(answer[20..22], [0, 2]);
        assert_eq!(answer[22..28], MAC);
        assert_eq!(answer[28..32], [127, 0, 0, 1]);
        assert_eq!(answer[38..42], [10, 0, 2, 15]);
        let elsewhere = arp_request([10, 0, 2, 15], [10, 0, 2, 2]);
        assert_eq!(for_ourselves(&elsewhere, MAC, &own), Destination::Elsewhere);
        let own_address = arp_request([10, 0, 2, 15], [10, 0, 2, 15]);
        assert_ne!(
            for_ourselves(&own_address, MAC, &own),
            Destination::Elsewhere
        );
    }

    #[test]
    fn frames_with_our_own_address_are_looped() {
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&MAC);
        assert_eq!(for_ourselves(&frame, MAC, &[]), Destination::Ourselves);
        assert_eq!(for_ourselves(&[0; 5], MAC, &[]), Destination::Elsewhere);
        assert_eq!(for_ourselves(&[], MAC, &[]), Destination::Elsewhere);
    }

    #[test]
    fn only_a_connection_request_is_one() {
        let mut frame = vec![0; 14 + 20 + 20];
        frame[12..14].copy_from_slice(&IPV4);
        frame[14] = 0x45;
        frame[14 + 9] = 6;
        frame[14 + 20 + 2..14 + 20 + 4].copy_from_slice(&8080u16.to_be_bytes());
        frame[14 + 20 + 13] = 0x02;
        assert_eq!(tcp_syn_port(&frame), Some(8080));
        for (at, value) in [
            (14 + 20 + 13, 0x12),
            (14 + 20 + 13, 0x10),
            (14 + 9, 17),
            (14 + 7, 1),
            (13, 6),
        ] {
            let mut other = frame.clone();
            other[at] = value;
            assert_eq!(tcp_syn_port(&other), None, "byte {at}");
        }
        for len in 0..14 + 20 + 14 {
            assert_eq!(tcp_syn_port(&frame[..len]), None, "cut to {len}");
        }
    }
}
