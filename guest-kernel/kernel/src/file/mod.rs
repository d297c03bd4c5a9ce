//! Open files: what a descriptor stands for, whatever is behind it.

pub mod device;
pub mod pipe;
mod table;

pub use table::{FileTable, Ticket, open_count};

use crate::sync::WaitQueue;
use abi::{DirEntry, Errno, Stat};
use alloc::sync::Arc;

/// Most descriptors of a process.
pub const NOFILE: usize = 128;
/// Most open files in the system.
pub const NFILE: usize = 1024;

/// An open file. Descriptors that `dup` or `fork` made share one, with its offset.
pub type File = Arc<dyn FileOps>;

/// What would not block now, for `select`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// `read` returns at once.
    pub readable: bool,
    /// `write` returns at once.
    pub writable: bool,
    /// Something exceptional.
    pub except: bool,
}

impl Readiness {
    /// Neither direction ever blocks.
    pub const ALWAYS: Self = Self {
        readable: true,
        writable: true,
        except: false,
    };
}

/// What every open file can be asked. Buffers are the kernel's; the system call layer copies.
///
/// Dropping the last reference closes the file. Each implementor holds a [`Ticket`].
pub trait FileOps: Send + Sync {
    /// Reads at the file's offset.
    fn read(&self, buf: &mut [u8], nonblock: bool) -> Result<usize, Errno>;
    /// Writes at the file's offset.
    fn write(&self, buf: &[u8], nonblock: bool) -> Result<usize, Errno>;
    /// What is behind it.
    fn stat(&self) -> Result<Stat, Errno>;
    /// Sets the offset, absolute.
    fn seek(&self, offset: i64) -> Result<i64, Errno> {
        let _ = offset;
        Err(Errno::ESPIPE)
    }
    /// Directory entries from a position on; the position is the file's own offset.
    fn readdir(&self, out: &mut [DirEntry]) -> Result<usize, Errno> {
        let _ = out;
        Err(Errno::ENOTDIR)
    }
    /// Sets the length.
    fn ftruncate(&self, length: u64) -> Result<(), Errno> {
        let _ = length;
        Err(Errno::EINVAL)
    }
    /// Waits until everything written is safe.
    fn fsync(&self) -> Result<(), Errno> {
        Ok(())
    }
    /// A descriptor is closed: says what went wrong since the last fsync. Other descriptors may still have it.
    fn close(&self) -> Result<(), Errno> {
        Ok(())
    }
    /// What would not block.
    fn poll(&self) -> Readiness {
        Readiness::ALWAYS
    }
    /// Woken when `poll` may answer differently; None if it never does.
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }
    /// The terminal behind the file: `abi::file::TTY_LINE` or `TTY_RAW`.
    fn set_tty_mode(&self, mode: i32) -> Result<(), Errno> {
        let _ = mode;
        Err(Errno::EINVAL)
    }
    /// The socket behind the file.
    fn as_socket(&self) -> Option<&dyn SocketOps> {
        None
    }
}

/// What a socket can be asked besides reading and writing. Addresses are 4 or 16 bytes, ports in host order.
pub trait SocketOps: Send + Sync {
    /// Bytes of an address of this socket's family: 4 or 16.
    fn address_len(&self) -> usize;
    /// Takes a local address.
    fn bind(&self, address: &[u8], port: u16) -> Result<(), Errno>;
    /// Waits for connections.
    fn listen(&self) -> Result<(), Errno>;
    /// Connects (stream) or sets the peer (datagram).
    fn connect(&self, address: &[u8], port: u16, nonblock: bool) -> Result<(), Errno>;
    /// Takes a connection; its peer's address goes to the caller through `Peer`.
    fn accept(&self, nonblock: bool) -> Result<(File, Peer), Errno>;
    /// Sends; `to` None for the connected peer.
    fn send(&self, buf: &[u8], flags: i32, to: Option<Peer>) -> Result<usize, Errno>;
    /// Receives; with where from, if known.
    fn recv(&self, buf: &mut [u8], flags: i32) -> Result<(usize, Option<Peer>), Errno>;
    /// Own address.
    fn local(&self) -> Result<Peer, Errno>;
    /// Peer's address.
    fn peer(&self) -> Result<Peer, Errno>;
    /// Ends a direction: `abi::net::SHUT_*`.
    fn shutdown(&self, how: i32) -> Result<(), Errno>;
    /// Sets an option: `abi::net::SO_*`.
    fn set_option(&self, option: i32, value: i64) -> Result<(), Errno>;
}

/// An address and a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// 4 or 16 bytes, zero-padded.
    pub address: [u8; 16],
    /// 4 or 16.
    pub address_len: u8,
    /// Port in host order.
    pub port: u16,
}
