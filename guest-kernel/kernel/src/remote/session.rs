//! A session with one file server: the protocol's client over one TCP connection after another.
//!
//! Whoever waits for a reply moves the bytes itself ([`Session::call`]), so that a request costs no
//! thread switch on its way out. `link` has the connection.

use super::link::State;
use super::secret::{self, Secret};
use crate::net;
use crate::net::event::Event;
use crate::sync::SleepLock;
use crate::time;
use crate::trace;
use abi::Errno;
use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use kcore::net::stack::Endpoint;
use protocol::client::{Client, Config, Epoch, Failure, Reply, SubmitError, Ticket};
use protocol::message::{Access, Attach, Call, Handle, Operation};
use protocol::name::Path;
use trace_record::{Class, Payload};

/// Requests in flight.
const SLOTS: u16 = 32;
/// Largest payload we ask for; several of them fit a socket's buffer.
const FRAME: u32 = 64 * 1024 + 64;
/// How often an idle session without a heartbeat speaks up, at least.
pub(super) const IDLE_PING: Duration = Duration::from_secs(10);

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
    pub(super) fn ping_period(self) -> Duration {
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
    pub(super) event: Arc<Event>,
    pub(super) state: SleepLock<State>,
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

pub(super) fn now_ms() -> u64 {
    time::now().0 / 1_000_000
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

impl Asked {
    /// For those who keep many: what names the request, and its record in the trace.
    pub fn parts(self) -> (Ticket, Option<u32>) {
        (self.ticket, self.record)
    }
}

/// Puts an answer into the trace.
pub fn record_answer(request: Option<u32>, reply: &Reply) {
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
    pub fn new(server: Endpoint, purpose: Purpose) -> Self {
        let token = match secret::get() {
            Secret::Token(token) => token.clone(),
            Secret::Key(_) | Secret::Unusable(_) => Vec::new(),
        };
        let client = Client::new(Config {
            client: secret::random_id(),
            name: purpose.name().into(),
            token,
            slots: SLOTS,
            max_frame: FRAME,
        });
        Self {
            server,
            purpose,
            event: Arc::new(Event::new()),
            state: SleepLock::new("session", State::new(client)),
        }
    }

    /// Asks, and waits for the answer: as long as it takes, or until the caller is killed.
    pub fn call<C: Call>(&self, call: &C, about: About<'_>) -> Result<Reply, Errno> {
        let asked = self.submit(call, about)?;
        self.wait(asked)
    }

    /// Asks. Sleeps only while all slots are taken or the server was never reached.
    pub fn submit<C: Call>(&self, call: &C, about: About<'_>) -> Result<Asked, Errno> {
        if !self.server.address.is_loopback() && !net::has_card() {
            return Err(Errno::ENETUNREACH);
        }
        if let Secret::Unusable(_) = secret::get() {
            return Err(Errno::EPROTONOSUPPORT);
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
                    Err(SubmitError::Stale(failure) | SubmitError::Refused(failure)) => {
                        return Err(errno(failure));
                    }
                }
            }
            self.event.wait(seen)?;
        }
    }

    /// Asks, but sends only together with what comes next: [`Self::with_client`] does that, too.
    pub fn submit_unsent<C: Call>(&self, call: &C, about: About<'_>) -> Result<Asked, Errno> {
        let submitted = self.state.lock().client.submit(call, now_ms());
        match submitted {
            Ok(ticket) => {
                let record = self.record_request(C::OPERATION, about);
                Ok(Asked { ticket, record })
            }
            // There is a reason to wait, or an error.
            Err(_) => self.submit(call, about),
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
        if let Err(error) = self.wait_done(ticket) {
            self.state.lock().client.cancel(ticket);
            return Err(error);
        }
        let reply = self.state.lock().client.take(ticket);
        let reply = reply.ok_or(Errno::EIO)?;
        record_answer(record, &reply);
        Ok(reply)
    }

    /// Waits until there is an answer, and leaves it there. EINTR leaves the request under way.
    pub fn wait_done(&self, ticket: Ticket) -> Result<(), Errno> {
        loop {
            let seen = self.event.seen();
            {
                let mut state = self.state.lock();
                if state.client.is_done(ticket) {
                    return Ok(());
                }
                self.pump(&mut state);
                if state.client.is_done(ticket) {
                    return Ok(());
                }
            }
            self.event.wait(seen)?;
        }
    }

    /// For bookkeeping on top of the client, with what has arrived taken in.
    pub fn with_client<R>(&self, f: impl FnOnce(&mut Client) -> R) -> R {
        let mut state = self.state.lock();
        self.pump(&mut state);
        f(&mut state.client)
    }

    /// Forgets a question.
    pub fn cancel(&self, ticket: Ticket) {
        self.state.lock().client.cancel(ticket);
    }

    /// The generation handles got now belong to.
    pub fn generation(&self) -> u32 {
        self.state.lock().client.generation()
    }

    /// Most bytes in one read, write or append.
    pub fn max_data(&self) -> usize {
        self.state.lock().client.max_data() as usize
    }

    /// The generation, and the boot of the server's machine, that handles got now belong to.
    pub fn epoch(&self) -> Epoch {
        self.state.lock().client.epoch()
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
                    // Another session began under way: this root may be the old one's.
                    if state.client.generation() == generation {
                        let root = Root {
                            generation,
                            handle: attached.root,
                            access: attached.access,
                        };
                        state.roots.insert(export.to_vec(), root);
                    }
                }
                // A first session, or a new one, began under way.
                Err(Errno::ESTALE) if self.generation() != generation => {}
                Err(error) => return Err(error),
            }
        }
    }
}
