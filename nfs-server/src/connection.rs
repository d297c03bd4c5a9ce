//! One connection: bytes in, frames to [`serve`], replies and pushes out.
//!
//! One task does everything, so replies, pushes and limits need no locks among each other. It stops
//! reading while more than `HIGH_WATER` bytes wait to be sent: what a client costs is bounded by one
//! frame in, that mark and one reply out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::codec::{self, DecodeError, Field};
use protocol::frame::{self, FrameReader, Header};
use protocol::message::{Hello, HelloReply, Operation, Request, Resumed};
use protocol::noise::{Channel, Key, KeyId, NoiseError};
use protocol::{Errno, MAGIC, MAX_HELLO, MAX_SLOTS, MIN_FRAME, NO_SLOT, Reason, VERSION};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::config::Security;
use crate::follow::{self, Follower, Step};
use crate::inodes::lock;
use crate::journal::Record;
use crate::refuse::{Refused, because, because_of};
use crate::serve;
use crate::server::{self, Shared};
use crate::session::{Session, same_secret};

/// Bytes that may wait to be sent before the client's requests have to wait.
const HIGH_WATER: usize = 256 * 1024;
/// How often files are looked at that somebody else may write.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A hello must come within this.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A wrong token costs this much.
const REFUSAL_DELAY: Duration = Duration::from_millis(200);
/// How long a goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_millis(500);

thread_local! {
    // Shared by all connections of a thread, so that an idle client costs no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 * 1024]);
}

/// Why a connection ended.
enum End {
    /// The client hung up.
    Closed,
    /// The client said goodbye.
    Goodbye,
    /// The client is told why.
    Told(Refused),
    /// The socket failed.
    Io(std::io::Error),
    /// The encrypted channel broke: there is no way to tell the client.
    Channel(NoiseError),
}

impl From<NoiseError> for End {
    fn from(error: NoiseError) -> Self {
        Self::Channel(error)
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

struct Connection<'a> {
    shared: &'a Arc<Shared>,
    stream: TcpStream,
    number: u64,
    // noise mode: what lies between the socket and the frames.
    channel: Option<Channel>,
    incoming: FrameReader,
    // Frames to be sent; `sent` bytes of them are gone.
    out: Vec<u8>,
    sent: usize,
    session: Option<Arc<Session>>,
    follows: BTreeMap<u32, Follower>,
    watcher: Arc<Notify>,
    opened: Instant,
    heard: Instant,
    // Since when the client has not taken what waits for it.
    stalled: Option<Instant>,
    looked: Instant,
}

/// Serves a connection to its end.
pub async fn run(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    number: u64,
    over_limit: bool,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let now = Instant::now();
    let mut connection = Connection {
        shared,
        stream,
        number,
        channel: match shared.security {
            Security::Plain { .. } => None,
            Security::Noise { .. } => Some(Channel::server(protocol::host::random)),
        },
        incoming: FrameReader::new(MAX_HELLO),
        out: Vec::new(),
        sent: 0,
        session: None,
        follows: BTreeMap::new(),
        watcher: Arc::new(Notify::new()),
        opened: now,
        heard: now,
        stalled: None,
        looked: now,
    };
    let end = if over_limit {
        let limit = shared.limits.connections as u64;
        End::Told(because_of(Errno::EAGAIN, Reason::SessionLimit, limit))
    } else {
        connection.converse(&mut stopped).await
    };
    let client = connection
        .session
        .as_ref()
        .map_or("?", |session| session.name.as_str())
        .to_owned();
    match end {
        End::Closed => tracing::debug!(%peer, client, "closed"),
        End::Goodbye => {
            tracing::debug!(%peer, client, "goodbye");
            connection.finish().await;
        }
        End::Io(error) => tracing::debug!(%peer, client, "connection lost: {error}"),
        End::Channel(error) => {
            match connection.session {
                None => shared.count_refused(),
                Some(_) => shared.count_dropped(),
            }
            tracing::warn!(%peer, client, "dropped: {error}");
        }
        End::Told((errno, refusal)) => {
            if refusal.reason != Reason::Shutdown && refusal.reason != Reason::TakenOver {
                shared.count_dropped();
                tracing::warn!(%peer, client, reason = %refusal.reason, value = refusal.value, "dropped");
            }
            let session = connection.session.as_ref().map_or(0, |session| session.id);
            let header = follow::push_header(Operation::Goodbye, session, errno.status());
            frame::put(&mut connection.out, header, |out| refusal.put(out));
            connection.finish().await;
        }
    }
    if let Some(session) = &connection.session {
        session.leave(number);
    }
}

impl Connection<'_> {
    async fn converse(&mut self, stopped: &mut watch::Receiver<bool>) -> End {
        loop {
            match self.turn(stopped).await {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    /// Does what can be done, then waits for something to do.
    async fn turn(&mut self, stopped: &mut watch::Receiver<bool>) -> Result<(), End> {
        let more_frames = self.frames().await?;
        let more_pushes = self.pump();
        self.flush()?;
        let room = self.room();
        if (more_frames || more_pushes) && room {
            // Others want their turn too.
            tokio::task::yield_now().await;
            return Ok(());
        }
        if *stopped.borrow() {
            return Err(End::Told(because(Errno::ESHUTDOWN, Reason::Shutdown)));
        }
        if room && self.read()? {
            return Ok(());
        }
        let interest = match (room, self.waiting() > 0) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, _) => Interest::WRITABLE,
        };
        let deadline = self.deadline()?;
        // Made before the question who owns the session, so that no answer is missed in between.
        let session = self.session.clone();
        let notified = session
            .as_ref()
            .map(|session| session.taken_over.notified());
        let owns = || {
            session
                .as_ref()
                .is_none_or(|session| session.is_owned_by(self.number))
        };
        if !owns() {
            return Err(End::Told(because(Errno::ESTALE, Reason::TakenOver)));
        }
        let taken_over = async {
            match notified {
                Some(notified) => notified.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.stream.ready(interest) => {
                ready?;
            }
            () = self.watcher.notified(), if !self.follows.is_empty() => {}
            () = taken_over => {}
            () = server::stopping(stopped) => {}
            () = tokio::time::sleep_until(deadline.into()) => {}
        }
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.out.len() - self.sent
            + self
                .channel
                .as_ref()
                .map_or(0, |channel| channel.output().len())
    }

    fn is_within_frame(&self) -> bool {
        self.incoming.is_within_frame()
            || self
                .channel
                .as_ref()
                .is_some_and(Channel::is_within_message)
    }

    fn room(&self) -> bool {
        self.waiting() < HIGH_WATER
    }

    /// When to wake up even if nothing happens; an error when a time is over.
    fn deadline(&self) -> Result<Instant, End> {
        let limits = &self.shared.limits;
        let now = Instant::now();
        let mut next = match (&self.session, self.is_within_frame() && self.room()) {
            (None, _) => self.opened + HELLO_WITHIN.min(limits.idle()),
            (Some(_), true) => self.heard + limits.idle() / 2,
            (Some(_), false) => self.heard + limits.idle(),
        };
        // A follower has nothing to say; its pushes prove that it is there.
        let follows_only = !self.follows.is_empty() && !self.is_within_frame();
        if now >= next && !follows_only {
            return Err(End::Told(because_of(
                Errno::ETIMEDOUT,
                Reason::Idle,
                limits.idle_ms,
            )));
        }
        if follows_only {
            next = self.looked + LOOK_EVERY;
        }
        if let Some(since) = self.stalled {
            let over = since + Duration::from_millis(limits.stall_ms);
            if now >= over {
                return Err(End::Told(because_of(
                    Errno::ETIMEDOUT,
                    Reason::SlowReader,
                    limits.stall_ms,
                )));
            }
            next = next.min(over);
        }
        Ok(next)
    }

    /// Reads what is there. Whether something was.
    fn read(&mut self) -> Result<bool, End> {
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let n = self.stream.try_read(scratch)?;
            match &mut self.channel {
                None => self.incoming.push(&scratch[..n]),
                Some(channel) => {
                    let find = |id| find_key(&self.shared.security, id);
                    channel.receive(&scratch[..n], self.incoming.buffer_mut(), &find)?;
                }
            }
            Ok::<_, End>(n)
        });
        match read {
            Ok(0) => Err(End::Closed),
            Ok(_) => {
                self.heard = Instant::now();
                Ok(true)
            }
            Err(End::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(end) => Err(end),
        }
    }

    /// Sends what waits, as far as the socket takes it.
    fn flush(&mut self) -> Result<(), End> {
        while self.waiting() > 0 {
            let wrote = match &mut self.channel {
                None => self
                    .stream
                    .try_write(&self.out[self.sent..])
                    .map(|n| self.sent += n),
                Some(channel) => {
                    if channel.output().is_empty() {
                        let end = self.out.len().min(self.sent + HIGH_WATER);
                        channel.send(&self.out[self.sent..end])?;
                        self.sent = end;
                    }
                    self.stream
                        .try_write(channel.output())
                        .map(|n| channel.sent(n))
                }
            };
            match wrote {
                Ok(()) => self.stalled = None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.sent = 0;
        self.stalled = None;
        // A large reply does not cost its memory for ever.
        if self.out.capacity() > 64 * 1024 {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Ok(())
    }

    /// The last bytes, within a short time.
    async fn finish(&mut self) {
        let send = async {
            while self.flush().is_ok() && self.waiting() > 0 {
                if self.stream.writable().await.is_err() {
                    return;
                }
            }
            // Unread bytes would turn the close into a reset, and the client would not see the reason.
            let mut sink = [0; 4096];
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await;
            while matches!(
                tokio::io::AsyncReadExt::read(&mut self.stream, &mut sink).await,
                Ok(1..)
            ) {}
        };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, send).await;
    }

    /// Serves whole frames while there is room. Whether some are left.
    async fn frames(&mut self) -> Result<bool, End> {
        let mut incoming = std::mem::replace(&mut self.incoming, FrameReader::new(MAX_HELLO));
        let result = loop {
            if !self.room() {
                break Ok(true);
            }
            match incoming.next_frame() {
                Ok(None) => break Ok(false),
                Err(too_large) => {
                    let limit = u64::from(too_large.limit);
                    break Err(End::Told(because_of(
                        Errno::EMSGSIZE,
                        Reason::FrameSize,
                        limit,
                    )));
                }
                Ok(Some((header, payload))) => {
                    let served = match self.session.clone() {
                        None => self.hello(header, payload).await,
                        Some(session) => self.frame(&session, header, payload),
                    };
                    if let Err(end) = served {
                        break Err(end);
                    }
                }
            }
            if let Some(session) = &self.session {
                incoming.set_limit(session.max_frame);
            }
        };
        self.incoming = incoming;
        result
    }

    fn frame(&mut self, session: &Arc<Session>, header: Header, payload: &[u8]) -> Result<(), End> {
        if header.operation == Operation::Hello.number() {
            return Err(End::Told(because(Errno::EPROTO, Reason::HelloTwice)));
        }
        if header.session != session.id {
            return Err(End::Told(because(Errno::EPROTO, Reason::BadSession)));
        }
        if !session.is_owned_by(self.number) {
            return Err(End::Told(because(Errno::ESTALE, Reason::TakenOver)));
        }
        if session.was_told() {
            // Its first frame shows that the answer to its hello arrived.
            let _ = self.shared.journal.write(Record::Told(session.id));
        }
        if header.is_push() {
            return self.one_way(session, header, payload).map_err(bad_message);
        }
        serve::serve(self.shared, session, header, payload, &mut self.out).map_err(bad_message)?;
        if header.operation == Operation::Goodbye.number() {
            self.shared.sessions.remove(session.id);
            let _ = self.shared.journal.write(Record::End(session.id));
            return Err(End::Goodbye);
        }
        Ok(())
    }

    fn one_way(
        &mut self,
        session: &Arc<Session>,
        header: Header,
        payload: &[u8],
    ) -> Result<(), DecodeError> {
        let operation = frame::check_request(&header)?;
        let request = match Request::decode(header.operation, payload) {
            Err(DecodeError::Name(error)) if operation == Operation::Follow => {
                // The id comes first in the payload.
                let id = u32::get(&mut codec::Reader::new(payload), "id")?;
                let (errno, reason) = error.refusal();
                follow::push_refused(&mut self.out, session.id, id, because(errno, reason));
                return Ok(());
            }
            other => other?,
        };
        let bytes = u64::from(header.length);
        match request {
            Request::Follow(call) => {
                self.follows.remove(&call.id);
                let started = self.start_follow(session, &call);
                lock(&session.counts).add(operation, started.is_err(), bytes);
                match started {
                    Ok(follower) => {
                        self.follows.insert(call.id, follower);
                    }
                    Err(refused) => {
                        follow::push_refused(&mut self.out, session.id, call.id, refused)
                    }
                }
            }
            Request::Credit(call) => {
                if let Some(follower) = self.follows.get_mut(&call.id) {
                    follower.add_credit(call.bytes);
                }
                lock(&session.counts).add(operation, false, bytes);
            }
            Request::Unfollow(call) => {
                self.follows.remove(&call.id);
                lock(&session.counts).add(operation, false, bytes);
            }
            other => return Err(DecodeError::Operation(other.operation().number())),
        }
        Ok(())
    }

    fn start_follow(
        &self,
        session: &Session,
        call: &protocol::message::Follow<'_>,
    ) -> Result<Follower, Refused> {
        let limit = self.shared.limits.follows;
        if self.follows.len() >= limit {
            return Err(because_of(Errno::EMFILE, Reason::FollowLimit, limit as u64));
        }
        let state = lock(&session.state);
        let node = state.node(call.dir)?;
        if node.file.is_some() {
            return Err(because(Errno::ENOTDIR, Reason::System));
        }
        let dir = node.fd.as_fd().try_clone_to_owned();
        let dir = dir.map_err(|_| because(Errno::EMFILE, Reason::System))?;
        Ok(Follower::new(call, session.id, dir))
    }

    /// Lets every follower say what it has to say, while there is room. Whether one has more.
    fn pump(&mut self) -> bool {
        if self.follows.is_empty() {
            return false;
        }
        let may_look = self.looked.elapsed() >= LOOK_EVERY;
        if may_look {
            self.looked = Instant::now();
        }
        let mut more = false;
        let mut over = Vec::new();
        for (id, follower) in &mut self.follows {
            if self.out.len() - self.sent >= HIGH_WATER {
                return true;
            }
            match follower.step(self.shared, &self.watcher, may_look, &mut self.out) {
                Step::Pushed => more = true,
                Step::Idle => {}
                Step::Over => over.push(*id),
            }
        }
        for id in over {
            self.follows.remove(&id);
        }
        more
    }

    async fn hello(&mut self, header: Header, payload: &[u8]) -> Result<(), End> {
        let result = self.greet(header, payload);
        let refused = match result {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        self.shared.count_refused();
        tracing::warn!(reason = %refused.1.reason, "hello refused");
        if refused.1.reason == Reason::BadToken {
            tokio::time::sleep(REFUSAL_DELAY).await;
        }
        let asked = Header {
            operation: Operation::Hello.number(),
            slot: NO_SLOT,
            sequence: 0,
            ..header
        };
        frame::put_reply(&mut self.out, &asked, &Err::<(), _>(refused));
        Err(End::Told(refused))
    }

    fn greet(&mut self, header: Header, payload: &[u8]) -> Result<(), Refused> {
        let bad_message = |_| because(Errno::EPROTO, Reason::BadMessage);
        if header.operation != Operation::Hello.number() {
            return Err(because(Errno::EPROTO, Reason::HelloFirst));
        }
        frame::check_request(&header).map_err(bad_message)?;
        let hello: Hello<'_> = codec::decode(payload).map_err(bad_message)?;
        if hello.magic != MAGIC {
            return Err(because(Errno::EPROTO, Reason::BadMagic));
        }
        // In noise mode the handshake has proved more than a token could.
        if let Security::Plain { token } = &self.shared.security
            && !same_secret(token, hello.token)
        {
            return Err(because(Errno::EACCES, Reason::BadToken));
        }
        if !(hello.min_version..=hello.max_version).contains(&VERSION) {
            return Err(because_of(
                Errno::EPROTONOSUPPORT,
                Reason::BadVersion,
                VERSION.into(),
            ));
        }
        let (session, resumed) = self.session(header.session, &hello)?;
        session.take(self.number);
        tracing::info!(
            session = session.id,
            client = session.name,
            ?resumed,
            "hello"
        );
        let reply = HelloReply {
            version: VERSION,
            slots: session.slot_count(),
            max_frame: session.max_frame,
            boot_id: self.shared.boot_id,
            resumed,
            idle_ms: u32::try_from(self.shared.limits.idle_ms).unwrap_or(u32::MAX),
            time_ns: serve::wall_ns(),
        };
        frame::put_reply(
            &mut self.out,
            &Header {
                session: session.id,
                ..header
            },
            &Ok(reply),
        );
        self.session = Some(session);
        Ok(())
    }

    /// The session to resume, or a new one.
    fn session(&self, wanted: u64, hello: &Hello<'_>) -> Result<(Arc<Session>, Resumed), Refused> {
        let shared = self.shared;
        let key = self.channel.as_ref().map_or(KeyId::default(), Channel::key);
        if wanted != 0
            && let Some(session) = shared.sessions.find(wanted, hello.client, key)
        {
            let resumed = session.resumed();
            return Ok((session, resumed));
        }
        let name = clean_name(hello.name);
        let slots = hello
            .slots
            .clamp(1, shared.limits.slots.clamp(1, MAX_SLOTS));
        let largest = shared
            .limits
            .frame_bytes
            .clamp(MIN_FRAME, protocol::MAX_FRAME);
        let max_frame = hello.max_frame.clamp(MIN_FRAME, largest);
        let internal = |error: anyhow::Error| {
            tracing::error!("no session: {error:#}");
            because(Errno::EIO, Reason::System)
        };
        let id = server::new_session_id().map_err(internal)?;
        let session = Arc::new(Session::new(
            id,
            (hello.client, key),
            name,
            slots,
            max_frame,
        ));
        let keep = Duration::from_millis(shared.limits.session_ms);
        let gone = shared
            .sessions
            .insert(session.clone(), shared.limits.sessions, keep)?;
        for id in gone {
            let _ = shared.journal.write(Record::End(id));
        }
        server::remember(shared, &session).map_err(|error| internal(error.into()))?;
        Ok((session, Resumed::New))
    }
}

fn find_key(security: &Security, id: KeyId) -> Option<Key> {
    match security {
        Security::Plain { .. } => None,
        Security::Noise { keys } => keys.iter().find(|key| key.id == id).cloned(),
    }
}

fn bad_message(error: DecodeError) -> End {
    tracing::warn!("bad message: {error}");
    End::Told(because(Errno::EPROTO, Reason::BadMessage))
}

/// A client's name for logs: printable, and not long.
fn clean_name(name: &[u8]) -> String {
    name.iter()
        .take(64)
        .map(|&byte| {
            if matches!(byte, b' '..=b'~') {
                char::from(byte)
            } else {
                '?'
            }
        })
        .collect()
}
