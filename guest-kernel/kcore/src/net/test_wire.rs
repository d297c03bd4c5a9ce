//! Two stacks on one wire, with the time in the test's hand: what their tests share.

use super::port::{Port, Receive, Transmit};
use super::settings::{Address, Address6, StaticAddress, StaticAddress6};
use super::stack::{Endpoint, Family, Kind, Moment, Notify, Owner, SocketId, Stack};
use abi::Errno;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub type Frames = Rc<RefCell<VecDeque<Vec<u8>>>>;

pub struct CardRx(pub Frames);
pub struct CardTx(pub Frames);

impl Receive for CardRx {
    fn ready(&mut self) -> bool {
        !self.0.borrow().is_empty()
    }
    fn take<R>(&mut self, f: impl FnOnce(&[u8]) -> R) -> R {
        let frame = self.0.borrow_mut().pop_front().expect("ready said so");
        f(&frame)
    }
}

impl Transmit for CardTx {
    fn ready(&mut self) -> bool {
        self.0.borrow().len() < 64
    }
    fn send<R>(&mut self, len: usize, f: impl FnOnce(&mut [u8]) -> (R, bool)) -> R {
        let mut frame = vec![0; len];
        let (result, send) = f(&mut frame);
        if send {
            self.0.borrow_mut().push_back(frame);
        }
        result
    }
}

#[derive(Clone, Default)]
pub struct Woken(pub Rc<Cell<u32>>);

impl Notify for Woken {
    fn notify(&self) {
        self.0.set(self.0.get() + 1);
    }
}

pub type Host = Stack<CardRx, CardTx, (), Woken>;

/// What the wire does to frames.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// Of 100 frames, this many are lost.
    pub lose: u32,
    /// Of 100 frames, this many arrive twice.
    pub double: u32,
    /// Of 100 frames, this many are overtaken by the next.
    pub reorder: u32,
    /// Of 100 frames, this many have a byte changed.
    pub damage: u32,
}

pub struct Net {
    pub hosts: [Host; 2],
    /// Frames each host sent, frames on their way to each host.
    pub out: [Frames; 2],
    pub input: [Frames; 2],
    pub now: u64,
    pub faults: Faults,
    random: u64,
}

/// Buffers of a host's sockets: room for 80 connections.
pub const BUDGET: usize = 80 * 256 * 1024;
/// The hosts' addresses.
pub const ADDRESS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
];
/// The hosts' other addresses.
pub const ADDRESS6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
];

impl Net {
    pub fn new(faults: Faults) -> Self {
        let frames = || [Frames::default(), Frames::default()];
        let (out, input) = (frames(), frames());
        let host = |index: usize| {
            let port = Port::new(
                CardRx(input[index].clone()),
                CardTx(out[index].clone()),
                (),
                [2, 0, 0, 0, 0, index as u8 + 1],
            );
            let (IpAddr::V4(address), IpAddr::V6(address6)) = (ADDRESS[index], ADDRESS6[index])
            else {
                unreachable!("one of each")
            };
            let address = StaticAddress {
                address: address.octets(),
                prefix_len: 24,
                gateway: None,
                dns: None,
            };
            let address6 = StaticAddress6 {
                address: address6,
                prefix_len: 64,
                gateway: None,
            };
            Stack::new(
                port,
                Address::Static(address),
                Address6::Static(address6),
                BUDGET,
                42 + index as u64,
                Moment(0),
            )
        };
        Self {
            hosts: [host(0), host(1)],
            out,
            input,
            now: 0,
            faults,
            random: 88_172_645_463_325_252,
        }
    }

    pub fn percent(&mut self, percent: u32) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < u64::from(percent)
    }

    /// One millisecond passes.
    pub fn step(&mut self) {
        self.now += 1000;
        for host in &mut self.hosts {
            host.poll(Moment(self.now));
        }
        for from in 0..2 {
            let to = 1 - from;
            loop {
                let Some(mut frame) = self.out[from].borrow_mut().pop_front() else {
                    break;
                };
                let Faults {
                    lose,
                    double,
                    reorder,
                    damage,
                } = self.faults;
                if self.percent(lose) {
                    continue;
                }
                if self.percent(damage) && frame.len() > 40 {
                    let at = 30 + (self.random >> 20) as usize % (frame.len() - 30);
                    frame[at] ^= 0x10;
                }
                let twice = self.percent(double).then(|| frame.clone());
                let overtaken = self.percent(reorder);
                let mut input = self.input[to].borrow_mut();
                match input.pop_back() {
                    Some(last) if overtaken => input.extend([frame, last]),
                    Some(last) => input.extend([last, frame]),
                    None => input.push_back(frame),
                }
                input.extend(twice);
            }
        }
    }

    /// Steps until `done` has a value, at most `limit_ms`.
    pub fn until<R>(
        &mut self,
        limit_ms: u32,
        mut done: impl FnMut(&mut [Host; 2]) -> Option<R>,
    ) -> R {
        for _ in 0..limit_ms {
            if let Some(result) = done(&mut self.hosts) {
                return result;
            }
            self.step();
        }
        panic!("nothing happened within {limit_ms} ms");
    }

    pub fn listener(&mut self, port: u16, backlog: usize) -> SocketId {
        self.listener_of(Family::V4, port, backlog)
    }

    pub fn listener_of(&mut self, family: Family, port: u16, backlog: usize) -> SocketId {
        let host = &mut self.hosts[1];
        let id = socket(host, Kind::Stream, family);
        let at = Endpoint {
            port,
            ..Endpoint::any(family)
        };
        host.bind(id, at).expect("port is free");
        host.listen(id, backlog).expect("bound");
        id
    }

    pub fn client(&mut self) -> SocketId {
        socket(&mut self.hosts[0], Kind::Stream, Family::V4)
    }

    pub fn connect(&mut self, id: SocketId, port: u16, limit_ms: u32) -> Result<(), Errno> {
        self.connect_to(id, at(ADDRESS[1], port), limit_ms)
    }

    pub fn connect_to(&mut self, id: SocketId, to: Endpoint, limit_ms: u32) -> Result<(), Errno> {
        self.until(limit_ms, |hosts| match hosts[0].connect(id, to) {
            Err(Errno::EINPROGRESS | Errno::EALREADY) => None,
            result => Some(result),
        })
    }

    pub fn pair(&mut self, port: u16) -> (SocketId, SocketId) {
        let listener = self.listener(port, 4);
        let client = self.client();
        assert_eq!(self.connect(client, port, 5000), Ok(()));
        let (server, peer) = self.until(5000, |hosts| {
            hosts[1].accept(listener, Woken::default()).ok()
        });
        assert_eq!(peer.address, ADDRESS[0]);
        assert_eq!(self.hosts[0].local(client), Ok(peer));
        (client, server)
    }
}

/// A program's socket.
pub fn socket(host: &mut Host, kind: Kind, family: Family) -> SocketId {
    host.socket(kind, family, Owner::Program, Woken::default())
        .expect("room for a socket")
}

/// An address and a port.
pub fn at(address: impl Into<IpAddr>, port: u16) -> Endpoint {
    Endpoint {
        address: address.into(),
        port,
    }
}
