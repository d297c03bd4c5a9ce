//! Several files in one: a cpio archive in the "newc" form, which `cpio -t` lists and Linux calls an initrd.
//!
//! A direct boot hands over one file only, so the boot modules travel in an archive. Each entry is a header of
//! 110 ASCII bytes (magic `070701`, then 13 numbers of eight hexadecimal digits), the name with a NUL, padding to
//! four bytes, the content, padding to four bytes; the entry `TRAILER!!!` ends it (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! ```
//! use kcore::initrd;
//! let archive = initrd::build([("fs.img", b"blocks".as_slice()), ("hx", b"program")]);
//! let entries: Vec<_> = initrd::entries(&archive).map(Result::unwrap).collect();
//! assert_eq!(entries[1].name, "hx");
//! assert_eq!(&archive[entries[1].content.clone()], b"program");
//! ```

use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

const MAGIC: &[u8] = b"070701";
const HEADER: usize = 110;
const TRAILER: &str = "TRAILER!!!";
/// Numbers of the header, counted from 0.
const MODE: usize = 1;
const LINKS: usize = 2;
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;
const NUMBERS: usize = 13;
/// A regular file that everybody may read.
const REGULAR: u32 = 0o100_444;

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its content lies in the archive.
    pub content: Range<usize>,
}

/// What is wrong with an archive, with the offset of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitrdError {
    /// It ends inside an entry, or without a trailer.
    Short(usize),
    /// The entry does not begin as the newc form wants it.
    Header(usize),
    /// The name is empty, not UTF-8 or lacks its NUL.
    Name(usize),
}

impl fmt::Display for InitrdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(at) => write!(f, "the archive ends inside the entry at byte {at}"),
            Self::Header(at) => write!(f, "no cpio newc header at byte {at}"),
            Self::Name(at) => write!(f, "the entry at byte {at} has no proper name"),
        }
    }
}

/// The files of an archive; the last item may be an error, behind which there is nothing.
pub fn entries(archive: &[u8]) -> Entries<'_> {
    Entries {
        archive,
        next: Some(0),
    }
}

/// See [`entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    archive: &'a [u8],
    /// Where the next entry begins; none at the end.
    next: Option<usize>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, InitrdError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.next.take()?;
        match read(self.archive, at) {
            Ok(entry) if entry.name == TRAILER => None,
            Ok(entry) => {
                self.next = Some(entry.content.end.next_multiple_of(4));
                Some(Ok(entry))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

fn read(archive: &[u8], at: usize) -> Result<Entry<'_>, InitrdError> {
    let short = InitrdError::Short(at);
    let entry = archive.get(at..).ok_or(short)?;
    let header = entry.get(..HEADER).ok_or(short)?;
    let numbers = header.strip_prefix(MAGIC).ok_or(InitrdError::Header(at))?;
    let number = |index: usize| -> Result<usize, InitrdError> {
        let digits = &numbers[index * 8..index * 8 + 8];
        let value = digits.iter().try_fold(0u32, |value, &digit| {
            let digit = char::from(digit).to_digit(16)?;
            Some(value << 4 | digit)
        });
        value
            .map(|value| value as usize)
            .ok_or(InitrdError::Header(at))
    };
    let (name_size, file_size) = (number(NAME_SIZE)?, number(FILE_SIZE)?);
    let name_end = HEADER.checked_add(name_size).ok_or(short)?;
    let name = entry.get(HEADER..name_end).ok_or(short)?;
    let name = match name.split_last() {
        Some((0, name)) if !name.is_empty() => name,
        _ => return Err(InitrdError::Name(at)),
    };
    let name = core::str::from_utf8(name).map_err(|_| InitrdError::Name(at))?;
    // Entries begin at multiples of four, so offsets within the entry and the archive are padded alike.
    let start = name_end.next_multiple_of(4) + at;
    let end = start.checked_add(file_size).ok_or(short)?;
    if end > archive.len() {
        return Err(short);
    }
    Ok(Entry {
        name,
        content: start..end,
    })
}

/// An archive of these files: names and contents.
///
/// # Panics
/// When a content has 4 GiB or more, which the form cannot say.
pub fn build<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        append(&mut archive, name, content, REGULAR);
    }
    append(&mut archive, TRAILER, &[], 0);
    archive
}

fn append(archive: &mut Vec<u8>, name: &str, content: &[u8], mode: u32) {
    let mut numbers = [0u32; NUMBERS];
    numbers[MODE] = mode;
    numbers[LINKS] = 1;
    numbers[FILE_SIZE] = u32::try_from(content.len()).expect("less than 4 GiB");
    numbers[NAME_SIZE] = u32::try_from(name.len() + 1).expect("a name is short");
    archive.extend_from_slice(MAGIC);
    for number in numbers {
        archive.extend_from_slice(format!("{number:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
