//! The stack: one interface, its addresses, and the table of sockets.
//!
//! Nothing here sleeps and nothing here locks. A call that POSIX lets sleep answers EAGAIN
//! (`connect`: EINPROGRESS, then EALREADY); the kernel sleeps on the socket's [`Notify`] and asks
//! again. [`Stack::poll`] moves frames and wakes whoever waits for a socket whose [`Readiness`]
//! changed.
//!
//! smoltcp has no accept queue: a listening socket *becomes* the connection. So a listener here is
//! one smoltcp socket that waits, replaced after every frame that turned it into a connection, and
//! the list of connections nobody accepted yet. A closed descriptor leaves its smoltcp socket
//! behind until the last segment is acknowledged ([`Stack::poll`] buries it).

mod calls;
mod datagram;
mod infos;
mod interface;
mod names;
mod raw;
mod stream;
mod types;

use crate::net::port::{MTU, Port, Receive, Tap, Transmit};
use crate::net::settings::{Address, Address6, StaticAddress};
use abi::Errno;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::socket::{dhcpv4, dns, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv6Cidr};

use datagram::Datagram;
pub use names::Query;
use raw::Raw;
use stream::Stream;
pub use types::*;

/// Frames one [`Stack::poll`] takes from the card before it lets others have the stack.
const FRAMES_PER_POLL: usize = 64;
/// How often one poll goes round for frames to ourselves.
const LOOPED_ROUNDS: usize = 8;
/// Closed connections that may wait for their last acknowledgement.
const ORPHANS_MAX: usize = 64;
/// A connection nobody owns any more has this long to say goodbye (Linux's tcp_fin_timeout).
const ORPHAN_LIFE_US: u64 = 60_000_000;
/// And this long for its reset, should it have come to that.
const RESET_LIFE_US: u64 = 5_000_000;
/// How often the timers are looked at while smoltcp does not say when, for want of a router.
const ROUTERLESS_PERIOD_US: u64 = 20_000;
/// First port given out by itself (RFC 6335 section 6).
const EPHEMERAL_FIRST: u16 = 49152;

enum Proto {
    Stream(Stream),
    Datagram(Datagram),
    Raw(Raw),
}

struct Entry<N> {
    proto: Proto,
    owner: Owner,
    notify: N,
    shown: Readiness,
}

/// The interface's configuration as last heard.
#[derive(Clone, Copy, Default)]
struct Lease {
    address: Option<([u8; 4], u8)>,
    gateway: Option<[u8; 4]>,
    dns: Option<[u8; 4]>,
    until: Option<Moment>,
}

/// The stack over a card.
pub struct Stack<Rx, Tx, T, N> {
    port: Port<Rx, Tx, T>,
    core: Core,
    entries: Vec<Option<Entry<N>>>,
    dhcp: Option<SocketHandle>,
    dns: SocketHandle,
    /// Open questions to the name server.
    questions: usize,
    lease: Lease,
    /// IPv6 addresses as last told.
    addresses6: Vec<Ipv6Cidr>,
    /// Addresses come from router advertisements.
    asks_routers: bool,
    changes: VecDeque<Change>,
}

/// What the kinds of sockets share.
struct Core {
    iface: Interface,
    sockets: SocketSet<'static>,
    /// Closed descriptors' connections, and since when.
    orphans: Vec<(SocketHandle, Moment)>,
    next_port: u16,
    now: Moment,
    lease_up: bool,
    has_gateway: bool,
    /// Bytes that further buffers may take.
    budget: usize,
}

impl Core {
    /// Counts the buffers of a new socket.
    fn reserve(&mut self, bytes: usize) -> Result<(), Errno> {
        self.budget = self.budget.checked_sub(bytes).ok_or(Errno::ENOBUFS)?;
        Ok(())
    }

    /// Removes a socket whose buffers were counted.
    fn remove(&mut self, handle: SocketHandle, bytes: usize) {
        self.sockets.remove(handle);
        self.budget += bytes;
    }

    /// The own address to call this one from, or ENETUNREACH.
    fn source(&self, to: IpAddr) -> Result<IpAddr, Errno> {
        self.check_route(to)?;
        match to {
            IpAddr::V4(_) => self.iface.get_source_address(&to.into()).map(IpAddr::from),
            IpAddr::V6(to) if to.is_loopback() => Some(to.into()),
            // smoltcp would take ::1 for an address far away, where it has only link-local ones.
            IpAddr::V6(to) => self.source_v6(to).map(IpAddr::from),
        }
        .ok_or(Errno::ENETUNREACH)
    }

    /// RFC 6724 section 5, as far as we have what it chooses by: the peer's scope, then the longest
    /// prefix in common.
    fn source_v6(&self, to: Ipv6Addr) -> Option<Ipv6Addr> {
        // FF02 is the link's own scope of multicast addresses (RFC 4291 section 2.7).
        let near = to.is_unicast_link_local() || to.segments()[0] & 0xff0f == 0xff02;
        let own = self.iface.ip_addrs().iter().filter_map(|cidr| match cidr {
            IpCidr::Ipv6(cidr) => Some(cidr.address()),
            IpCidr::Ipv4(_) => None,
        });
        own.filter(|own| !own.is_loopback() && own.is_unicast_link_local() == near)
            .max_by_key(|own| (own.to_bits() ^ to.to_bits()).leading_zeros())
    }

    /// Whether packets to this address have a way out.
    fn check_route(&self, to: IpAddr) -> Result<(), Errno> {
        if to.is_loopback() {
            return Ok(());
        }
        let near = || {
            let to = IpAddress::from(to);
            let mut own = self.iface.ip_addrs().iter();
            own.any(|cidr| cidr.contains_addr(&to))
        };
        let reachable = match to {
            IpAddr::V4(to) => self.lease_up && (near() || to.is_broadcast() || self.has_gateway),
            IpAddr::V6(to) => {
                !to.is_unspecified()
                    && (near()
                        || to.is_multicast()
                        || self.iface.routes().get_default_ipv6_route().is_some())
            }
        };
        if reachable {
            Ok(())
        } else {
            Err(Errno::ENETUNREACH)
        }
    }

    /// Whether this address is ours, or an unspecified one.
    fn check_own(&self, address: IpAddr) -> Result<(), Errno> {
        if address.is_unspecified() || self.iface.has_ip_addr(address) {
            Ok(())
        } else {
            Err(Errno::EADDRNOTAVAIL)
        }
    }

    fn tcp(&self, handle: SocketHandle) -> &tcp::Socket<'static> {
        self.sockets.get(handle)
    }

    fn tcp_mut(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

impl<Rx: Receive, Tx: Transmit, T: Tap, N: Notify> Stack<Rx, Tx, T, N> {
    /// A stack over this port, whose sockets' buffers take at most `budget` bytes. `seed` should be
    /// hard to guess: ports and sequence numbers come from it.
    pub fn new(
        mut port: Port<Rx, Tx, T>,
        address: Address,
        address6: Address6,
        budget: usize,
        seed: u64,
        now: Moment,
    ) -> Self {
        let mac = HardwareAddress::Ethernet(EthernetAddress(port.mac()));
        let mut config = Config::new(mac);
        config.random_seed = seed;
        config.slaac = address6 == Address6::Router;
        let iface = Interface::new(config, &mut port, now.smoltcp());
        let mut sockets = SocketSet::new(Vec::new());
        let dns = sockets.add(dns::Socket::new(&[], Vec::new()));
        let dhcp = match address {
            Address::Dhcp => {
                let mut socket = dhcpv4::Socket::new();
                // Lent for good: with a buffer smoltcp also tells of renewals, and of the lease time.
                socket.set_receive_packet_buffer(Box::leak(vec![0; MTU].into_boxed_slice()));
                Some(sockets.add(socket))
            }
            Address::Static(_) => None,
        };
        let mut stack = Self {
            port,
            core: Core {
                iface,
                sockets,
                orphans: Vec::new(),
                next_port: EPHEMERAL_FIRST + (seed >> 17) as u16 % (u16::MAX - EPHEMERAL_FIRST),
                now,
                lease_up: false,
                has_gateway: false,
                budget,
            },
            entries: Vec::new(),
            dhcp,
            dns,
            questions: 0,
            lease: Lease::default(),
            addresses6: Vec::new(),
            asks_routers: address6 == Address6::Router,
            changes: VecDeque::new(),
        };
        stack.configure6(address6);
        match address {
            Address::Dhcp => stack.configure(Lease::default()),
            Address::Static(StaticAddress {
                address,
                prefix_len,
                gateway,
                dns,
            }) => stack.configure(Lease {
                address: Some((address, prefix_len)),
                gateway,
                dns,
                until: None,
            }),
        }
        stack
    }

    /// The card and its counters.
    pub fn port(&self) -> &Port<Rx, Tx, T> {
        &self.port
    }

    /// The card, for the driver's own needs.
    pub fn port_mut(&mut self) -> &mut Port<Rx, Tx, T> {
        &mut self.port
    }

    /// Takes a portion of frames from the card; whether there may be more.
    fn take_frames(&mut self, now: Instant) -> bool {
        let mut more = true;
        for _ in 0..FRAMES_PER_POLL {
            match self
                .core
                .iface
                .poll_ingress_single(now, &mut self.port, &mut self.core.sockets)
            {
                PollIngressSingleResult::None => {
                    more = false;
                    break;
                }
                PollIngressSingleResult::PacketProcessed => {}
                PollIngressSingleResult::SocketStateChanged => self.refill_listeners(),
            }
        }
        self.note_ends(Errno::ECONNRESET, Errno::ECONNREFUSED);
        self.drop_strays();
        more
    }

    /// Gives the card a portion of what the sockets have to send.
    fn send_frames(&mut self, now: Instant) {
        for _ in 0..FRAMES_PER_POLL {
            let result = self
                .core
                .iface
                .poll_egress(now, &mut self.port, &mut self.core.sockets);
            if result == PollResult::None {
                break;
            }
        }
        self.note_ends(Errno::ETIMEDOUT, Errno::ETIMEDOUT);
    }

    /// Whether an address is configured.
    pub fn is_up(&self) -> bool {
        self.core.lease_up
    }

    /// Moves frames both ways, keeps the timers, wakes those whose sockets changed.
    pub fn poll(&mut self, now: Moment) -> Polled {
        self.core.now = self.core.now.max(now);
        let instant = self.core.now.smoltcp();
        self.core.iface.poll_maintenance(instant);
        let mut more = self.take_frames(instant);
        self.send_frames(instant);
        // What we sent to ourselves is answered at once, not at the next poll.
        for _ in 0..LOOPED_ROUNDS {
            if !self.port.has_looped() {
                break;
            }
            more = self.take_frames(instant);
            self.send_frames(instant);
        }
        more |= self.port.has_looped();
        self.follow_dhcp();
        self.follow_router();
        self.refill_listeners();
        self.bury_orphans();
        self.wake();
        let change = self.changes.pop_front();
        Polled {
            more: more || !self.changes.is_empty(),
            deadline: self.deadline(instant),
            change,
        }
    }

    /// When smoltcp wants to be polled again.
    fn deadline(&mut self, now: Instant) -> Option<Moment> {
        let at = self.core.iface.poll_at(now, &self.core.sockets);
        let at = at.map(|at| Moment(at.total_micros().max(0) as u64));
        if !self.asks_routers {
            return at;
        }
        // smoltcp 0.14 asks three times for a router and then names that moment for ever; after the
        // last advertisement ran out it hides the sockets' moments. 0 is a socket's "at once".
        let soon = Moment(self.core.now.0 + ROUTERLESS_PERIOD_US);
        match at {
            Some(at) if at.0 != 0 && at <= self.core.now => Some(soon),
            None => Some(soon),
            at => at,
        }
    }

    /// Notes connections that ended since the last look.
    fn note_ends(&mut self, established: Errno, connecting: Errno) {
        for entry in self.entries.iter_mut().flatten() {
            if let Proto::Stream(stream) = &mut entry.proto {
                stream.note_end(&mut self.core, established, connecting);
            }
        }
    }

    /// Forgets datagrams that came to a socket which is not to hear them.
    fn drop_strays(&mut self) {
        for entry in self.entries.iter_mut().flatten() {
            if let Proto::Datagram(datagram) = &mut entry.proto {
                datagram.drop_strays(&mut self.core);
            }
        }
    }

    /// Every listener with room waits for one more connection.
    fn refill_listeners(&mut self) {
        let mut changed = false;
        for entry in self.entries.iter_mut().flatten() {
            if let Proto::Stream(stream) = &mut entry.proto {
                changed |= stream.refill(&mut self.core);
            }
        }
        if changed {
            self.mark_full_listeners();
        }
    }

    fn mark_full_listeners(&mut self) {
        let full = self
            .entries
            .iter()
            .flatten()
            .filter_map(|entry| match &entry.proto {
                Proto::Stream(stream) => stream.full_port(),
                _ => None,
            });
        self.port.set_full(full);
    }

    /// Removes connections without an owner that are over, that take too long, or that are too many.
    fn bury_orphans(&mut self) {
        let core = &mut self.core;
        let now = core.now;
        let mut index = 0;
        while index < core.orphans.len() {
            let (handle, since) = core.orphans[index];
            let age_us = now.0.saturating_sub(since.0);
            let crowded = core.orphans.len() > ORPHANS_MAX;
            let socket = core.tcp_mut(handle);
            if age_us > ORPHAN_LIFE_US && socket.state() != tcp::State::Closed {
                socket.abort();
            }
            // A closed socket that still has a peer has a reset to send, if the peer can be found.
            let closed = socket.state() == tcp::State::Closed;
            let done = closed
                && (socket.remote_endpoint().is_none() || age_us > ORPHAN_LIFE_US + RESET_LIFE_US);
            if done || crowded {
                core.remove(handle, stream::BYTES);
                core.orphans.remove(index);
            } else {
                index += 1;
            }
        }
    }

    fn wake(&mut self) {
        for entry in self.entries.iter_mut().flatten() {
            let ready = entry.readiness(&self.core);
            if ready != entry.shown {
                entry.shown = ready;
                entry.notify.notify();
            }
        }
    }
}

impl<N> Entry<N> {
    fn readiness(&self, core: &Core) -> Readiness {
        match &self.proto {
            Proto::Stream(stream) => stream.readiness(core),
            Proto::Datagram(datagram) => datagram.readiness(core),
            Proto::Raw(raw) => raw.readiness(core),
        }
    }
}
