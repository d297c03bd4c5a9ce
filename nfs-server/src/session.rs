//! Sessions: a client's slots and handles. They outlive connections.
//!
//! Order of locks in the server: a session's state, names, an inode's order, the journal; then the
//! leaves (table of sessions, counts, orphaned, watchers), where the table may hold `orphaned`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use protocol::message::{ClientId, Handle, OpenFlags, Resumed};
use protocol::noise::KeyId;
use protocol::{Errno, Reason};
use tokio::sync::Notify;

use crate::counters::Counts;
use crate::inodes::{Inode, lock};
use crate::refuse::{Refused, because, because_of};

/// What a handle stands for.
#[derive(Debug)]
pub struct Node {
    /// The open file or directory.
    pub fd: OwnedFd,
    /// Index of the export.
    pub export: usize,
    /// How it was opened; `None` for a directory.
    pub file: Option<OpenFlags>,
    /// The inode's lock and followers.
    pub inode: Arc<Inode>,
}

/// The last request of a slot.
#[derive(Debug, Default)]
pub struct Slot {
    /// Its number; `None` before the first, which may have any.
    pub last: Option<u32>,
    /// Whether the next one must be `last` + 1. Not so after a restart, which remembers only
    /// requests with a stored reply.
    pub exact: bool,
    /// Operation and payload length, to tell a retry from another request.
    pub asked: (u8, u32),
    /// The stored reply frame, where the operation keeps one.
    pub reply: Option<Vec<u8>>,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is new: do it.
    Do,
    /// It was done and keeps no reply: do it again.
    DoAgain,
    /// It was done: send this.
    Repeat(Vec<u8>),
}

/// The part of a session that its connection works on.
#[derive(Debug, Default)]
pub struct State {
    /// Slots.
    pub slots: Vec<Slot>,
    /// Open handles.
    pub handles: BTreeMap<u32, Node>,
    /// The next handle's number.
    pub next_handle: u32,
    /// Bytes written so far.
    pub written: u64,
    /// Handles that a restart could not open again.
    pub stale: BTreeSet<u32>,
}

impl State {
    /// What a request with these numbers deserves.
    pub fn turn(&self, slot: u16, sequence: u32, asked: (u8, u32)) -> Result<Turn, Refused> {
        let count = self.slots.len() as u64;
        let slot = self.slots.get(usize::from(slot)).ok_or(because_of(
            Errno::EINVAL,
            Reason::SlotLimit,
            count,
        ))?;
        let Some(last) = slot.last else {
            return Ok(Turn::Do);
        };
        match sequence.wrapping_sub(last) as i32 {
            0 if slot.asked != asked => Err(because(Errno::EINVAL, Reason::FalseRetry)),
            0 => Ok(slot.reply.clone().map_or(Turn::DoAgain, Turn::Repeat)),
            1 => Ok(Turn::Do),
            2.. if !slot.exact => Ok(Turn::Do),
            2.. => Err(because_of(Errno::EINVAL, Reason::FarSequence, last.into())),
            _ => Err(because_of(Errno::EINVAL, Reason::OldSequence, last.into())),
        }
    }

    /// The open file or directory.
    pub fn node(&self, handle: Handle) -> Result<&Node, Refused> {
        let errno = if self.stale.contains(&handle.0) {
            Errno::ESTALE
        } else {
            Errno::EBADF
        };
        self.handles
            .get(&handle.0)
            .ok_or(because(errno, Reason::System))
    }

    /// The inode of a handle, if there is one.
    pub fn inode(&self, handle: Handle) -> Option<Arc<Inode>> {
        self.handles.get(&handle.0).map(|node| node.inode.clone())
    }

    /// The number that the next handle will get.
    pub fn plan_handle(&self, limit: usize) -> Result<u32, Refused> {
        if self.handles.len() >= limit || self.next_handle == u32::MAX {
            return Err(because_of(Errno::EMFILE, Reason::HandleLimit, limit as u64));
        }
        Ok(self.next_handle)
    }

    /// Keeps a node under the planned number.
    pub fn add_handle(&mut self, handle: u32, node: Node) {
        self.handles.insert(handle, node);
        self.next_handle = self.next_handle.max(handle.saturating_add(1));
    }
}

/// A session.
#[derive(Debug)]
pub struct Session {
    /// Its number.
    pub id: u64,
    /// Who may resume it.
    pub client: ClientId,
    /// The key it was made with; all zero in plain mode.
    pub key: KeyId,
    /// The name the client gave itself.
    pub name: String,
    /// Agreed payload.
    pub max_frame: u32,
    /// Whether it comes from the journal of an earlier server.
    remembered: bool,
    /// Whether its client does not know yet that the machine was started again.
    untold: AtomicBool,
    /// Slots and handles. Locked for one request at a time.
    pub state: Mutex<State>,
    /// What was done so far. A leaf in the order of locks, as is `orphaned`.
    pub counts: Mutex<Counts>,
    /// When it lost its connection.
    orphaned: Mutex<Option<Instant>>,
    /// Number of the connection that has it; 0 for none.
    pub owner: AtomicU64,
    /// Wakes the connection that lost it to another.
    pub taken_over: Notify,
}

impl Session {
    /// A fresh one.
    pub fn new(
        id: u64,
        (client, key): (ClientId, KeyId),
        name: String,
        slots: u16,
        max_frame: u32,
    ) -> Self {
        let state = State {
            slots: (0..slots).map(|_| Slot::default()).collect(),
            next_handle: 1,
            ..State::default()
        };
        Self {
            id,
            client,
            key,
            name,
            max_frame,
            remembered: false,
            untold: AtomicBool::new(false),
            state: Mutex::new(state),
            counts: Mutex::default(),
            orphaned: Mutex::new(Some(Instant::now())),
            owner: AtomicU64::new(0),
            taken_over: Notify::new(),
        }
    }

    /// Marks it as one from the journal of an earlier server, perhaps one before the machine was started again.
    pub fn into_remembered(self, untold: bool) -> Self {
        Self {
            remembered: true,
            untold: AtomicBool::new(untold),
            ..self
        }
    }

    /// What a client that comes back is told.
    pub fn resumed(&self) -> Resumed {
        match (self.remembered, self.untold.load(Ordering::Acquire)) {
            (_, true) => Resumed::Rebooted,
            (true, false) => Resumed::Restarted,
            (false, false) => Resumed::Same,
        }
    }

    /// The client has heard it. Whether that is news.
    pub fn was_told(&self) -> bool {
        self.untold.load(Ordering::Relaxed) && self.untold.swap(false, Ordering::AcqRel)
    }

    /// How many slots.
    pub fn slot_count(&self) -> u16 {
        lock(&self.state).slots.len() as u16
    }

    /// A connection takes it; the one that had it is told.
    pub fn take(&self, connection: u64) {
        let before = self.owner.swap(connection, Ordering::AcqRel);
        *lock(&self.orphaned) = None;
        if before != 0 && before != connection {
            self.taken_over.notify_waiters();
        }
    }

    /// A connection ended.
    pub fn leave(&self, connection: u64) {
        let left = self
            .owner
            .compare_exchange(connection, 0, Ordering::AcqRel, Ordering::Acquire);
        if left.is_ok() {
            *lock(&self.orphaned) = Some(Instant::now());
        }
    }

    /// Whether this connection still has it.
    pub fn is_owned_by(&self, connection: u64) -> bool {
        self.owner.load(Ordering::Acquire) == connection
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    map: Mutex<HashMap<u64, Arc<Session>>>,
}

impl Sessions {
    /// The session a client wants back, if it is its own.
    pub fn find(&self, id: u64, client: ClientId, key: KeyId) -> Option<Arc<Session>> {
        let map = lock(&self.map);
        map.get(&id)
            .filter(|session| session.key == key && same_secret(&session.client.0, &client.0))
            .cloned()
    }

    /// Adds one. A client has one session: an older one of the same client goes.
    pub fn insert(
        &self,
        session: Arc<Session>,
        limit: usize,
        keep: std::time::Duration,
    ) -> Result<Vec<u64>, Refused> {
        let mut map = lock(&self.map);
        let mut gone: Vec<u64> = Vec::new();
        gone.extend(
            map.values()
                .filter(|old| old.client == session.client && old.key == session.key)
                .map(|old| old.id),
        );
        if map.len() >= limit {
            let expired =
                |s: &&Arc<Session>| lock(&s.orphaned).is_some_and(|since| since.elapsed() > keep);
            gone.extend(map.values().filter(expired).map(|old| old.id));
        }
        for id in &gone {
            map.remove(id);
        }
        if map.len() >= limit {
            return Err(because_of(
                Errno::EAGAIN,
                Reason::SessionLimit,
                limit as u64,
            ));
        }
        map.insert(session.id, session);
        Ok(gone)
    }

    /// Puts one back that the journal remembers.
    pub fn restore(&self, session: Arc<Session>) {
        lock(&self.map).insert(session.id, session);
    }

    /// Ends one.
    pub fn remove(&self, id: u64) {
        lock(&self.map).remove(&id);
    }

    /// All, in the order of their numbers.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = lock(&self.map).values().cloned().collect();
        all.sort_by_key(|session| session.id);
        all
    }
}

/// Compares without telling by the time it takes where the difference is.
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}
