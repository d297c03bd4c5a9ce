//! Read-ahead: what one open file has asked for before the program did. Without I/O.
//!
//! A read that begins where the last one ended doubles how far ahead is asked, up to [`DEPTH`] requests, half of
//! which are asked for together: a packet costs more than a request. Any
//! other read, a write or a truncation drops what was asked for. Requests follow each other without a gap,
//! so what is taken is the file from one offset on; a short answer is the end of the file, and drops
//! what was asked for behind it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::client::{Reply, Ticket};

/// Requests under way at once, at most.
pub const DEPTH: usize = 8;
/// The smallest request.
const SMALL: usize = 512;

#[derive(Debug)]
struct Pending<T> {
    ticket: Ticket,
    offset: u64,
    len: usize,
    tag: T,
}

/// One file's read-ahead. `T` is the owner's own note to each request.
#[derive(Debug)]
pub struct Ahead<T> {
    pending: VecDeque<Pending<T>>,
    ready: Vec<u8>,
    taken: usize,
    // Where the next byte of `ready` is in the file, and the next read if it is sequential.
    next: u64,
    depth: usize,
    // Asking until `depth` requests are under way.
    is_filling: bool,
}

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self {
            pending: VecDeque::new(),
            ready: Vec::new(),
            taken: 0,
            next: 0,
            depth: 1,
            is_filling: false,
        }
    }
}

impl<T> Ahead<T> {
    /// Copies what has arrived for this offset; 0 if nothing has.
    pub fn take(&mut self, offset: u64, buf: &mut [u8]) -> usize {
        if offset != self.next {
            return 0;
        }
        let rest = &self.ready[self.taken..];
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.taken += len;
        self.next += len as u64;
        len
    }

    /// Whether a read at this offset would have to drop what was asked for: see [`Self::restart`].
    pub fn is_elsewhere(&self, offset: u64) -> bool {
        offset != self.next
    }

    /// Begins at another offset, or again; gives back what nobody waits for any more.
    pub fn restart(&mut self, offset: u64) -> impl Iterator<Item = (Ticket, T)> {
        self.ready = Vec::new();
        self.taken = 0;
        self.next = offset;
        self.depth = 1;
        let pending = core::mem::take(&mut self.pending);
        pending
            .into_iter()
            .map(|pending| (pending.ticket, pending.tag))
    }

    /// The next request to submit before waiting, as offset and length: `wanted` bytes first, up to `max`
    /// each, no further than `size`, the size of the file as far as it is known, and `depth` at once. Ask until there
    /// is none, then send.
    pub fn wants(
        &mut self,
        wanted: usize,
        size: u64,
        max: usize,
        depth: usize,
    ) -> Option<(u64, usize)> {
        let Some(last) = self.pending.back() else {
            // A short first read asks for what it needs.
            let len = if self.depth == 1 {
                wanted.clamp(SMALL, max.max(SMALL))
            } else {
                max
            };
            return Some((self.next, len));
        };
        let offset = last.offset + last.len as u64;
        let (under_way, full) = (self.pending.len(), self.depth.min(depth));
        if under_way >= full {
            self.is_filling = false;
        } else if 2 * under_way <= full {
            self.is_filling = true;
        }
        (self.is_filling && offset < size).then_some((offset, max))
    }

    /// It was submitted.
    pub fn submitted(&mut self, ticket: Ticket, (offset, len): (u64, usize), tag: T) {
        self.pending.push_back(Pending {
            ticket,
            offset,
            len,
            tag,
        });
    }

    /// The request whose answer comes next; [`Self::arrived`] takes the answer.
    pub fn oldest(&mut self) -> Option<(Ticket, T)>
    where
        T: Copy,
    {
        self.pending
            .front()
            .map(|pending| (pending.ticket, pending.tag))
    }

    /// The answer to [`Self::oldest`]: good or not, the request is over. Gives back what nobody waits for
    /// any more, at the end of the file.
    pub fn arrived(&mut self, reply: Reply) -> impl Iterator<Item = (Ticket, T)> {
        let asked = self.pending.pop_front().map_or(0, |pending| pending.len);
        let failed = reply.failure().is_some();
        self.taken = 0;
        self.ready = if failed {
            Vec::new()
        } else {
            reply.into_payload()
        };
        let behind_end = if failed || self.ready.len() < asked {
            self.depth = 1;
            core::mem::take(&mut self.pending)
        } else {
            self.depth = (self.depth * 2).min(DEPTH);
            VecDeque::new()
        };
        behind_end
            .into_iter()
            .map(|pending| (pending.ticket, pending.tag))
    }
}
