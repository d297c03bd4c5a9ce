//! Reading and writing.

use crate::error::{Error, Result};
use crate::sys::{self, Fd};
use alloc_crate::string::String;
use alloc_crate::vec::Vec;
use core::fmt;

/// Standard input's descriptor.
pub const STDIN: Fd = 0;
/// Standard output's descriptor.
pub const STDOUT: Fd = 1;
/// Standard error's descriptor.
pub const STDERR: Fd = 2;

/// Bytes a copy or a buffered reader moves at once.
pub const BUFFER_BYTES: usize = 4096;

/// A source of bytes.
pub trait Read {
    /// Reads at most `buffer.len()` bytes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize>;

    /// Reads until the buffer is full; the end before that is an error.
    fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            match self.read(buffer)? {
                0 => return Err(Error::from("unexpected end of file")),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    /// Appends everything up to the end.
    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> Result<usize> {
        let start = bytes.len();
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(bytes.len() - start),
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// A sink of bytes.
pub trait Write {
    /// Writes; the number of bytes taken.
    fn write(&mut self, bytes: &[u8]) -> Result<usize>;

    /// Writes what a buffer holds.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Writes all bytes.
    fn write_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes)? {
                0 => return Err(Error::from("nothing was written")),
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }

    /// `write!` and `writeln!`.
    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> Result<()> {
        struct Adapter<'a, W: ?Sized>(&'a mut W, Result<()>);
        impl<W: Write + ?Sized> fmt::Write for Adapter<'_, W> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.1 = self.0.write_all(text.as_bytes());
                self.1.as_ref().map(|_| ()).map_err(|_| fmt::Error)
            }
        }
        let mut adapter = Adapter(self, Ok(()));
        let formatted = fmt::write(&mut adapter, arguments);
        adapter.1?;
        formatted.map_err(|_| Error::from("formatting failed"))
    }
}

/// Anything with a file descriptor.
pub trait AsFd {
    /// The descriptor.
    fn fd(&self) -> Fd;
}

/// Makes types with a descriptor readable and writable.
macro_rules! read_write_by_fd {
    ($($name:ty),*) => {$(
        impl Read for $name {
            fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
                Ok(sys::read(self.fd(), buffer)?)
            }
        }

        impl Write for $name {
            fn write(&mut self, bytes: &[u8]) -> Result<usize> {
                Ok(sys::write(self.fd(), bytes)?)
            }
        }
    )*};
}

read_write_by_fd!(
    OwnedFd,
    Stdio,
    crate::fs::File,
    crate::net::TcpStream,
    crate::net::UdpSocket
);

impl<R: Read + ?Sized> Read for &mut R {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        R::read(self, buffer)
    }
}

impl<W: Write + ?Sized> Write for &mut W {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        W::write(self, bytes)
    }

    fn flush(&mut self) -> Result<()> {
        W::flush(self)
    }
}

impl Read for &[u8] {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = buffer.len().min(self.len());
        let (taken, rest) = self.split_at(count);
        buffer[..count].copy_from_slice(taken);
        *self = rest;
        Ok(count)
    }
}

impl Write for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

/// A descriptor that is closed when dropped.
#[derive(Debug)]
pub struct OwnedFd(Fd);

impl OwnedFd {
    /// Takes over an open descriptor.
    pub fn new(fd: Fd) -> Self {
        Self(fd)
    }

    /// Another descriptor for the same open file.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self(sys::dup(self.0)?))
    }

    /// Gives the descriptor away without closing it.
    pub fn into_raw(self) -> Fd {
        let fd = self.0;
        core::mem::forget(self);
        fd
    }
}

impl AsFd for OwnedFd {
    fn fd(&self) -> Fd {
        self.0
    }
}

impl Drop for OwnedFd {
    fn drop(&mut self) {
        let _ = sys::close(self.0);
    }
}

/// Standard input, output or error; never closed.
#[derive(Clone, Copy, Debug)]
pub struct Stdio(Fd);

impl AsFd for Stdio {
    fn fd(&self) -> Fd {
        self.0
    }
}

/// Standard input.
pub fn stdin() -> Stdio {
    Stdio(STDIN)
}

/// Standard output, unbuffered.
pub fn stdout() -> Stdio {
    Stdio(STDOUT)
}

/// Standard error, unbuffered.
pub fn stderr() -> Stdio {
    Stdio(STDERR)
}

/// A pipe: what is written to the second comes out of the first.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = sys::pipe()?;
    Ok((OwnedFd(read), OwnedFd(write)))
}

/// A reader that hands out lines.
pub trait BufRead: Read {
    /// Appends bytes up to and including `delimiter`; 0 at the end.
    fn read_until(&mut self, delimiter: u8, bytes: &mut Vec<u8>) -> Result<usize>;

    /// Appends a line with its newline; bytes that are not UTF-8 become replacement characters.
    fn read_line(&mut self, line: &mut String) -> Result<usize> {
        let mut bytes = Vec::new();
        let count = self.read_until(b'\n', &mut bytes)?;
        line.push_str(&String::from_utf8_lossy(&bytes));
        Ok(count)
    }

    /// Lines without their newlines.
    fn lines(self) -> Lines<Self>
    where
        Self: Sized,
    {
        Lines(self)
    }
}

/// See [`BufRead::lines`].
#[derive(Debug)]
pub struct Lines<R>(R);

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => {
                if line.ends_with('\n') {
                    line.pop();
                }
                Some(Ok(line))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// A reader with a buffer.
#[derive(Debug)]
pub struct BufReader<R> {
    inner: R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: Read> BufReader<R> {
    /// Wraps a reader.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// The bytes at hand; reads more when there are none. Empty at the end.
    pub fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.at == self.buffer.len() {
            self.buffer.resize(BUFFER_BYTES, 0);
            let count = self.inner.read(&mut self.buffer);
            self.buffer
                .truncate(count.as_ref().map_or(0, |count| *count));
            self.at = 0;
            count?;
        }
        Ok(&self.buffer[self.at..])
    }

    /// Marks so many bytes of [`Self::fill_buf`] as read.
    pub fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.len());
    }
}

impl<R: Read> Read for BufReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let at_hand = self.fill_buf()?;
        let count = at_hand.len().min(buffer.len());
        buffer[..count].copy_from_slice(&at_hand[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for BufReader<R> {
    fn read_until(&mut self, delimiter: u8, bytes: &mut Vec<u8>) -> Result<usize> {
        let start = bytes.len();
        loop {
            let at_hand = self.fill_buf()?;
            let found = at_hand.iter().position(|&byte| byte == delimiter);
            let count = found.map_or(at_hand.len(), |index| index + 1);
            bytes.extend_from_slice(&at_hand[..count]);
            self.consume(count);
            if found.is_some() || count == 0 {
                return Ok(bytes.len() - start);
            }
        }
    }
}

/// A writer with a buffer, written out when full, on `flush` and when dropped.
#[derive(Debug)]
pub struct BufWriter<W: Write> {
    inner: W,
    buffer: Vec<u8>,
}

impl<W: Write> BufWriter<W> {
    /// Wraps a writer.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            buffer: Vec::with_capacity(BUFFER_BYTES),
        }
    }
}

impl<W: Write> Write for BufWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            return self.inner.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.inner.write_all(&self.buffer);
        self.buffer.clear();
        written
    }
}

impl<W: Write> Drop for BufWriter<W> {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// Copies everything; the number of bytes.
pub fn copy<R: Read + ?Sized, W: Write + ?Sized>(from: &mut R, to: &mut W) -> Result<u64> {
    let mut buffer = [0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(total),
            count => {
                to.write_all(&buffer[..count])?;
                total += count as u64;
            }
        }
    }
}

/// Formats into pieces of a fixed buffer, so that a line is one write and a panic needs no heap.
struct Pieces {
    fd: Fd,
    buffer: [u8; 256],
    len: usize,
    failed: bool,
}

impl Pieces {
    fn put_out(&mut self) {
        let fd = &mut Stdio(self.fd);
        self.failed |= fd.write_all(&self.buffer[..self.len]).is_err();
        self.len = 0;
    }
}

impl fmt::Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.len == self.buffer.len() {
                self.put_out();
            }
            self.buffer[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// Used by `print!` and its relatives.
pub fn print_to(fd: Fd, arguments: fmt::Arguments<'_>) {
    let mut pieces = Pieces {
        fd,
        buffer: [0; 256],
        len: 0,
        failed: false,
    };
    let _ = fmt::write(&mut pieces, arguments);
    pieces.put_out();
    if pieces.failed && fd == STDOUT {
        sys::exit(crate::start::EXIT_FAILURE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    #[test]
    fn lines_lose_their_newline_and_the_last_one_may_lack_it() {
        let reader = BufReader::new(&b"one\n\nthree"[..]);
        let lines: Result<Vec<_>> = reader.lines().collect();
        assert_eq!(lines, Ok(vec!["one".into(), "".into(), "three".into()]));
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_one_line() {
        let text = vec![b'x'; 3 * BUFFER_BYTES];
        let mut bytes = Vec::new();
        let mut reader = BufReader::new(&text[..]);
        assert_eq!(reader.read_until(b'\n', &mut bytes), Ok(text.len()));
        assert_eq!(reader.read_until(b'\n', &mut bytes), Ok(0));
    }

    #[test]
    fn a_buffered_writer_keeps_the_order_of_small_and_large_pieces() {
        let mut out = Vec::new();
        {
            let mut writer = BufWriter::new(&mut out);
            writer.write_all(b"small").expect("a Vec takes all");
            writer
                .write_all(&[b'L'; 2 * BUFFER_BYTES])
                .expect("a Vec takes all");
            writer.write_all(b"end").expect("a Vec takes all");
        }
        assert!(out.starts_with(b"smallL") && out.ends_with(b"Lend"));
    }

    #[test]
    fn copy_counts_what_it_copied() {
        let text = vec![7; BUFFER_BYTES + 5];
        let mut out = Vec::new();
        assert_eq!(copy(&mut &text[..], &mut out), Ok(text.len() as u64));
        assert_eq!(out, text);
    }
}
