//! The connection of a session: made, kept, dropped, and made again.
//!
//! The thread `remote` does here what nobody waits for: it connects, notices a server that fell silent,
//! keeps the connection from idling out, and says on the console, once, that the server is away or back.

use super::WORK;
use super::secret::{self, Secret};
use super::session::{IDLE_PING, Purpose, Root, Session, now_ms};
use crate::net;
use crate::net::event::SharedEvent;
use crate::println;
use crate::time::{self, Instant};
use abi::Errno;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use kcore::net::stack::{Family, Kind, NoDelay, Owner, SocketId};
use protocol::client::{Client, Status, Ticket};
use protocol::message::Ping;
use protocol::wire::Wire;

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

enum Link {
    Down { retry_at: Instant },
    Connecting { socket: SocketId, since: Instant },
    Up { socket: SocketId, wire: Box<Wire> },
}

/// What a session's lock guards.
pub(super) struct State {
    pub(super) client: Client,
    link: Link,
    backoff: Duration,
    /// Since when nobody could reach the server.
    away_since: Option<Instant>,
    /// The console was told.
    away_told: bool,
    why_away: Cow<'static, str>,
    /// Sessions, and reboots of the server's machine, that the console was told.
    told: (u32, u32),
    refusal_told: bool,
    ping: Option<Ticket>,
    pinged: Instant,
    pub(super) roots: BTreeMap<Vec<u8>, Root>,
}

impl State {
    pub(super) fn new(client: Client) -> Self {
        let now = time::now();
        Self {
            client,
            link: Link::Down { retry_at: now },
            backoff: RETRY.0,
            away_since: Some(now),
            away_told: false,
            why_away: "no answer".into(),
            told: (0, 0),
            refusal_told: false,
            ping: None,
            pinged: now,
            roots: BTreeMap::new(),
        }
    }

    /// What it may mean that the server closed the connection.
    fn unheard(&self) -> &'static str {
        match (&self.link, self.client.status()) {
            (Link::Up { wire, .. }, Status::Down | Status::Greeting) => match **wire {
                Wire::Noise { .. } => "it hung up in the handshake; has it our key?",
                Wire::Plain => "it hung up at once; a server in noise mode wants key=",
            },
            _ => "connection closed",
        }
    }
}

/// What became of an attempt to move bytes.
#[derive(PartialEq, Eq)]
enum Moved {
    In,
    Nothing,
}

/// Sends what fits, then takes what is there. The error says why the connection is over, None that the
/// server closed it.
fn exchange(
    client: &mut Client,
    wire: &mut Wire,
    socket: SocketId,
) -> Result<Moved, Option<Cow<'static, str>>> {
    let mut net = net::lock();
    let mut sent = false;
    loop {
        let bytes = match wire.output(client) {
            Ok([]) => break,
            Ok(bytes) => bytes,
            Err(error) => return Err(Some(error.to_string().into())),
        };
        match net.stack.send(socket, bytes, None) {
            Ok(len) => {
                wire.sent(client, len);
                sent = true;
            }
            // The buffer was full: frames that leave now make room.
            Err(Errno::EAGAIN) if sent => {
                net.push();
                sent = false;
            }
            Err(Errno::EAGAIN) => break,
            Err(_) => return Err(Some("connection lost".into())),
        }
    }
    if sent {
        net.push();
    }
    let mut moved = Moved::Nothing;
    loop {
        let taken = net.stack.recv_with(socket, |bytes| {
            (bytes.len(), wire.receive(client, bytes, now_ms()))
        });
        match taken {
            Ok(Some((len, Ok(())))) => {
                net.took(len);
                moved = Moved::In;
            }
            Ok(Some((_, Err(why)))) => return Err(Some(why.to_string().into())),
            Ok(None) => return Err(None),
            Err(Errno::EAGAIN) => {
                net.before_sleep();
                return Ok(moved);
            }
            Err(_) => return Err(Some("connection lost".into())),
        }
    }
}

impl Session {
    /// Moves bytes both ways without sleeping; whether anything came in.
    pub(super) fn pump(&self, state: &mut State) -> bool {
        let mut received = false;
        loop {
            let Link::Up { socket, wire } = &mut state.link else {
                return received;
            };
            let moved = exchange(&mut state.client, wire, *socket);
            received |= moved == Ok(Moved::In);
            match moved {
                // What came in may have an answer, as in a handshake.
                Ok(Moved::In) => {}
                Ok(Moved::Nothing) => break,
                Err(why) => {
                    let why = why.unwrap_or_else(|| state.unheard().into());
                    self.drop_link(state, why);
                    self.event.signal();
                    break;
                }
            }
        }
        if received {
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
            println!("remote: {} is back after {seconds} s", self.server);
        }
        if self.tells() {
            self.tell_forgotten(state);
        }
    }

    /// Whether the console hears of this server by this session: the run's goes where one for files goes, too.
    fn tells(&self) -> bool {
        self.purpose == Purpose::Files
    }

    /// What the server no longer knows, and what becomes of it.
    fn tell_forgotten(&self, state: &mut State) {
        let now = (state.client.generation(), state.client.reboots());
        let before = core::mem::replace(&mut state.told, now);
        if now.1 != before.1 {
            println!(
                "remote: {}: its machine was started again; what was not safe there is sent again",
                self.server
            );
        } else if before.0 != 0 && now.0 != before.0 {
            println!(
                "remote: {} no longer knows us (has it --state?); files are opened again by name",
                self.server
            );
        }
    }

    fn drop_link(&self, state: &mut State, why: impl Into<Cow<'static, str>>) {
        if let Link::Up { socket, .. } | Link::Connecting { socket, .. } = state.link {
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
        state.why_away = why.into();
        WORK.signal();
    }

    /// What the thread does for this session now; when it wants to be looked after again.
    pub fn look_after(&self) -> Instant {
        if let Secret::Unusable(_) = secret::get() {
            return time::now() + IDLE_PING;
        }
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Status::Refused(failure) = state.client.status() {
            if !core::mem::replace(&mut state.refusal_told, true) {
                println!("remote: {} refuses us: {failure}", self.server);
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
        if !net.stack.is_up() && !self.server.address.is_loopback() {
            state.why_away = "no network address".into();
            return time::now() + RETRY.0;
        }
        let event = SharedEvent(Arc::clone(&self.event));
        let Ok(socket) = net
            .stack
            .socket(Kind::Stream, Family::V4, Owner::Kernel, event)
        else {
            state.why_away = Errno::ENOBUFS.text().into();
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
                let key = match secret::get() {
                    Secret::Key(key) => Some(key),
                    Secret::Token(_) | Secret::Unusable(_) => None,
                };
                let wire = match Wire::new(key, secret::random) {
                    Ok(wire) => Box::new(wire),
                    Err(error) => {
                        self.drop_link(state, error.to_string());
                        return now + RETRY.0;
                    }
                };
                state.link = Link::Up { socket, wire };
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
        if away && !state.away_told && self.tells() {
            state.away_told = true;
            println!(
                "remote: {} is away ({}); waiting for it",
                self.server, state.why_away
            );
        }
    }
}
