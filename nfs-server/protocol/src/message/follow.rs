//! Growing files, pushed.

use super::Handle;
use crate::codec::{Rest, message, wire_enum};
use crate::name::Path;

message! {
    /// One-way, slot `NO_SLOT`, flag push: push this file from `offset` on, now and when it grows.
    Follow<'a> {
        /// Chosen by the client; one that is in use is replaced.
        id: u32,
        /// Where the path starts.
        dir: Handle,
        /// From here.
        offset: u64,
        /// Bytes of data the follower takes before it returns credit; at most [`crate::FOLLOW_CREDIT`].
        credit: u32,
        /// A file; it need not exist yet.
        path: Path<'a>,
    }
}

wire_enum! {
    /// What a push of a follow says.
    FollowEvent: u8 {
        /// Bytes of the file at `offset`.
        Data = 0,
        /// The file is shorter than what was pushed; it goes on at offset 0.
        Truncated = 1,
        /// There is no such file (yet, or any more); it goes on at offset 0 when there is one.
        Gone = 2,
        /// Everything up to `offset` was pushed: from here on it is live. Once, and again after truncated or gone.
        End = 3,
        /// The follow was refused and is over; the status says why.
        Refused = 4,
    }
}

message! {
    /// A push of a follow, from the server.
    Followed<'a> {
        /// The client's id.
        id: u32,
        /// What happened.
        event: FollowEvent,
        /// Where in the file.
        offset: u64,
        /// Data: the bytes. Else none.
        data: Rest<'a>,
    }
}
message! {
    /// One-way: the follower took so many bytes of data, which may be sent again.
    Credit {
        /// The client's id.
        id: u32,
        /// Bytes.
        bytes: u32,
    }
}
message! {
    /// One-way: stops a follow.
    Unfollow {
        /// The client's id.
        id: u32,
    }
}
