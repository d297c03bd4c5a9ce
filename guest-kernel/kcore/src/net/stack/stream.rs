//! TCP sockets: fresh, listening, connecting, connected.

use super::infos::{connection_info, endpoint_info};
use super::{Core, Endpoint, Family, Half, NoDelay, Readiness, Take};
use abi::Errno;
use abi::net::SocketInfo;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::Duration;

/// Bytes a connection may hold that nobody read yet; also the largest window.
const RECEIVE_BUFFER: usize = 128 * 1024;
/// Bytes a connection may hold that are not acknowledged yet.
const SEND_BUFFER: usize = 128 * 1024;
/// Bytes of buffers a connection takes.
pub(super) const BYTES: usize = RECEIVE_BUFFER + SEND_BUFFER;
/// Connections a listener may hold that nobody accepted, whatever was asked for.
pub const BACKLOG_MAX: usize = 64;
/// A connection attempt gives up after this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// An established connection gives up when its peer acknowledges nothing for this long.
const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// A TCP socket as a program sees it.
pub struct Stream {
    role: Role,
    /// What `bind` said, zero before.
    bound: Endpoint,
    nodelay: NoDelay,
    keep_alive: Option<Duration>,
}

enum Role {
    Fresh,
    Listening(Listener),
    Connected(Connection),
}

struct Listener {
    at: Endpoint,
    backlog: usize,
    /// Waits for the next request; none while the backlog is full.
    waiting: Option<SocketHandle>,
    /// Became connections (or are about to), oldest first.
    queue: VecDeque<SocketHandle>,
}

struct Connection {
    handle: SocketHandle,
    progress: Progress,
    /// `connect` has said that the connection stands.
    announced: bool,
    /// It came out of a listener.
    accepted: bool,
    /// The peer said that it sends no more.
    peer_finished: bool,
    read_shut: bool,
    write_shut: bool,
    /// Why it ended, told once.
    error: Option<Errno>,
    peer: Endpoint,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Connecting,
    Established,
    /// Over, and noticed.
    Ended,
}

fn new_socket(nodelay: NoDelay, timeout: Duration) -> tcp::Socket<'static> {
    let mut socket = tcp::Socket::new(
        tcp::SocketBuffer::new(vec![0; RECEIVE_BUFFER]),
        tcp::SocketBuffer::new(vec![0; SEND_BUFFER]),
    );
    socket.set_timeout(Some(timeout));
    socket.set_nagle_enabled(nodelay == NoDelay::Off);
    // A delayed acknowledgement saves a segment but costs the peer's slow start 10 ms a step.
    socket.set_ack_delay(None);
    socket.set_congestion_control(tcp::CongestionControl::Reno);
    socket
}

impl Listener {
    fn refill(&mut self, core: &mut Core, nodelay: NoDelay) -> bool {
        let before = self.waiting.is_none();
        if let Some(handle) = self.waiting
            && core.tcp(handle).state() != State::Listen
        {
            self.waiting = None;
            let caller = core.tcp(handle).remote_endpoint();
            if caller.is_none_or(|caller| self.at.hears(caller.addr.into())) {
                self.queue.push_back(handle);
            } else {
                // smoltcp's "any address" is of both families. The caller hears that nobody listens.
                core.tcp_mut(handle).abort();
                core.orphans.push((handle, core.now));
            }
        }
        // A request that was reset during the handshake listens again, or is closed.
        self.queue.retain(|&handle| {
            let socket = core.tcp(handle);
            let gone = matches!(socket.state(), State::Listen)
                || (socket.state() == State::Closed && socket.recv_queue() == 0);
            if gone {
                core.remove(handle, BYTES);
            }
            !gone
        });
        if self.waiting.is_none() && self.queue.len() < self.backlog && core.reserve(BYTES).is_ok()
        {
            let mut socket = new_socket(nodelay, CONNECT_TIMEOUT);
            match socket.listen(self.at.listening()) {
                Ok(()) => self.waiting = Some(core.sockets.add(socket)),
                Err(_) => core.budget += BYTES,
            }
        }
        before != self.waiting.is_none()
    }

    fn ready(&self, core: &Core) -> Option<usize> {
        self.queue.iter().position(|&handle| {
            !matches!(core.tcp(handle).state(), State::Listen | State::SynReceived)
        })
    }
}

impl Stream {
    pub(super) fn new(family: Family) -> Self {
        Self {
            role: Role::Fresh,
            bound: Endpoint::any(family),
            nodelay: NoDelay::Off,
            keep_alive: None,
        }
    }

    pub(super) fn bind(&mut self, to: Endpoint) -> Result<(), Errno> {
        if !matches!(self.role, Role::Fresh) || self.bound.port != 0 {
            return Err(Errno::EINVAL);
        }
        self.bound = to;
        Ok(())
    }

    pub(super) fn listen(
        &mut self,
        core: &mut Core,
        port: u16,
        backlog: usize,
    ) -> Result<(), Errno> {
        let backlog = backlog.clamp(1, BACKLOG_MAX);
        match &mut self.role {
            Role::Listening(listener) => listener.backlog = backlog,
            Role::Connected(_) => return Err(Errno::EINVAL),
            Role::Fresh => {
                if self.bound.port == 0 {
                    self.bound.port = port;
                }
                self.role = Role::Listening(Listener {
                    at: self.bound,
                    backlog,
                    waiting: None,
                    queue: VecDeque::new(),
                });
            }
        }
        self.refill(core);
        Ok(())
    }

    pub(super) fn connect(
        &mut self,
        core: &mut Core,
        to: Endpoint,
        port: u16,
    ) -> Result<(), Errno> {
        match &mut self.role {
            Role::Listening(_) => return Err(Errno::EOPNOTSUPP),
            Role::Connected(connection) => {
                connection.note_established(core, self.keep_alive);
                return match connection.progress {
                    Progress::Connecting => Err(Errno::EALREADY),
                    Progress::Established if connection.announced => Err(Errno::EISCONN),
                    Progress::Established => {
                        connection.announced = true;
                        Ok(())
                    }
                    Progress::Ended => Err(connection.error.take().unwrap_or(Errno::ECONNABORTED)),
                };
            }
            Role::Fresh => {}
        }
        if to.port == 0 || to.address.is_unspecified() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let broadcast = matches!(to.address, IpAddr::V4(address) if address.is_broadcast());
        if broadcast || to.address.is_multicast() || !self.bound.can_call(to.address) {
            return Err(Errno::ENETUNREACH);
        }
        let source = core.source(to.address)?;
        if self.bound.port == 0 {
            self.bound.port = port;
        }
        let mut own = self.bound;
        if own.address.is_unspecified() {
            own.address = source;
        }
        core.reserve(BYTES)?;
        let mut socket = new_socket(self.nodelay, CONNECT_TIMEOUT);
        let connected = socket
            .connect(core.iface.context(), to.smoltcp(), own.smoltcp())
            .map_err(|error| match error {
                tcp::ConnectError::InvalidState => Errno::EINVAL,
                tcp::ConnectError::Unaddressable => Errno::EADDRNOTAVAIL,
            });
        if let Err(error) = connected {
            core.budget += BYTES;
            return Err(error);
        }
        self.role = Role::Connected(Connection {
            handle: core.sockets.add(socket),
            progress: Progress::Connecting,
            announced: false,
            accepted: false,
            peer_finished: false,
            read_shut: false,
            write_shut: false,
            error: None,
            peer: to,
        });
        Err(Errno::EINPROGRESS)
    }

    pub(super) fn accept(&mut self, core: &mut Core) -> Result<(Stream, Endpoint), Errno> {
        let Role::Listening(listener) = &mut self.role else {
            return Err(Errno::EINVAL);
        };
        let index = listener.ready(core).ok_or(Errno::EAGAIN)?;
        let handle = listener.queue.remove(index).ok_or(Errno::EAGAIN)?;
        let socket = core.tcp_mut(handle);
        socket.set_timeout(Some(USER_TIMEOUT));
        socket.set_keep_alive(self.keep_alive);
        let peer = socket
            .remote_endpoint()
            .map(Endpoint::from_smoltcp)
            .unwrap_or_default();
        let stream = Stream {
            role: Role::Connected(Connection {
                handle,
                progress: Progress::Established,
                announced: true,
                accepted: true,
                peer_finished: false,
                read_shut: false,
                write_shut: false,
                error: None,
                peer,
            }),
            bound: socket
                .local_endpoint()
                .map(Endpoint::from_smoltcp)
                .unwrap_or(listener.at),
            nodelay: self.nodelay,
            keep_alive: self.keep_alive,
        };
        Ok((stream, peer))
    }

    /// Whether the listener's state of "full" changed.
    pub(super) fn refill(&mut self, core: &mut Core) -> bool {
        match &mut self.role {
            Role::Listening(listener) => listener.refill(core, self.nodelay),
            _ => false,
        }
    }

    /// The port of a listener that takes no connection now.
    pub(super) fn full_port(&self) -> Option<u16> {
        match &self.role {
            Role::Listening(listener) if listener.waiting.is_none() => Some(listener.at.port),
            _ => None,
        }
    }

    pub(super) fn send(
        &mut self,
        core: &mut Core,
        data: &[u8],
        to: Option<Endpoint>,
    ) -> Result<usize, Errno> {
        let connection = self.connection()?;
        if to.is_some() {
            return Err(Errno::EISCONN);
        }
        if let Some(error) = connection.error.take() {
            return Err(error);
        }
        match connection.progress {
            Progress::Connecting => return Err(Errno::EAGAIN),
            _ if connection.write_shut => return Err(Errno::EPIPE),
            _ => {}
        }
        match core.tcp_mut(connection.handle).send_slice(data) {
            Err(tcp::SendError::InvalidState) => Err(Errno::EPIPE),
            Ok(0) if !data.is_empty() => Err(Errno::EAGAIN),
            Ok(len) => Ok(len),
        }
    }

    pub(super) fn recv(
        &mut self,
        core: &mut Core,
        buffer: &mut [u8],
        take: Take,
    ) -> Result<(usize, Endpoint), Errno> {
        let peer = self.connection()?.peer;
        let len = match self.arrived(core) {
            Ok(Some(socket)) => match take {
                Take::Consume => socket.recv_slice(buffer),
                Take::Peek => socket.peek_slice(buffer),
            }
            .unwrap_or(0),
            Ok(None) => 0,
            Err(Errno::EAGAIN) if buffer.is_empty() => 0,
            Err(error) => return Err(error),
        };
        Ok((len, peer))
    }

    /// Hands a part of what has arrived to `take` without a copy; None at the end.
    pub(super) fn recv_with<R>(
        &mut self,
        core: &mut Core,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Errno> {
        let Some(socket) = self.arrived(core)? else {
            return Ok(None);
        };
        let taken = socket.recv(|bytes| (bytes.len(), take(bytes)));
        taken.map(Some).map_err(|_| Errno::ENOTCONN)
    }

    /// The socket if there are bytes to take, None at the end of the stream, EAGAIN before.
    fn arrived<'a>(
        &mut self,
        core: &'a mut Core,
    ) -> Result<Option<&'a mut tcp::Socket<'static>>, Errno> {
        let connection = self.connection()?;
        if connection.read_shut {
            return Ok(None);
        }
        let socket = core.tcp_mut(connection.handle);
        if socket.can_recv() {
            return Ok(Some(socket));
        }
        if let Some(error) = connection.error.take() {
            return Err(error);
        }
        if connection.progress == Progress::Connecting || socket.may_recv() {
            Err(Errno::EAGAIN)
        } else {
            Ok(None)
        }
    }

    pub(super) fn shutdown(&mut self, core: &mut Core, half: Half) -> Result<(), Errno> {
        let connection = self.connection()?;
        if connection.progress != Progress::Established {
            return Err(Errno::ENOTCONN);
        }
        if half != Half::Write {
            connection.read_shut = true;
        }
        if half != Half::Read && !connection.write_shut {
            connection.write_shut = true;
            core.tcp_mut(connection.handle).close();
        }
        Ok(())
    }

    pub(super) fn close(self, core: &mut Core) {
        match self.role {
            Role::Fresh => {}
            Role::Listening(listener) => {
                if let Some(handle) = listener.waiting {
                    core.remove(handle, BYTES);
                }
                for handle in listener.queue {
                    core.tcp_mut(handle).abort();
                    core.orphans.push((handle, core.now));
                }
            }
            // The peer has not answered: there is nobody to say goodbye to.
            Role::Connected(connection) if connection.progress == Progress::Connecting => {
                core.remove(connection.handle, BYTES);
            }
            Role::Connected(connection) => {
                let socket = core.tcp_mut(connection.handle);
                // Data nobody will read any more: the peer must not believe that it was read.
                if socket.can_recv() && !connection.read_shut {
                    socket.abort();
                } else {
                    socket.close();
                }
                core.orphans.push((connection.handle, core.now));
            }
        }
    }

    pub(super) fn note_end(&mut self, core: &mut Core, established: Errno, connecting: Errno) {
        let Role::Connected(connection) = &mut self.role else {
            return;
        };
        connection.note_established(core, self.keep_alive);
        let state = core.tcp(connection.handle).state();
        connection.peer_finished |= matches!(
            state,
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if state != State::Closed || connection.progress == Progress::Ended {
            return;
        }
        connection.error = match connection.progress {
            Progress::Connecting => Some(connecting),
            // After both sides said goodbye the end is no error.
            _ if connection.peer_finished => None,
            _ => Some(established),
        };
        connection.progress = Progress::Ended;
    }

    pub(super) fn local(&self, core: &Core) -> Endpoint {
        match &self.role {
            Role::Connected(connection) => core
                .tcp(connection.handle)
                .local_endpoint()
                .map_or(self.bound, Endpoint::from_smoltcp),
            _ => self.bound,
        }
    }

    pub(super) fn peer(&self, core: &Core) -> Option<Endpoint> {
        match &self.role {
            Role::Connected(connection) if connection.progress == Progress::Established => core
                .tcp(connection.handle)
                .remote_endpoint()
                .map(Endpoint::from_smoltcp),
            _ => None,
        }
    }

    pub(super) fn readiness(&self, core: &Core) -> Readiness {
        match &self.role {
            Role::Fresh => Readiness {
                readable: true,
                writable: true,
                except: false,
            },
            Role::Listening(listener) => Readiness {
                readable: listener.ready(core).is_some(),
                writable: false,
                except: false,
            },
            Role::Connected(connection) => {
                let socket = core.tcp(connection.handle);
                let failed = connection.error.is_some();
                let established = connection.progress != Progress::Connecting;
                Readiness {
                    readable: failed
                        || connection.read_shut
                        || socket.can_recv()
                        || (established && !socket.may_recv()),
                    writable: failed
                        || connection.write_shut
                        || socket.can_send()
                        || (established && !socket.may_send()),
                    except: failed,
                }
            }
        }
    }

    pub(super) fn set_nodelay(&mut self, core: &mut Core, on: NoDelay) -> Result<(), Errno> {
        self.nodelay = on;
        if let Role::Connected(connection) = &self.role {
            core.tcp_mut(connection.handle)
                .set_nagle_enabled(on == NoDelay::Off);
        }
        Ok(())
    }

    pub(super) fn set_keep_alive(
        &mut self,
        core: &mut Core,
        interval_ms: u64,
    ) -> Result<(), Errno> {
        self.keep_alive = (interval_ms != 0).then(|| Duration::from_millis(interval_ms));
        if let Role::Connected(connection) = &self.role {
            let socket = core.tcp_mut(connection.handle);
            socket.set_keep_alive(self.keep_alive);
        }
        Ok(())
    }

    /// Whether this socket keeps others from the port.
    pub(super) fn holds_port(&self, port: u16) -> bool {
        match &self.role {
            // An accepted connection shares its listener's port and does not keep a new listener away.
            Role::Connected(connection) if connection.accepted => false,
            _ => self.bound.port == port,
        }
    }

    pub(super) fn infos(&self, core: &Core, kernel: u32, infos: &mut Vec<SocketInfo>) {
        match &self.role {
            Role::Fresh => infos.push(endpoint_info(self.bound, kernel)),
            Role::Listening(listener) => {
                infos.push(SocketInfo {
                    state: 1,
                    receive_queue: listener.queue.len() as u32,
                    ..endpoint_info(listener.at, kernel)
                });
                for &handle in &listener.queue {
                    infos.push(connection_info(core.tcp(handle), kernel));
                }
            }
            Role::Connected(connection) => {
                let info = connection_info(core.tcp(connection.handle), kernel);
                infos.push(if info.state == 0 {
                    endpoint_info(self.bound, kernel)
                } else {
                    info
                });
            }
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, Errno> {
        match &mut self.role {
            Role::Connected(connection) => Ok(connection),
            _ => Err(Errno::ENOTCONN),
        }
    }
}

impl Connection {
    fn note_established(&mut self, core: &mut Core, keep_alive: Option<Duration>) {
        if self.progress != Progress::Connecting {
            return;
        }
        let socket = core.tcp_mut(self.handle);
        if !matches!(
            socket.state(),
            State::SynSent | State::SynReceived | State::Closed
        ) {
            self.progress = Progress::Established;
            socket.set_timeout(Some(USER_TIMEOUT));
            socket.set_keep_alive(keep_alive);
        }
    }
}
