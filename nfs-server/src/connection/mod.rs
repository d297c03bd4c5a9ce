//! One connection: bytes in, frames to [`serve`], replies and pushes out.
//!
//! One task does everything, so replies, pushes and limits need no locks among each other. It stops
//! reading while more than `HIGH_WATER` bytes wait to be sent: what a client costs is bounded by one
//! frame in, that mark and one reply out.

mod follows;
mod hello;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use protocol::codec::{DecodeError, Field};
use protocol::frame::{self, FrameReader, Header, TooLarge};
use protocol::message::Operation;
use protocol::noise::{Channel, NoiseError};
use protocol::{Errno, MAX_HELLO, Reason};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::Sleep;

use crate::config::Security;
use crate::follow::{self, Follower};
use crate::journal::Record;
use crate::refuse::{Refused, because, because_of};
use crate::serve;
use crate::server::{self, Shared};
use crate::session::Session;

/// How often files are looked at that somebody else may write.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A hello must come within this.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A client that follows and says nothing is asked by TCP whether it is there: first after this silence, then this
/// often, and it is gone after so many questions without an answer. One that vanished without a word (its machine lost
/// power) costs a connection for two minutes, not for ever; its session stays. Where bytes were on the way to it, Linux
/// gives up after about 15 minutes by itself.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_QUESTIONS: u32 = 6;
/// So many times requests are answered before anything else is looked at.
const SERVED_AT_ONCE: u32 = 64;

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
    if let Err(error) = keep_alive(&stream) {
        tracing::warn!(%peer, "a vanished client will not be noticed: {error}");
    }
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

fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_QUESTIONS)?;
    sockopt::set_socket_keepalive(stream, true)
}

impl Connection<'_> {
    async fn converse(&mut self, stopped: &mut watch::Receiver<bool>) -> End {
        let mut alarm = std::pin::pin!(tokio::time::sleep_until(self.opened.into()));
        loop {
            match self.turn(stopped, alarm.as_mut()).await {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    /// Does what can be done, then waits for something to do.
    async fn turn(
        &mut self,
        stopped: &mut watch::Receiver<bool>,
        mut alarm: Pin<&mut Sleep>,
    ) -> Result<(), End> {
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
        // An alarm that is too early only costs a turn: with every request the deadline moves on, the alarm does not.
        let deadline = self.deadline()?.into();
        if alarm.is_elapsed() || deadline < alarm.deadline() {
            alarm.as_mut().reset(deadline);
        }
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
        let (follows, watcher) = (!self.follows.is_empty(), self.watcher.clone());
        let mut served = 0;
        let work = std::future::poll_fn(|context| self.poll_work(context, &mut served));
        tokio::select! {
            biased;
            done = work => done?,
            () = watcher.notified(), if follows => {}
            () = taken_over => {}
            () = server::stopping(stopped) => {}
            () = alarm => {}
        }
        Ok(())
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

    /// Serves whole frames while there is room. Whether some are left.
    async fn frames(&mut self) -> Result<bool, End> {
        if self.session.is_none() && !self.greeting().await? {
            return Ok(false);
        }
        self.serve_frames()
    }

    /// The first frame. Whether it is there.
    async fn greeting(&mut self) -> Result<bool, End> {
        let mut incoming = std::mem::replace(&mut self.incoming, FrameReader::new(MAX_HELLO));
        let greeted = match incoming.next_frame() {
            Ok(None) => Ok(false),
            Err(too_large) => Err(too_long(too_large)),
            Ok(Some((header, payload))) => self.hello(header, payload).await.map(|()| true),
        };
        self.incoming = incoming;
        greeted
    }

    /// As [`Self::frames`], of a session.
    fn serve_frames(&mut self) -> Result<bool, End> {
        let Some(session) = self.session.clone() else {
            return Ok(false);
        };
        let mut incoming = std::mem::replace(&mut self.incoming, FrameReader::new(MAX_HELLO));
        incoming.set_limit(session.max_frame);
        let result = loop {
            if !self.room() {
                break Ok(true);
            }
            let served = match incoming.next_frame() {
                Ok(None) => break Ok(false),
                Err(too_large) => Err(too_long(too_large)),
                Ok(Some((header, payload))) => self.frame(&session, header, payload),
            };
            if let Err(end) = served {
                break Err(end);
            }
        };
        self.incoming = incoming;
        result
    }

    /// Ready when there is more to do than to answer the requests that came. The answer leaves before anything else
    /// is looked at: that is what a client waits for.
    fn poll_work(&mut self, context: &mut Context<'_>, served: &mut u32) -> Poll<Result<(), End>> {
        while *served < SERVED_AT_ONCE {
            *served += 1;
            let room = self.room();
            ready!(self.poll_socket(context, room))?;
            if self.session.is_none() || !self.follows.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let more = self.serve_frames()?;
            self.flush()?;
            if more || self.waiting() > 0 || self.is_within_frame() || !self.follows.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
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
}

fn too_long(frame: TooLarge) -> End {
    let limit = u64::from(frame.limit);
    End::Told(because_of(Errno::EMSGSIZE, Reason::FrameSize, limit))
}

fn bad_message(error: DecodeError) -> End {
    tracing::warn!("bad message: {error}");
    End::Told(because(Errno::EPROTO, Reason::BadMessage))
}
