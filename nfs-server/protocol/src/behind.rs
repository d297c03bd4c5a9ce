//! Write-behind: the bookkeeping of one open file whose writes nobody waits for. Without I/O.
//!
//! The owner asks for each write at once ([`Client::submit`]) and tells [`Behind::submitted`]; it takes
//! the answers with [`Behind::settle`] whenever it comes by, and before it says that anything is safe.
//!
//! Invariants, held by the tests in `tests/pipeline.rs` against a server that is cut and restarted:
//! - Writes are asked for in the program's order, and a session does them in that order; so whoever asks
//!   in the same session after a write sees it.
//! - At most [`WINDOW_REQUESTS`] requests with [`WINDOW_BYTES`] bytes are under way or lost; with more the
//!   owner waits for the oldest first.
//! - A lost connection loses nothing: the client sends again, and the server does it once. A lost session
//!   gives the data of unanswered writes back, in order, to be asked again on a new handle before anything
//!   else is: a write at an offset may be done twice. (An append may not, and is never written behind.)
//! - The first error is kept until fsync or close takes it, once; until then nothing more is written.
//! - What was answered and not made safe before the server's machine started again counts as an error.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::client::{Client, Failure, Reply, Ticket};
use crate::codec::{self, Rest};
use crate::errno::{Errno, Reason, Refusal};
use crate::message::Write;

/// Writes under way at once.
pub const WINDOW_REQUESTS: usize = 12;
/// Their bytes.
pub const WINDOW_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Flight<T> {
    order: u64,
    ticket: Ticket,
    generation: u32,
    len: usize,
    tag: T,
}

/// A write to be asked for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the file.
    pub offset: u64,
    /// What.
    pub data: Vec<u8>,
    // In which order the program wrote.
    order: u64,
}

/// One file's writes. `T` is the owner's own note to each, given back with the answer.
#[derive(Debug)]
pub struct Behind<T> {
    flight: VecDeque<Flight<T>>,
    // By order.
    lost: VecDeque<Piece>,
    next_order: u64,
    bytes: usize,
    error: Option<Failure>,
    // Something was answered since the last fsync; the client's count of reboots when the first was asked for.
    unsafe_since: Option<u32>,
}

impl<T> Default for Behind<T> {
    fn default() -> Self {
        Self {
            flight: VecDeque::new(),
            lost: VecDeque::new(),
            next_order: 0,
            bytes: 0,
            error: None,
            unsafe_since: None,
        }
    }
}

impl<T> Behind<T> {
    /// Whether a write of so many bytes may be asked for without waiting for [`Self::oldest`].
    pub fn has_room(&self, len: usize) -> bool {
        self.flight.len() < WINDOW_REQUESTS
            && (self.flight.is_empty() || self.bytes + len <= WINDOW_BYTES)
    }

    /// Bytes that are not answered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A write was asked for, with a handle of this generation.
    pub fn submitted(
        &mut self,
        client: &Client,
        generation: u32,
        ticket: Ticket,
        len: usize,
        tag: T,
    ) {
        self.unsafe_since.get_or_insert(client.reboots());
        let order = self.next_order;
        self.next_order += 1;
        self.fly(order, generation, ticket, len, tag);
    }

    /// What [`Self::next_lost`] gave was asked for again.
    pub fn resubmitted(&mut self, piece: &Piece, generation: u32, ticket: Ticket, tag: T) {
        self.fly(piece.order, generation, ticket, piece.data.len(), tag);
    }

    fn fly(&mut self, order: u64, generation: u32, ticket: Ticket, len: usize, tag: T) {
        self.bytes += len;
        self.flight.push_back(Flight {
            order,
            ticket,
            generation,
            len,
            tag,
        });
    }

    /// What was asked for first and not answered yet.
    pub fn oldest(&self) -> Option<Ticket> {
        self.flight.front().map(|flight| flight.ticket)
    }

    /// Takes the answers that are there; `told` hears of each.
    pub fn settle(&mut self, client: &mut Client, mut told: impl FnMut(T, &Reply)) {
        while let Some(flight) = self.flight.front() {
            let Some(reply) = client.take(flight.ticket) else {
                break;
            };
            let Some(flight) = self.flight.pop_front() else {
                break;
            };
            self.bytes -= flight.len;
            match reply.failure() {
                None => {}
                Some(failure)
                    if failure.errno == Errno::ESTALE
                        && flight.generation != client.generation() =>
                {
                    match codec::decode::<Write<'_>>(reply.asked()) {
                        Ok(Write {
                            offset,
                            data: Rest(data),
                            ..
                        }) => self.put_back(Piece {
                            offset,
                            data: data.to_vec(),
                            order: flight.order,
                        }),
                        Err(_) => self.fail(failure),
                    }
                }
                Some(failure) => self.fail(failure),
            }
            told(flight.tag, &reply);
        }
    }

    /// Whether something under way belongs to a session that is lost: wait for its answer before anything
    /// else is asked for, or the program's order is lost, too.
    pub fn is_stale(&self, client: &Client) -> bool {
        let generation = client.generation();
        self.flight
            .iter()
            .any(|flight| flight.generation != generation)
    }

    /// What a lost session left to be asked for again before anything else is, the oldest first. Say so by
    /// [`Self::resubmitted`], or [`Self::put_back`].
    pub fn next_lost(&mut self) -> Option<Piece> {
        let piece = self.lost.pop_front()?;
        self.bytes -= piece.data.len();
        Some(piece)
    }

    /// It could not be asked for.
    pub fn put_back(&mut self, piece: Piece) {
        self.bytes += piece.data.len();
        let newer = self.lost.partition_point(|lost| lost.order < piece.order);
        self.lost.insert(newer, piece);
    }

    /// The file cannot be opened again: what was lost stays lost. How many bytes that were.
    pub fn give_up(&mut self, errno: Errno) -> usize {
        let given_up = self.lost.drain(..).map(|piece| piece.data.len()).sum();
        self.bytes -= given_up;
        self.fail(Failure {
            errno,
            refusal: Refusal {
                reason: Reason::SessionLost,
                value: given_up as u64,
            },
        });
        given_up
    }

    /// Whoever wrote is gone: what is under way is still done, and nobody hears of it. What is lost is given
    /// up, and how many bytes that are is returned.
    pub fn abandon(&mut self, client: &mut Client) -> usize {
        for flight in self.flight.drain(..) {
            client.cancel(flight.ticket);
        }
        let lost = self.lost.drain(..).map(|piece| piece.data.len()).sum();
        self.bytes = 0;
        lost
    }

    /// Whether everything was answered.
    pub fn is_settled(&self) -> bool {
        self.flight.is_empty() && self.lost.is_empty()
    }

    /// The first error since one was last taken.
    pub fn error(&self) -> Option<Failure> {
        self.error
    }

    /// The first error, for the one who is told: at fsync and at close. A server's machine that started
    /// again before fsync is one.
    pub fn take_error(&mut self, client: &Client) -> Option<Failure> {
        if self
            .unsafe_since
            .is_some_and(|reboots| reboots != client.reboots())
        {
            self.unsafe_since = None;
            self.fail(Failure {
                errno: Errno::EIO,
                refusal: Refusal {
                    reason: Reason::SessionLost,
                    value: 0,
                },
            });
        }
        self.error.take()
    }

    /// An fsync that was asked for when everything was settled has been answered.
    pub fn synced(&mut self) {
        if self.is_settled() {
            self.unsafe_since = None;
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.error.get_or_insert(failure);
    }
}
