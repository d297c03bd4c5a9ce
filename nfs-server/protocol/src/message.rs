//! Every request and reply, and the one list of operations.

use alloc::vec::Vec;
use core::fmt;

use crate::codec::{self, DecodeError, Field, Reader, Rest, message, wire_enum};
use crate::name::Path;

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
    ($($n:literal $op:ident ($($request:tt)*) -> $reply:ty, $doc:literal;)*) => {
        wire_enum! {
            /// What a frame asks for.
            Operation: u8 { $(#[doc = $doc] $op = $n),* }
        }

        /// Any request, decoded.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is the operation of its name")]
        pub enum Request<'a> { $($op($($request)*)),* }

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
        pub fn check_reply(operation: Operation, payload: &[u8]) -> Result<(), DecodeError> {
            match operation {
                $(Operation::$op => codec::decode::<$reply>(payload).map(drop)),*
            }
        }
    };
}

operations! {
    1 Hello(Hello<'a>) -> HelloReply, "Starts or resumes a session; the first frame of a connection.";
    2 Attach(Attach<'a>) -> Attached, "Opens the root of an export.";
    3 Lookup(Lookup<'a>) -> Stat, "Describes what a path names.";
    4 Getattr(Getattr) -> Stat, "Describes what a handle names.";
    5 Open(Open<'a>) -> Opened, "Opens or creates a file, or opens a directory.";
    6 Read(Read) -> Rest<'_>, "Reads; fewer bytes than asked for mean the end of the file.";
    7 Write(Write<'a>) -> Written, "Writes at an offset.";
    8 Append(Append<'a>) -> Appended, "Writes at the end, if the end is where the client thinks.";
    9 Close(Close) -> (), "Gives a handle back.";
    10 Mkdir(Mkdir<'a>) -> Stat, "Makes a directory.";
    11 Unlink(Unlink<'a>) -> (), "Removes a file or an empty directory.";
    12 Rename(Rename<'a>) -> (), "Renames within an export.";
    13 Readdir(Readdir) -> Entries<'_>, "Lists a directory from a cookie on.";
    14 Truncate(Truncate) -> (), "Sets a file's size.";
    15 Fsync(Fsync) -> (), "Makes everything written to a file, and its name, survive a power cut.";
    16 Statfs(Statfs) -> StatfsReply, "Describes the file system below an export.";
    17 Follow(Follow<'a>) -> (), "One-way: starts to push a growing file.";
    18 Credit(Credit) -> (), "One-way: a follower took this many bytes.";
    19 Unfollow(Unfollow) -> (), "One-way: stops a follow.";
    20 Ping(Ping) -> Pong, "Does nothing: heartbeat, and round trip.";
    21 Exports(Exports) -> ExportList<'_>, "Lists the exports.";
    22 Counters(Counters) -> CounterList<'_>, "What every session did so far.";
    23 Goodbye(Goodbye) -> (), "Ends the session. From the server, as a push: why it hangs up.";
}

impl Operation {
    /// Whether a frame of this operation has no slot and no reply.
    pub const fn is_one_way(self) -> bool {
        matches!(self, Self::Follow | Self::Credit | Self::Unfollow)
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

macro_rules! calls {
    ($($op:ident $(<$l:lifetime>)? -> $reply:ty;)*) => {$(
        impl $(<$l>)? Call for $op $(<$l>)? {
            const OPERATION: Operation = Operation::$op;
            type Reply<'r> = $reply;
            fn put_payload(&self, out: &mut Vec<u8>) { self.put(out) }
        }
    )*};
}
calls! {
    Hello<'a> -> HelloReply; Attach<'a> -> Attached; Lookup<'a> -> Stat; Getattr -> Stat;
    Open<'a> -> Opened; Read -> Rest<'r>; Write<'a> -> Written; Append<'a> -> Appended; Close -> ();
    Mkdir<'a> -> Stat; Unlink<'a> -> (); Rename<'a> -> (); Readdir -> Entries<'r>; Truncate -> ();
    Fsync -> (); Statfs -> StatfsReply; Follow<'a> -> (); Credit -> (); Unfollow -> (); Ping -> Pong;
    Exports -> ExportList<'r>; Counters -> CounterList<'r>; Goodbye -> ();
}

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

/// How to open: bits of [`Open::flags`].
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// Reads are allowed.
    pub const READ: Self = Self(1);
    /// Writes, truncate and append are allowed.
    pub const WRITE: Self = Self(2);
    /// Only append is allowed.
    pub const APPEND: Self = Self(4);
    /// Make the file if it does not exist.
    pub const CREATE: Self = Self(8);
    /// With CREATE: it must not exist.
    pub const EXCLUSIVE: Self = Self(16);
    /// Cut it to nothing.
    pub const TRUNCATE: Self = Self(32);
    /// It must be a directory (which opens with READ only).
    pub const DIRECTORY: Self = Self(64);
    /// Every bit with a meaning.
    pub const ALL: Self = Self(127);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for OpenFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for OpenFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            "read",
            "write",
            "append",
            "create",
            "exclusive",
            "truncate",
            "directory",
        ];
        let set = words
            .iter()
            .enumerate()
            .filter(|(i, _)| self.0 & 1 << i != 0);
        f.debug_set().entries(set.map(|(_, word)| word)).finish()
    }
}

impl<'a> Field<'a> for OpenFlags {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        match u32::get(r, what)? {
            bits if bits & !Self::ALL.0 == 0 => Ok(Self(bits)),
            bits => Err(DecodeError::Value(what, bits.into())),
        }
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
message! {
    /// Ends the session; its handles and stored replies go. Without it a session waits to be resumed.
    Goodbye {}
}
