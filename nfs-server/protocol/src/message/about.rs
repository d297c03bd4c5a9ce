//! The server about itself: space, exports, counters.

use alloc::vec::Vec;

use super::{Access, Handle, Operation};
use crate::codec::message;

message! {
    /// Asks about space.
    Statfs {
        /// Any handle of the export.
        handle: Handle,
    }
}
message! {
    /// Space, in bytes, and names.
    StatfsReply {
        /// All.
        total_bytes: u64,
        /// Free for this server.
        free_bytes: u64,
        /// All inodes.
        total_files: u64,
        /// Free inodes.
        free_files: u64,
        /// What the export allows.
        access: Access,
    }
}

message! {
    /// Lists the exports.
    Exports {}
}
message! {
    /// All exports.
    ExportList<'a> {
        /// In the server's order.
        exports: Vec<Export<'a>>,
    }
}
message! {
    /// One export.
    Export<'a> {
        /// What it allows.
        access: Access,
        /// Its name.
        name: &'a [u8],
    }
}
message! {
    /// Asks for the counters.
    Counters {}
}
message! {
    /// Sessions and what they did, as many as fit the frame.
    CounterList<'a> {
        /// ns since the server started.
        uptime_ns: u64,
        /// Connections that are open now.
        connections: u32,
        /// Refused hellos so far.
        refused: u64,
        /// One for each session and operation that it used.
        counts: Vec<Count<'a>>,
    }
}
message! {
    /// What one session did with one operation.
    Count<'a> {
        /// Session number.
        session: u64,
        /// The name the client gave itself.
        name: &'a [u8],
        /// Milliseconds since this operation was last asked for.
        ago_ms: u64,
        /// Its operation.
        operation: Operation,
        /// How often.
        calls: u64,
        /// How many of them were refused.
        errors: u64,
        /// Bytes of data in both directions.
        bytes: u64,
    }
}
