//! TCP, UDP, name look-up and waiting for several descriptors.

use crate::error::{Context, Error, Result};
use crate::io::{AsFd, OwnedFd};
use crate::sys::{self, Fd};
use abi::Errno;
use abi::net::{
    AF_INET6, FD_SETSIZE, FdSet, SHUT_RD, SHUT_RDWR, SHUT_WR, SO_NODELAY, SOCK_DGRAM, SOCK_STREAM,
    TimeVal,
};
use alloc_crate::vec::Vec;
pub use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

/// Addresses of a host, given as a name or in numbers; those of IPv4 first.
pub fn resolve(host: &str) -> Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(alloc_crate::vec![address]);
    }
    let mut found = [[0; 16]; 16];
    let count = sys::resolve(host, &mut found).on(host)?;
    Ok(found[..count].iter().copied().map(canonical).collect())
}

/// The first address of `host`, with a port.
pub fn socket_address(host: &str, port: u16) -> Result<SocketAddr> {
    let addresses = resolve(host)?;
    let first = addresses
        .first()
        .ok_or(Error::new(host, Errno::EHOSTUNREACH))?;
    Ok(SocketAddr::new(*first, port))
}

/// Every own address, of IPv6 and IPv4.
pub fn any(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)
}

/// An IPv4 address that is written as one of IPv6, as itself.
pub fn canonical(address: [u8; 16]) -> IpAddr {
    IpAddr::from(address).to_canonical()
}

/// An address as our sockets take it: all are of IPv6, which reach IPv4, too.
fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
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
    Ok(OwnedFd::new(sys::socket(AF_INET6, kind, 0)?))
}

fn bound(kind: i32, address: SocketAddr) -> Result<OwnedFd> {
    let fd = socket(kind)?;
    sys::bind(fd.fd(), &mapped(address.ip()), address.port())?;
    Ok(fd)
}

fn own_address(fd: Fd) -> Result<SocketAddr> {
    let mut address = [0; 16];
    let port = sys::getsockname(fd, &mut address)?;
    Ok(SocketAddr::new(canonical(address), port))
}

fn peer_address(fd: Fd) -> Result<SocketAddr> {
    let mut address = [0; 16];
    let port = sys::getpeername(fd, &mut address)?;
    Ok(SocketAddr::new(canonical(address), port))
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpStream(OwnedFd);

impl TcpStream {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let fd = socket(SOCK_STREAM)?;
        sys::connect(fd.fd(), &mapped(address.ip()), address.port())?;
        Ok(Self(fd))
    }

    /// Own address.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        own_address(self.fd())
    }

    /// Peer's address.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
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
    /// Listens on an own address; `::` means all, 0.0.0.0 all of IPv4.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        let fd = bound(SOCK_STREAM, address)?;
        sys::listen(fd.fd())?;
        Ok(Self(fd))
    }

    /// The next connection.
    pub fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        let mut address = [0; 16];
        let (fd, port) = sys::accept(self.fd(), &mut address)?;
        let peer = SocketAddr::new(canonical(address), port);
        Ok((TcpStream(OwnedFd::new(fd)), peer))
    }

    /// Own address.
    pub fn local_addr(&self) -> Result<SocketAddr> {
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
    pub fn bind(address: SocketAddr) -> Result<Self> {
        Ok(Self(bound(SOCK_DGRAM, address)?))
    }

    /// Fixes the peer, so that `read` and `write` work.
    pub fn connect(&self, peer: SocketAddr) -> Result<()> {
        Ok(sys::connect(self.fd(), &mapped(peer.ip()), peer.port())?)
    }

    /// Sends one datagram.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> Result<usize> {
        Ok(sys::sendto(
            self.fd(),
            bytes,
            0,
            &mapped(to.ip()),
            to.port(),
        )?)
    }

    /// Receives one datagram.
    pub fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        let (len, address, port) = sys::recvfrom(self.fd(), buffer, 0)?;
        Ok((len, SocketAddr::new(canonical(address), port)))
    }

    /// Own address.
    pub fn local_addr(&self) -> Result<SocketAddr> {
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
