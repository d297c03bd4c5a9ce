//! Write-behind: the bookkeeping of one open file whose writes nobody waits for. Without I/O.
//!
//! The owner asks for each write at once ([`Client::submit`]) and tells [`Behind::submitted`]; it takes
//! the answers with [`Behind::settle`] whenever it comes by, and before it says that anything is safe.
//!
//! Invariants, held by the tests in `tests/pipeline.rs` against a server that is cut, restarted and rebooted:
//! - Writes are asked for in the program's order, and a session does them in that order; so whoever asks
//!   in the same session after a write sees it.
//! - At most [`WINDOW_REQUESTS`] requests with [`WINDOW_BYTES`] bytes are under way; with more the
//!   owner waits for the oldest first.
//! - A lost connection loses nothing: the client sends again, and the server does it once. A lost session
//!   gives the data of unanswered writes back, in order, to be asked again on a new handle before anything
//!   else is: a write at an offset may be done twice. An append may not: the owner first says by
//!   [`Behind::compare`] how long the file is.
//! - What was answered is kept until fsync made it safe. When the server's machine was started again it is
//!   given back as well, the oldest first; so the owner calls fsync when [`Behind::kept_bytes`] is too much.
//! - The first error is kept until fsync or close takes it, once; until then nothing more is written.

use alloc::collections::VecDeque;

use crate::client::{Client, Epoch, Failure, Reply, Ticket};
use crate::errno::{Errno, Reason, Refusal};
use crate::unsynced::{self, Piece, Unsynced};

/// Writes under way at once.
pub const WINDOW_REQUESTS: usize = 12;
/// Their bytes.
pub const WINDOW_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Flight<T> {
    order: u64,
    ticket: Ticket,
    since: Since,
    len: usize,
    tag: T,
}

/// What a change was asked with.
#[derive(Clone, Copy, Debug)]
struct Since {
    /// When its handle was got.
    handle: Epoch,
    /// The last reboot that the owner had heard of.
    reboots: u32,
}

impl Since {
    /// Whether what was asked for then, and answered so by now, may be lost, or refused because of what is.
    fn is_over(self, client: &Client, failure: Option<Failure>) -> bool {
        let now = client.epoch();
        self.reboots != now.reboots
            || failure.is_some_and(|failure| self.handle.has_lost(now, failure.errno))
    }
}

/// An append that its caller waits for.
#[derive(Clone, Copy, Debug)]
#[must_use = "the answer belongs to it"]
pub struct Begun {
    order: u64,
    since: Since,
}

/// One file's writes. `T` is the owner's own note to each, given back with the answer.
#[derive(Debug)]
pub struct Behind<T> {
    flight: VecDeque<Flight<T>>,
    // By order.
    lost: VecDeque<Piece>,
    // Answered since the last fsync, on this boot of the server's machine.
    kept: Unsynced,
    reboots: u32,
    // Nothing was fsynced since the file was made.
    is_made: bool,
    // What is lost was not compared with the file yet.
    is_unsure: bool,
    // The file itself may be lost.
    is_unmade: bool,
    next_order: u64,
    bytes: usize,
    error: Option<Failure>,
}

impl<T> Default for Behind<T> {
    fn default() -> Self {
        Self {
            flight: VecDeque::new(),
            lost: VecDeque::new(),
            kept: Unsynced::default(),
            reboots: 0,
            is_made: false,
            is_unsure: false,
            is_unmade: false,
            next_order: 0,
            bytes: 0,
            error: None,
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

    /// A change was asked for, with a handle that was got then.
    pub fn submitted(
        &mut self,
        client: &Client,
        handle: Epoch,
        ticket: Ticket,
        len: usize,
        tag: T,
    ) {
        self.begin(client);
        let order = self.next_order;
        self.next_order += 1;
        self.fly(order, handle, ticket, len, tag);
    }

    /// What [`Self::next_lost`] gave was asked for again.
    pub fn resubmitted(&mut self, piece: &Piece, handle: Epoch, ticket: Ticket, tag: T) {
        self.fly(piece.order, handle, ticket, piece.len(), tag);
    }

    fn fly(&mut self, order: u64, handle: Epoch, ticket: Ticket, len: usize, tag: T) {
        let since = self.since(handle);
        self.bytes += len;
        self.flight.push_back(Flight {
            order,
            ticket,
            since,
            len,
            tag,
        });
    }

    /// What is asked for now. With older changes kept that a reboot may have lost, and nobody looked yet, it counts as
    /// lost with them: only then the order stays the program's.
    fn since(&self, handle: Epoch) -> Since {
        Since {
            handle,
            reboots: self.reboots,
        }
    }

    /// The file was opened then. It was made, or cut.
    pub fn opened(&mut self, handle: Epoch, is_made: bool, is_cut: bool) {
        self.reboots = handle.reboots;
        self.is_made = is_made;
        if is_cut {
            self.kept.push(Piece::resize(0, self.next_order));
            self.next_order += 1;
        }
    }

    /// Nothing older is kept that a reboot before this could have lost.
    fn begin(&mut self, client: &Client) {
        if self.kept.is_empty() && self.is_settled() && !self.is_made {
            self.reboots = client.reboots();
        }
    }

    /// What was asked for first and not answered yet.
    pub fn oldest(&self) -> Option<Ticket> {
        self.flight.front().map(|flight| flight.ticket)
    }

    /// Takes the answers that are there; `told` hears of each.
    pub fn settle(&mut self, client: &mut Client, mut told: impl FnMut(T, &Reply)) {
        self.recall(client);
        while let Some(flight) = self.flight.front() {
            let Some(reply) = client.take(flight.ticket) else {
                break;
            };
            let Some(flight) = self.flight.pop_front() else {
                break;
            };
            self.bytes -= flight.len;
            let failure = reply.failure();
            told(flight.tag, &reply);
            let is_lost = flight.since.is_over(client, failure);
            match (Piece::of(reply, flight.order), failure) {
                (Some(piece), _) if is_lost => {
                    self.is_unsure = true;
                    self.put_back(piece);
                }
                (Some(piece), None) => self.kept.push(piece),
                (_, Some(failure)) => self.fail(failure),
                (None, None) => {}
            }
        }
    }

    /// Before an append is asked for that its caller waits for; [`Self::answered`] wants it back.
    pub fn begins(&mut self, client: &Client, handle: Epoch) -> Begun {
        self.begin(client);
        let order = self.next_order;
        self.next_order += 1;
        Begun {
            order,
            since: self.since(handle),
        }
    }

    /// The answer to it. True: whether it was done is not known, so it is among what is lost.
    pub fn answered(&mut self, client: &Client, begun: Begun, reply: Reply) -> bool {
        self.recall(client);
        let is_lost = begun.since.is_over(client, reply.failure());
        let is_good = reply.failure().is_none();
        if let Some(piece) = Piece::of(reply, begun.order) {
            if is_lost {
                self.is_unsure = true;
                self.put_back(piece);
            } else if is_good {
                self.kept.push(piece);
            }
        }
        is_lost
    }

    /// After a reboot of the server's machine, what was kept is to be asked for again.
    fn recall(&mut self, client: &Client) {
        if self.reboots != client.reboots() {
            self.reboots = client.reboots();
            self.is_unmade |= self.is_made;
            self.is_unsure |= self.is_made || !self.kept.is_empty() || !self.lost.is_empty();
            for piece in self.kept.take() {
                self.put_back(piece);
            }
        }
    }

    /// Whether something under way belongs to a session or a boot that is over: wait for its answer before
    /// anything else is asked for, or the program's order is lost, too.
    pub fn is_stale(&self, client: &Client) -> bool {
        let now = client.epoch();
        self.flight.iter().any(|flight| {
            let Since { handle, reboots } = flight.since;
            handle.generation != now.generation || reboots != now.reboots
        })
    }

    /// Whether [`Self::compare`] is due before anything is asked for again.
    pub fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// Whether the file itself may be lost, so that whoever opens it again may have to make it.
    pub fn is_unmade(&self) -> bool {
        self.is_unmade
    }

    /// The file is there, with so many bytes. What it has of lost appends is not lost; an append that cannot
    /// follow is an error.
    pub fn compare(&mut self, size: u64) {
        self.is_unsure = false;
        self.is_unmade = false;
        let lost = core::mem::take(&mut self.lost);
        self.bytes -= lost.iter().map(Piece::len).sum::<usize>();
        let compared = unsynced::compare(lost, size);
        compared
            .lost
            .into_iter()
            .for_each(|piece| self.put_back(piece));
        // Not safe yet, either.
        compared
            .there
            .into_iter()
            .for_each(|piece| self.kept.push(piece));
        if compared.has_hole {
            self.fail(Failure {
                errno: Errno::EIO,
                refusal: Refusal {
                    reason: Reason::NotTheEnd,
                    value: size,
                },
            });
        }
    }

    /// What is to be asked for again before anything else is, the oldest first. Say so by
    /// [`Self::resubmitted`], or [`Self::put_back`].
    pub fn next_lost(&mut self) -> Option<Piece> {
        let piece = self.lost.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// It could not be asked for.
    pub fn put_back(&mut self, piece: Piece) {
        self.bytes += piece.len();
        let newer = self
            .lost
            .partition_point(|lost| lost.place() < piece.place());
        self.lost.insert(newer, piece);
    }

    /// The file cannot be opened again: what was lost stays lost. How many bytes that were.
    pub fn give_up(&mut self, errno: Errno) -> usize {
        let given_up = self.lost.drain(..).map(|piece| piece.len()).sum();
        self.bytes -= given_up;
        self.is_unsure = false;
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
        let lost = self.lost.drain(..).map(|piece| piece.len()).sum();
        self.kept.clear();
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

    /// The first error, for the one who is told: at fsync and at close.
    pub fn take_error(&mut self) -> Option<Failure> {
        self.error.take()
    }

    /// Memory that keeping takes what was answered and not fsynced.
    pub fn kept_bytes(&self) -> usize {
        self.kept.bytes()
    }

    /// An fsync that was asked for when everything was settled has been answered. False: not by the boot that
    /// answered the writes. Settle, and ask again.
    pub fn synced(&mut self, client: &Client) -> bool {
        let is_safe = self.is_settled() && self.reboots == client.reboots() && !self.is_unsure;
        if is_safe {
            self.kept.clear();
            self.is_made = false;
        }
        is_safe
    }

    fn fail(&mut self, failure: Failure) {
        self.error.get_or_insert(failure);
    }
}
