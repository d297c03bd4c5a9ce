//! A session over a TCP socket, blocking, with reconnection.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::string::{String, ToString};
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::written::Written;
use crate::client::{Broken, Client, Config, Failure, Push, Reply, Status, SubmitError, Ticket};
use crate::message::{Call, ClientId, Goodbye, HelloReply};
use crate::name::Path;
use crate::noise::{Channel, Key};
use crate::{Errno, Handle};

const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// After so long without a byte a waiting session looks whether it waited too long.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How to reach a server.
#[derive(Clone)]
pub struct Options {
    /// Where it is.
    pub address: SocketAddr,
    /// plain mode: its token.
    pub token: Vec<u8>,
    /// noise mode: our key. A client with a key never speaks plain.
    pub key: Option<Key>,
    /// What the server's logs and counters call us.
    pub name: String,
    /// Requests in flight.
    pub slots: u16,
    /// Largest payload.
    pub max_frame: u32,
    /// How long a connection attempt may take.
    pub connect_within: Duration,
    /// Silence of the server after which the connection is given up and made anew.
    pub answer_within: Duration,
    /// How long to try to reach a server that is away; `None` for ever.
    pub give_up_after: Option<Duration>,
}

impl Options {
    /// Gives up after 10 seconds without a server.
    pub fn new(address: SocketAddr, token: &[u8]) -> Self {
        Self {
            address,
            token: token.to_vec(),
            key: None,
            name: "host".to_string(),
            slots: 16,
            max_frame: crate::MAX_FRAME,
            connect_within: Duration::from_secs(5),
            answer_within: Duration::from_secs(30),
            give_up_after: Some(Duration::from_secs(10)),
        }
    }

    /// In noise mode.
    pub fn with_key(address: SocketAddr, key: Key) -> Self {
        Self {
            key: Some(key),
            ..Self::new(address, &[])
        }
    }

    /// With a name for the server's logs and counters.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_string();
        self
    }

    /// Waits for a server that is away for ever, or for so long.
    pub fn patient(mut self, give_up_after: Option<Duration>) -> Self {
        self.give_up_after = give_up_after;
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token.
        f.debug_struct("Options")
            .field("address", &self.address)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why something did not work.
#[derive(Debug)]
pub enum Error {
    /// The server said no to this request.
    Refused(Failure),
    /// The server will not have us at all.
    Unwelcome(Failure),
    /// The server could not be reached for as long as was asked for.
    Away {
        /// Where it should be.
        address: SocketAddr,
        /// What the last attempt said.
        last: String,
    },
    /// A request that does not fit the agreed frame.
    TooLarge {
        /// The bound.
        limit: u32,
    },
    /// Our own side: a file of this host, or a path that breaks the name rule.
    Local(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(failure) => failure.fmt(f),
            Self::Unwelcome(failure) => write!(f, "the server refuses this client: {failure}"),
            Self::Away { address, last } => write!(f, "no server at {address}: {last}"),
            Self::TooLarge { limit } => write!(f, "request does not fit the agreed {limit} bytes"),
            Self::Local(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Local(error)
    }
}

impl Error {
    /// The server's error number, if it was the server's error.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(failure) | Self::Unwelcome(failure) => Some(failure.errno),
            Self::Away { .. } | Self::TooLarge { .. } | Self::Local(_) => None,
        }
    }
}

/// How the connection is, for a status line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Requests flow.
    Up,
    /// Trying to connect, or waiting for the hello's answer.
    Connecting {
        /// Attempts since it was last up.
        attempts: u32,
        /// What the last one said.
        last: String,
        /// When the next one comes.
        next_in: Duration,
    },
    /// The server will not have us.
    Unwelcome(Failure),
}

/// A session. Not shared between threads: put it behind a mutex, or open two.
#[derive(Debug)]
pub struct Session {
    pub(super) core: Client,
    pub(super) written: BTreeMap<Handle, Written>,
    options: Options,
    stream: Option<TcpStream>,
    channel: Option<Channel>,
    started: Instant,
    attempts: u32,
    next_attempt: Instant,
    away_since: Option<Instant>,
    last_error: String,
    buffer: Box<[u8]>,
}

impl Session {
    /// A session that is not connected yet; the first call connects.
    pub fn new(options: Options) -> std::io::Result<Self> {
        let mut client = [0; 16];
        if !random(&mut client) {
            return Err(std::io::Error::other(
                "the operating system gives no random numbers",
            ));
        }
        let core = Client::new(Config {
            client: ClientId(client),
            name: options.name.clone().into_bytes(),
            token: options.token.clone(),
            slots: options.slots,
            max_frame: options.max_frame,
        });
        let now = Instant::now();
        Ok(Self {
            core,
            written: BTreeMap::new(),
            options,
            stream: None,
            channel: None,
            started: now,
            attempts: 0,
            next_attempt: now,
            away_since: None,
            last_error: String::from("not tried yet"),
            buffer: vec![0; 256 * 1024].into_boxed_slice(),
        })
    }

    /// Connects and waits until requests flow.
    pub fn connect(options: Options) -> Result<Self, Error> {
        let mut session = Self::new(options)?;
        session.drive_until(|core| core.status() == Status::Ready)?;
        Ok(session)
    }

    /// How the connection is.
    pub fn link(&self) -> Link {
        match self.core.status() {
            Status::Ready => Link::Up,
            Status::Refused(failure) => Link::Unwelcome(failure),
            Status::Down | Status::Greeting => Link::Connecting {
                attempts: self.attempts,
                last: self.last_error.clone(),
                next_in: self.next_attempt.saturating_duration_since(Instant::now()),
            },
        }
    }

    /// What the last hello agreed.
    pub fn agreed(&self) -> Option<&HelloReply> {
        self.core.agreed()
    }

    /// Changes when a session was lost: handles of an older one mean nothing.
    pub fn generation(&self) -> u32 {
        self.core.generation()
    }

    /// The session's number on the server.
    pub fn session_id(&self) -> u64 {
        self.core.session()
    }

    /// The most data of one write or append.
    pub fn max_data(&self) -> u32 {
        self.core.max_data()
    }

    /// Asks and waits for the answer, over any number of connections.
    pub fn call<C: Call>(&mut self, call: &C) -> Result<Reply, Error> {
        let ticket = self.submit(call)?;
        self.wait(ticket)
    }

    /// Asks; waits only for a free slot.
    pub fn submit<C: Call>(&mut self, call: &C) -> Result<Ticket, Error> {
        loop {
            let now = self.now_ms();
            match self.core.submit(call, now) {
                Ok(ticket) => return Ok(ticket),
                Err(SubmitError::NotReady) => {
                    self.drive_until(|core| core.status() == Status::Ready)?
                }
                Err(SubmitError::NoSlot) => self.drive_until(|core| core.free_slots() > 0)?,
                Err(SubmitError::TooLarge { limit }) => return Err(Error::TooLarge { limit }),
                Err(SubmitError::Stale(failure)) => return Err(Error::Refused(failure)),
                Err(SubmitError::Refused(failure)) => return Err(Error::Unwelcome(failure)),
            }
        }
    }

    /// Waits for an answer.
    pub fn wait(&mut self, ticket: Ticket) -> Result<Reply, Error> {
        loop {
            if let Some(reply) = self.core.take(ticket) {
                if let Some(failure) = reply.failure() {
                    return Err(Error::Refused(failure));
                }
                return Ok(reply);
            }
            if let Err(error) = self.drive_until(|core| core.is_done(ticket)) {
                self.core.cancel(ticket);
                return Err(error);
            }
        }
    }

    /// Waits for an answer and leaves it there, also when the wait fails.
    pub(super) fn wait_done(&mut self, ticket: Ticket) -> Result<(), Error> {
        self.drive_until(|core| core.is_done(ticket))
    }

    /// Nobody waits for this answer any more.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.core.cancel(ticket);
    }

    /// How many requests could be submitted without waiting.
    pub fn free_slots(&self) -> usize {
        self.core.free_slots()
    }

    /// Follows a file; see [`Client::follow`].
    pub fn follow(&mut self, dir: Handle, path: Path<'_>, offset: u64) -> u32 {
        self.core.follow(dir, path, offset)
    }

    /// Stops a follow.
    pub fn unfollow(&mut self, id: u32) {
        self.core.unfollow(id);
    }

    /// The next push, if one comes within this time. Does not fail because the server is away: see
    /// [`Self::link`] for that.
    pub fn next_push(&mut self, within: Duration) -> Result<Option<Push>, Error> {
        let until = Instant::now() + within;
        loop {
            if let Some(push) = self.core.next_push() {
                self.send()?;
                return Ok(Some(push));
            }
            if let Status::Refused(failure) = self.core.status() {
                return Err(Error::Unwelcome(failure));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            self.step(until)?;
        }
    }

    /// Lets the session work for this long, or until something happened: for those who do several things.
    pub fn poll(&mut self, within: Duration) -> Result<(), Error> {
        self.step(Instant::now() + within)
    }

    /// Ends the session on the server; without it the server waits for us to come back.
    pub fn goodbye(mut self) {
        if self.core.status() == Status::Ready {
            self.options.give_up_after = Some(Duration::from_secs(1));
            let _ = self.call(&Goodbye {});
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn drive_until(&mut self, done: impl Fn(&Client) -> bool) -> Result<(), Error> {
        while !done(&self.core) {
            if let Status::Refused(failure) = self.core.status() {
                return Err(Error::Unwelcome(failure));
            }
            if let (Some(since), Some(limit)) = (self.away_since, self.options.give_up_after)
                && since.elapsed() >= limit
            {
                return Err(Error::Away {
                    address: self.options.address,
                    last: self.last_error.clone(),
                });
            }
            self.step(Instant::now() + 2 * LONGEST_WAIT)?;
        }
        Ok(())
    }

    /// One round: connect if need be, send, wait for bytes, take them in.
    fn step(&mut self, until: Instant) -> Result<(), Error> {
        if self.stream.is_none() && !self.reconnect(until) {
            return Ok(());
        }
        self.send()?;
        let wait = until
            .saturating_duration_since(Instant::now())
            .min(LONGEST_WAIT);
        if wait == LONGEST_WAIT && !self.has_output() {
            // One system call for a round trip: the socket waits by itself, for LONGEST_WAIT.
            self.receive(RecvFlags::empty());
        } else if self.has_news(wait)? {
            self.receive(RecvFlags::DONTWAIT);
        }
        if self.has_output() {
            self.send()?;
        }
        let now = self.now_ms();
        let limit = u64::try_from(self.options.answer_within.as_millis()).unwrap_or(u64::MAX);
        if self
            .core
            .silence_ms(now)
            .is_some_and(|silence| silence > limit)
        {
            self.lost("the server does not answer".to_string());
        }
        Ok(())
    }

    /// Whether something came within this time; ends early when what waits can be sent.
    fn has_news(&self, within: Duration) -> Result<bool, Error> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        let mut events = PollFlags::IN;
        if self.has_output() {
            events |= PollFlags::OUT;
        }
        let timeout = rustix::time::Timespec {
            tv_sec: within.as_secs() as i64,
            tv_nsec: within.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(stream, events)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::Local(errno.into())),
        }
        Ok(!(fds[0].revents() & !PollFlags::OUT).is_empty())
    }

    fn reconnect(&mut self, until: Instant) -> bool {
        let now = Instant::now();
        self.away_since.get_or_insert(now);
        if now < self.next_attempt {
            std::thread::sleep(self.next_attempt.min(until).saturating_duration_since(now));
            if Instant::now() < self.next_attempt {
                return false;
            }
        }
        let opened = TcpStream::connect_timeout(&self.options.address, self.options.connect_within);
        let opened = opened.and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LONGEST_WAIT))?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                self.channel = match self
                    .options
                    .key
                    .as_ref()
                    .map(|key| Channel::client(key, random))
                {
                    None => None,
                    Some(Ok(channel)) => Some(channel),
                    Some(Err(error)) => {
                        self.lost(error.to_string());
                        return false;
                    }
                };
                self.stream = Some(stream);
                let now = self.now_ms();
                self.core.connected(now);
                true
            }
            Err(error) => {
                self.lost(error.to_string());
                false
            }
        }
    }

    fn lost(&mut self, why: String) {
        self.stream = None;
        self.channel = None;
        self.core.disconnected();
        let now = Instant::now();
        self.away_since.get_or_insert(now);
        self.last_error = why;
        let backoff = FIRST_BACKOFF
            .saturating_mul(1 << self.attempts.min(10))
            .min(LONGEST_BACKOFF);
        self.attempts = self.attempts.saturating_add(1);
        self.next_attempt = now + backoff;
    }

    /// Whether something waits that could be sent now.
    fn has_output(&self) -> bool {
        match &self.channel {
            Some(channel) if !channel.output().is_empty() => true,
            Some(channel) => channel.is_ready() && !self.core.output().is_empty(),
            None => !self.core.output().is_empty(),
        }
    }

    fn send(&mut self) -> Result<(), Error> {
        while let Some(stream) = &self.stream {
            let write =
                |bytes: &[u8]| send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            let wrote = match &mut self.channel {
                Some(channel) => {
                    if channel.output().is_empty() && channel.is_ready() {
                        let n = self.core.fill(&mut self.buffer);
                        if let Err(error) = channel.send(&self.buffer[..n]) {
                            self.lost(error.to_string());
                            return Ok(());
                        }
                    }
                    if channel.output().is_empty() {
                        return Ok(());
                    }
                    write(channel.output()).map(|n| channel.sent(n))
                }
                None if self.core.output().is_empty() => return Ok(()),
                // Many small frames leave as one.
                None if self.core.output().len() < 4096 => {
                    let mut small = [0; 4096];
                    let n = self.core.peek(&mut small);
                    write(&small[..n]).map(|n| self.core.sent(n))
                }
                None => write(self.core.output()).map(|n| self.core.sent(n)),
            };
            match wrote.map_err(std::io::Error::from) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.lost(error.to_string()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, flags: RecvFlags) {
        let Some(stream) = &self.stream else {
            return;
        };
        let received = recv(stream, &mut self.buffer[..], flags);
        let n = match received.map(|(n, _)| n).map_err(std::io::Error::from) {
            Ok(0)
                if self
                    .channel
                    .as_ref()
                    .is_some_and(|channel| !channel.is_ready()) =>
            {
                return self.lost(
                    "the server closed the connection in the handshake: is the key right?"
                        .to_string(),
                );
            }
            Ok(0) => return self.lost("the server closed the connection".to_string()),
            Ok(n) => n,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return;
            }
            Err(error) => return self.lost(error.to_string()),
        };
        let now = self.now_ms();
        let received = match &mut self.channel {
            None => self.core.receive(&self.buffer[..n], now),
            Some(channel) => {
                let mut plain = Vec::new();
                if let Err(error) = channel.receive(&self.buffer[..n], &mut plain, &|_| None) {
                    return self.lost(error.to_string());
                }
                self.core.receive(&plain, now)
            }
        };
        match received {
            Ok(()) if self.core.status() == Status::Ready => {
                self.away_since = None;
                self.attempts = 0;
            }
            Ok(()) => {}
            Err(Broken::HungUp(failure)) => self.lost(failure.to_string()),
            Err(broken) => self.lost(broken.to_string()),
        }
    }
}

/// Random bytes of the operating system.
pub fn random(buf: &mut [u8]) -> bool {
    let length = buf.len();
    // Up to 256 bytes come whole or not at all.
    rustix::rand::getrandom(buf, rustix::rand::GetRandomFlags::empty()).is_ok_and(|n| n == length)
}
