//! Sessions: hello, goodbye, and whether the other side is there.

use super::ClientId;
use crate::codec::{message, wire_enum};

message! {
    /// Slot `NO_SLOT`, sequence 0. The header's session is 0 for a new session, else the one to resume.
    Hello<'a> {
        /// [`crate::MAGIC`].
        magic: u32,
        /// The lowest version the client speaks.
        min_version: u16,
        /// The highest.
        max_version: u16,
        /// The largest payload the client takes.
        max_frame: u32,
        /// How many slots it wants.
        slots: u16,
        /// Who it is; must be the same when it resumes.
        client: ClientId,
        /// plain mode: the token. noise mode: empty, the key said it.
        token: &'a [u8],
        /// For logs and counters, such as `m00 files`.
        name: &'a [u8],
    }
}

wire_enum! {
    /// What became of the session a hello wanted to resume.
    Resumed: u8 {
        /// It is a new one: handles of the old one are gone.
        New = 0,
        /// Same server process.
        Same = 1,
        /// The server was started again and lost nothing that it had answered.
        Restarted = 2,
        /// The server's machine was started again: what was not fsynced may be lost, send it again.
        Rebooted = 3,
    }
}

message! {
    /// The session number is in the header.
    HelloReply {
        /// The version both speak from now on.
        version: u16,
        /// Slots 0 to this - 1 may be used.
        slots: u16,
        /// The largest payload in both directions from now on.
        max_frame: u32,
        /// Random; another one each time the server starts.
        boot_id: u64,
        /// What became of the old session.
        resumed: Resumed,
        /// The server hangs up after so much silence, and after half of it within a frame.
        idle_ms: u32,
        /// The server's clock, ns since 1970.
        time_ns: u64,
    }
}

message! {
    /// Nothing.
    Ping {}
}
message! {
    /// The server is there.
    Pong {
        /// Its clock, ns since 1970.
        time_ns: u64,
    }
}

message! {
    /// Ends the session; its handles and stored replies go. Without it a session waits to be resumed.
    Goodbye {}
}
