//! What the stack's calls take and give.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::time::Instant;
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

/// A moment, in microseconds since boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Moment(pub u64);

impl Moment {
    pub(super) fn smoltcp(self) -> Instant {
        Instant::from_micros(self.0 as i64)
    }
}

/// What a socket can reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4 only.
    V4,
    /// IPv6, and IPv4 beside it where the socket is bound to no address (RFC 3493 section 3.7).
    V6,
}

impl Family {
    /// This family's "any address".
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// An address and a port. An IPv4 address is never written as an IPv6 one here: mapping is the
/// business of whoever speaks with programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Address; unspecified means any: `0.0.0.0` any of IPv4, `::` any at all.
    pub address: IpAddr,
    /// Port; zero means any.
    pub port: u16,
}

impl Default for Endpoint {
    /// Any address of IPv4, any port.
    fn default() -> Self {
        Self::any(Family::V4)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

impl Endpoint {
    /// Any address, any port.
    pub fn any(family: Family) -> Self {
        Self {
            address: family.unspecified(),
            port: 0,
        }
    }

    pub(super) fn smoltcp(self) -> IpEndpoint {
        IpEndpoint::new(self.address.into(), self.port)
    }

    pub(super) fn from_smoltcp(endpoint: IpEndpoint) -> Self {
        Self {
            address: endpoint.addr.into(),
            port: endpoint.port,
        }
    }

    /// As smoltcp wants what to listen at: it knows one "any address" for both families.
    pub(super) fn listening(self) -> IpListenEndpoint {
        IpListenEndpoint {
            addr: (!self.address.is_unspecified()).then_some(self.address.into()),
            port: self.port,
        }
    }

    /// Whether a socket bound here may hear from that peer.
    pub(super) fn hears(self, peer: IpAddr) -> bool {
        peer.is_ipv4() || self.address.is_ipv6()
    }

    /// Whether a socket bound here has an address to call that peer with.
    pub(super) fn can_call(self, peer: IpAddr) -> bool {
        self.address.is_ipv4() == peer.is_ipv4() || self.address == Family::V6.unspecified()
    }
}

/// A socket of this stack. The owner must [`Stack::close`](super::Stack::close) it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketId(pub(super) usize);

/// What `socket` can make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
    /// Raw ICMP, or ICMPv6.
    Icmp,
}

/// Who owns a socket: programs, or the kernel for its own connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A process.
    Program,
    /// Remote files, trace.
    Kernel,
}

/// What `select` may find.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// A read would not sleep.
    pub readable: bool,
    /// A write would not sleep.
    pub writable: bool,
    /// An error waits.
    pub except: bool,
}

/// Wakes whoever waits for a socket.
pub trait Notify {
    /// The socket's readiness may have changed.
    fn notify(&self);
}

/// What `recv` leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Take {
    /// Nothing: the data is consumed.
    Consume,
    /// The data (MSG_PEEK).
    Peek,
}

/// Which half `shutdown` closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// No more reads.
    Read,
    /// No more writes.
    Write,
    /// Neither.
    Both,
}

/// What happened in a [`Stack::poll`](super::Stack::poll) that a person may want to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// An address was configured.
    Up {
        /// Own address.
        address: [u8; 4],
        /// Bits of the network prefix.
        prefix_len: u8,
        /// Default gateway.
        gateway: Option<[u8; 4]>,
        /// Name server.
        dns: Option<[u8; 4]>,
    },
    /// The address was lost.
    Down,
    /// An IPv6 address was configured, other than the link's own.
    Up6 {
        /// Own address.
        address: Ipv6Addr,
        /// Bits of the network prefix.
        prefix_len: u8,
    },
    /// An IPv6 address ran out.
    Down6 {
        /// What was our address.
        address: Ipv6Addr,
    },
}

/// What to do after a [`Stack::poll`](super::Stack::poll).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Polled {
    /// Frames remain: poll again soon.
    pub more: bool,
    /// Poll again at this time, frames or not.
    pub deadline: Option<Moment>,
    /// News about the interface.
    pub change: Option<Change>,
}

/// Whether small segments wait for company (Nagle).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoDelay {
    /// Send at once.
    On,
    /// Collect.
    Off,
}
