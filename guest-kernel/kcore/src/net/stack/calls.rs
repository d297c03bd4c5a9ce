//! The socket calls, one after the other as a program would make them.

use super::datagram::Datagram;
use super::raw::Raw;
use super::stream::Stream;
use super::{
    Core, EPHEMERAL_FIRST, Endpoint, Entry, Family, Half, Kind, NoDelay, Notify, Owner, Proto,
    Readiness, SocketId, Stack, Take,
};
use crate::net::port::{Receive, Tap, Transmit};
use abi::Errno;

impl<Rx: Receive, Tx: Transmit, T: Tap, N: Notify> Stack<Rx, Tx, T, N> {
    /// A new socket of a program or of the kernel. Both families share one space of ports.
    pub fn socket(
        &mut self,
        kind: Kind,
        family: Family,
        owner: Owner,
        notify: N,
    ) -> Result<SocketId, Errno> {
        let proto = match kind {
            Kind::Stream => Proto::Stream(Stream::new(family)),
            Kind::Datagram => Proto::Datagram(Datagram::new(&mut self.core, family)?),
            Kind::Icmp => Proto::Raw(Raw::new(&mut self.core, family)?),
        };
        let shown = Readiness::default();
        Ok(self.insert(Entry {
            proto,
            owner,
            notify,
            shown,
        }))
    }

    /// Gives a socket back. A connection is closed in good order, without the caller.
    pub fn close(&mut self, id: SocketId) {
        let Some(entry) = self.entries.get_mut(id.0).and_then(Option::take) else {
            return;
        };
        match entry.proto {
            Proto::Stream(stream) => stream.close(&mut self.core),
            Proto::Datagram(datagram) => datagram.close(&mut self.core),
            Proto::Raw(raw) => raw.close(&mut self.core),
        }
    }

    /// Gives a socket its own address and port; port 0 takes a free one.
    pub fn bind(&mut self, id: SocketId, to: Endpoint) -> Result<(), Errno> {
        self.core.check_own(to.address)?;
        let kind = self.kind(id)?;
        let to = match (kind, to.port) {
            (Kind::Icmp, _) => to,
            (_, 0) => Endpoint {
                port: self.free_port(kind)?,
                ..to
            },
            _ if self.port_taken(kind, to.port, Some(id)) => return Err(Errno::EADDRINUSE),
            _ => to,
        };
        let (core, entry) = self.parts(id)?;
        match &mut entry.proto {
            Proto::Stream(stream) => stream.bind(to),
            Proto::Datagram(datagram) => datagram.bind(core, to),
            Proto::Raw(raw) => raw.bind(to),
        }
    }

    /// Makes a stream socket a listener with room for `backlog` connections nobody accepted yet.
    pub fn listen(&mut self, id: SocketId, backlog: usize) -> Result<(), Errno> {
        if self.kind(id)? != Kind::Stream {
            return Err(Errno::EOPNOTSUPP);
        }
        let port = self.free_port(Kind::Stream)?;
        let (core, entry) = self.parts(id)?;
        match &mut entry.proto {
            Proto::Stream(stream) => stream.listen(core, port, backlog)?,
            _ => return Err(Errno::EOPNOTSUPP),
        }
        self.mark_full_listeners();
        Ok(())
    }

    /// Connects. A stream socket answers EINPROGRESS at first, then EALREADY until the connection
    /// stands (Ok) or failed (its error, once).
    pub fn connect(&mut self, id: SocketId, to: Endpoint) -> Result<(), Errno> {
        let kind = self.kind(id)?;
        let port = match kind {
            Kind::Icmp => 0,
            _ => self.free_port(kind)?,
        };
        let (core, entry) = self.parts(id)?;
        let result = match &mut entry.proto {
            Proto::Stream(stream) => stream.connect(core, to, port),
            Proto::Datagram(datagram) => datagram.connect(core, to, port),
            Proto::Raw(raw) => raw.connect(to),
        };
        self.refresh(id);
        result
    }

    /// The oldest connection nobody accepted yet, as a socket of its own, and its peer.
    pub fn accept(&mut self, id: SocketId, notify: N) -> Result<(SocketId, Endpoint), Errno> {
        let (core, entry) = self.parts(id)?;
        let owner = entry.owner;
        let (stream, peer) = match &mut entry.proto {
            Proto::Stream(stream) => stream.accept(core)?,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let accepted = self.insert(Entry {
            proto: Proto::Stream(stream),
            owner,
            notify,
            shown: Readiness::default(),
        });
        self.refill_listeners();
        self.refresh(id);
        Ok((accepted, peer))
    }

    /// Queues bytes (a stream takes as many as fit) or one datagram, to the connected peer or to `to`.
    pub fn send(
        &mut self,
        id: SocketId,
        data: &[u8],
        to: Option<Endpoint>,
    ) -> Result<usize, Errno> {
        let kind = self.kind(id)?;
        let port = match kind {
            Kind::Datagram if self.local(id)?.port == 0 => self.free_port(kind)?,
            _ => 0,
        };
        let (core, entry) = self.parts(id)?;
        let result = match &mut entry.proto {
            Proto::Stream(stream) => stream.send(core, data, to),
            Proto::Datagram(datagram) => datagram.send(core, data, to, port),
            Proto::Raw(raw) => raw.send(core, data, to),
        };
        self.refresh(id);
        result
    }

    /// Takes bytes or one datagram, and who sent it.
    pub fn recv(
        &mut self,
        id: SocketId,
        buffer: &mut [u8],
        take: Take,
    ) -> Result<(usize, Endpoint), Errno> {
        let (core, entry) = self.parts(id)?;
        let result = match &mut entry.proto {
            Proto::Stream(stream) => stream.recv(core, buffer, take),
            Proto::Datagram(datagram) => datagram.recv(core, buffer, take),
            Proto::Raw(raw) => raw.recv(core, buffer, take),
        };
        self.refresh(id);
        result
    }

    /// Hands a part of what a stream has received to `take`, where it lies; None at the end of the stream.
    pub fn recv_with<R>(
        &mut self,
        id: SocketId,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Errno> {
        let (core, entry) = self.parts(id)?;
        let result = match &mut entry.proto {
            Proto::Stream(stream) => stream.recv_with(core, take),
            Proto::Datagram(_) | Proto::Raw(_) => Err(Errno::ENOTCONN),
        };
        self.refresh(id);
        result
    }

    /// Closes one half of a connection, or both.
    pub fn shutdown(&mut self, id: SocketId, half: Half) -> Result<(), Errno> {
        let (core, entry) = self.parts(id)?;
        let result = match &mut entry.proto {
            Proto::Stream(stream) => stream.shutdown(core, half),
            Proto::Datagram(datagram) => datagram.shutdown(half),
            Proto::Raw(_) => Err(Errno::ENOTCONN),
        };
        self.refresh(id);
        result
    }

    /// Own address and port.
    pub fn local(&self, id: SocketId) -> Result<Endpoint, Errno> {
        Ok(match &self.entry_ref(id)?.proto {
            Proto::Stream(stream) => stream.local(&self.core),
            Proto::Datagram(datagram) => datagram.local(),
            Proto::Raw(raw) => raw.local(),
        })
    }

    /// The peer's address and port.
    pub fn peer(&self, id: SocketId) -> Result<Endpoint, Errno> {
        match &self.entry_ref(id)?.proto {
            Proto::Stream(stream) => stream.peer(&self.core),
            Proto::Datagram(datagram) => datagram.peer(),
            Proto::Raw(raw) => raw.peer(),
        }
        .ok_or(Errno::ENOTCONN)
    }

    /// What `select` would find.
    pub fn readiness(&self, id: SocketId) -> Readiness {
        match self.entry_ref(id) {
            Ok(entry) => entry.readiness(&self.core),
            Err(_) => Readiness {
                readable: true,
                writable: true,
                except: true,
            },
        }
    }

    /// Sends small segments at once, or collects them.
    pub fn set_nodelay(&mut self, id: SocketId, on: NoDelay) -> Result<(), Errno> {
        let (core, entry) = self.parts(id)?;
        match &mut entry.proto {
            Proto::Stream(stream) => stream.set_nodelay(core, on),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// Asks a silent peer every so many milliseconds whether it is still there; 0 never.
    pub fn set_keep_alive(&mut self, id: SocketId, interval_ms: u64) -> Result<(), Errno> {
        let (core, entry) = self.parts(id)?;
        match &mut entry.proto {
            Proto::Stream(stream) => stream.set_keep_alive(core, interval_ms),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// After a call that changed what `select` would find: whoever else waits hears of what it
    /// gained, and [`Stack::poll`] will tell the next gain from what is known now.
    pub(super) fn refresh(&mut self, id: SocketId) {
        if let Ok((core, entry)) = self.parts(id) {
            let (was, is) = (entry.shown, entry.readiness(core));
            entry.shown = is;
            if (is.readable && !was.readable)
                || (is.writable && !was.writable)
                || (is.except && !was.except)
            {
                entry.notify.notify();
            }
        }
    }

    fn insert(&mut self, entry: Entry<N>) -> SocketId {
        match self.entries.iter().position(Option::is_none) {
            Some(free) => {
                self.entries[free] = Some(entry);
                SocketId(free)
            }
            None => {
                self.entries.push(Some(entry));
                SocketId(self.entries.len() - 1)
            }
        }
    }

    fn entry_ref(&self, id: SocketId) -> Result<&Entry<N>, Errno> {
        self.entries
            .get(id.0)
            .and_then(Option::as_ref)
            .ok_or(Errno::EBADF)
    }

    fn parts(&mut self, id: SocketId) -> Result<(&mut Core, &mut Entry<N>), Errno> {
        match self.entries.get_mut(id.0) {
            Some(Some(entry)) => Ok((&mut self.core, entry)),
            _ => Err(Errno::EBADF),
        }
    }

    fn kind(&self, id: SocketId) -> Result<Kind, Errno> {
        Ok(match self.entry_ref(id)?.proto {
            Proto::Stream(_) => Kind::Stream,
            Proto::Datagram(_) => Kind::Datagram,
            Proto::Raw(_) => Kind::Icmp,
        })
    }

    fn port_taken(&self, kind: Kind, port: u16, except: Option<SocketId>) -> bool {
        self.entries.iter().enumerate().any(|(index, entry)| {
            let Some(entry) = entry else { return false };
            Some(SocketId(index)) != except
                && match (&entry.proto, kind) {
                    (Proto::Stream(stream), Kind::Stream) => stream.holds_port(port),
                    (Proto::Datagram(datagram), Kind::Datagram) => datagram.local().port == port,
                    _ => false,
                }
        })
    }

    /// A port nobody uses, not even a connection that waits for its last acknowledgement.
    fn free_port(&mut self, kind: Kind) -> Result<u16, Errno> {
        for _ in EPHEMERAL_FIRST..=u16::MAX {
            let port = self.core.next_port;
            self.core.next_port = if port == u16::MAX {
                EPHEMERAL_FIRST
            } else {
                port + 1
            };
            let orphaned = self.core.orphans.iter().any(|&(handle, _)| {
                self.core
                    .tcp(handle)
                    .local_endpoint()
                    .is_some_and(|local| local.port == port)
            });
            if !orphaned && !self.port_taken(kind, port, None) {
                return Ok(port);
            }
        }
        Err(Errno::EADDRNOTAVAIL)
    }
}
