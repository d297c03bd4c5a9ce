//! What is in a file: reading, writing, making safe.

use super::Handle;
use crate::codec::{Rest, message, wire_enum};

message! {
    /// Reads.
    Read {
        /// An open file.
        handle: Handle,
        /// From here.
        offset: u64,
        /// So many bytes, at most the frame size.
        count: u32,
    }
}
message! {
    /// Writes.
    Write<'a> {
        /// An open file.
        handle: Handle,
        /// To here.
        offset: u64,
        /// This.
        data: Rest<'a>,
    }
}
message! {
    /// All of it was written.
    Written {
        /// The file's size afterwards.
        size: u64,
    }
}
message! {
    /// Writes at the end.
    Append<'a> {
        /// An open file.
        handle: Handle,
        /// The size the file must have before; else ERANGE, and the refusal's value is the real one.
        expected: u64,
        /// This.
        data: Rest<'a>,
    }
}
message! {
    /// All of it was written.
    Appended {
        /// The file's size afterwards, the next append's `expected`.
        size: u64,
    }
}
message! {
    /// Gives a handle back.
    Close {
        /// The handle.
        handle: Handle,
    }
}

message! {
    /// Sets a file's size.
    Truncate {
        /// A file opened with WRITE.
        handle: Handle,
        /// The new size; new bytes are zero.
        size: u64,
    }
}

wire_enum! {
    /// How much fsync makes safe.
    SyncLevel: u8 {
        /// The content and what is needed to read it back.
        Data = 1,
        /// Also times, and the directory that holds the name.
        All = 2,
    }
}

message! {
    /// Makes safe.
    Fsync {
        /// A file or a directory.
        handle: Handle,
        /// How much.
        level: SyncLevel,
    }
}
