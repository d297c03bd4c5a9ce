//! What goes into a client and comes out of it.

use alloc::vec::Vec;
use core::fmt;

use crate::codec::{self, DecodeError};
use crate::errno::{Errno, Reason, Refusal};
use crate::frame::Header;
use crate::message::{Call, ClientId, FollowEvent};
#[cfg(doc)]
use crate::{MAX_FRAME, MAX_SLOTS, MIN_FRAME};

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

/// Which session, and which boot of the server's machine, something belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Counts the sessions.
    pub generation: u32,
    /// Counts the boots that may have lost something.
    pub reboots: u32,
}

impl Epoch {
    /// Whether this failure now means that the server lost a handle of then: with the session, or with a boot that ended
    /// before it was safe on its disk that the file was open.
    pub fn has_lost(self, now: Self, errno: Errno) -> bool {
        match errno {
            Errno::ESTALE => self.generation != now.generation,
            Errno::EBADF => self.reboots != now.reboots,
            _ => false,
        }
    }
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
#[must_use = "the reply of a ticket that is neither taken nor cancelled is kept for ever"]
pub struct Ticket {
    pub(super) slot: u16,
    pub(super) sequence: u32,
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
    /// A handle of a session that the server no longer knows: open the file again.
    Stale(Failure),
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
            (Reason::SessionLost, unwritten) => {
                write!(f, "{}: the server no longer knows our session", self.errno)?;
                if unwritten > 0 {
                    write!(f, ", and {unwritten} bytes were not written")?;
                }
                f.write_str("; open the file again (run with --state, the server keeps sessions)")
            }
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
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    /// The request's frame, of a failure and of what changes bytes.
    pub(super) asked: Vec<u8>,
}

impl Reply {
    pub(super) fn local(asked: Vec<u8>, failure: Failure) -> Self {
        let mut payload = Vec::new();
        codec::Field::put(&failure.refusal, &mut payload);
        Self {
            header: Header {
                operation: asked.get(4).copied().unwrap_or(0),
                status: failure.errno.status(),
                ..Header::default()
            },
            payload,
            asked,
        }
    }

    /// The frame of the request, for whoever may have to ask again: of one that failed, or that changed bytes.
    pub fn into_asked(self) -> Vec<u8> {
        self.asked
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
    /// What [`super::Client::follow`] returned.
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
