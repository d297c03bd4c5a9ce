//! Exports, names and directories.

use alloc::vec::Vec;

use super::{Handle, OpenFlags};
use crate::codec::{message, wire_enum};
use crate::name::Path;

wire_enum! {
    /// What an export allows.
    Access: u8 {
        /// Reading.
        ReadOnly = 0,
        /// Reading, and creation of files and directories, and append.
        AppendOnly = 1,
        /// Everything.
        ReadWrite = 2,
    }
}

wire_enum! {
    /// What a file is. Nothing else is ever shown.
    Kind: u8 {
        /// A regular file.
        File = 1,
        /// A directory.
        Directory = 2,
    }
}

message! {
    /// What is known about a file.
    Stat {
        /// File or directory.
        kind: Kind,
        /// Permission bits.
        mode: u16,
        /// Hard links.
        links: u32,
        /// Inode number, unique within an export.
        inode: u64,
        /// Bytes.
        size: u64,
        /// Last change of the content, ns since 1970.
        modified_ns: u64,
    }
}

message! {
    /// Opens an export.
    Attach<'a> {
        /// Its name.
        export: &'a [u8],
    }
}
message! {
    /// The export's root.
    Attached {
        /// A directory handle.
        root: Handle,
        /// What the export allows.
        access: Access,
        /// The root directory.
        stat: Stat,
    }
}
message! {
    /// Describes what a path names.
    Lookup<'a> {
        /// Where the path starts.
        dir: Handle,
        /// The path.
        path: Path<'a>,
    }
}
message! {
    /// Describes what a handle names.
    Getattr {
        /// The handle.
        handle: Handle,
    }
}

message! {
    /// Opens or creates.
    Open<'a> {
        /// Where the path starts.
        dir: Handle,
        /// How.
        flags: OpenFlags,
        /// Permission bits of a new file; the server takes its umask and everything beyond 0o777 away.
        mode: u16,
        /// The path.
        path: Path<'a>,
    }
}
message! {
    /// An open file or directory.
    Opened {
        /// To be closed by the client.
        handle: Handle,
        /// Whether this request made it.
        created: bool,
        /// As it is now.
        stat: Stat,
    }
}

message! {
    /// Makes a directory.
    Mkdir<'a> {
        /// Where the path starts.
        dir: Handle,
        /// Permission bits.
        mode: u16,
        /// The path.
        path: Path<'a>,
    }
}

wire_enum! {
    /// What unlink may remove.
    Removes: u8 {
        /// A file.
        File = 1,
        /// An empty directory.
        Directory = 2,
        /// Either.
        Either = 3,
    }
}

message! {
    /// Removes a name.
    Unlink<'a> {
        /// Where the path starts.
        dir: Handle,
        /// File, directory or either.
        removes: Removes,
        /// The path.
        path: Path<'a>,
    }
}
message! {
    /// Renames.
    Rename<'a> {
        /// Where `from` starts.
        from_dir: Handle,
        /// Where `to` starts; the same export.
        to_dir: Handle,
        /// Whether an existing target is replaced, atomically, or refused.
        replace: bool,
        /// The old path.
        from: Path<'a>,
        /// The new path.
        to: Path<'a>,
    }
}
message! {
    /// Lists a directory.
    Readdir {
        /// A directory.
        handle: Handle,
        /// 0, or the cookie of the last entry seen.
        cookie: u64,
        /// At most so many bytes of entries.
        count: u32,
    }
}
message! {
    /// A part of a directory.
    Entries<'a> {
        /// Whether this was the last part.
        end: bool,
        /// In the directory's order; without `.` and `..`.
        entries: Vec<Entry<'a>>,
    }
}
message! {
    /// One name in a directory.
    Entry<'a> {
        /// Where the next readdir goes on.
        cookie: u64,
        /// Inode number.
        inode: u64,
        /// File or directory.
        kind: Kind,
        /// Its name.
        name: &'a [u8],
    }
}
