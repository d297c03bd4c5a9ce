//! Sockets as open files.

use super::event::{Event, SharedEvent};
use crate::file::{File, FileOps, Peer, Readiness, SocketOps, Ticket};
use crate::net::{self, Net};
use crate::sync::WaitQueue;
use crate::time;
use abi::net::{
    AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, MSG_DONTWAIT, MSG_PEEK, SHUT_RD, SHUT_RDWR,
    SHUT_WR, SO_KEEPALIVE_MS, SO_NODELAY, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM,
};
use abi::{Errno, Stat};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use kcore::net::stack::{Endpoint, Family, Half, Kind, NoDelay, Owner, SocketId, Take};

/// Connections that may wait to be accepted; the paper's `listen` does not say.
const BACKLOG: usize = 32;
/// The name server is not waited for any longer.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(12);
/// How often the answer of the name server is looked for.
const RESOLVE_PERIOD: Duration = Duration::from_millis(20);

/// An open socket.
struct Socket {
    id: SocketId,
    family: Family,
    event: Arc<Event>,
    _ticket: Ticket,
}

/// Makes a socket.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Result<File, Errno> {
    let family = match family {
        AF_INET => Family::V4,
        AF_INET6 => Family::V6,
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    let icmp = match family {
        Family::V4 => IPPROTO_ICMP,
        Family::V6 => IPPROTO_ICMPV6,
    };
    const TCP: i32 = 6;
    const UDP: i32 = 17;
    let kind = match (kind, protocol) {
        (SOCK_STREAM, 0 | TCP) => Kind::Stream,
        (SOCK_DGRAM, 0 | UDP) => Kind::Datagram,
        (SOCK_RAW, protocol) if protocol == icmp => Kind::Icmp,
        (SOCK_STREAM | SOCK_DGRAM | SOCK_RAW, _) => return Err(Errno::EPROTONOSUPPORT),
        _ => return Err(Errno::EINVAL),
    };
    let ticket = Ticket::new()?;
    let event = Arc::new(Event::new());
    let id = net::lock().stack.socket(
        kind,
        family,
        Owner::Program,
        SharedEvent(Arc::clone(&event)),
    )?;
    Ok(Arc::new(Socket {
        id,
        family,
        event,
        _ticket: ticket,
    }))
}

/// The address of a program, which has the length of the socket's family.
fn endpoint(family: Family, address: &[u8], port: u16) -> Result<Endpoint, Errno> {
    let address = if let Ok(v4) = <[u8; 4]>::try_from(address) {
        (family == Family::V4).then_some(IpAddr::from(v4))
    } else if let Ok(v6) = <[u8; 16]>::try_from(address) {
        (family == Family::V6).then_some(IpAddr::from(v6).to_canonical())
    } else {
        return Err(Errno::EINVAL);
    };
    Ok(Endpoint {
        address: address.ok_or(Errno::EAFNOSUPPORT)?,
        port,
    })
}

/// An IPv6 address as it is, an IPv4 address mapped into one.
fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv6Addr::UNSPECIFIED,
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
    .octets()
}

/// An address as a program with a socket of that family sees it.
fn peer(family: Family, endpoint: Endpoint) -> Peer {
    let (address, address_len) = match (family, endpoint.address) {
        (Family::V4, IpAddr::V4(v4)) => {
            let mut address = [0; 16];
            address[..4].copy_from_slice(&v4.octets());
            (address, 4)
        }
        (_, address) => (mapped(address), 16),
    };
    Peer {
        address,
        address_len,
        port: endpoint.port,
    }
}

/// Whether a call may sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    May,
    MayNot,
}

impl Sleep {
    fn from_nonblock(nonblock: bool) -> Self {
        if nonblock { Self::MayNot } else { Self::May }
    }

    fn from_flags(flags: i32) -> Result<Self, Errno> {
        if flags & !(MSG_DONTWAIT | MSG_PEEK) != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self::from_nonblock(flags & MSG_DONTWAIT != 0))
    }
}

impl Socket {
    /// Tries until it is done, sleeping in between where that is allowed.
    fn attempt<R>(
        &self,
        sleep: Sleep,
        mut call: impl FnMut(&mut Net) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        loop {
            let seen = self.event.seen();
            let result = {
                let mut net = net::lock();
                let result = call(&mut net);
                if result.is_err() {
                    net.before_sleep();
                }
                result
            };
            match result {
                Err(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EALREADY)
                    if sleep == Sleep::May =>
                {
                    self.event.wait(seen)?
                }
                result => return result,
            }
        }
    }

    /// Sends all of it, as far as that goes without an error.
    fn send_all(&self, buf: &[u8], sleep: Sleep, to: Option<Endpoint>) -> Result<usize, Errno> {
        let mut sent = 0;
        loop {
            let result = self.attempt(sleep, |net| {
                let sent = net.stack.send(self.id, &buf[sent..], to);
                if sent.is_ok() {
                    net.push();
                }
                sent
            });
            match result {
                Ok(len) => sent += len,
                Err(_) if sent > 0 => return Ok(sent),
                Err(error) => return Err(error),
            }
            if sent >= buf.len() || sleep == Sleep::MayNot {
                return Ok(sent);
            }
        }
    }

    fn receive(
        &self,
        buf: &mut [u8],
        sleep: Sleep,
        take: Take,
    ) -> Result<(usize, Endpoint), Errno> {
        self.attempt(sleep, |net| {
            let received = net.stack.recv(self.id, buf, take)?;
            if take == Take::Consume {
                net.took(received.0);
            }
            Ok(received)
        })
    }
}

impl FileOps for Socket {
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize, Errno> {
        self.receive(buf, Sleep::from_nonblock(nonblock), Take::Consume)
            .map(|(len, _)| len)
    }

    fn write(&self, buf: &[u8], nonblock: bool) -> Result<usize, Errno> {
        self.send_all(buf, Sleep::from_nonblock(nonblock), None)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Ok(Stat {
            kind: abi::file::T_SOCKET,
            nlink: 1,
            ..Stat::default()
        })
    }

    fn poll(&self) -> Readiness {
        let ready = net::lock().stack.readiness(self.id);
        Readiness {
            readable: ready.readable,
            writable: ready.writable,
            except: ready.except,
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.event.queue())
    }

    fn as_socket(&self) -> Option<&dyn SocketOps> {
        Some(self)
    }
}

impl SocketOps for Socket {
    fn address_len(&self) -> usize {
        match self.family {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    fn bind(&self, address: &[u8], port: u16) -> Result<(), Errno> {
        let own = endpoint(self.family, address, port)?;
        net::lock().stack.bind(self.id, own)
    }

    fn listen(&self) -> Result<(), Errno> {
        net::lock().stack.listen(self.id, BACKLOG)
    }

    fn connect(&self, address: &[u8], port: u16, nonblock: bool) -> Result<(), Errno> {
        let to = endpoint(self.family, address, port)?;
        self.attempt(Sleep::from_nonblock(nonblock), |net| {
            let result = net.stack.connect(self.id, to);
            if result == Err(Errno::EINPROGRESS) {
                net.push();
            }
            result
        })
    }

    fn accept(&self, nonblock: bool) -> Result<(File, Peer), Errno> {
        let ticket = Ticket::new()?;
        let event = Arc::new(Event::new());
        let (id, from) = self.attempt(Sleep::from_nonblock(nonblock), |net| {
            net.stack.accept(self.id, SharedEvent(Arc::clone(&event)))
        })?;
        Ok((
            Arc::new(Socket {
                id,
                family: self.family,
                event,
                _ticket: ticket,
            }),
            peer(self.family, from),
        ))
    }

    fn send(&self, buf: &[u8], flags: i32, to: Option<Peer>) -> Result<usize, Errno> {
        let to = to
            .map(|to| {
                endpoint(
                    self.family,
                    &to.address[..usize::from(to.address_len)],
                    to.port,
                )
            })
            .transpose()?;
        self.send_all(buf, Sleep::from_flags(flags)?, to)
    }

    fn recv(&self, buf: &mut [u8], flags: i32) -> Result<(usize, Option<Peer>), Errno> {
        let take = if flags & MSG_PEEK != 0 {
            Take::Peek
        } else {
            Take::Consume
        };
        let (len, from) = self.receive(buf, Sleep::from_flags(flags)?, take)?;
        Ok((len, Some(peer(self.family, from))))
    }

    fn local(&self) -> Result<Peer, Errno> {
        let own = net::lock().stack.local(self.id)?;
        Ok(peer(self.family, own))
    }

    fn peer(&self) -> Result<Peer, Errno> {
        let other = net::lock().stack.peer(self.id)?;
        Ok(peer(self.family, other))
    }

    fn shutdown(&self, how: i32) -> Result<(), Errno> {
        let half = match how {
            SHUT_RD => Half::Read,
            SHUT_WR => Half::Write,
            SHUT_RDWR => Half::Both,
            _ => return Err(Errno::EINVAL),
        };
        let mut net = net::lock();
        net.stack.shutdown(self.id, half)?;
        net.push();
        Ok(())
    }

    fn set_option(&self, option: i32, value: i64) -> Result<(), Errno> {
        let mut net = net::lock();
        match (option, u64::try_from(value)) {
            (SO_KEEPALIVE_MS, Ok(interval_ms)) => net.stack.set_keep_alive(self.id, interval_ms),
            (SO_NODELAY, Ok(0)) => net.stack.set_nodelay(self.id, NoDelay::Off),
            (SO_NODELAY, Ok(1)) => net.stack.set_nodelay(self.id, NoDelay::On),
            (SO_KEEPALIVE_MS | SO_NODELAY, _) => Err(Errno::EINVAL),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut net = net::lock();
        net.stack.close(self.id);
        net.push();
    }
}

/// The addresses of a name, those of IPv4 first and mapped into IPv6.
pub fn resolve(name: &str) -> Result<Vec<[u8; 16]>, Errno> {
    let deadline = time::now() + RESOLVE_PATIENCE;
    let mut query = {
        let mut net = net::lock();
        let query = net.stack.resolve_start(name)?;
        net.push();
        query
    };
    loop {
        match net::lock().stack.resolve_finish(&mut query) {
            Err(Errno::EAGAIN) => {}
            Err(error) => return Err(error),
            Ok(addresses) => return Ok(addresses.into_iter().map(mapped).collect()),
        }
        let waited = time::sleep_until(time::now() + RESOLVE_PERIOD);
        if waited.is_err() || time::now() > deadline {
            net::lock().stack.resolve_cancel(query);
            return Err(if waited.is_err() {
                Errno::EINTR
            } else {
                Errno::ETIMEDOUT
            });
        }
    }
}
