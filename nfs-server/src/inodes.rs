//! Open inodes: one lock per file that orders its writers, and who wants to hear of its growth.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::export::Identity;

/// Locks, and goes on after a panic elsewhere: every critical section here leaves the data whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One file that somebody has open.
#[derive(Debug)]
pub struct Inode {
    /// Which.
    pub identity: Identity,
    /// Held while its content changes: an append's check and write are one step.
    pub order: Mutex<()>,
    watchers: Mutex<Vec<Weak<Notify>>>,
}

impl Inode {
    /// Wakes every follower. A follower that is awake anyway costs one flag.
    pub fn changed(&self) {
        lock(&self.watchers).retain(|watcher| match watcher.upgrade() {
            Some(notify) => {
                notify.notify_one();
                true
            }
            None => false,
        });
    }

    /// From now on `notify` is woken by changes.
    pub fn watch(&self, notify: &Arc<Notify>) {
        let mut watchers = lock(&self.watchers);
        let known = watchers
            .iter()
            .any(|watcher| std::ptr::eq(watcher.as_ptr(), Arc::as_ptr(notify)));
        if !known {
            watchers.push(Arc::downgrade(notify));
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Inodes {
    map: Mutex<HashMap<Identity, Weak<Inode>>>,
}

impl Inodes {
    /// The one for this file; lives as long as somebody holds it.
    pub fn get(&self, identity: Identity) -> Arc<Inode> {
        let mut map = lock(&self.map);
        if let Some(inode) = map.get(&identity).and_then(Weak::upgrade) {
            return inode;
        }
        if map.len() >= 1024 && map.len() == map.capacity() {
            map.retain(|_, inode| inode.strong_count() > 0);
        }
        let inode = Arc::new(Inode {
            identity,
            order: Mutex::new(()),
            watchers: Mutex::default(),
        });
        map.insert(identity, Arc::downgrade(&inode));
        inode
    }
}
