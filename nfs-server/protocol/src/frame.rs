//! The 24-byte header, and frames out of a byte stream.

use alloc::vec::Vec;

use crate::codec::{DecodeError, Field, Reader};
use crate::errno::{Errno, Refusal};
use crate::message::{Call, Operation};

/// Bytes of a header.
pub const HEADER: usize = 24;
/// Flag: the frame answers a request.
pub const REPLY: u8 = 1;
/// Flag: the frame has no slot and is not answered.
pub const PUSH: u8 = 2;

/// What every frame begins with.
///
/// ```text
///  0        4    5      6      8          12      16       24
///  | length | op | flags| slot | sequence | status | session |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// Length of the payload that follows.
    pub length: u32,
    /// Number of an [`Operation`].
    pub operation: u8,
    /// [`REPLY`], [`PUSH`].
    pub flags: u8,
    /// Slot, or [`crate::NO_SLOT`].
    pub slot: u16,
    /// Number of the request within its slot.
    pub sequence: u32,
    /// 0 or -Errno; 0 in requests.
    pub status: i32,
    /// Session number; 0 before there is one.
    pub session: u64,
}

impl<'a> Field<'a> for Header {
    fn put(&self, out: &mut Vec<u8>) {
        self.length.put(out);
        self.operation.put(out);
        self.flags.put(out);
        self.slot.put(out);
        self.sequence.put(out);
        self.status.put(out);
        self.session.put(out);
    }

    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            length: Field::get(r, what)?,
            operation: Field::get(r, what)?,
            flags: Field::get(r, what)?,
            slot: Field::get(r, what)?,
            sequence: Field::get(r, what)?,
            status: Field::get(r, what)?,
            session: Field::get(r, what)?,
        })
    }
}

impl Header {
    /// The error of a reply, if it is one.
    pub fn error(&self) -> Option<Errno> {
        Errno::from_status(self.status)
    }

    /// Whether it is an answer.
    pub fn is_reply(&self) -> bool {
        self.flags & REPLY != 0
    }

    /// Whether it is a push.
    pub fn is_push(&self) -> bool {
        self.flags & PUSH != 0
    }
}

/// Appends a frame; `payload` writes what follows the header, whose length is filled in.
pub fn put(out: &mut Vec<u8>, header: Header, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    header.put(out);
    payload(out);
    let length = (out.len() - start - HEADER) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// A request as a frame.
pub fn request<C: Call>(call: &C, slot: u16, sequence: u32, session: u64) -> Vec<u8> {
    // Most requests fit.
    let mut out = Vec::with_capacity(HEADER + 40);
    let flags = if C::OPERATION.is_one_way() { PUSH } else { 0 };
    let header = Header {
        operation: C::OPERATION.number(),
        flags,
        slot,
        sequence,
        session,
        ..Header::default()
    };
    put(&mut out, header, |out| call.put_payload(out));
    out
}

/// Appends the answer to the request with this header: a payload, or a refusal.
pub fn put_reply<'a>(
    out: &mut Vec<u8>,
    asked: &Header,
    result: &Result<impl Field<'a>, (Errno, Refusal)>,
) {
    let status = match result {
        Ok(_) => 0,
        Err((errno, _)) => errno.status(),
    };
    let header = Header {
        flags: REPLY,
        status,
        ..*asked
    };
    put(out, header, |out| match result {
        Ok(reply) => reply.put(out),
        Err((_, refusal)) => refusal.put(out),
    });
}

/// Splits a whole frame into header and payload.
pub fn split(frame: &[u8]) -> Result<(Header, &[u8]), DecodeError> {
    let mut r = Reader::new(frame);
    let header = Header::get(&mut r, "header")?;
    let payload = r.take(header.length as usize, "payload")?;
    r.finish()?;
    Ok((header, payload))
}

/// A frame was announced that is longer than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Its header.
    pub header: Header,
    /// The bound.
    pub limit: u32,
}

/// Collects bytes until a frame is whole. Holds at most one read's worth of bytes beyond the frame
/// in progress, and looks at the length before it waits for the payload.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    // Bytes of `buffer` that were already handed out.
    used: usize,
    limit: u32,
}

impl FrameReader {
    /// `limit` bounds the payload of a frame.
    pub fn new(limit: u32) -> Self {
        Self {
            buffer: Vec::new(),
            used: 0,
            limit,
        }
    }

    /// Changes the bound, after a hello.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Forgets everything, for a new connection.
    pub fn reset(&mut self, limit: u32) {
        *self = Self::new(limit);
    }

    /// Takes bytes from the stream. Call [`Self::next_frame`] until it has none before giving more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reclaim();
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer to append to directly; the same rule as for [`Self::push`].
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        self.reclaim();
        &mut self.buffer
    }

    /// Whether a frame has begun and is not whole.
    pub fn is_within_frame(&self) -> bool {
        self.used < self.buffer.len()
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Result<Option<(Header, &[u8])>, TooLarge> {
        let rest = &self.buffer[self.used..];
        let Ok(header) = Header::get(&mut Reader::new(rest), "header") else {
            return Ok(None);
        };
        if header.length > self.limit {
            return Err(TooLarge {
                header,
                limit: self.limit,
            });
        }
        let end = HEADER + header.length as usize;
        if rest.len() < end {
            return Ok(None);
        }
        let start = self.used + HEADER;
        self.used += end;
        Ok(Some((header, &self.buffer[start..self.used])))
    }

    fn reclaim(&mut self) {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        // A large frame does not cost its memory for ever.
        if self.buffer.is_empty() && self.buffer.capacity() > 64 * 1024 {
            self.buffer = Vec::new();
        }
    }
}

/// Whether a header is a plausible request of a session: no status, no reply flag, push exactly where
/// the operation is one-way.
pub fn check_request(header: &Header) -> Result<Operation, DecodeError> {
    let operation =
        Operation::from_number(header.operation).ok_or(DecodeError::Operation(header.operation))?;
    let flags = if operation.is_one_way() { PUSH } else { 0 };
    if header.flags != flags {
        return Err(DecodeError::Value("header.flags", header.flags.into()));
    }
    if header.status != 0 {
        return Err(DecodeError::Value(
            "header.status",
            header.status as u32 as u64,
        ));
    }
    Ok(operation)
}
