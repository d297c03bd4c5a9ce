//! UDP sockets.

use super::{Core, Endpoint, Half, Readiness, Take, infos::padded};
use crate::net::port::MTU;
use abi::Errno;
use abi::net::{SOCK_DGRAM, SocketInfo};
use alloc::vec;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;
use smoltcp::wire::{IpAddress, IpListenEndpoint, Ipv4Address};

/// Bytes that may wait to be read, and to be sent.
const BUFFER: usize = 32 * 1024;
/// Datagrams that may wait in each direction.
const DATAGRAMS: usize = 64;
/// Largest datagram: what fits an IP packet (fragments are not made).
pub const DATAGRAM_MAX: usize = MTU - 20 - 8;

pub(super) struct Datagram {
    handle: SocketHandle,
    peer: Option<Endpoint>,
    read_shut: bool,
    write_shut: bool,
}

fn packets() -> udp::PacketBuffer<'static> {
    udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; BUFFER])
}

impl Datagram {
    pub(super) fn new(core: &mut Core) -> Result<Self, Errno> {
        core.reserve(2 * BUFFER)?;
        Ok(Self {
            handle: core.sockets.add(udp::Socket::new(packets(), packets())),
            peer: None,
            read_shut: false,
            write_shut: false,
        })
    }

    fn socket<'c>(&self, core: &'c mut Core) -> &'c mut udp::Socket<'static> {
        core.sockets.get_mut(self.handle)
    }

    pub(super) fn bind(&mut self, core: &mut Core, to: Endpoint) -> Result<(), Errno> {
        let address = Ipv4Address::from(to.address);
        let endpoint = IpListenEndpoint {
            addr: (!address.is_unspecified()).then_some(IpAddress::Ipv4(address)),
            port: to.port,
        };
        self.socket(core)
            .bind(endpoint)
            .map_err(|error| match error {
                udp::BindError::InvalidState => Errno::EINVAL,
                udp::BindError::Unaddressable => Errno::EADDRNOTAVAIL,
            })
    }

    fn bind_to_any(&mut self, core: &mut Core, port: u16) -> Result<(), Errno> {
        if self.socket(core).is_open() {
            return Ok(());
        }
        let any = Endpoint {
            address: [0; 4],
            port,
        };
        self.bind(core, any)
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
        core.check_route(Ipv4Address::from(to.address))?;
        self.bind_to_any(core, port)?;
        self.peer = Some(to);
        Ok(())
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
        if to.port == 0 || to.address == [0; 4] {
            return Err(Errno::EINVAL);
        }
        if data.len() > DATAGRAM_MAX {
            return Err(Errno::EMSGSIZE);
        }
        core.check_route(Ipv4Address::from(to.address))?;
        self.bind_to_any(core, port)?;
        match self.socket(core).send_slice(data, to.smoltcp()) {
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
        let peer = self.peer;
        let socket = self.socket(core);
        loop {
            let Ok((_, meta)) = socket.peek() else {
                return Err(Errno::EAGAIN);
            };
            let from = Endpoint::from_smoltcp(meta.endpoint);
            let wanted = peer.is_none_or(|peer| peer == from);
            let copied = match take {
                Take::Peek if wanted => socket.peek().ok().map(|(data, _)| copy(data, buffer)),
                _ => socket
                    .recv()
                    .ok()
                    .map(|(data, _)| if wanted { copy(data, buffer) } else { 0 }),
            };
            // A connected socket hears only its peer.
            if wanted {
                return Ok((copied.unwrap_or(0), from));
            }
        }
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

    pub(super) fn local(&self, core: &Core) -> Endpoint {
        let endpoint = core.sockets.get::<udp::Socket<'_>>(self.handle).endpoint();
        Endpoint {
            address: match endpoint.addr {
                Some(IpAddress::Ipv4(address)) => address.octets(),
                None => [0; 4],
            },
            port: endpoint.port,
        }
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
        let (local, remote) = (self.local(core), self.peer.unwrap_or_default());
        SocketInfo {
            kind: SOCK_DGRAM as u8,
            address_len: 4,
            local_port: local.port,
            remote_port: remote.port,
            local: padded(local.address),
            remote: padded(remote.address),
            receive_queue: socket.recv_queue() as u32,
            send_queue: socket.send_queue() as u32,
            kernel,
            ..SocketInfo::default()
        }
    }
}

/// What does not fit is lost, as POSIX has it for datagrams.
pub(super) fn copy(data: &[u8], buffer: &mut [u8]) -> usize {
    let len = data.len().min(buffer.len());
    buffer[..len].copy_from_slice(&data[..len]);
    len
}
