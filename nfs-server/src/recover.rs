//! After a restart: sessions made again from what the journal remembers, and what to think of requests
//! that were begun and have no reply there.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::Context;
use protocol::frame::{self, Header};
use protocol::message::{Access, Appended, Handle, OpenFlags, Opened, Request};

use crate::export;
use crate::inodes::lock;
use crate::journal::{Effect, HandleInfo, Intent, LastReply, MirrorSession, Record};
use crate::serve::{APPEND_HEAD, moved};
use crate::server::Shared;
use crate::session::{Node, Session, Slot, State};

/// Makes the sessions again that the journal remembers.
pub fn restore(shared: &Shared, remembered: BTreeMap<u64, MirrorSession>) -> anyhow::Result<()> {
    let mut sessions = Vec::new();
    for (id, remembered) in remembered {
        let session = revive_session(shared, id, &remembered);
        sessions.push((session, remembered.intents));
    }
    for (session, intents) in &sessions {
        for intent in intents.values() {
            let record = resolve(shared, session, intent);
            let written = shared.journal.write(record);
            written.context("cannot write the journal")?;
        }
    }
    for (session, _) in sessions {
        find_moved(shared, &session);
        shared.sessions.restore(Arc::new(session));
    }
    Ok(())
}

fn revive_session(shared: &Shared, id: u64, remembered: &MirrorSession) -> Session {
    let info = &remembered.info;
    let name = String::from_utf8_lossy(&info.name).into_owned();
    let owner = (info.client, info.key);
    let session = Session::new(id, owner, name, info.slots, info.max_frame)
        .into_remembered(remembered.untold);
    let mut state = lock(&session.state);
    state.next_handle = info.next_handle;
    for (handle, info) in &remembered.handles {
        match revive(shared, info) {
            Some(node) => {
                state.handles.insert(*handle, node);
            }
            None => {
                state.stale.insert(*handle);
            }
        }
    }
    for (slot, last) in &remembered.last {
        set_last(&mut state, *slot, last.clone());
    }
    drop(state);
    session
}

fn set_last(state: &mut State, slot: u16, last: LastReply) {
    if let Some(place) = state.slots.get_mut(usize::from(slot)) {
        *place = Slot {
            last: Some(last.sequence),
            exact: false,
            asked: last.asked,
            reply: Some(last.frame),
        };
    }
}

/// Decides about an intent; what the journal is told of it.
fn resolve(shared: &Shared, session: &Session, intent: &Intent) -> Record {
    let state = &mut *lock(&session.state);
    let decided = decide(shared, session.id, state, intent);
    tracing::info!(
        session = session.id,
        slot = intent.id.slot,
        done = decided.is_some(),
        "resolved an open intent"
    );
    let Some((frame, effect)) = decided else {
        return Record::Undone(intent.id);
    };
    let last = LastReply {
        sequence: intent.id.sequence,
        asked: intent.id.asked,
        frame: frame.clone(),
    };
    set_last(state, intent.id.slot, last);
    Record::Reply(intent.id, effect, frame)
}

/// A rename that was done and had no reply: handles below it have another path than the one that was
/// remembered.
fn find_moved(shared: &Shared, session: &Session) {
    let state = &mut *lock(&session.state);
    for handle in std::mem::take(&mut state.stale) {
        let info = shared.journal.handle(session.id, handle);
        match info.and_then(|info| revive(shared, &info)) {
            Some(node) => {
                state.handles.insert(handle, node);
            }
            None => {
                state.stale.insert(handle);
            }
        }
    }
}

/// Whether an intent was carried out before the server died, and its reply if so.
/// What was half done is undone.
fn decide(
    shared: &Shared,
    session: u64,
    state: &mut State,
    intent: &Intent,
) -> Option<(Vec<u8>, Effect)> {
    let (operation, length) = intent.id.asked;
    let header = Header {
        operation,
        slot: intent.id.slot,
        sequence: intent.id.sequence,
        session,
        ..Header::default()
    };
    let mut out = Vec::new();
    let effect = match Request::decode(operation, &intent.payload).ok()? {
        Request::Append(call) => {
            let node = state.node(call.handle).ok()?;
            let size = export::stat(node.fd.as_fd()).ok()?.stat.size;
            let end = call.expected + u64::from(length).checked_sub(APPEND_HEAD as u64)?;
            if size < end {
                if size > call.expected {
                    rustix::fs::ftruncate(&node.fd, call.expected).ok()?;
                }
                return None;
            }
            frame::put_reply(&mut out, &header, &Ok(Appended { size: end }));
            Effect::None
        }
        Request::Mkdir(call) => {
            let found = export::lookup(state.node(call.dir).ok()?.fd.as_fd(), call.path).ok()?;
            frame::put_reply(&mut out, &header, &Ok(found.stat));
            Effect::None
        }
        Request::Open(call) => {
            let dir = state.node(call.dir).ok()?;
            let (parent, last) = export::open_parent(dir.fd.as_fd(), call.path).ok()?;
            let (fd, found) = export::open_existing(parent.as_fd(), last, call.flags).ok()?;
            let handle = state.plan_handle(usize::MAX).ok()?;
            let reply = Opened {
                handle: Handle(handle),
                created: true,
                stat: found.stat,
            };
            frame::put_reply(&mut out, &header, &Ok(reply));
            let export = dir.export;
            let info = HandleInfo {
                export: shared.exports[export].name.clone(),
                path: call.path.to_owned(),
                identity: found.identity,
                file: Some(call.flags),
            };
            let inode = shared.inodes.get(found.identity);
            state.add_handle(
                handle,
                Node {
                    fd,
                    export,
                    file: Some(call.flags),
                    inode,
                },
            );
            Effect::Opened {
                handle,
                base: call.dir.0,
                info,
            }
        }
        Request::Unlink(call) => {
            let dir = state.node(call.dir).ok()?;
            if let Ok(found) = export::lookup(dir.fd.as_fd(), call.path)
                && found.identity == intent.seen
            {
                return None;
            }
            frame::put_reply(&mut out, &header, &Ok(()));
            Effect::None
        }
        Request::Rename(call) => {
            let at = |handle, path| {
                let dir = state.node(handle).ok()?;
                export::lookup(dir.fd.as_fd(), path)
                    .ok()
                    .map(|found| found.identity)
            };
            let (from, to) = (at(call.from_dir, call.from), at(call.to_dir, call.to));
            if to != Some(intent.seen) || from == Some(intent.seen) {
                return None;
            }
            frame::put_reply(&mut out, &header, &Ok(()));
            moved(&call)
        }
        _ => return None,
    };
    Some((out, effect))
}

/// Opens a remembered handle again, if it is still the same file.
fn revive(shared: &Shared, info: &HandleInfo) -> Option<Node> {
    let export = shared
        .exports
        .iter()
        .position(|export| export.name == info.export)?;
    let root = shared.exports[export].attach().ok()?;
    let (fd, found) = match info.file {
        None => {
            let fd = export::open_dir(root.as_fd(), info.path.as_path()).ok()?;
            let found = export::stat(fd.as_fd()).ok()?;
            (fd, found)
        }
        Some(flags) => {
            let (parent, last) = export::open_parent(root.as_fd(), info.path.as_path()).ok()?;
            export::open_existing(parent.as_fd(), last, flags).ok()?
        }
    };
    if found.identity != info.identity {
        return None;
    }
    // The access may have been narrowed by a new configuration.
    if info.file.is_some_and(|flags| flags.has(OpenFlags::WRITE))
        && shared.exports[export].access == Access::ReadOnly
    {
        return None;
    }
    Some(Node {
        fd,
        export,
        file: info.file,
        inode: shared.inodes.get(found.identity),
    })
}
