//! Pipes.

use super::{File, FileOps, Readiness, Ticket};
use crate::sync::{SpinLock, WaitQueue};
use abi::file::T_PIPE;
use abi::{Errno, Stat};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes a pipe holds, as in xv6.
const PIPE_SIZE: usize = 512;

struct Ring {
    bytes: [u8; PIPE_SIZE],
    /// Bytes ever read and written.
    read: usize,
    written: usize,
    readers_open: bool,
    writers_open: bool,
}

struct Pipe {
    ring: SpinLock<Ring>,
    /// One queue for both ends: who waits to read, who waits to write, who selects.
    changed: WaitQueue,
}

struct Reader {
    pipe: Arc<Pipe>,
    _ticket: Ticket,
}

struct Writer {
    pipe: Arc<Pipe>,
    _ticket: Ticket,
}

/// A new pipe: its reading and its writing end.
pub fn new() -> Result<(File, File), Errno> {
    let tickets = (Ticket::new()?, Ticket::new()?);
    let ring = Ring {
        bytes: [0; PIPE_SIZE],
        read: 0,
        written: 0,
        readers_open: true,
        writers_open: true,
    };
    // Arc has no fallible constructor; ask for the room first.
    Vec::<u8>::new()
        .try_reserve(2 * size_of::<Pipe>())
        .map_err(|_| Errno::ENOMEM)?;
    let pipe = Arc::new(Pipe {
        ring: SpinLock::new("pipe", ring),
        changed: WaitQueue::new(),
    });
    let reader = Arc::new(Reader {
        pipe: pipe.clone(),
        _ticket: tickets.0,
    });
    Ok((
        reader,
        Arc::new(Writer {
            pipe,
            _ticket: tickets.1,
        }),
    ))
}

impl Ring {
    fn len(&self) -> usize {
        self.written - self.read
    }

    fn take(&mut self, buf: &mut [u8]) -> usize {
        let len = self.len().min(buf.len());
        for byte in &mut buf[..len] {
            *byte = self.bytes[self.read % PIPE_SIZE];
            self.read += 1;
        }
        len
    }

    fn put(&mut self, buf: &[u8]) -> usize {
        let len = (PIPE_SIZE - self.len()).min(buf.len());
        for &byte in &buf[..len] {
            self.bytes[self.written % PIPE_SIZE] = byte;
            self.written += 1;
        }
        len
    }
}

const STAT: Stat = Stat {
    dev: 0,
    ino: 0,
    kind: T_PIPE,
    nlink: 1,
    pad: 0,
    size: 0,
};

impl FileOps for Reader {
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize, Errno> {
        let mut ring = self.pipe.ring.lock();
        while ring.len() == 0 && ring.writers_open {
            if nonblock {
                return Err(Errno::EAGAIN);
            }
            let waited;
            (ring, waited) = self.pipe.changed.wait(ring);
            waited?;
        }
        let len = ring.take(buf);
        drop(ring);
        self.pipe.changed.wake_all();
        Ok(len)
    }

    fn write(&self, _buf: &[u8], _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Ok(STAT)
    }

    fn poll(&self) -> Readiness {
        let ring = self.pipe.ring.lock();
        Readiness {
            readable: ring.len() > 0 || !ring.writers_open,
            ..Readiness::default()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.changed)
    }
}

impl FileOps for Writer {
    fn read(&self, _buf: &mut [u8], _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EBADF)
    }

    fn write(&self, buf: &[u8], nonblock: bool) -> Result<usize, Errno> {
        let mut done = 0;
        let mut ring = self.pipe.ring.lock();
        while done < buf.len() {
            if !ring.readers_open {
                return if done > 0 {
                    Ok(done)
                } else {
                    Err(Errno::EPIPE)
                };
            }
            let len = ring.put(&buf[done..]);
            done += len;
            if len > 0 {
                self.pipe.changed.wake_all();
                continue;
            }
            if nonblock {
                return if done > 0 {
                    Ok(done)
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            let waited;
            (ring, waited) = self.pipe.changed.wait(ring);
            waited?;
        }
        Ok(done)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        Ok(STAT)
    }

    fn poll(&self) -> Readiness {
        let ring = self.pipe.ring.lock();
        Readiness {
            writable: ring.len() < PIPE_SIZE || !ring.readers_open,
            ..Readiness::default()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.changed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pipe.ring.lock().readers_open = false;
        self.pipe.changed.wake_all();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pipe.ring.lock().writers_open = false;
        self.pipe.changed.wake_all();
    }
}
