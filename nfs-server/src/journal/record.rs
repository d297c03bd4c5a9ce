//! What the journal says, line by line.

use protocol::message::{ClientId, OpenFlags};
use protocol::name::PathBuf;
use protocol::noise::KeyId;

use crate::export::Identity;

/// Identifies a request for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Session.
    pub session: u64,
    /// Slot.
    pub slot: u16,
    /// Sequence.
    pub sequence: u32,
    /// Operation and payload length.
    pub asked: (u8, u32),
}

/// An open handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandleInfo {
    /// Name of the export.
    pub export: String,
    /// From its root.
    pub path: PathBuf,
    /// What it was.
    pub identity: Identity,
    /// How it was opened; `None` for a directory.
    pub file: Option<OpenFlags>,
}

/// What a request did to the session or the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing to remember.
    None,
    /// A handle was opened; `path` starts at the handle `base`, or at the export's root for 0.
    Opened {
        /// Its number.
        handle: u32,
        /// Where `info.path` starts.
        base: u32,
        /// What it is.
        info: HandleInfo,
    },
    /// A handle was closed.
    Closed(u32),
    /// A name moved: handles below it have another path now.
    Moved {
        /// Handle where `from` starts.
        from_base: u32,
        /// Old path.
        from: PathBuf,
        /// Handle where `to` starts.
        to_base: u32,
        /// New path.
        to: PathBuf,
    },
}

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Which request.
    pub id: RequestId,
    /// The file it is about, where there is one already.
    pub seen: Identity,
    /// The request's payload; of an append only what comes before the data.
    pub payload: Vec<u8>,
}

/// What a session was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Whose.
    pub client: ClientId,
    /// Made with this key.
    pub key: KeyId,
    /// Agreed.
    pub slots: u16,
    /// Agreed.
    pub max_frame: u32,
    /// The next handle.
    pub next_handle: u32,
    /// The client's name.
    pub name: Vec<u8>,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A server started on this boot of the machine.
    Start(Vec<u8>),
    /// A session began.
    Session(u64, SessionInfo),
    /// A session ended.
    End(u64),
    /// Something will be done.
    Intent(Intent),
    /// Something was done; the frame is the stored reply.
    Reply(RequestId, Effect, Vec<u8>),
    /// A restart found that it was not done.
    Undone(RequestId),
    /// An open handle of a session (only in a file that was written anew).
    Handle(u64, u32, HandleInfo),
    /// The client of this session knows that the machine was started again.
    Told(u64),
    /// It does not know yet (only in a file that was written anew).
    Untold(u64),
}

impl Record {
    /// Whether it gives out the root of an export. Clients keep that for as long as the session lasts: it is safe before
    /// it is told.
    pub(super) fn gives_root(&self) -> bool {
        matches!(self, Self::Reply(_, Effect::Opened { base: 0, .. }, _))
    }
}
