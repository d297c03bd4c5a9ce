//! Errors on the wire: a negative Linux number in the header's status, and a [`Refusal`] as payload.

use core::fmt;

use crate::codec::{message, wire_enum};

/// A Linux error number, positive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $n:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Self = Self($n);)*
            /// Symbol and meaning, for numbers this protocol uses by itself.
            pub fn describe(self) -> Option<(&'static str, &'static str)> {
                match self.0 { $($n => Some((stringify!($name), $text)),)* _ => None }
            }
        }
    };
}
errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such file or directory";
    EIO = 5, "input/output error";
    EBADF = 9, "bad handle";
    EAGAIN = 11, "try again";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EBUSY = 16, "busy";
    EEXIST = 17, "exists";
    EXDEV = 18, "other export";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "server's limit of handles";
    EMFILE = 24, "too many open handles";
    EFBIG = 27, "file too large";
    ENOSPC = 28, "no space";
    EROFS = 30, "read-only export";
    ERANGE = 34, "not the end of the file";
    ENAMETOOLONG = 36, "name too long";
    ENOTEMPTY = 39, "directory not empty";
    ELOOP = 40, "symbolic link";
    EPROTO = 71, "protocol error";
    EILSEQ = 84, "forbidden byte in a name";
    EMSGSIZE = 90, "frame too large";
    EPROTONOSUPPORT = 93, "no common version";
    ETIMEDOUT = 110, "timed out";
    ESTALE = 116, "session or handle is gone";
    EDQUOT = 122, "quota used up";
    ESHUTDOWN = 108, "server is shutting down";
}

impl Errno {
    /// The status field of a reply.
    pub fn status(self) -> i32 {
        self.0.checked_neg().unwrap_or(-5)
    }

    /// The error of a status field, if it is one. Numbers outside 1..=4095 become EIO.
    pub fn from_status(status: i32) -> Option<Self> {
        match status {
            0 => None,
            -4095..=-1 => Some(Self(-status)),
            _ => Some(Self::EIO),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.describe() {
            Some((symbol, _)) => f.write_str(symbol),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.describe() {
            Some((_, text)) => f.write_str(text),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl core::error::Error for Errno {}

wire_enum! {
    /// What exactly was refused, where the error number alone would not say it.
    Reason: u16 {
        /// The error number says it all.
        System = 0,
        /// A name is empty.
        NameEmpty = 1,
        /// A name is `.`.
        NameDot = 2,
        /// A name is `..`.
        NameDotDot = 3,
        /// A name holds a `/`.
        NameSlash = 4,
        /// A name holds a NUL byte.
        NameNul = 5,
        /// A name has more than 255 bytes.
        NameLong = 6,
        /// A path has too many names.
        PathDeep = 7,
        /// A symbolic link is in the way.
        Symlink = 8,
        /// Neither a regular file nor a directory.
        Special = 9,
        /// The export is read-only.
        ReadOnlyExport = 10,
        /// The export allows creation and append only.
        AppendOnlyExport = 11,
        /// The handle was not opened for this.
        HandleMode = 12,
        /// append: the value is the file's real size.
        NotTheEnd = 13,
        /// No such export.
        NoExport = 14,
        /// The path names the export's root itself.
        ExportRoot = 15,
        /// Token or key is not right.
        BadToken = 20,
        /// No common version; the value is the server's highest.
        BadVersion = 21,
        /// Not the magic of this protocol.
        BadMagic = 22,
        /// The first frame must be a hello.
        HelloFirst = 23,
        /// A second hello on one connection.
        HelloTwice = 24,
        /// The session number is not this connection's.
        BadSession = 25,
        /// The session is gone: the server lost it or dropped it. Made by the client itself.
        SessionLost = 26,
        /// Sequence number of the past; the value is the slot's last.
        OldSequence = 27,
        /// Sequence number of the future; the value is the slot's last.
        FarSequence = 28,
        /// The same sequence number, but another request.
        FalseRetry = 29,
        /// The frame is longer than agreed; the value is the bound.
        FrameSize = 30,
        /// Payload does not decode, or an unknown operation.
        BadMessage = 31,
        /// Slot number beyond the agreed count.
        SlotLimit = 32,
        /// Too many handles; the value is the limit.
        HandleLimit = 33,
        /// Too many sessions or connections; the value is the limit.
        SessionLimit = 34,
        /// Bytes beyond the client's quota; the value is the limit.
        ByteLimit = 35,
        /// count above the agreed frame size; the value is the bound.
        CountLimit = 36,
        /// Too many follows; the value is the limit.
        FollowLimit = 37,
        /// The connection was idle, or a frame stayed half, for too long; the value is milliseconds.
        Idle = 38,
        /// Offset or length beyond what a file can have.
        Offset = 39,
        /// The client did not read what it asked for.
        SlowReader = 40,
        /// The session was taken over by a newer connection.
        TakenOver = 41,
        /// The server goes down; come again.
        Shutdown = 42,
    }
}

message! {
    /// Payload of every reply whose status is an error.
    #[derive(Copy)]
    Refusal {
        /// What was refused.
        reason: Reason,
        /// The number that belongs to it, or 0.
        value: u64,
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `NameDotDot` reads as "name dot dot": good enough, and nothing can get out of step.
        for (i, c) in self.name().chars().enumerate() {
            if i > 0 && c.is_uppercase() {
                f.write_str(" ")?;
            }
            write!(f, "{}", c.to_ascii_lowercase())?;
        }
        Ok(())
    }
}
