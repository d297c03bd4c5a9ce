//! Sockets as open files.

use super::event::{Event, SharedEvent};
use crate::file::{File, FileOps, Peer, Readiness, SocketOps, Ticket};
use crate::net::{self, Net};
use crate::sync::WaitQueue;
use crate::time;
use abi::net::{
    AF_INET, AF_INET6, IPPROTO_ICMP, MSG_DONTWAIT, MSG_PEEK, SHUT_RD, SHUT_RDWR, SHUT_WR,
    SO_KEEPALIVE_MS, SO_NODELAY, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM,
};
use abi::{Errno, Stat};
use alloc::sync::Arc;
use core::time::Duration;
use kcore::net::stack::{Endpoint, Half, Kind, NoDelay, Owner, SocketId, Take};

/// Connections that may wait to be accepted; the paper's `listen` does not say.
const BACKLOG: usize = 32;
/// The name server is not waited for any longer.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(12);
/// How often the answer of the name server is looked for.
const RESOLVE_PERIOD: Duration = Duration::from_millis(20);

/// An open socket.
struct Socket {
    id: SocketId,
    event: Arc<Event>,
    _ticket: Ticket,
}

/// Makes a socket.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Result<File, Errno> {
    match family {
        AF_INET => {}
        AF_INET6 => return Err(Errno::EAFNOSUPPORT),
        _ => return Err(Errno::EAFNOSUPPORT),
    }
    const TCP: i32 = 6;
    const UDP: i32 = 17;
    let kind = match (kind, protocol) {
        (SOCK_STREAM, 0 | TCP) => Kind::Stream,
        (SOCK_DGRAM, 0 | UDP) => Kind::Datagram,
        (SOCK_RAW, IPPROTO_ICMP) => Kind::Icmp,
        (SOCK_STREAM | SOCK_DGRAM | SOCK_RAW, _) => return Err(Errno::EPROTONOSUPPORT),
        _ => return Err(Errno::EINVAL),
    };
    let ticket = Ticket::new()?;
    let event = Arc::new(Event::new());
    let id = net::lock()
        .stack
        .socket(kind, Owner::Program, SharedEvent(Arc::clone(&event)))?;
    Ok(Arc::new(Socket {
        id,
        event,
        _ticket: ticket,
    }))
}

fn endpoint(address: &[u8], port: u16) -> Result<Endpoint, Errno> {
    match address.try_into() {
        Ok(address) => Ok(Endpoint { address, port }),
        Err(_) if address.len() == 16 => Err(Errno::EAFNOSUPPORT),
        Err(_) => Err(Errno::EINVAL),
    }
}

fn peer(endpoint: Endpoint) -> Peer {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&endpoint.address);
    Peer {
        address,
        address_len: 4,
        port: endpoint.port,
    }
}

fn from_peer(peer: Peer) -> Result<Endpoint, Errno> {
    endpoint(
        &peer.address[..usize::from(peer.address_len).min(16)],
        peer.port,
    )
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
    fn bind(&self, address: &[u8], port: u16) -> Result<(), Errno> {
        net::lock().stack.bind(self.id, endpoint(address, port)?)
    }

    fn listen(&self) -> Result<(), Errno> {
        net::lock().stack.listen(self.id, BACKLOG)
    }

    fn connect(&self, address: &[u8], port: u16, nonblock: bool) -> Result<(), Errno> {
        let to = endpoint(address, port)?;
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
                event,
                _ticket: ticket,
            }),
            peer(from),
        ))
    }

    fn send(&self, buf: &[u8], flags: i32, to: Option<Peer>) -> Result<usize, Errno> {
        let to = to.map(from_peer).transpose()?;
        self.send_all(buf, Sleep::from_flags(flags)?, to)
    }

    fn recv(&self, buf: &mut [u8], flags: i32) -> Result<(usize, Option<Peer>), Errno> {
        let take = if flags & MSG_PEEK != 0 {
            Take::Peek
        } else {
            Take::Consume
        };
        let (len, from) = self.receive(buf, Sleep::from_flags(flags)?, take)?;
        Ok((len, Some(peer(from))))
    }

    fn local(&self) -> Result<Peer, Errno> {
        net::lock().stack.local(self.id).map(peer)
    }

    fn peer(&self) -> Result<Peer, Errno> {
        net::lock().stack.peer(self.id).map(peer)
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

/// The IPv4 addresses of a name; how many were found.
pub fn resolve(name: &str, out: &mut [[u8; 4]]) -> Result<usize, Errno> {
    let deadline = time::now() + RESOLVE_PATIENCE;
    let mut query = {
        let mut net = net::lock();
        let query = net.stack.resolve_start(name)?;
        net.push();
        query
    };
    loop {
        match net::lock().stack.resolve_finish(&mut query, out) {
            Err(Errno::EAGAIN) => {}
            result => return result,
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
