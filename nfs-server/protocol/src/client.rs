//! A client without I/O. The guest's kernel and the host's client drive the same state machine.
//!
//! The driver owns a TCP connection and a clock. It tells [`Client`] when the connection is up or down
//! and what bytes arrived, and sends what [`Client::output`] holds. Callers [`Client::submit`] a request,
//! get a [`Ticket`], and [`Client::take`] the [`Reply`] when it is there.
//!
//! ```text
//! driver:   connected(now) ──► output()/sent(n) ──► receive(bytes, now) ──► .. ──► disconnected() ─┐
//!              ▲─────────────────────────── connect again ───────────────────────────────────────┘
//! caller:   submit(call, now) -> Ticket ── sleep ──► take(ticket) -> Some(reply)
//! ```
//!
//! What it takes care of, so that no driver has to:
//! - slots and sequence numbers; at most one request per slot, so at most `slots` in flight;
//! - after a lost connection it resumes the session and sends every unanswered request again, in the
//!   order of submission and with the same numbers: the server does each at most once;
//! - replies are checked (slot, sequence, operation, payload) before anybody sees them;
//! - follows go on where they stopped, and credit is returned as pushes are taken;
//! - a session that the server no longer knows fails every request with ESTALE, and
//!   [`Client::generation`] changes: handles of an older generation mean nothing any more.
//!
//! Memory: one copy of each unanswered request, the replies nobody took yet, one frame in progress,
//! and the credit of each follow.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;

use crate::codec::{self, DecodeError, Rest};
use crate::errno::{Errno, Reason, Refusal};
use crate::frame::{self, FrameReader, HEADER, Header};
use crate::message::{
    Call, ClientId, Credit, Follow, FollowEvent, Followed, Handle, Hello, HelloReply, Operation,
    Resumed, Unfollow, check_reply,
};
use crate::name::{Path, PathBuf};
use crate::{FOLLOW_CREDIT, MAGIC, MAX_FRAME, MAX_HELLO, MAX_SLOTS, MIN_FRAME, NO_SLOT, VERSION};

/// Pushes that may wait to be taken. Credit bounds their bytes, this their number.
const MAX_PUSHES: usize = 1 << 16;

/// Who a client is and what it asks for.
#[derive(Clone, Debug)]
pub struct Config {
    /// Random, of this session only.
    pub client: ClientId,
    /// For the server's logs and counters.
    pub name: Vec<u8>,
    /// plain mode: the token.
    pub token: Vec<u8>,
    /// Requests in flight, 1 to [`MAX_SLOTS`].
    pub slots: u16,
    /// Largest payload, [`MIN_FRAME`] to [`MAX_FRAME`].
    pub max_frame: u32,
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is none.
    Down,
    /// Hello was sent.
    Greeting,
    /// Requests flow.
    Ready,
    /// The server will not have us: trying again would not help.
    Refused(Failure),
}

/// Names a request until its reply was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use = "a ticket that is neither taken nor cancelled keeps its slot for ever"]
pub struct Ticket {
    slot: u16,
    sequence: u32,
}

/// Why a request was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The first hello was not answered yet. Wait for [`Status::Ready`].
    NotReady,
    /// Every slot is taken. Wait for a reply.
    NoSlot,
    /// Longer than the agreed payload.
    TooLarge {
        /// The agreed bound.
        limit: u32,
    },
    /// See [`Status::Refused`].
    Refused(Failure),
}

/// The server said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Linux error number.
    pub errno: Errno,
    /// What exactly.
    pub refusal: Refusal,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.refusal.reason, self.refusal.value) {
            (Reason::System, _) => write!(f, "{}", self.errno),
            (reason, 0) => write!(f, "{}: {reason}", self.errno),
            (reason, value) => write!(f, "{}: {reason} ({value})", self.errno),
        }
    }
}

impl core::error::Error for Failure {}

/// The server broke the protocol, or hung up with a reason. Drop the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Bytes that mean nothing.
    Decode(DecodeError),
    /// A frame longer than agreed.
    TooLarge(u32),
    /// An answer to nothing that was asked, or with fields that do not belong to the question.
    Unasked(Header),
    /// A hello reply that offers what was not asked for.
    BadHello,
    /// More pushes than the credit, or not where the last one ended.
    BadPush,
    /// The server said goodbye and why.
    HungUp(Failure),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => write!(f, "server sent nonsense: {error}"),
            Self::TooLarge(n) => write!(f, "server announced a payload of {n} bytes"),
            Self::Unasked(h) => write!(
                f,
                "server answered slot {} sequence {}, which was not asked",
                h.slot, h.sequence
            ),
            Self::BadHello => f.write_str("server's hello offers what was not asked for"),
            Self::BadPush => f.write_str("server pushed out of order or beyond the credit"),
            Self::HungUp(failure) => write!(f, "server hung up: {failure}"),
        }
    }
}

impl core::error::Error for Broken {}

impl From<DecodeError> for Broken {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// An answer, checked: a good one decodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    header: Header,
    payload: Vec<u8>,
}

impl Reply {
    fn local(operation: u8, failure: Failure) -> Self {
        let mut payload = Vec::new();
        codec::Field::put(&failure.refusal, &mut payload);
        Self {
            header: Header {
                operation,
                status: failure.errno.status(),
                ..Header::default()
            },
            payload,
        }
    }

    /// What was answered; `C` is the type that was submitted.
    pub fn get<C: Call>(&self) -> Result<C::Reply<'_>, Failure> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        // The payload was checked against its operation; this fails only for the wrong `C`.
        let mismatch = Failure {
            errno: Errno::EPROTO,
            refusal: Refusal {
                reason: Reason::BadMessage,
                value: 0,
            },
        };
        if self.header.operation != C::OPERATION.number() {
            return Err(mismatch);
        }
        codec::decode(&self.payload).map_err(|_| mismatch)
    }

    /// The error, if it is one.
    pub fn failure(&self) -> Option<Failure> {
        let errno = self.header.error()?;
        let refusal = codec::decode(&self.payload).unwrap_or(Refusal {
            reason: Reason::System,
            value: 0,
        });
        Some(Failure { errno, refusal })
    }

    /// Bytes in the payload.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// The raw payload: for a read, the bytes.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }
}

/// A push of a follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// What [`Client::follow`] returned.
    pub id: u32,
    /// What happened.
    pub event: FollowEvent,
    /// Where in the file.
    pub offset: u64,
    /// The bytes of a data event.
    pub data: Vec<u8>,
    /// Why, for a refused one.
    pub failure: Option<Failure>,
}

#[derive(Debug)]
enum SlotState {
    Idle,
    Waiting {
        frame: Vec<u8>,
        order: u64,
        cancelled: bool,
    },
    Done(Reply),
}

#[derive(Debug)]
struct Slot {
    // Of the last request.
    sequence: u32,
    state: SlotState,
}

#[derive(Debug)]
enum Outgoing {
    Slot(u16),
    Bytes(Vec<u8>),
}

#[derive(Debug)]
struct Following {
    dir: Handle,
    path: PathBuf,
    // Everything before was received.
    cursor: u64,
    // Received, not yet taken by the caller.
    waiting: u32,
    // Taken, not yet returned as credit.
    taken: u32,
}

/// The state machine. See the module's head.
#[derive(Debug)]
pub struct Client {
    config: Config,
    status: Status,
    session: u64,
    generation: u32,
    agreed: Option<HelloReply>,
    slots: Vec<Slot>,
    next_order: u64,
    sending: VecDeque<Outgoing>,
    // Bytes of the first of `sending` that are on their way.
    sent: usize,
    incoming: FrameReader,
    follows: BTreeMap<u32, Following>,
    next_follow: u32,
    pushes: VecDeque<Push>,
    // Since when an answer is due and nothing was heard.
    quiet_since_ms: u64,
}

impl Client {
    /// A client without a connection. Numbers out of range are brought into it.
    pub fn new(mut config: Config) -> Self {
        config.slots = config.slots.clamp(1, MAX_SLOTS);
        config.max_frame = config.max_frame.clamp(MIN_FRAME, MAX_FRAME);
        Self {
            config,
            status: Status::Down,
            session: 0,
            generation: 0,
            agreed: None,
            slots: Vec::new(),
            next_order: 0,
            sending: VecDeque::new(),
            sent: 0,
            incoming: FrameReader::new(MAX_HELLO),
            follows: BTreeMap::new(),
            next_follow: 1,
            pushes: VecDeque::new(),
            quiet_since_ms: 0,
        }
    }

    /// Where the connection stands.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What the last hello agreed.
    pub fn agreed(&self) -> Option<&HelloReply> {
        self.agreed.as_ref()
    }

    /// Counts the sessions: 0 before the first. Handles belong to the generation they were got in.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The session's number, 0 before there is one.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The most data that fits one write or append: the agreed payload less the fields before it.
    pub fn max_data(&self) -> u32 {
        self.agreed
            .as_ref()
            .map_or(MIN_FRAME, |agreed| agreed.max_frame)
            - 16
    }

    /// A new connection is up.
    pub fn connected(&mut self, now_ms: u64) {
        self.disconnected();
        if matches!(self.status, Status::Refused(_)) {
            return;
        }
        let hello = Hello {
            magic: MAGIC,
            min_version: VERSION,
            max_version: VERSION,
            max_frame: self.config.max_frame,
            slots: self.config.slots,
            client: self.config.client,
            token: &self.config.token,
            name: &self.config.name,
        };
        let frame = frame::request(&hello, NO_SLOT, 0, self.session);
        self.sending.push_back(Outgoing::Bytes(frame));
        self.status = Status::Greeting;
        self.quiet_since_ms = now_ms;
    }

    /// The connection is gone. Unanswered requests wait for the next one.
    pub fn disconnected(&mut self) {
        self.sending.clear();
        self.sent = 0;
        self.incoming.reset(MAX_HELLO);
        if !matches!(self.status, Status::Refused(_)) {
            self.status = Status::Down;
        }
    }

    /// What to send next; empty when there is nothing.
    pub fn output(&self) -> &[u8] {
        self.outputs().next().unwrap_or_default()
    }

    /// Everything that waits to be sent, frame by frame; the first begins where sending stopped.
    pub fn outputs(&self) -> impl Iterator<Item = &[u8]> {
        let frame = |out| match out {
            &Outgoing::Slot(slot) => {
                match self.slots.get(usize::from(slot)).map(|slot| &slot.state) {
                    Some(SlotState::Waiting { frame, .. }) => &frame[..],
                    // `answered` refuses a reply to what is not sent yet, so this does not happen.
                    _ => &[],
                }
            }
            Outgoing::Bytes(bytes) => &bytes[..],
        };
        let mut skip = self.sent;
        self.sending
            .iter()
            .map(frame)
            .map(move |bytes: &[u8]| &bytes[core::mem::take(&mut skip).min(bytes.len())..])
    }

    /// The first `n` bytes of [`Self::outputs`] were sent.
    pub fn sent(&mut self, mut n: usize) {
        while !self.sending.is_empty() {
            let left = self.output().len();
            if n < left {
                self.sent += n;
                return;
            }
            n -= left;
            self.sent = 0;
            self.sending.pop_front();
        }
    }

    /// Moves as much output as fits into `buf` and counts it as sent.
    pub fn fill(&mut self, buf: &mut [u8]) -> usize {
        let filled = self.peek(buf);
        self.sent(filled);
        filled
    }

    /// Copies as much output as fits into `buf`.
    pub fn peek(&self, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        for bytes in self.outputs() {
            let n = bytes.len().min(buf.len() - filled);
            buf[filled..filled + n].copy_from_slice(&bytes[..n]);
            filled += n;
        }
        filled
    }

    /// Bytes arrived. After an error the driver drops the connection and tells [`Self::disconnected`].
    pub fn receive(&mut self, bytes: &[u8], now_ms: u64) -> Result<(), Broken> {
        self.quiet_since_ms = now_ms;
        let mut incoming = core::mem::replace(&mut self.incoming, FrameReader::new(MAX_HELLO));
        incoming.push(bytes);
        let result = loop {
            match incoming.next_frame() {
                Ok(None) => break Ok(()),
                Err(too_large) => break Err(Broken::TooLarge(too_large.header.length)),
                Ok(Some((header, payload))) => {
                    if let Err(broken) = self.frame(header, payload) {
                        break Err(broken);
                    }
                }
            }
            incoming.set_limit(self.limit());
        };
        self.incoming = incoming;
        result
    }

    /// For how long an answer has been due without a sign of the server; the driver's time-out.
    pub fn silence_ms(&self, now_ms: u64) -> Option<u64> {
        let due = self.status == Status::Greeting
            || self
                .slots
                .iter()
                .any(|slot| matches!(slot.state, SlotState::Waiting { .. }));
        due.then(|| now_ms.saturating_sub(self.quiet_since_ms))
    }

    /// Takes a request. It is kept until it is answered, over any number of connections.
    pub fn submit<C: Call>(&mut self, call: &C, now_ms: u64) -> Result<Ticket, SubmitError> {
        if let Status::Refused(failure) = self.status {
            return Err(SubmitError::Refused(failure));
        }
        let agreed = self.agreed.as_ref().ok_or(SubmitError::NotReady)?;
        let (limit, count) = (agreed.max_frame, usize::from(agreed.slots));
        let free = self
            .slots
            .iter()
            .take(count)
            .position(|slot| matches!(slot.state, SlotState::Idle));
        let index = free.ok_or(SubmitError::NoSlot)? as u16;
        let sequence = self.slots[usize::from(index)].sequence.wrapping_add(1);
        let frame = frame::request(call, index, sequence, self.session);
        if frame.len() - HEADER > limit as usize {
            return Err(SubmitError::TooLarge { limit });
        }
        if self.silence_ms(now_ms).is_none() {
            self.quiet_since_ms = now_ms;
        }
        let order = self.next_order;
        self.next_order += 1;
        self.slots[usize::from(index)] = Slot {
            sequence,
            state: SlotState::Waiting {
                frame,
                order,
                cancelled: false,
            },
        };
        if self.status == Status::Ready {
            self.sending.push_back(Outgoing::Slot(index));
        }
        Ok(Ticket {
            slot: index,
            sequence,
        })
    }

    /// Whether [`Self::take`] would give something.
    pub fn is_done(&self, ticket: Ticket) -> bool {
        self.slot_of(ticket)
            .is_some_and(|slot| matches!(slot.state, SlotState::Done(_)))
    }

    /// The reply, once; frees the slot.
    pub fn take(&mut self, ticket: Ticket) -> Option<Reply> {
        if !self.is_done(ticket) {
            return None;
        }
        let slot = &mut self.slots[usize::from(ticket.slot)];
        match core::mem::replace(&mut slot.state, SlotState::Idle) {
            SlotState::Done(reply) => Some(reply),
            SlotState::Idle | SlotState::Waiting { .. } => None,
        }
    }

    /// Nobody waits any more. The server may still do it; its answer is dropped.
    pub fn cancel(&mut self, ticket: Ticket) {
        if self.slot_of(ticket).is_none() {
            return;
        }
        let slot = &mut self.slots[usize::from(ticket.slot)];
        match &mut slot.state {
            SlotState::Waiting { cancelled, .. } => *cancelled = true,
            SlotState::Done(_) => slot.state = SlotState::Idle,
            SlotState::Idle => {}
        }
    }

    /// How many requests could be submitted now.
    pub fn free_slots(&self) -> usize {
        let count = self
            .agreed
            .as_ref()
            .map_or(0, |agreed| usize::from(agreed.slots));
        self.slots
            .iter()
            .take(count)
            .filter(|slot| matches!(slot.state, SlotState::Idle))
            .count()
    }

    /// Starts to follow a file from an offset, over any number of connections.
    pub fn follow(&mut self, dir: Handle, path: Path<'_>, offset: u64) -> u32 {
        let id = self.next_follow;
        self.next_follow = self.next_follow.wrapping_add(1);
        self.follows.insert(
            id,
            Following {
                dir,
                path: path.to_owned(),
                cursor: offset,
                waiting: 0,
                taken: 0,
            },
        );
        self.send_follow(id);
        id
    }

    /// Stops a follow and drops its waiting pushes.
    pub fn unfollow(&mut self, id: u32) {
        if self.follows.remove(&id).is_some() {
            self.pushes.retain(|push| push.id != id);
            self.send_one_way(&Unfollow { id });
        }
    }

    /// The next push of any follow. Taking it returns its credit.
    pub fn next_push(&mut self) -> Option<Push> {
        let push = self.pushes.pop_front()?;
        if let Some(follow) = self.follows.get_mut(&push.id) {
            let bytes = push.data.len() as u32;
            follow.waiting = follow.waiting.saturating_sub(bytes);
            follow.taken += bytes;
            // In portions: a frame of credit for every small push would double the traffic.
            if follow.taken >= FOLLOW_CREDIT / 4 {
                let credit = Credit {
                    id: push.id,
                    bytes: follow.taken,
                };
                follow.taken = 0;
                self.send_one_way(&credit);
            }
        }
        Some(push)
    }

    fn slot_of(&self, ticket: Ticket) -> Option<&Slot> {
        self.slots
            .get(usize::from(ticket.slot))
            .filter(|slot| slot.sequence == ticket.sequence)
    }

    fn limit(&self) -> u32 {
        match (&self.agreed, self.status) {
            (Some(agreed), Status::Ready) => agreed.max_frame,
            _ => MAX_HELLO,
        }
    }

    fn send_one_way<C: Call>(&mut self, call: &C) {
        if self.status == Status::Ready {
            let frame = frame::request(call, NO_SLOT, 0, self.session);
            self.sending.push_back(Outgoing::Bytes(frame));
        }
    }

    fn send_follow(&mut self, id: u32) {
        if self.status != Status::Ready {
            return;
        }
        let Some(follow) = self.follows.get_mut(&id) else {
            return;
        };
        follow.taken = 0;
        let credit = FOLLOW_CREDIT.saturating_sub(follow.waiting);
        let call = Follow {
            id,
            dir: follow.dir,
            offset: follow.cursor,
            credit,
            path: follow.path.as_path(),
        };
        let frame = frame::request(&call, NO_SLOT, 0, self.session);
        self.sending.push_back(Outgoing::Bytes(frame));
    }

    fn frame(&mut self, header: Header, payload: &[u8]) -> Result<(), Broken> {
        let operation = Operation::from_number(header.operation);
        match (header.is_push(), operation) {
            (true, Some(Operation::Goodbye)) => {
                let refusal = codec::decode(payload)?;
                Err(Broken::HungUp(Failure {
                    errno: header.error().unwrap_or(Errno::EPROTO),
                    refusal,
                }))
            }
            (true, Some(Operation::Follow)) if self.status == Status::Ready => {
                self.pushed(header, payload)
            }
            (false, Some(Operation::Hello)) if self.status == Status::Greeting => {
                self.greeted(header, payload)
            }
            (false, Some(operation)) if self.status == Status::Ready => {
                self.answered(header, operation, payload)
            }
            _ => Err(Broken::Unasked(header)),
        }
    }

    fn greeted(&mut self, header: Header, payload: &[u8]) -> Result<(), Broken> {
        if !header.is_reply() || header.slot != NO_SLOT || header.sequence != 0 {
            return Err(Broken::Unasked(header));
        }
        if let Some(errno) = header.error() {
            let failure = Failure {
                errno,
                refusal: codec::decode(payload)?,
            };
            if matches!(
                failure.refusal.reason,
                Reason::BadToken | Reason::BadVersion | Reason::BadMagic
            ) {
                self.refused(failure);
            }
            return Err(Broken::HungUp(failure));
        }
        let reply: HelloReply = codec::decode(payload)?;
        let resumed = reply.resumed != Resumed::New;
        let bounds = (1..=self.config.slots).contains(&reply.slots)
            && (MIN_FRAME..=self.config.max_frame).contains(&reply.max_frame)
            && reply.version == VERSION
            && header.session != 0;
        // A resumed session keeps its number and what was agreed.
        let same = self.agreed.as_ref().is_some_and(|old| {
            header.session == self.session
                && old.slots == reply.slots
                && old.max_frame == reply.max_frame
        });
        if !bounds || resumed && !same {
            return Err(Broken::BadHello);
        }
        self.session = header.session;
        self.status = Status::Ready;
        if !resumed {
            self.start_session(reply.slots);
        }
        self.agreed = Some(reply);
        self.send_again();
        Ok(())
    }

    fn refused(&mut self, failure: Failure) {
        self.fail_all(failure);
        self.status = Status::Refused(failure);
    }

    fn start_session(&mut self, slots: u16) {
        self.fail_all(Failure {
            errno: Errno::ESTALE,
            refusal: Refusal {
                reason: Reason::SessionLost,
                value: 0,
            },
        });
        self.generation += 1;
        // Replies that nobody took yet stay in their slots, and the sequence numbers go on: a new
        // session's slots begin with any number.
        while self.slots.len() < usize::from(slots) {
            self.slots.push(Slot {
                sequence: 0,
                state: SlotState::Idle,
            });
        }
    }

    /// Every unanswered request and every follow ends with this failure.
    fn fail_all(&mut self, failure: Failure) {
        for slot in &mut self.slots {
            if let SlotState::Waiting {
                frame, cancelled, ..
            } = &slot.state
            {
                let operation = frame.get(4).copied().unwrap_or(0);
                slot.state = if *cancelled {
                    SlotState::Idle
                } else {
                    SlotState::Done(Reply::local(operation, failure))
                };
            }
        }
        for (id, follow) in core::mem::take(&mut self.follows) {
            self.pushes.push_back(Push {
                id,
                event: FollowEvent::Refused,
                offset: follow.cursor,
                data: Vec::new(),
                failure: Some(failure),
            });
        }
    }

    fn send_again(&mut self) {
        let mut waiting: Vec<(u64, u16)> = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            if let SlotState::Waiting { order, .. } = &slot.state {
                waiting.push((*order, index as u16));
            }
        }
        waiting.sort_unstable();
        self.sending
            .extend(waiting.into_iter().map(|(_, index)| Outgoing::Slot(index)));
        let ids: Vec<u32> = self.follows.keys().copied().collect();
        for id in ids {
            self.send_follow(id);
        }
    }

    fn answered(
        &mut self,
        header: Header,
        operation: Operation,
        payload: &[u8],
    ) -> Result<(), Broken> {
        let unasked = Broken::Unasked(header);
        let being_sent = self
            .sending
            .iter()
            .any(|out| matches!(out, Outgoing::Slot(slot) if *slot == header.slot));
        let session = self.session;
        let slot = self
            .slots
            .get_mut(usize::from(header.slot))
            .ok_or(unasked)?;
        let SlotState::Waiting {
            frame, cancelled, ..
        } = &slot.state
        else {
            return Err(unasked);
        };
        let asked = frame.get(4) == Some(&operation.number());
        if !header.is_reply()
            || !asked
            || being_sent
            || header.session != session
            || header.sequence != slot.sequence
        {
            return Err(unasked);
        }
        match header.error() {
            None => check_reply(operation, payload)?,
            Some(_) => drop(codec::decode::<Refusal>(payload)?),
        }
        slot.state = match cancelled {
            true => SlotState::Idle,
            false => SlotState::Done(Reply {
                header,
                payload: payload.to_vec(),
            }),
        };
        Ok(())
    }

    fn pushed(&mut self, header: Header, payload: &[u8]) -> Result<(), Broken> {
        let Followed {
            id,
            event,
            offset,
            data: Rest(data),
        } = codec::decode(payload)?;
        // Pushes of a follow that was just stopped are still on their way.
        let Some(follow) = self.follows.get_mut(&id) else {
            return Ok(());
        };
        if self.pushes.len() >= MAX_PUSHES {
            return Err(Broken::BadPush);
        }
        match event {
            FollowEvent::Data => {
                let waiting = follow.waiting.saturating_add(data.len() as u32);
                if offset != follow.cursor || waiting.saturating_add(follow.taken) > FOLLOW_CREDIT {
                    return Err(Broken::BadPush);
                }
                follow.waiting = waiting;
                follow.cursor = offset.saturating_add(data.len() as u64);
            }
            FollowEvent::Truncated | FollowEvent::Gone => follow.cursor = 0,
            FollowEvent::End | FollowEvent::Refused => {}
        }
        let failure = header.error().map(|errno| Failure {
            errno,
            refusal: Refusal {
                reason: Reason::System,
                value: 0,
            },
        });
        if event == FollowEvent::Refused {
            self.follows.remove(&id);
        }
        self.pushes.push_back(Push {
            id,
            event,
            offset,
            data: data.to_vec(),
            failure,
        });
        Ok(())
    }
}
