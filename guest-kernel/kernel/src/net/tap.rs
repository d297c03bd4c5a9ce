//! The trace's look at the card: frames, doorbells, interrupts.
//!
//! What carries the trace itself is counted and never recorded, or the trace would record itself for
//! ever. A doorbell is recorded if one of the frames it announces is recorded.

use crate::remote::channel;
use crate::trace;
use alloc::borrow::Cow;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use kcore::net::frame::tcp_ports;
use kcore::net::port::{Direction, Tap};
use trace_record::payload::TEXT_MAX;
use trace_record::{Class, Payload};

/// Our port of the connection that carries the trace, 0 for none.
static TRANSPORT_PORT: AtomicU16 = AtomicU16::new(0);
/// Frames worth recording went by since the last doorbell, by direction.
static RECEIVED: AtomicBool = AtomicBool::new(false);
static SENT: AtomicBool = AtomicBool::new(false);

/// Says which connection carries the trace.
pub fn set_transport_port(port: u16) {
    TRANSPORT_PORT.store(port, Ordering::Relaxed);
}

/// Sees the frames.
pub struct FrameTap;

impl Tap for FrameTap {
    fn frame(&mut self, direction: Direction, frame: &[u8]) {
        let transport = TRANSPORT_PORT.load(Ordering::Relaxed);
        let own =
            tcp_ports(frame).map(|(from, to)| if direction == Direction::In { to } else { from });
        if transport != 0 && own == Some(transport) {
            channel::count_packet();
            return;
        }
        let (flag, sent) = match direction {
            Direction::In => (&RECEIVED, false),
            Direction::Out => (&SENT, true),
        };
        flag.store(true, Ordering::Relaxed);
        if trace::enabled(Class::Packet) {
            let bytes = &frame[..frame.len().min(TEXT_MAX)];
            trace::emit(&Payload::Packet {
                sent,
                wire_len: frame.len() as u32,
                frame: Cow::Borrowed(bytes),
            });
        }
    }
}

/// A doorbell was rung.
pub fn notified(queue: u16) {
    let flag = if queue == crate::drivers::virtio_net::regs::queue::RECEIVE {
        &RECEIVED
    } else {
        &SENT
    };
    if flag.swap(false, Ordering::Relaxed) && trace::enabled(Class::Virtio) {
        trace::emit(&Payload::VirtioNotify { queue });
    }
}

/// The card's interrupt came.
pub fn interrupted(vector: u8) {
    if trace::enabled(Class::Interrupt) {
        trace::emit(&Payload::Interrupt { vector });
    }
}

/// The card was reset.
pub fn was_reset(why: &str) {
    trace::emit(&Payload::VirtioReset {
        text: Cow::Borrowed(why.as_bytes()),
    });
}
