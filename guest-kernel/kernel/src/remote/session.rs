//! A session with one file server: the protocol's client over one TCP connection after another.
//!
//! Whoever waits for a reply moves the bytes itself ([`Session::call`]), so that a request costs no
//! thread switch on its way out. The thread `remote` does what nobody waits for: it connects, notices
//! a server that fell silent, keeps the connection from idling out, and says on the console, once,
//! that the server is away or back.

use super::WORK;
use crate::net::event::{Event, SharedEvent};
use crate::net::{self, Ip};
use crate::println;
use crate::sync::SleepLock;
use crate::time::{self, Instant};
use crate::trace;
use abi::Errno;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use kcore::net::stack::{Endpoint, Kind, NoDelay, Owner, SocketId, Take};
use protocol::client::{Client, Config, Failure, Reply, Status, SubmitError, Ticket};
use protocol::message::{Access, Attach, Call, ClientId, Handle, Operation, Ping};
use protocol::name::Path;
use trace_record::{Class, Payload};

/// Requests in flight.
const SLOTS: u16 = 32;
/// Largest payload we ask for; several of them fit a socket's buffer.
const FRAME: u32 = 64 * 1024 + 64;
/// A server that owes an answer for this long is given up, and connected to again.
const SILENCE: Duration = Duration::from_secs(10);
/// How long to wait before the next attempt to connect: from, to.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A connection attempt that takes longer is given up.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How often a connection attempt is looked at.
const CONNECT_LOOK: Duration = Duration::from_millis(10);
/// A server away for this long is worth a line.
const AWAY_LINE: Duration = Duration::from_secs(2);
/// Bytes taken from the socket at a time.
const RECEIVE: usize = 64 * 1024;
/// How often an idle session without a heartbeat speaks up, at least.
const IDLE_PING: Duration = Duration::from_secs(10);

/// Why a session exists, and how it is called in the server's logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Remote files.
    Files,
    /// Trace and heartbeat.
    Run,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Run => "run",
        }
    }

    /// How often a request goes out although nobody asks for anything.
    fn ping_period(self) -> Duration {
        match self {
            Self::Files => IDLE_PING,
            Self::Run => super::HEARTBEAT,
        }
    }
}

/// What a session needs to be opened again.
pub struct Session {
    /// Where the server is.
    pub server: Endpoint,
    /// What for.
    pub purpose: Purpose,
    event: Arc<Event>,
    state: SleepLock<State>,
}

enum Link {
    Down { retry_at: Instant },
    Connecting { socket: SocketId, since: Instant },
    Up { socket: SocketId },
}

struct State {
    client: Client,
    link: Link,
    backoff: Duration,
    /// Since when nobody could reach the server.
    away_since: Option<Instant>,
    /// The console was told.
    away_told: bool,
    why_away: &'static str,
    refusal_told: bool,
    ping: Option<Ticket>,
    pinged: Instant,
    roots: BTreeMap<Vec<u8>, Root>,
    buffer: Vec<u8>,
}

/// The root of an export.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// The session's generation the handle belongs to.
    pub generation: u32,
    /// Directory handle.
    pub handle: Handle,
    /// What the export allows.
    pub access: Access,
}

fn now_ms() -> u64 {
    time::now().0 / 1_000_000
}

/// Random where the CPU can, else hard to guess.
fn random_id() -> ClientId {
    let random = x86_64::instructions::random::RdRand::new();
    let mut mixed = time::read_tsc() ^ time::wall_ns();
    let mut word = || {
        mixed = mixed
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(time::read_tsc());
        let own = mixed ^ mixed >> 29;
        random
            .and_then(|random| random.get_u64())
            .map_or(own, |random| random ^ own)
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&word().to_le_bytes());
    id[8..].copy_from_slice(&word().to_le_bytes());
    ClientId(id)
}

/// What a request is about, for the trace.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// A path below an export.
    Path(&'a [u8], Path<'a>),
    /// An export.
    Export(&'a [u8]),
    /// An open file, and where in it.
    Handle(Handle, u64),
    /// Nothing in particular.
    Nothing,
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(export, path) => write!(f, "{}/{path}", export.escape_ascii()),
            Self::Export(export) => write!(f, "{}", export.escape_ascii()),
            Self::Handle(handle, offset) => write!(f, "{handle} @{offset}"),
            Self::Nothing => Ok(()),
        }
    }
}

/// A request under way.
#[derive(Debug)]
#[must_use = "a request that is neither waited for nor cancelled keeps its slot"]
pub struct Asked {
    ticket: Ticket,
    /// Sequence number of its record in the trace.
    record: Option<u32>,
}

fn record_answer(request: Option<u32>, reply: &Reply) {
    if let Some(request) = request {
        let status = reply.failure().map_or(0, |failure| failure.errno.status());
        trace::emit(&Payload::RemoteAnswer {
            request,
            status,
            bytes: reply.payload_len() as u64,
        });
    }
}

/// The server's error number as ours.
pub fn errno(failure: Failure) -> Errno {
    Errno::from_number(failure.errno.0).unwrap_or(Errno::EIO)
}

impl Session {
    /// A session that is not connected yet; the thread `remote` will do that.
    pub fn new(server: Endpoint, purpose: Purpose, token: &[u8]) -> Self {
        let config = Config {
            client: random_id(),
            name: purpose.name().into(),
            token: token.to_vec(),
            slots: SLOTS,
            max_frame: FRAME,
        };
        let now = time::now();
        Self {
            server,
            purpose,
            event: Arc::new(Event::new()),
            state: SleepLock::new(
                "session",
                State {
                    client: Client::new(config),
                    link: Link::Down { retry_at: now },
                    backoff: RETRY.0,
                    away_since: Some(now),
                    away_told: false,
                    why_away: "no answer",
                    refusal_told: false,
                    ping: None,
                    pinged: now,
                    roots: BTreeMap::new(),
                    buffer: vec![0; RECEIVE],
                },
            ),
        }
    }

    /// Asks, and waits for the answer: as long as it takes, or until the caller is killed.
    pub fn call<C: Call>(&self, call: &C, about: About<'_>) -> Result<Reply, Errno> {
        let asked = self.submit(call, about)?;
        self.wait(asked)
    }

    /// Asks. Sleeps only while all slots are taken or the server was never reached.
    pub fn submit<C: Call>(&self, call: &C, about: About<'_>) -> Result<Asked, Errno> {
        if self.server.address[0] != 127 && !net::has_card() {
            return Err(Errno::ENETUNREACH);
        }
        let record = self.record_request(C::OPERATION, about);
        loop {
            let seen = self.event.seen();
            {
                let mut state = self.state.lock();
                let submitted = state.client.submit(call, now_ms());
                match submitted {
                    Ok(ticket) => {
                        self.pump(&mut state);
                        return Ok(Asked { ticket, record });
                    }
                    Err(SubmitError::NotReady | SubmitError::NoSlot) => {
                        if self.pump(&mut state) {
                            continue;
                        }
                    }
                    Err(SubmitError::TooLarge { .. }) => return Err(Errno::EMSGSIZE),
                    Err(SubmitError::Refused(failure)) => return Err(errno(failure)),
                }
            }
            self.event.wait(seen)?;
        }
    }

    /// Asks if that is possible without sleeping.
    pub fn try_submit<C: Call>(&self, call: &C) -> Result<Asked, SubmitError> {
        let mut state = self.state.lock();
        let ticket = state.client.submit(call, now_ms())?;
        self.pump(&mut state);
        Ok(Asked {
            ticket,
            record: None,
        })
    }

    /// The trace's record of a request; the trace's own are not recorded.
    fn record_request(&self, operation: Operation, about: About<'_>) -> Option<u32> {
        if self.purpose == Purpose::Run || !trace::enabled(Class::Remote) {
            return None;
        }
        let text = about.to_string();
        trace::emit(&Payload::RemoteRequest {
            operation: operation.number(),
            text: Cow::Owned(text.into_bytes()),
        })
    }

    /// Waits for the answer. A refusal is an error.
    pub fn wait(&self, asked: Asked) -> Result<Reply, Errno> {
        let reply = self.wait_raw(asked)?;
        match reply.failure() {
            Some(failure) => Err(errno(failure)),
            None => Ok(reply),
        }
    }

    /// Waits for the answer, whatever it says.
    pub fn wait_raw(&self, asked: Asked) -> Result<Reply, Errno> {
        let Asked { ticket, record } = asked;
        loop {
            let seen = self.event.seen();
            {
                let mut state = self.state.lock();
                self.pump(&mut state);
                if let Some(reply) = state.client.take(ticket) {
                    drop(state);
                    record_answer(record, &reply);
                    return Ok(reply);
                }
            }
            if let Err(error) = self.event.wait(seen) {
                self.state.lock().client.cancel(ticket);
                return Err(error);
            }
        }
    }

    /// Forgets a question.
    pub fn cancel(&self, asked: Asked) {
        self.state.lock().client.cancel(asked.ticket);
    }

    /// The generation handles got now belong to.
    pub fn generation(&self) -> u32 {
        self.state.lock().client.generation()
    }

    /// Most bytes in one read, write or append.
    pub fn max_data(&self) -> usize {
        self.state.lock().client.max_data() as usize
    }

    /// The root of an export, attached if need be.
    pub fn root(&self, export: &[u8]) -> Result<Root, Errno> {
        loop {
            let generation = {
                let state = self.state.lock();
                let generation = state.client.generation();
                if let Some(root) = state
                    .roots
                    .get(export)
                    .filter(|root| root.generation == generation)
                {
                    return Ok(*root);
                }
                generation
            };
            match self.call(&Attach { export }, About::Export(export)) {
                Ok(reply) => {
                    let attached = reply.get::<Attach<'_>>().map_err(errno)?;
                    let mut state = self.state.lock();
                    let root = Root {
                        generation: state.client.generation(),
                        handle: attached.root,
                        access: attached.access,
                    };
                    state.roots.insert(export.to_vec(), root);
                    return Ok(root);
                }
                // A first session, or a new one, began under way.
                Err(Errno::ESTALE) if self.generation() != generation => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves bytes both ways without sleeping; whether anything came in.
    fn pump(&self, state: &mut State) -> bool {
        let Link::Up { socket } = state.link else {
            return false;
        };
        let mut received = false;
        let mut broken = None;
        {
            let mut net = net::lock();
            let mut sent = false;
            while !state.client.output().is_empty() {
                match net.stack.send(socket, state.client.output(), None) {
                    Ok(len) => {
                        state.client.sent(len);
                        sent = true;
                    }
                    Err(Errno::EAGAIN) => {
                        if !sent {
                            break;
                        }
                        // The buffer was full: frames that leave now make room.
                        net.push();
                        sent = false;
                    }
                    Err(_) => {
                        broken = Some("connection lost");
                        break;
                    }
                }
            }
            if sent {
                net.push();
            }
            loop {
                match net.stack.recv(socket, &mut state.buffer, Take::Consume) {
                    Ok((0, _)) => broken = Some("connection closed"),
                    Ok((len, _)) => {
                        net.took(len);
                        received = true;
                        if let Err(error) = state.client.receive(&state.buffer[..len], now_ms()) {
                            println!(
                                "remote: {}:{}: {error}",
                                Ip(self.server.address),
                                self.server.port
                            );
                            broken = Some("connection dropped");
                        }
                    }
                    Err(Errno::EAGAIN) => {
                        net.before_sleep();
                        break;
                    }
                    Err(_) => broken = Some("connection lost"),
                }
                if broken.is_some() {
                    break;
                }
            }
        }
        if let Some(why) = broken {
            self.drop_link(state, why);
        }
        if received || broken.is_some() {
            self.event.signal();
        }
        if state.client.status() == Status::Ready && state.away_since.is_some() {
            self.arrived(state);
        }
        received
    }

    fn arrived(&self, state: &mut State) {
        let away = state.away_since.take();
        state.backoff = RETRY.0;
        if core::mem::take(&mut state.away_told) {
            let seconds = away.map_or(0, |since| (time::now() - since).as_secs());
            println!(
                "remote: {}:{} is back after {seconds} s",
                Ip(self.server.address),
                self.server.port
            );
        }
    }

    fn drop_link(&self, state: &mut State, why: &'static str) {
        if let Link::Up { socket } | Link::Connecting { socket, .. } = state.link {
            let mut net = net::lock();
            net.stack.close(socket);
            net.push();
        }
        state.client.disconnected();
        let now = time::now();
        state.link = Link::Down {
            retry_at: now + state.backoff,
        };
        state.backoff = (state.backoff * 2).min(RETRY.1);
        state.away_since.get_or_insert(now);
        state.why_away = why;
        WORK.signal();
    }

    /// What the thread does for this session now; when it wants to be looked after again.
    pub fn look_after(&self) -> Instant {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Status::Refused(failure) = state.client.status() {
            if !core::mem::replace(&mut state.refusal_told, true) {
                println!(
                    "remote: {}:{} refuses us: {failure}",
                    Ip(self.server.address),
                    self.server.port
                );
                self.drop_link(state, "refused");
                self.event.signal();
            }
            return time::now() + IDLE_PING;
        }
        let next = match state.link {
            Link::Down { retry_at } if time::now() < retry_at => retry_at,
            Link::Down { .. } => self.connect(state),
            Link::Connecting { socket, since } => self.finish_connecting(state, socket, since),
            Link::Up { .. } => self.keep(state),
        };
        self.tell_away(state);
        next
    }

    fn connect(&self, state: &mut State) -> Instant {
        let mut net = net::lock();
        if !net.stack.is_up() && self.server.address[0] != 127 {
            state.why_away = "no network address";
            return time::now() + RETRY.0;
        }
        let event = SharedEvent(Arc::clone(&self.event));
        let Ok(socket) = net.stack.socket(Kind::Stream, Owner::Kernel, event) else {
            state.why_away = Errno::ENOBUFS.text();
            return time::now() + RETRY.1;
        };
        let _ = net.stack.set_nodelay(socket, NoDelay::On);
        let result = net.stack.connect(socket, self.server);
        if self.purpose == Purpose::Run {
            // Before the first frame goes out.
            let local = net.stack.local(socket);
            net::tap::set_transport_port(local.map_or(0, |local| local.port));
        }
        net.push();
        drop(net);
        let now = time::now();
        state.link = Link::Connecting { socket, since: now };
        match result {
            Err(Errno::EINPROGRESS) | Ok(()) => self.finish_connecting(state, socket, now),
            Err(error) => {
                self.drop_link(state, error.text());
                now + state.backoff
            }
        }
    }

    fn finish_connecting(&self, state: &mut State, socket: SocketId, since: Instant) -> Instant {
        let result = net::lock().stack.connect(socket, self.server);
        let now = time::now();
        match result {
            Ok(()) => {
                state.link = Link::Up { socket };
                state.client.connected(now_ms());
                self.pump(state);
                self.keep(state)
            }
            Err(Errno::EALREADY) if now < since + CONNECT_PATIENCE => now + CONNECT_LOOK,
            Err(error) => {
                let why = if error == Errno::EALREADY {
                    Errno::ETIMEDOUT
                } else {
                    error
                };
                self.drop_link(state, why.text());
                now + RETRY.0
            }
        }
    }

    fn keep(&self, state: &mut State) -> Instant {
        self.pump(state);
        let now = time::now();
        if let Some(ticket) = state.ping
            && state.client.take(ticket).is_some()
        {
            state.ping = None;
        }
        if state
            .client
            .silence_ms(now_ms())
            .is_some_and(|silence| u128::from(silence) > SILENCE.as_millis())
        {
            self.drop_link(state, "no answer");
            return now + RETRY.0;
        }
        let period = self.purpose.ping_period();
        if state.ping.is_none() && now >= state.pinged + period {
            state.ping = state.client.submit(&Ping {}, now_ms()).ok();
            state.pinged = now;
            self.pump(state);
        }
        (state.pinged + period).max(now + RETRY.0)
    }

    fn tell_away(&self, state: &mut State) {
        let away = state
            .away_since
            .is_some_and(|since| time::now() > since + AWAY_LINE);
        if away && !state.away_told {
            state.away_told = true;
            println!(
                "remote: {}:{} is away ({}); waiting for it",
                Ip(self.server.address),
                self.server.port,
                state.why_away
            );
        }
    }
}
