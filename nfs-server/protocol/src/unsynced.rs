//! What a server answered and has not made safe yet: kept in the program's order, to be sent again when the
//! server's machine was started again and lost it. Without I/O.
//!
//! A write at an offset and a new size may be done twice. An append may not: it is compared with the
//! size that the file has now. That takes the one who kept it for the only one who appends.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::client::Reply;
use crate::frame;
use crate::message::{Append, Request, Truncate, Write};

/// With more than this kept of one file, fsync it.
pub const KEEP_BYTES: usize = 8 << 20;
/// What a change takes beside its bytes, about.
const OVERHEAD: usize = 128;

/// A change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Bytes at an offset.
    Write(u64, &'a [u8]),
    /// Bytes at the end of a file of this size.
    Append(u64, &'a [u8]),
    /// Another size.
    Resize(u64),
}

/// A change to be asked for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    what: What,
    // In which order the program asked.
    pub(crate) order: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Write(u64, Tail),
    Append(u64, Tail),
    Resize(u64),
}

/// The end of a request's frame: where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tail {
    frame: Vec<u8>,
    from: usize,
}

impl Tail {
    fn bytes(&self) -> &[u8] {
        &self.frame[self.from..]
    }
}

impl Piece {
    /// A new size.
    pub(crate) fn resize(size: u64, order: u64) -> Self {
        let what = What::Resize(size);
        Self { what, order }
    }

    /// Of a request that was answered; `None` if it changes no bytes.
    pub(crate) fn of(reply: Reply, order: u64) -> Option<Self> {
        let frame = reply.into_asked();
        let (header, payload) = frame::split(&frame).ok()?;
        let tail = |len: usize| frame.len() - len;
        let (at, from, make): (_, _, fn(u64, Tail) -> What) =
            match Request::decode(header.operation, payload).ok()? {
                Request::Write(Write { offset, data, .. }) => {
                    (offset, tail(data.0.len()), What::Write)
                }
                Request::Append(Append { expected, data, .. }) => {
                    (expected, tail(data.0.len()), What::Append)
                }
                Request::Truncate(Truncate { size, .. }) => return Some(Self::resize(size, order)),
                _ => return None,
            };
        let what = make(at, Tail { frame, from });
        Some(Self { what, order })
    }

    /// What to ask for.
    pub fn change(&self) -> Change<'_> {
        match &self.what {
            What::Write(offset, tail) => Change::Write(*offset, tail.bytes()),
            What::Append(size, tail) => Change::Append(*size, tail.bytes()),
            What::Resize(size) => Change::Resize(*size),
        }
    }

    /// Pieces go in this order; parts of one piece have its number.
    pub(crate) fn place(&self) -> (u64, u64) {
        let at = match self.what {
            What::Write(at, _) | What::Append(at, _) => at,
            What::Resize(_) => 0,
        };
        (self.order, at)
    }

    /// Bytes of data.
    pub fn len(&self) -> usize {
        match self.change() {
            Change::Write(_, data) | Change::Append(_, data) => data.len(),
            Change::Resize(_) => 0,
        }
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of it a file of `size` bytes has, if it can be told by that; `None`: not even what was before it.
    fn there(&self, size: u64) -> Option<usize> {
        match self.change() {
            Change::Append(at, data) => {
                let there = size.checked_sub(at)?;
                Some(usize::try_from(there).map_or(data.len(), |there| there.min(data.len())))
            }
            Change::Write(..) | Change::Resize(_) => Some(0),
        }
    }

    /// Cut in two: its first bytes, and the rest.
    fn split(mut self, bytes: usize) -> (Self, Self) {
        let mut first = self.clone();
        if let What::Write(_, tail) | What::Append(_, tail) = &mut first.what {
            tail.frame.truncate(tail.from + bytes);
        }
        if let What::Write(at, tail) | What::Append(at, tail) = &mut self.what {
            *at += bytes as u64;
            tail.from += bytes;
        }
        (first, self)
    }
}

/// What became of changes, by the size of the file.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// To be asked for again.
    pub(crate) lost: VecDeque<Piece>,
    /// Appends that are there.
    pub(crate) there: VecDeque<Piece>,
    /// Appends that cannot follow on what is there were dropped.
    pub(crate) has_hole: bool,
}

/// Compares changes with a file of `size` bytes.
pub(crate) fn compare(pieces: impl IntoIterator<Item = Piece>, mut size: u64) -> Compared {
    let mut compared = Compared::default();
    for piece in pieces {
        match (piece.there(size), piece.change()) {
            (None, _) => compared.has_hole = true,
            (Some(there), Change::Append(at, data)) if there == data.len() => {
                size = size.max(at + there as u64);
                compared.there.push_back(piece);
            }
            (Some(there), change) => {
                if let Change::Append(at, data) = change {
                    size = at + data.len() as u64;
                }
                let (first, rest) = piece.split(there);
                if there > 0 {
                    compared.there.push_back(first);
                }
                compared.lost.push_back(rest);
            }
        }
    }
    compared
}

/// What is kept of one file.
#[derive(Debug, Default)]
pub struct Unsynced {
    // In order.
    pieces: VecDeque<Piece>,
    bytes: usize,
}

impl Unsynced {
    /// A request that was answered.
    pub fn keep(&mut self, reply: Reply) {
        if let Some(piece) = Piece::of(reply, 0) {
            self.push(piece);
        }
    }

    /// The file was cut when it was opened.
    pub fn keep_cut(&mut self) {
        self.push(Piece::resize(0, 0));
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        self.bytes += piece.len() + OVERHEAD;
        self.pieces.push_back(piece);
    }

    /// All of it, for whoever sends it again.
    pub(crate) fn take(&mut self) -> VecDeque<Piece> {
        self.bytes = 0;
        core::mem::take(&mut self.pieces)
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// In order.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    /// It is safe now, or nobody asks any more.
    pub fn clear(&mut self) {
        self.take();
    }

    /// Whether anything is kept.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}
