//! SNFS, the simple network file system: what goes over the wire, and the client's state machine.
//!
//! `README.md` beside this crate is the specification. The layers, each usable without the next:
//!
//! - [`frame`]: the 24-byte header and the reassembly of frames from a byte stream;
//! - [`message`]: one struct for every request and reply, and the one list of operations;
//! - [`client`]: a client without any I/O: bytes and time go in, bytes and replies come out.
//!   The guest's kernel and the host's client both drive this one;
//! - [`ahead`] and [`behind`]: the bookkeeping of files that are read and written in a pipeline;
//! - `noise` (feature `noise`): the encrypted channel below the frames, without I/O as well, and `wire`,
//!   which puts a client on top of it or, in plain mode, of nothing;
//! - `host` (feature `std`): the host's blocking client, and files on top of it.
//!
//! # No panics
//! Decoding takes any bytes: it never panics, and what it allocates is bounded by the length of
//! the frame it was given, which [`frame::FrameReader`] bounds before it allocates.
//!
//! ```
//! use protocol::message::{Lookup, Request};
//! use protocol::{Handle, name::PathBuf};
//!
//! let path = PathBuf::parse(b"runs//m00/./trace.hvt").unwrap();
//! let frame = protocol::frame::request(&Lookup { dir: Handle(1), path: path.as_path() }, 0, 1, 7);
//! let (header, payload) = protocol::frame::split(&frame).unwrap();
//! # use std::string::ToString;
//! match Request::decode(header.operation, payload).unwrap() {
//!     Request::Lookup(lookup) => assert_eq!(lookup.path.to_string(), "runs/m00/trace.hvt"),
//!     other => panic!("{other:?}"),
//! }
//! ```
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod ahead;
pub mod behind;
pub mod client;
pub mod codec;
pub mod errno;
pub mod frame;
#[cfg(feature = "std")]
pub mod host;
pub mod message;
pub mod name;
#[cfg(feature = "noise")]
pub mod noise;
pub mod unsynced;
#[cfg(feature = "noise")]
pub mod wire;

pub use errno::{Errno, Reason, Refusal};
pub use message::{Handle, Operation};

/// "SNFS" in the order of the bytes on the wire: the first field of a hello.
pub const MAGIC: u32 = u32::from_le_bytes(*b"SNFS");
/// The version this crate speaks.
pub const VERSION: u16 = 1;
/// Default TCP port.
pub const DEFAULT_PORT: u16 = 7049;
/// The largest payload (what follows a header) that may ever be agreed.
pub const MAX_FRAME: u32 = 1 << 20;
/// The smallest payload bound that may be agreed.
pub const MIN_FRAME: u32 = 4096;
/// The largest payload of a hello, which comes before anything was agreed.
pub const MAX_HELLO: u32 = 512;
/// The most slots that may be agreed.
pub const MAX_SLOTS: u16 = 64;
/// The slot of frames that are no requests of a slot: hello, pushes, credit.
pub const NO_SLOT: u16 = 0xffff;
/// Bytes of data that a follower may have on the way before it returned credit.
pub const FOLLOW_CREDIT: u32 = 256 * 1024;
