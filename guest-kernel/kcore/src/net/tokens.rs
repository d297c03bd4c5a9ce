//! Buffers lent to a virtio device, by token.
//!
//! A device names a finished buffer by writing a token and a length into shared memory, and it may
//! lie. This table is our own copy of what was lent: a token that is out of range or not out on
//! loan, or a length the buffer never had, is a [`Lie`], and the driver resets the device.

/// What a device claimed that cannot be true.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// A token outside the ring.
    TokenOutOfRange(u16),
    /// A token that was not lent.
    TokenNotLent(u16),
    /// More buffers done than are out on loan.
    Index {
        /// How many the device says are done.
        claimed: u16,
        /// How many it has.
        lent: usize,
    },
    /// More bytes than the buffer has, or fewer than a header.
    Length {
        /// What the device said.
        claimed: u32,
        /// Smallest length that could be true.
        least: u32,
        /// Largest length that could be true.
        most: u32,
    },
}

impl core::fmt::Display for Lie {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Lie::TokenOutOfRange(token) => write!(f, "token {token} is outside the ring"),
            Lie::TokenNotLent(token) => write!(f, "token {token} was not lent"),
            Lie::Index { claimed, lent } => {
                write!(f, "{claimed} buffers are said to be done, {lent} are out")
            }
            Lie::Length {
                claimed,
                least,
                most,
            } => write!(f, "length {claimed} is not within {least}..={most}"),
        }
    }
}

/// Which buffer each token of a ring of `SIZE` descriptors stands for.
#[derive(Debug)]
pub struct TokenTable<const SIZE: usize> {
    lent: [Option<u16>; SIZE],
    count: usize,
}

impl<const SIZE: usize> Default for TokenTable<SIZE> {
    fn default() -> Self {
        Self {
            lent: [None; SIZE],
            count: 0,
        }
    }
}

impl<const SIZE: usize> TokenTable<SIZE> {
    /// Buffers out on loan.
    pub fn lent(&self) -> usize {
        self.count
    }

    /// How many buffers the device says it is done with: `used` is the index it wrote, `taken` what we have counted
    /// up to. Both run freely and wrap. An index that went back, or that is ahead of what was lent, is a lie: behind it
    /// would be old entries of the ring that name tokens which have been lent again since.
    pub fn done(&self, used: u16, taken: u16) -> Result<usize, Lie> {
        let claimed = used.wrapping_sub(taken);
        if usize::from(claimed) <= self.count {
            Ok(claimed.into())
        } else {
            Err(Lie::Index {
                claimed,
                lent: self.count,
            })
        }
    }

    /// Records that the queue gave out `token` for `buffer`. The token comes from our own queue
    /// code, so a token that is already out is our bug: `false`, and nothing is changed.
    #[must_use]
    pub fn lend(&mut self, token: u16, buffer: u16) -> bool {
        match self.lent.get_mut(usize::from(token)) {
            Some(slot @ None) => {
                *slot = Some(buffer);
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    /// The buffer behind a token the device named, still on loan.
    pub fn check(&self, token: u16) -> Result<u16, Lie> {
        match self.lent.get(usize::from(token)) {
            None => Err(Lie::TokenOutOfRange(token)),
            Some(None) => Err(Lie::TokenNotLent(token)),
            Some(Some(buffer)) => Ok(*buffer),
        }
    }

    /// Takes the buffer back.
    pub fn give_back(&mut self, token: u16) -> Result<u16, Lie> {
        let buffer = self.check(token)?;
        self.lent[usize::from(token)] = None;
        self.count -= 1;
        Ok(buffer)
    }
}

/// A frame's length from the length a device wrote: that includes the `header`, and cannot exceed
/// the buffer's `capacity`.
pub fn frame_len(claimed: u32, header: usize, capacity: usize) -> Result<usize, Lie> {
    let (least, most) = (header as u32, capacity as u32);
    if (least..=most).contains(&claimed) {
        Ok(claimed as usize - header)
    } else {
        Err(Lie::Length {
            claimed,
            least,
            most,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lent_tokens_come_back_and_only_once() {
        let mut table = TokenTable::<4>::default();
        assert!(table.lend(2, 7));
        assert_eq!(table.lent(), 1);
        assert_eq!(table.check(4), Err(Lie::TokenOutOfRange(4)));
        assert_eq!(table.check(u16::MAX), Err(Lie::TokenOutOfRange(u16::MAX)));
        assert_eq!(table.check(1), Err(Lie::TokenNotLent(1)));
        assert_eq!(table.give_back(2), Ok(7));
        assert_eq!(table.give_back(2), Err(Lie::TokenNotLent(2)));
        assert_eq!(table.lent(), 0);
    }

    #[test]
    fn a_token_is_not_lent_twice() {
        let mut table = TokenTable::<2>::default();
        assert!(table.lend(0, 1));
        assert!(!table.lend(0, 2));
        assert!(!table.lend(2, 2));
        assert_eq!(table.check(0), Ok(1));
        assert_eq!(table.lent(), 1);
    }

    #[test]
    fn no_more_is_done_than_was_lent() {
        let mut table = TokenTable::<4>::default();
        assert_eq!(table.done(7, 7), Ok(0));
        assert_eq!(
            table.done(8, 7),
            Err(Lie::Index {
                claimed: 1,
                lent: 0
            })
        );
        assert!(table.lend(0, 0) && table.lend(3, 1));
        assert_eq!(table.done(9, 7), Ok(2));
        assert_eq!(table.done(1, u16::MAX), Ok(2));
        assert!(table.done(10, 7).is_err());
        // An index that went back.
        assert_eq!(
            table.done(6, 7),
            Err(Lie::Index {
                claimed: u16::MAX,
                lent: 2
            })
        );
    }

    #[test]
    fn lengths_are_between_header_and_buffer() {
        assert_eq!(frame_len(12, 12, 2048), Ok(0));
        assert_eq!(frame_len(2048, 12, 2048), Ok(2036));
        assert!(frame_len(11, 12, 2048).is_err());
        assert!(frame_len(2049, 12, 2048).is_err());
        assert!(frame_len(u32::MAX, 12, 2048).is_err());
    }
}
