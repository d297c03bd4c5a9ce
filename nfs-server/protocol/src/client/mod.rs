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
//!   [`Client::generation`] changes: handles of an older generation mean nothing any more, are ESTALE at once, and
//!   are never taken for newer ones.
//!
//! A slot is free again as soon as its request is answered; the reply is kept until it is taken, so
//! somebody who is slow to take it keeps nobody else from asking.
//!
//! Memory: one copy of each unanswered request, the replies nobody took yet (callers bound how many they
//! ask for), one frame in progress, and the credit of each follow.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::codec;
use crate::errno::{Errno, Reason, Refusal};
use crate::frame::{self, HEADER, Header};
use crate::message::{Call, Hello, HelloReply, Operation, Resumed, check_reply};
use crate::{MAGIC, MAX_FRAME, MAX_HELLO, MAX_SLOTS, MIN_FRAME, NO_SLOT, VERSION};

mod follow;
mod handles;
mod incoming;
mod types;

pub use types::{Broken, Config, Epoch, Failure, Push, Reply, Status, SubmitError, Ticket};

use follow::Following;
use handles::Handles;
use incoming::Incoming;

/// The server no longer knows the session.
const SESSION_LOST: Failure = local(Errno::ESTALE, Reason::SessionLost);
/// Lost sessions used up all numbers of handles.
const NO_NUMBERS: Failure = local(Errno::EMFILE, Reason::HandleLimit);

const fn local(errno: Errno, reason: Reason) -> Failure {
    Failure {
        errno,
        refusal: Refusal { reason, value: 0 },
    }
}

#[derive(Debug, Default)]
struct Slot {
    // Of the last request.
    sequence: u32,
    // Its request, until it is answered.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    frame: Vec<u8>,
    order: u64,
    cancelled: bool,
}

#[derive(Debug)]
enum Outgoing {
    Slot(u16),
    Bytes(Vec<u8>),
}

/// The state machine. See the module's head.
#[derive(Debug)]
pub struct Client {
    config: Config,
    status: Status,
    session: u64,
    generation: u32,
    handles: Handles,
    agreed: Option<HelloReply>,
    slots: Vec<Slot>,
    // Answered, not yet taken.
    replies: BTreeMap<Ticket, Reply>,
    reboots: u32,
    next_order: u64,
    sending: VecDeque<Outgoing>,
    // Bytes of the first of `sending` that are on their way.
    sent: usize,
    incoming: Incoming,
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
            handles: Handles::default(),
            agreed: None,
            slots: Vec::new(),
            next_order: 0,
            sending: VecDeque::new(),
            sent: 0,
            incoming: Incoming::new(),
            replies: BTreeMap::new(),
            reboots: 0,
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

    /// How often the server's machine was started again, or may have been: what it had answered and not
    /// made safe by fsync may be lost each time.
    pub fn reboots(&self) -> u32 {
        self.reboots
    }

    /// Both together.
    pub fn epoch(&self) -> Epoch {
        Epoch {
            generation: self.generation,
            reboots: self.reboots,
        }
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
        self.incoming = Incoming::new();
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
                let slot = self.slots.get(usize::from(slot));
                // `answered` refuses a reply to what is not sent yet, so there is one.
                let waiting = slot.and_then(|slot| slot.waiting.as_ref());
                waiting.map_or(&[][..], |waiting| &waiting.frame)
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
        let mut rest = bytes;
        loop {
            let limit = self.limit();
            match self.incoming.take(&mut rest, limit) {
                Ok(None) => return Ok(()),
                Ok(Some((header, payload))) => self.frame(header, payload)?,
                Err(too_large) => return Err(Broken::TooLarge(too_large.header.length)),
            }
        }
    }

    /// For how long an answer has been due without a sign of the server; the driver's time-out.
    pub fn silence_ms(&self, now_ms: u64) -> Option<u64> {
        let due =
            self.status == Status::Greeting || self.slots.iter().any(|slot| slot.waiting.is_some());
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
            .position(|slot| slot.waiting.is_none());
        let index = free.ok_or(SubmitError::NoSlot)? as u16;
        let sequence = self.slots[usize::from(index)].sequence.wrapping_add(1);
        let mut frame = frame::request(call, index, sequence, self.session);
        let (_, payload) = frame.split_at_mut(HEADER);
        if self.handles.ask(C::OPERATION, payload).is_none() {
            return Err(SubmitError::Stale(SESSION_LOST));
        }
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
            waiting: Some(Waiting {
                frame,
                order,
                cancelled: false,
            }),
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
        self.replies.contains_key(&ticket)
    }

    /// The reply, once.
    pub fn take(&mut self, ticket: Ticket) -> Option<Reply> {
        self.replies.remove(&ticket)
    }

    /// Nobody waits any more. The server may still do it; its answer is dropped.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.replies.remove(&ticket);
        let slot = self.slots.get_mut(usize::from(ticket.slot));
        if let Some(slot) = slot.filter(|slot| slot.sequence == ticket.sequence)
            && let Some(waiting) = &mut slot.waiting
        {
            waiting.cancelled = true;
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
            .filter(|slot| slot.waiting.is_none())
            .count()
    }

    fn limit(&self) -> u32 {
        match (&self.agreed, self.status) {
            (Some(agreed), Status::Ready) => agreed.max_frame,
            _ => MAX_HELLO,
        }
    }

    pub(super) fn send_one_way<C: Call>(&mut self, call: &C) {
        if self.status == Status::Ready {
            let frame = frame::request(call, NO_SLOT, 0, self.session);
            self.sending.push_back(Outgoing::Bytes(frame));
        }
    }

    fn frame(&mut self, header: Header, payload: Vec<u8>) -> Result<(), Broken> {
        let operation = Operation::from_number(header.operation);
        match (header.is_push(), operation) {
            (true, Some(Operation::Goodbye)) => {
                let refusal = codec::decode(&payload)?;
                Err(Broken::HungUp(Failure {
                    errno: header.error().unwrap_or(Errno::EPROTO),
                    refusal,
                }))
            }
            (true, Some(Operation::Follow)) if self.status == Status::Ready => {
                self.pushed(header, &payload)
            }
            (false, Some(Operation::Hello)) if self.status == Status::Greeting => {
                self.greeted(header, &payload)
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
        // A server that forgot the session cannot tell whether its machine forgot, too.
        let other_boot = self.agreed.as_ref().map(|old| old.boot_id) != Some(reply.boot_id);
        let lost =
            reply.resumed == Resumed::Rebooted || !resumed && self.agreed.is_some() && other_boot;
        self.reboots += u32::from(lost);
        self.agreed = Some(reply);
        self.send_again();
        Ok(())
    }

    fn refused(&mut self, failure: Failure) {
        self.fail_all(failure);
        self.status = Status::Refused(failure);
    }

    fn start_session(&mut self, slots: u16) {
        self.fail_all(SESSION_LOST);
        self.generation += 1;
        self.handles.start_session();
        // Replies that nobody took yet stay in their slots, and the sequence numbers go on: a new
        // session's slots begin with any number.
        while self.slots.len() < usize::from(slots) {
            self.slots.push(Slot::default());
        }
    }

    /// Every unanswered request and every follow ends with this failure.
    fn fail_all(&mut self, failure: Failure) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Some(waiting) = slot.waiting.take()
                && !waiting.cancelled
            {
                let ticket = Ticket {
                    slot: index as u16,
                    sequence: slot.sequence,
                };
                let reply = Reply::local(waiting.frame, failure);
                self.replies.insert(ticket, reply);
            }
        }
        self.fail_follows(failure);
    }

    fn send_again(&mut self) {
        let mut waiting: Vec<(u64, u16)> = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            if let Some(unanswered) = &slot.waiting {
                waiting.push((unanswered.order, index as u16));
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
        mut payload: Vec<u8>,
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
        let waiting = slot.waiting.as_ref().ok_or(unasked)?;
        let asked = waiting.frame.get(4) == Some(&operation.number());
        if !header.is_reply()
            || !asked
            || being_sent
            || header.session != session
            || header.sequence != slot.sequence
        {
            return Err(unasked);
        }
        let mut has_number = true;
        match header.error() {
            None => {
                check_reply(operation, &payload)?;
                has_number = self.handles.answered(operation, &mut payload).is_some();
            }
            Some(_) => drop(codec::decode::<Refusal>(&payload)?),
        }
        let waiting = slot.waiting.take().filter(|waiting| !waiting.cancelled);
        if let Some(waiting) = waiting {
            let keeps = header.error().is_some() || operation.changes_bytes();
            let reply = if has_number {
                Reply {
                    header,
                    payload,
                    asked: if keeps { waiting.frame } else { Vec::new() },
                }
            } else {
                Reply::local(waiting.frame, NO_NUMBERS)
            };
            let ticket = Ticket {
                slot: header.slot,
                sequence: header.sequence,
            };
            self.replies.insert(ticket, reply);
        }
        Ok(())
    }
}
