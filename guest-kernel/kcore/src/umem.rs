//! User pointers are claims: whether a range lies in the user half is decided here, before anything
//! touches it. Whether its pages are mapped is the page table's business.

use abi::Errno;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;
/// End of user addresses. The last page of the lower half stays empty, so that a `syscall` at its
/// end cannot return to a non-canonical address.
pub const USER_END: u64 = 0x0000_7fff_ffff_f000;

/// A range of user addresses that neither wraps nor leaves the lower half. Only [`UserRange::new`]
/// and its relatives make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRange {
    start: u64,
    length: u64,
}

impl UserRange {
    /// Checks `length` bytes at `start`. An empty range must lie in the user half, too.
    ///
    /// # Errors
    /// EFAULT.
    pub fn new(start: u64, length: u64) -> Result<Self, Errno> {
        match start.checked_add(length) {
            Some(end) if end <= USER_END => Ok(Self { start, length }),
            _ => Err(Errno::EFAULT),
        }
    }

    /// As much of `length` bytes at `start` as lies in the user half: for strings, whose end is
    /// not known before they are read.
    ///
    /// # Errors
    /// EFAULT when `start` lies outside.
    pub fn at_most(start: u64, length: u64) -> Result<Self, Errno> {
        if start >= USER_END {
            return Err(Errno::EFAULT);
        }
        Ok(Self {
            start,
            length: length.min(USER_END - start),
        })
    }

    /// First address.
    pub fn start(self) -> u64 {
        self.start
    }

    /// The first address behind the range.
    pub fn end(self) -> u64 {
        self.start + self.length
    }

    /// The parts of the range that lie in one page each, in order.
    pub fn pieces(self) -> impl Iterator<Item = Piece> {
        let mut at = self.start;
        core::iter::from_fn(move || {
            let length = (PAGE_SIZE - at % PAGE_SIZE).min(self.end() - at);
            let piece = Piece {
                address: at,
                length: length as usize,
            };
            at += length;
            (length > 0).then_some(piece)
        })
    }
}

/// A part of a range that lies in one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First address.
    pub address: u64,
    /// Bytes, 1 to 4096.
    pub length: usize,
}

impl Piece {
    /// Where in the page it begins.
    pub fn offset(self) -> usize {
        (self.address % PAGE_SIZE) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn only_the_user_half_passes() {
        let good = [
            (0, 0),
            (0, 1),
            (USER_END - 1, 1),
            (USER_END, 0),
            (0, USER_END),
        ];
        for (start, length) in good {
            assert!(
                UserRange::new(start, length).is_ok(),
                "{start:#x} {length:#x}"
            );
        }
        let bad = [
            (USER_END, 1),
            (USER_END + 1, 0),
            (0, USER_END + 1),
            (0x8000_0000_0000, 0),
            (0x8000_0000_0000, 8),
            (0xffff_8000_0000_0000, 8),
            (0xffff_ffff_8010_0000, 8),
            (u64::MAX, 1),
            (u64::MAX, u64::MAX),
            (1, u64::MAX),
            (0xeaeb_0b5b_0000_2f5e, 4),
        ];
        for (start, length) in bad {
            assert_eq!(
                UserRange::new(start, length),
                Err(Errno::EFAULT),
                "{start:#x} {length:#x}"
            );
        }
    }

    #[test]
    fn strings_end_with_the_user_half() {
        let end = |start, length| UserRange::at_most(start, length).map(UserRange::end);
        assert_eq!(end(USER_END - 10, 100), Ok(USER_END));
        assert_eq!(end(8, 100), Ok(108));
        assert_eq!(end(USER_END, 1), Err(Errno::EFAULT));
        assert_eq!(end(u64::MAX, u64::MAX), Err(Errno::EFAULT));
    }

    #[test]
    fn pieces_stay_in_their_page_and_cover_the_range() {
        let range = UserRange::new(4090, 4096 + 10).unwrap();
        let pieces: Vec<_> = range
            .pieces()
            .map(|p| (p.address, p.offset(), p.length))
            .collect();
        assert_eq!(pieces, [(4090, 4090, 6), (4096, 0, 4096), (8192, 0, 4)]);
        assert_eq!(UserRange::new(4096, 0).unwrap().pieces().count(), 0);
        assert_eq!(UserRange::new(USER_END - 1, 1).unwrap().pieces().count(), 1);
    }
}
