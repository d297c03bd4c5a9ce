//! Every request and reply, and the one list of operations.

mod about;
mod data;
mod flags;
mod follow;
mod names;
mod session;

use alloc::vec::Vec;
use core::fmt;

use crate::codec::{self, DecodeError, Field, Reader, Rest, wire_enum};

pub use about::*;
pub use data::*;
pub use flags::*;
pub use follow::*;
pub use names::*;
pub use session::*;

/// What a client names an open file, directory or export by. Never used twice within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

impl<'a> Field<'a> for Handle {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        u32::get(r, what).map(Self)
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// 16 random bytes that a client makes for each session and tells nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub [u8; 16]);

impl<'a> Field<'a> for ClientId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        r.array(what).map(Self)
    }
}

impl fmt::Debug for ClientId {
    /// Only the first bytes: whoever knows all of them could take the session over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}..", self.0[0], self.0[1])
    }
}

/// A request: its operation and the type of its reply.
pub trait Call {
    /// The operation.
    const OPERATION: Operation;
    /// What a good reply carries.
    type Reply<'r>: Field<'r>;
    /// Appends the payload.
    fn put_payload(&self, out: &mut Vec<u8>);
}

macro_rules! operations {
    ($($n:literal $op:ident $(<$a:lifetime>)? -> $reply:ty, $doc:literal;)*) => {
        wire_enum! {
            /// What a frame asks for.
            Operation: u8 { $(#[doc = $doc] $op = $n),* }
        }

        /// Any request, decoded.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is the operation of its name")]
        pub enum Request<'a> { $($op($op $(<$a>)?)),* }

        impl<'a> Request<'a> {
            /// Decodes the payload of a request.
            pub fn decode(operation: u8, payload: &'a [u8]) -> Result<Self, DecodeError> {
                match Operation::from_number(operation) {
                    $(Some(Operation::$op) => codec::decode(payload).map(Self::$op),)*
                    None => Err(DecodeError::Operation(operation)),
                }
            }

            /// The operation.
            pub fn operation(&self) -> Operation {
                match self { $(Self::$op(_) => Operation::$op),* }
            }

            /// Appends the payload.
            pub fn put(&self, out: &mut Vec<u8>) {
                match self { $(Self::$op(request) => request.put(out)),* }
            }
        }

        /// Checks that a good reply's payload is what its operation promises.
        pub fn check_reply<'r>(operation: Operation, payload: &'r [u8]) -> Result<(), DecodeError> {
            match operation {
                $(Operation::$op => codec::decode::<$reply>(payload).map(drop)),*
            }
        }

        $(impl $(<$a>)? Call for $op $(<$a>)? {
            const OPERATION: Operation = Operation::$op;
            type Reply<'r> = $reply;
            fn put_payload(&self, out: &mut Vec<u8>) {
                self.put(out);
            }
        })*
    };
}

operations! {
    1 Hello<'a> -> HelloReply, "Starts or resumes a session; the first frame of a connection.";
    2 Attach<'a> -> Attached, "Opens the root of an export.";
    3 Lookup<'a> -> Stat, "Describes what a path names.";
    4 Getattr -> Stat, "Describes what a handle names.";
    5 Open<'a> -> Opened, "Opens or creates a file, or opens a directory.";
    6 Read -> Rest<'r>, "Reads; fewer bytes than asked for mean the end of the file.";
    7 Write<'a> -> Written, "Writes at an offset.";
    8 Append<'a> -> Appended, "Writes at the end, if the end is where the client thinks.";
    9 Close -> (), "Gives a handle back.";
    10 Mkdir<'a> -> Stat, "Makes a directory.";
    11 Unlink<'a> -> (), "Removes a file or an empty directory.";
    12 Rename<'a> -> (), "Renames within an export.";
    13 Readdir -> Entries<'r>, "Lists a directory from a cookie on.";
    14 Truncate -> (), "Sets a file's size.";
    15 Fsync -> (), "Makes everything written to a file, and its name, survive a power cut.";
    16 Statfs -> StatfsReply, "Describes the file system below an export.";
    17 Follow<'a> -> (), "One-way: starts to push a growing file.";
    18 Credit -> (), "One-way: a follower took this many bytes.";
    19 Unfollow -> (), "One-way: stops a follow.";
    20 Ping -> Pong, "Does nothing: heartbeat, and round trip.";
    21 Exports -> ExportList<'r>, "Lists the exports.";
    22 Counters -> CounterList<'r>, "What every session did so far.";
    23 Goodbye -> (), "Ends the session. From the server, as a push: why it hangs up.";
}

impl Operation {
    /// Whether a frame of this operation has no slot and no reply.
    pub const fn is_one_way(self) -> bool {
        matches!(self, Self::Follow | Self::Credit | Self::Unfollow)
    }

    /// Where in the payload of a request handles stand.
    pub const fn handles(self) -> &'static [usize] {
        match self {
            Self::Rename => &[0, 4],
            Self::Follow => &[4],
            Self::Lookup
            | Self::Getattr
            | Self::Open
            | Self::Read
            | Self::Write
            | Self::Append
            | Self::Close
            | Self::Mkdir
            | Self::Unlink
            | Self::Readdir
            | Self::Truncate
            | Self::Fsync
            | Self::Statfs => &[0],
            Self::Hello
            | Self::Attach
            | Self::Credit
            | Self::Unfollow
            | Self::Ping
            | Self::Exports
            | Self::Counters
            | Self::Goodbye => &[],
        }
    }

    /// Whether a good reply begins with a new handle.
    pub const fn gives_handle(self) -> bool {
        matches!(self, Self::Attach | Self::Open)
    }

    /// Whether it changes what is in a file: what fsync makes safe.
    pub const fn changes_bytes(self) -> bool {
        matches!(self, Self::Write | Self::Append | Self::Truncate)
    }

    /// Whether the server keeps the reply and repeats it; the others are simply done again.
    pub const fn is_once(self) -> bool {
        matches!(
            self,
            Self::Attach
                | Self::Open
                | Self::Write
                | Self::Append
                | Self::Close
                | Self::Mkdir
                | Self::Unlink
                | Self::Rename
                | Self::Truncate
        )
    }
}
