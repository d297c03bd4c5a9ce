//! Raw ICMP sockets, for `ping`. As in Linux: a program sends an ICMP message without an IP
//! header and receives one with it.

use super::{Core, Endpoint, Readiness, Take, datagram::copy, infos::padded};
use crate::net::port::MTU;
use abi::Errno;
use abi::net::{SOCK_RAW, SocketInfo};
use alloc::vec;
use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::raw;
use smoltcp::wire::{
    Icmpv4Packet, IpAddress, IpProtocol, IpVersion, Ipv4Address, Ipv4Packet, Ipv4Repr,
};

/// Bytes of an ICMP header.
pub const ICMP_HEADER_LEN: usize = 8;
/// Bytes that may wait in each direction.
const BUFFER: usize = 16 * 1024;
/// Messages that may wait in each direction.
const MESSAGES: usize = 32;
/// Bytes of an IP header without options.
const IP_HEADER_LEN: usize = 20;
/// Linux's default.
const HOP_LIMIT: u8 = 64;

pub(super) struct Raw {
    handle: SocketHandle,
    bound: Endpoint,
    peer: Option<Endpoint>,
}

fn packets() -> raw::PacketBuffer<'static> {
    raw::PacketBuffer::new(vec![raw::PacketMetadata::EMPTY; MESSAGES], vec![0; BUFFER])
}

impl Raw {
    pub(super) fn new(core: &mut Core) -> Result<Self, Errno> {
        core.reserve(2 * BUFFER)?;
        let socket = raw::Socket::new(
            Some(IpVersion::Ipv4),
            Some(IpProtocol::Icmp),
            packets(),
            packets(),
        );
        Ok(Self {
            handle: core.sockets.add(socket),
            bound: Endpoint::default(),
            peer: None,
        })
    }

    pub(super) fn bind(&mut self, to: Endpoint) -> Result<(), Errno> {
        self.bound = Endpoint { port: 0, ..to };
        Ok(())
    }

    pub(super) fn connect(&mut self, to: Endpoint) -> Result<(), Errno> {
        self.peer = Some(Endpoint { port: 0, ..to });
        Ok(())
    }

    pub(super) fn send(
        &mut self,
        core: &mut Core,
        message: &[u8],
        to: Option<Endpoint>,
    ) -> Result<usize, Errno> {
        let to = to.or(self.peer).ok_or(Errno::EDESTADDRREQ)?;
        let to = Ipv4Address::from(to.address);
        if message.len() < ICMP_HEADER_LEN {
            return Err(Errno::EINVAL);
        }
        if message.len() > MTU - IP_HEADER_LEN {
            return Err(Errno::EMSGSIZE);
        }
        core.check_route(to)?;
        let from = match self.bound.address {
            [0, 0, 0, 0] => core
                .iface
                .get_source_address(&IpAddress::Ipv4(to))
                .ok_or(Errno::ENETUNREACH)?,
            address => IpAddress::Ipv4(Ipv4Address::from(address)),
        };
        let IpAddress::Ipv4(src_addr) = from;
        let header = Ipv4Repr {
            src_addr,
            dst_addr: to,
            next_header: IpProtocol::Icmp,
            payload_len: message.len(),
            hop_limit: HOP_LIMIT,
        };
        let socket = core.sockets.get_mut::<raw::Socket<'_>>(self.handle);
        let packet = socket
            .send(IP_HEADER_LEN + message.len())
            .map_err(|raw::SendError::BufferFull| Errno::EAGAIN)?;
        header.emit(
            &mut Ipv4Packet::new_unchecked(&mut *packet),
            &ChecksumCapabilities::default(),
        );
        let body = &mut packet[IP_HEADER_LEN..];
        body.copy_from_slice(message);
        // The checksum is not the program's business.
        Icmpv4Packet::new_unchecked(body).fill_checksum();
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
            let from = match Ipv4Packet::new_checked(packet) {
                Ok(header) => Endpoint {
                    address: header.src_addr().octets(),
                    port: 0,
                },
                Err(_) => continue,
            };
            if take == Take::Peek || self.peer.is_none_or(|peer| peer == from) {
                return Ok((copy(packet, buffer), from));
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
            kind: SOCK_RAW as u8,
            address_len: 4,
            local: padded(self.bound.address),
            remote: padded(self.peer.unwrap_or_default().address),
            receive_queue: socket.recv_queue() as u32,
            send_queue: socket.send_queue() as u32,
            kernel,
            ..SocketInfo::default()
        }
    }
}
