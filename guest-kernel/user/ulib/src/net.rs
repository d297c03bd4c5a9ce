//! TCP, UDP, name look-up and waiting for several descriptors.

use crate::error::{Context, Error, Result};
use crate::io::{AsFd, OwnedFd};
use crate::sys::{self, Fd};
use abi::Errno;
use abi::net::{
    AF_INET, FD_SETSIZE, FdSet, SHUT_RD, SHUT_RDWR, SHUT_WR, SO_NODELAY, SOCK_DGRAM, SOCK_STREAM,
    TimeVal,
};
use alloc_crate::vec::Vec;
pub use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

/// Addresses of a host, given as a name or in numbers.
pub fn resolve(host: &str) -> Result<Vec<Ipv4Addr>> {
    if let Ok(address) = host.parse() {
        return Ok(alloc_crate::vec![address]);
    }
    if host == "localhost" {
        return Ok(alloc_crate::vec![Ipv4Addr::LOCALHOST]);
    }
    let mut found = [[0; 4]; 8];
    let count = sys::resolve(host, &mut found).on(host)?;
    Ok(found[..count].iter().copied().map(Ipv4Addr::from).collect())
}

/// The first address of `host`, with a port.
pub fn socket_address(host: &str, port: u16) -> Result<SocketAddrV4> {
    let addresses = resolve(host)?;
    let first = addresses
        .first()
        .ok_or(Error::new(host, Errno::EHOSTUNREACH))?;
    Ok(SocketAddrV4::new(*first, port))
}

/// Which half of a connection to close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// No more reads.
    Read,
    /// No more writes: the peer sees the end.
    Write,
    /// Neither.
    Both,
}

fn socket(kind: i32) -> Result<OwnedFd> {
    Ok(OwnedFd::new(sys::socket(AF_INET, kind, 0)?))
}

fn bound(kind: i32, address: SocketAddrV4) -> Result<OwnedFd> {
    let fd = socket(kind)?;
    sys::bind(fd.fd(), &address.ip().octets(), address.port())?;
    Ok(fd)
}

fn own_address(fd: Fd) -> Result<SocketAddrV4> {
    let mut address = [0; 4];
    let port = sys::getsockname(fd, &mut address)?;
    Ok(SocketAddrV4::new(Ipv4Addr::from(address), port))
}

fn peer_address(fd: Fd) -> Result<SocketAddrV4> {
    let mut address = [0; 4];
    let port = sys::getpeername(fd, &mut address)?;
    Ok(SocketAddrV4::new(Ipv4Addr::from(address), port))
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpStream(OwnedFd);

impl TcpStream {
    /// Connects.
    pub fn connect(address: SocketAddrV4) -> Result<Self> {
        let fd = socket(SOCK_STREAM)?;
        sys::connect(fd.fd(), &address.ip().octets(), address.port())?;
        Ok(Self(fd))
    }

    /// Own address.
    pub fn local_addr(&self) -> Result<SocketAddrV4> {
        own_address(self.fd())
    }

    /// Peer's address.
    pub fn peer_addr(&self) -> Result<SocketAddrV4> {
        peer_address(self.fd())
    }

    /// Closes one or both directions.
    pub fn shutdown(&self, which: Shutdown) -> Result<()> {
        let how = match which {
            Shutdown::Read => SHUT_RD,
            Shutdown::Write => SHUT_WR,
            Shutdown::Both => SHUT_RDWR,
        };
        Ok(sys::shutdown(self.fd(), how)?)
    }

    /// Sends small segments at once.
    pub fn set_nodelay(&self, on: bool) -> Result<()> {
        Ok(sys::setsockopt(self.fd(), SO_NODELAY, i64::from(on))?)
    }

    /// Another handle of the same connection.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// The descriptor below.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for TcpStream {
    fn fd(&self) -> Fd {
        self.0.fd()
    }
}

/// A TCP socket that takes connections.
#[derive(Debug)]
pub struct TcpListener(OwnedFd);

impl TcpListener {
    /// Listens on an own address; 0.0.0.0 means all.
    pub fn bind(address: SocketAddrV4) -> Result<Self> {
        let fd = bound(SOCK_STREAM, address)?;
        sys::listen(fd.fd())?;
        Ok(Self(fd))
    }

    /// The next connection.
    pub fn accept(&self) -> Result<(TcpStream, SocketAddrV4)> {
        let mut address = [0; 4];
        let (fd, port) = sys::accept(self.fd(), &mut address)?;
        let peer = SocketAddrV4::new(Ipv4Addr::from(address), port);
        Ok((TcpStream(OwnedFd::new(fd)), peer))
    }

    /// Own address.
    pub fn local_addr(&self) -> Result<SocketAddrV4> {
        own_address(self.fd())
    }
}

impl AsFd for TcpListener {
    fn fd(&self) -> Fd {
        self.0.fd()
    }
}

/// A UDP socket.
#[derive(Debug)]
pub struct UdpSocket(OwnedFd);

impl UdpSocket {
    /// Binds to an own address; port 0 lets the kernel choose.
    pub fn bind(address: SocketAddrV4) -> Result<Self> {
        Ok(Self(bound(SOCK_DGRAM, address)?))
    }

    /// Fixes the peer, so that `read` and `write` work.
    pub fn connect(&self, peer: SocketAddrV4) -> Result<()> {
        Ok(sys::connect(self.fd(), &peer.ip().octets(), peer.port())?)
    }

    /// Sends one datagram.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddrV4) -> Result<usize> {
        Ok(sys::sendto(
            self.fd(),
            bytes,
            0,
            &to.ip().octets(),
            to.port(),
        )?)
    }

    /// Receives one datagram.
    pub fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddrV4)> {
        let (len, address, port) = sys::recvfrom(self.fd(), buffer, 0)?;
        Ok((len, SocketAddrV4::new(Ipv4Addr::from(address), port)))
    }

    /// Own address.
    pub fn local_addr(&self) -> Result<SocketAddrV4> {
        own_address(self.fd())
    }
}

impl AsFd for UdpSocket {
    fn fd(&self) -> Fd {
        self.0.fd()
    }
}

/// Waits until one of the descriptors can be read, or the time is over; the readable ones.
pub fn wait_readable(fds: &[Fd], timeout: Option<Duration>) -> Result<Vec<Fd>> {
    let mut set = FdSet::default();
    for &fd in fds {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if index >= FD_SETSIZE {
            return Err(Errno::EBADF.into());
        }
        set.insert(index);
    }
    let max = fds.iter().max().map_or(0, |fd| *fd as usize + 1);
    let timeout = timeout.map(|time| TimeVal {
        seconds: time.as_secs() as i64,
        microseconds: i64::from(time.subsec_micros()),
    });
    sys::select(max, Some(&mut set), None, None, timeout)?;
    let ready = fds.iter().copied().filter(|&fd| set.contains(fd as usize));
    Ok(ready.collect())
}
