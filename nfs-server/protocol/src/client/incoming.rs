//! Frames out of the server's bytes: each payload is collected where the reply will keep it.

use alloc::vec::Vec;

use crate::codec::{Field, Reader};
use crate::frame::{HEADER, Header, TooLarge};

/// The frame in progress. Looks at the length before it takes memory for the payload.
#[derive(Debug)]
pub(super) struct Incoming {
    head: [u8; HEADER],
    head_len: usize,
    header: Option<Header>,
    payload: Vec<u8>,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self {
            head: [0; HEADER],
            head_len: 0,
            header: None,
            payload: Vec::new(),
        }
    }

    /// Takes bytes from the front of `bytes` until a frame is whole. None: they are used up.
    pub(super) fn take(
        &mut self,
        bytes: &mut &[u8],
        limit: u32,
    ) -> Result<Option<(Header, Vec<u8>)>, TooLarge> {
        let header = match self.header {
            Some(header) => header,
            None => match self.take_header(bytes, limit)? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let missing = header.length as usize - self.payload.len();
        let (now, rest) = bytes.split_at(missing.min(bytes.len()));
        self.payload.extend_from_slice(now);
        *bytes = rest;
        if now.len() < missing {
            return Ok(None);
        }
        let whole = core::mem::replace(self, Self::new());
        Ok(Some((header, whole.payload)))
    }

    fn take_header(&mut self, bytes: &mut &[u8], limit: u32) -> Result<Option<Header>, TooLarge> {
        let missing = HEADER - self.head_len;
        let (now, rest) = bytes.split_at(missing.min(bytes.len()));
        self.head[self.head_len..self.head_len + now.len()].copy_from_slice(now);
        self.head_len += now.len();
        *bytes = rest;
        let whole = (self.head_len == HEADER).then_some(&self.head[..]);
        let Some(Ok(header)) = whole.map(|head| Header::get(&mut Reader::new(head), "header"))
        else {
            return Ok(None);
        };
        if header.length > limit {
            return Err(TooLarge { header, limit });
        }
        self.payload.reserve_exact(header.length as usize);
        self.header = Some(header);
        Ok(Some(header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use alloc::vec;

    #[test]
    fn frames_come_whole_out_of_any_pieces() {
        let mut stream = Vec::new();
        for length in [0usize, 1, 300, 23, 24, 4096] {
            frame::put(&mut stream, Header::default(), |out| {
                out.resize(out.len() + length, length as u8)
            });
        }
        for piece in [1, 7, 24, 25, 5000] {
            let (mut incoming, mut seen) = (Incoming::new(), vec![]);
            for mut bytes in stream.chunks(piece) {
                while let Some((header, payload)) = incoming.take(&mut bytes, 4096).unwrap() {
                    assert_eq!(header.length as usize, payload.len());
                    assert!(payload.iter().all(|&byte| byte == payload.len() as u8));
                    seen.push(payload.len());
                }
            }
            assert_eq!(seen, [0, 1, 300, 23, 24, 4096], "in pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_takes_no_memory() {
        let mut stream = Vec::new();
        frame::put(&mut stream, Header::default(), |out| {
            out.resize(out.len() + 4097, 0)
        });
        let mut incoming = Incoming::new();
        let error = incoming.take(&mut &stream[..], 4096).unwrap_err();
        assert_eq!((error.header.length, error.limit), (4097, 4096));
        assert_eq!(incoming.payload.capacity(), 0);
    }
}
