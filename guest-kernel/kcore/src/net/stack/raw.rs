//! Raw ICMP sockets, for `ping`. As in Linux: a program sends a message without an IP header; it
//! receives ICMP with one (raw(7)), ICMPv6 without (RFC 3542 section 3).

use super::datagram::copy;
use super::infos::endpoints_info;
use super::{Core, Endpoint, Family, Readiness, Take};
use crate::net::port::MTU;
use abi::Errno;
use abi::net::{SOCK_RAW, SocketInfo};
use alloc::vec;
use core::net::IpAddr;
use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::raw;
use smoltcp::wire::{
    Icmpv4Packet, Icmpv6Packet, IpAddress, IpProtocol, IpRepr, IpVersion, Ipv4Packet, Ipv6Packet,
};

/// Bytes of an ICMP header.
pub const ICMP_HEADER_LEN: usize = 8;
/// Bytes that may wait in each direction.
const BUFFER: usize = 16 * 1024;
/// Messages that may wait in each direction.
const MESSAGES: usize = 32;
/// Linux's default.
const HOP_LIMIT: u8 = 64;

pub(super) struct Raw {
    handle: SocketHandle,
    family: Family,
    bound: Endpoint,
    peer: Option<Endpoint>,
}

fn packets() -> raw::PacketBuffer<'static> {
    raw::PacketBuffer::new(vec![raw::PacketMetadata::EMPTY; MESSAGES], vec![0; BUFFER])
}

impl Raw {
    pub(super) fn new(core: &mut Core, family: Family) -> Result<Self, Errno> {
        core.reserve(2 * BUFFER)?;
        let (version, protocol) = match family {
            Family::V4 => (IpVersion::Ipv4, IpProtocol::Icmp),
            Family::V6 => (IpVersion::Ipv6, IpProtocol::Icmpv6),
        };
        let socket = raw::Socket::new(Some(version), Some(protocol), packets(), packets());
        Ok(Self {
            handle: core.sockets.add(socket),
            family,
            bound: Endpoint::any(family),
            peer: None,
        })
    }

    /// IPv4 in an IPv6 address has another ICMP.
    fn check_family(&self, address: IpAddr) -> Result<(), Errno> {
        if address.is_ipv4() == (self.family == Family::V4) {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    pub(super) fn bind(&mut self, to: Endpoint) -> Result<(), Errno> {
        self.check_family(to.address)?;
        self.bound = Endpoint { port: 0, ..to };
        Ok(())
    }

    pub(super) fn connect(&mut self, to: Endpoint) -> Result<(), Errno> {
        self.check_family(to.address)?;
        self.peer = Some(Endpoint { port: 0, ..to });
        Ok(())
    }

    pub(super) fn send(
        &mut self,
        core: &mut Core,
        message: &[u8],
        to: Option<Endpoint>,
    ) -> Result<usize, Errno> {
        let to = to.or(self.peer).ok_or(Errno::EDESTADDRREQ)?.address;
        if message.len() < ICMP_HEADER_LEN || to.is_unspecified() {
            return Err(Errno::EINVAL);
        }
        self.check_family(to)?;
        let source = core.source(to)?;
        let from = if self.bound.address.is_unspecified() {
            source
        } else {
            self.bound.address
        };
        let (from, to) = (IpAddress::from(from), IpAddress::from(to));
        let protocol = match self.family {
            Family::V4 => IpProtocol::Icmp,
            Family::V6 => IpProtocol::Icmpv6,
        };
        let header = IpRepr::new(from, to, protocol, message.len(), HOP_LIMIT);
        let packet_len = header.header_len() + message.len();
        if packet_len > MTU {
            return Err(Errno::EMSGSIZE);
        }
        let socket = core.sockets.get_mut::<raw::Socket<'_>>(self.handle);
        let packet = socket
            .send(packet_len)
            .map_err(|raw::SendError::BufferFull| Errno::EAGAIN)?;
        header.emit(&mut *packet, &ChecksumCapabilities::default());
        let body = &mut packet[header.header_len()..];
        body.copy_from_slice(message);
        // The checksum is not the program's business.
        match (from, to) {
            (IpAddress::Ipv6(from), IpAddress::Ipv6(to)) => {
                Icmpv6Packet::new_unchecked(body).fill_checksum(&from, &to);
            }
            _ => Icmpv4Packet::new_unchecked(body).fill_checksum(),
        }
        Ok(message.len())
    }

    pub(super) fn recv(
        &mut self,
        core: &mut Core,
        buffer: &mut [u8],
        take: Take,
    ) -> Result<(usize, Endpoint), Errno> {
        let socket = core.sockets.get_mut::<raw::Socket<'_>>(self.handle);
        loop {
            let packet = match take {
                Take::Consume => socket.recv(),
                Take::Peek => socket.peek(),
            }
            .map_err(|_| Errno::EAGAIN)?;
            let Some((source, message)) = opened(self.family, packet) else {
                if take == Take::Peek {
                    let _ = socket.recv();
                }
                continue;
            };
            let from = Endpoint {
                address: source.into(),
                port: 0,
            };
            if take == Take::Peek || self.peer.is_none_or(|peer| peer == from) {
                return Ok((copy(message, buffer), from));
            }
        }
    }

    pub(super) fn close(self, core: &mut Core) {
        core.remove(self.handle, 2 * BUFFER);
    }

    pub(super) fn local(&self) -> Endpoint {
        self.bound
    }

    pub(super) fn peer(&self) -> Option<Endpoint> {
        self.peer
    }

    pub(super) fn readiness(&self, core: &Core) -> Readiness {
        let socket = core.sockets.get::<raw::Socket<'_>>(self.handle);
        Readiness {
            readable: socket.can_recv(),
            writable: socket.can_send(),
            except: false,
        }
    }

    pub(super) fn info(&self, core: &Core, kernel: u32) -> SocketInfo {
        let socket = core.sockets.get::<raw::Socket<'_>>(self.handle);
        SocketInfo {
            receive_queue: socket.recv_queue() as u32,
            send_queue: socket.send_queue() as u32,
            kernel,
            ..endpoints_info(SOCK_RAW, self.bound, self.peer)
        }
    }
}

/// Who sent a packet, and what of it a program sees.
fn opened(family: Family, packet: &[u8]) -> Option<(IpAddress, &[u8])> {
    match family {
        Family::V4 => {
            let header = Ipv4Packet::new_checked(packet).ok()?;
            Some((header.src_addr().into(), packet))
        }
        Family::V6 => {
            let header = Ipv6Packet::new_checked(packet).ok()?;
            Some((header.src_addr().into(), header.payload()))
        }
    }
}
