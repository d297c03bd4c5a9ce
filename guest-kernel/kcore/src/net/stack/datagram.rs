//! UDP sockets.

use super::infos::endpoints_info;
use super::{Core, Endpoint, Family, Half, Readiness, Take};
use crate::net::port::MTU;
use abi::Errno;
use abi::net::{SOCK_DGRAM, SocketInfo};
use alloc::vec;
use core::net::IpAddr;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;

/// Bytes that may wait to be read, and to be sent.
const BUFFER: usize = 32 * 1024;
/// Datagrams that may wait in each direction.
const DATAGRAMS: usize = 64;
/// Bytes of a UDP header (RFC 768).
const HEADER_LEN: usize = 8;

pub(super) struct Datagram {
    handle: SocketHandle,
    /// What `bind` said, any before.
    bound: Endpoint,
    peer: Option<Endpoint>,
    read_shut: bool,
    write_shut: bool,
}

fn packets() -> udp::PacketBuffer<'static> {
    udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; BUFFER])
}

impl Datagram {
    pub(super) fn new(core: &mut Core, family: Family) -> Result<Self, Errno> {
        core.reserve(2 * BUFFER)?;
        Ok(Self {
            handle: core.sockets.add(udp::Socket::new(packets(), packets())),
            bound: Endpoint::any(family),
            peer: None,
            read_shut: false,
            write_shut: false,
        })
    }

    fn socket<'c>(&self, core: &'c mut Core) -> &'c mut udp::Socket<'static> {
        core.sockets.get_mut(self.handle)
    }

    pub(super) fn bind(&mut self, core: &mut Core, to: Endpoint) -> Result<(), Errno> {
        self.socket(core)
            .bind(to.listening())
            .map_err(|error| match error {
                udp::BindError::InvalidState => Errno::EINVAL,
                udp::BindError::Unaddressable => Errno::EADDRNOTAVAIL,
            })?;
        self.bound = to;
        Ok(())
    }

    fn bind_to_any(&mut self, core: &mut Core, port: u16) -> Result<(), Errno> {
        if self.socket(core).is_open() {
            return Ok(());
        }
        self.bind(core, Endpoint { port, ..self.bound })
    }

    pub(super) fn connect(
        &mut self,
        core: &mut Core,
        to: Endpoint,
        port: u16,
    ) -> Result<(), Errno> {
        if to.port == 0 {
            return Err(Errno::EADDRNOTAVAIL);
        }
        self.check_peer(core, to)?;
        self.bind_to_any(core, port)?;
        self.peer = Some(to);
        self.drop_strays(core);
        Ok(())
    }

    /// The address to call a peer from.
    fn check_peer(&self, core: &Core, peer: Endpoint) -> Result<IpAddr, Errno> {
        if !self.bound.can_call(peer.address) {
            return Err(Errno::ENETUNREACH);
        }
        let source = core.source(peer.address)?;
        Ok(if self.bound.address.is_unspecified() {
            source
        } else {
            self.bound.address
        })
    }

    /// Forgets what came first and is not for us: a connected socket hears only its peer, one for
    /// IPv4 nothing else (smoltcp's "any address" is of both families).
    pub(super) fn drop_strays(&mut self, core: &mut Core) {
        let (bound, peer) = (self.bound, self.peer);
        let socket = self.socket(core);
        while let Ok((_, meta)) = socket.peek() {
            let from = Endpoint::from_smoltcp(meta.endpoint);
            if bound.hears(from.address) && peer.is_none_or(|peer| peer == from) {
                break;
            }
            let _ = socket.recv();
        }
    }

    pub(super) fn send(
        &mut self,
        core: &mut Core,
        data: &[u8],
        to: Option<Endpoint>,
        port: u16,
    ) -> Result<usize, Errno> {
        let to = to.or(self.peer).ok_or(Errno::EDESTADDRREQ)?;
        if self.write_shut {
            return Err(Errno::EPIPE);
        }
        if to.port == 0 || to.address.is_unspecified() {
            return Err(Errno::EINVAL);
        }
        // What fits one IP packet: fragments are not made.
        if data.len() > MTU - ip_header_len(to.address) - HEADER_LEN {
            return Err(Errno::EMSGSIZE);
        }
        let source = self.check_peer(core, to)?;
        self.bind_to_any(core, port)?;
        let meta = udp::UdpMetadata {
            local_address: Some(source.into()),
            ..to.smoltcp().into()
        };
        match self.socket(core).send_slice(data, meta) {
            Ok(()) => Ok(data.len()),
            Err(udp::SendError::BufferFull) => Err(Errno::EAGAIN),
            Err(udp::SendError::Unaddressable) => Err(Errno::EADDRNOTAVAIL),
        }
    }

    pub(super) fn recv(
        &mut self,
        core: &mut Core,
        buffer: &mut [u8],
        take: Take,
    ) -> Result<(usize, Endpoint), Errno> {
        if self.read_shut {
            return Ok((0, Endpoint::default()));
        }
        let received = match take {
            Take::Consume => self.socket(core).recv(),
            Take::Peek => self.socket(core).peek().map(|(data, meta)| (data, *meta)),
        };
        let (data, meta) = received.map_err(|_| Errno::EAGAIN)?;
        let received = (copy(data, buffer), Endpoint::from_smoltcp(meta.endpoint));
        self.drop_strays(core);
        Ok(received)
    }

    pub(super) fn shutdown(&mut self, half: Half) -> Result<(), Errno> {
        if self.peer.is_none() {
            return Err(Errno::ENOTCONN);
        }
        self.read_shut |= half != Half::Write;
        self.write_shut |= half != Half::Read;
        Ok(())
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
        let socket = core.sockets.get::<udp::Socket<'_>>(self.handle);
        Readiness {
            readable: self.read_shut || socket.can_recv(),
            writable: self.write_shut || socket.can_send() || !socket.is_open(),
            except: false,
        }
    }

    pub(super) fn info(&self, core: &Core, kernel: u32) -> SocketInfo {
        let socket = core.sockets.get::<udp::Socket<'_>>(self.handle);
        SocketInfo {
            receive_queue: socket.recv_queue() as u32,
            send_queue: socket.send_queue() as u32,
            kernel,
            ..endpoints_info(SOCK_DGRAM, self.bound, self.peer)
        }
    }
}

/// Bytes of an IP header without options to this address.
fn ip_header_len(to: IpAddr) -> usize {
    if to.is_ipv4() { 20 } else { 40 }
}

/// What does not fit is lost, as POSIX has it for datagrams.
pub(super) fn copy(data: &[u8], buffer: &mut [u8]) -> usize {
    let len = data.len().min(buffer.len());
    buffer[..len].copy_from_slice(&data[..len]);
    len
}
