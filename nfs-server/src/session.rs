//! Sessions: a client's slots and handles. They outlive connections.
//!
//! Order of locks in the server: a session's state, names, an inode's order, the journal; then the
//! leaves (table of sessions, counts, orphaned, watchers), where the table may hold `orphaned`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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

    /// A connection takes it (0: none ever will again); the one that had it is told.
    pub fn take(&self, connection: u64) {
        let mut orphaned = lock(&self.orphaned);
        let before = self.owner.swap(connection, Ordering::AcqRel);
        *orphaned = None;
        if before != 0 && before != connection {
            self.taken_over.notify_waiters();
        }
    }

    /// A connection ended.
    pub fn leave(&self, connection: u64) {
        // Before the owner changes: somebody who takes it right then is not called an orphan.
        let mut orphaned = lock(&self.orphaned);
        let left = self
            .owner
            .compare_exchange(connection, 0, Ordering::AcqRel, Ordering::Acquire);
        if left.is_ok() {
            *orphaned = Some(Instant::now());
        }
    }

    /// When it lost its connection; `None` while it has one.
    fn orphaned_since(&self) -> Option<Instant> {
        *lock(&self.orphaned)
    }

    /// Whether it has been without a connection for longer than this.
    fn is_expired(&self, keep: Duration) -> bool {
        self.orphaned_since()
            .is_some_and(|since| since.elapsed() > keep)
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
    /// Gives a connection the session that its client wants back, if it is its own and not too old.
    pub fn resume(
        &self,
        id: u64,
        (client, key): (ClientId, KeyId),
        keep: Duration,
        connection: u64,
    ) -> Option<Arc<Session>> {
        // Taken under the table's lock: nobody evicts it in between.
        let map = lock(&self.map);
        let session = map.get(&id).filter(|session| {
            session.key == key
                && same_secret(&session.client.0, &client.0)
                && !session.is_expired(keep)
        })?;
        session.take(connection);
        Some(session.clone())
    }

    /// Adds one and gives it to a connection; the numbers of those that go for it. A client has one session: an
    /// older one of the same client goes. So do those that are too old and, when there are too many, those that lost
    /// their connection first. Of two keys the one with more of these pays. Only those that lost their
    /// connection are evicted.
    pub fn insert(
        &self,
        session: Arc<Session>,
        limit: usize,
        keep: Duration,
        connection: u64,
    ) -> Result<Vec<u64>, Refused> {
        let mut map = lock(&self.map);
        let mut gone = Vec::new();
        map.retain(|id, old| {
            let same = old.client == session.client && old.key == session.key;
            let goes = same || old.is_expired(keep);
            if goes {
                // The connection that still has it is told.
                old.take(0);
                gone.push(*id);
            }
            !goes
        });
        while map.len() >= limit {
            let Some(id) = to_evict(&map) else {
                let full = because_of(Errno::EAGAIN, Reason::SessionLimit, limit as u64);
                return Err(full);
            };
            map.remove(&id);
            gone.push(id);
        }
        session.take(connection);
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

/// Of the key with the most sessions without a connection the one that has been so for the longest time.
fn to_evict(map: &HashMap<u64, Arc<Session>>) -> Option<u64> {
    let mut orphans: BTreeMap<KeyId, Vec<(Instant, u64)>> = BTreeMap::new();
    for session in map.values() {
        if let Some(since) = session.orphaned_since() {
            let of_key = orphans.entry(session.key).or_default();
            of_key.push((since, session.id));
        }
    }
    let most = orphans.into_values().max_by_key(Vec::len)?;
    most.into_iter().min().map(|(_, id)| id)
}

/// Compares without telling by the time it takes where the difference is.
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn the_key_with_the_most_orphans_pays_and_the_oldest_of_them_goes() {
        let (many, one) = (KeyId([1; 16]), KeyId([2; 16]));
        let sessions = Sessions::default();
        let add = |id: u64, key| {
            let client = ClientId([id as u8; 16]);
            let session = Session::new(id, (client, key), "t".to_owned(), 1, 4096);
            let session = Arc::new(session);
            let gone = sessions.insert(session.clone(), 4, DAY, id);
            session.leave(id);
            gone.unwrap()
        };
        assert!(add(1, one).is_empty());
        assert!(add(2, many).is_empty());
        assert!(add(3, many).is_empty());
        assert!(add(4, many).is_empty());
        assert_eq!(add(5, many), [2]);
        assert_eq!(add(6, many), [3]);
        // The one that came first of all is still there, for its own key only.
        let client = ClientId([1; 16]);
        assert!(sessions.resume(1, (client, many), DAY, 9).is_none());
        assert!(sessions.resume(1, (client, one), DAY, 9).is_some());
    }
}
