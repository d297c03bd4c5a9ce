//! The sum of a journal's records.

use std::collections::BTreeMap;

use protocol::name::{Path, PathBuf};

use super::record::{Effect, HandleInfo, Intent, Record, RequestId, SessionInfo};

/// Numbers of handles come in blocks of so many. A block is begun only when the journal says so safely, and no
/// block goes on after the machine was started again: so no number is given out twice.
const HANDLE_BLOCK: u32 = 1 << 20;

/// The last reply of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReply {
    /// Its number.
    pub sequence: u32,
    /// What was asked.
    pub asked: (u8, u32),
    /// The whole reply.
    pub frame: Vec<u8>,
}

/// A session as the records tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSession {
    /// What it was made with.
    pub info: SessionInfo,
    /// By slot.
    pub last: BTreeMap<u16, LastReply>,
    /// By number.
    pub handles: BTreeMap<u32, HandleInfo>,
    /// What was begun and has no reply, by slot.
    pub intents: BTreeMap<u16, Intent>,
    /// The machine was started again, and the client was not told yet.
    pub untold: bool,
}

impl MirrorSession {
    /// The machine was started again: the last records may be missing. What they gave out lies in this block of
    /// numbers, so the next handles come from the next one; after the last block there are none.
    fn reboot(&mut self) {
        self.untold = true;
        let next = &mut self.info.next_handle;
        *next = (*next / HANDLE_BLOCK + 1).saturating_mul(HANDLE_BLOCK);
    }
}

/// All sessions as the records tell them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// The boot of the machine that the last server ran on.
    machine: Vec<u8>,
    /// By number.
    pub sessions: BTreeMap<u64, MirrorSession>,
}

impl Mirror {
    fn full_path(&self, session: u64, base: u32, path: Path<'_>) -> Option<(String, PathBuf)> {
        let info = self.sessions.get(&session)?.handles.get(&base)?;
        let mut full = info.path.clone();
        for name in path.names() {
            full.push(name).ok()?;
        }
        Some((info.export.clone(), full))
    }

    /// Whether a record gives out the last handle of a block: it must be safe before the next block is used.
    pub(super) fn ends_block(&self, record: &Record) -> bool {
        let Record::Reply(id, Effect::Opened { handle, .. }, _) = record else {
            return false;
        };
        let session = self.sessions.get(&id.session);
        session.is_some_and(|session| {
            session.info.next_handle / HANDLE_BLOCK < handle.saturating_add(1) / HANDLE_BLOCK
        })
    }

    /// Takes one record in.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Start(machine) => {
                let rebooted = !self.machine.is_empty() && self.machine != machine;
                self.machine = machine;
                if rebooted {
                    self.sessions.values_mut().for_each(MirrorSession::reboot);
                }
            }
            Record::Told(id) | Record::Untold(id) => {
                let untold = matches!(record, Record::Untold(_));
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.untold = untold;
                }
            }
            Record::Session(id, info) => {
                let session = MirrorSession {
                    info,
                    last: BTreeMap::new(),
                    handles: BTreeMap::new(),
                    intents: BTreeMap::new(),
                    untold: false,
                };
                self.sessions.insert(id, session);
            }
            Record::End(id) => {
                self.sessions.remove(&id);
            }
            Record::Intent(intent) => {
                if let Some(session) = self.sessions.get_mut(&intent.id.session) {
                    session.intents.insert(intent.id.slot, intent);
                }
            }
            Record::Undone(id) => {
                if let Some(session) = self.sessions.get_mut(&id.session) {
                    session.intents.remove(&id.slot);
                }
            }
            Record::Handle(id, handle, info) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.handles.insert(handle, info);
                }
            }
            Record::Reply(id, effect, frame) => {
                self.apply_effect(id.session, effect);
                if let Some(session) = self.sessions.get_mut(&id.session) {
                    session.intents.remove(&id.slot);
                    session.last.insert(
                        id.slot,
                        LastReply {
                            sequence: id.sequence,
                            asked: id.asked,
                            frame,
                        },
                    );
                }
            }
        }
    }

    fn apply_effect(&mut self, id: u64, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Opened {
                handle,
                base,
                mut info,
            } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    let next = &mut session.info.next_handle;
                    *next = (*next).max(handle.saturating_add(1));
                }
                if base != 0 {
                    // A path too deep to write down cannot be opened again: the handle will be stale.
                    let Some((_, path)) = self.full_path(id, base, info.path.as_path()) else {
                        return;
                    };
                    info.path = path;
                }
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.handles.insert(handle, info);
                }
            }
            Effect::Closed(handle) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.handles.remove(&handle);
                }
            }
            Effect::Moved {
                from_base,
                from,
                to_base,
                to,
            } => {
                let from = self.full_path(id, from_base, from.as_path());
                let to = self.full_path(id, to_base, to.as_path());
                let (Some((export, from)), Some((_, to))) = (from, to) else {
                    return;
                };
                let handles = self
                    .sessions
                    .values_mut()
                    .flat_map(|session| session.handles.values_mut());
                for info in handles.filter(|info| info.export == export) {
                    if let Some(path) = info.path.moved(&from, &to) {
                        info.path = path;
                    }
                }
            }
        }
    }

    /// The shortest journal that says the same.
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Start(self.machine.clone())];
        for (&id, s) in &self.sessions {
            records.push(Record::Session(id, s.info.clone()));
            records.extend(
                s.handles
                    .iter()
                    .map(|(&handle, info)| Record::Handle(id, handle, info.clone())),
            );
            records.extend(s.last.iter().map(|(&slot, last)| {
                let id = RequestId {
                    session: id,
                    slot,
                    sequence: last.sequence,
                    asked: last.asked,
                };
                Record::Reply(id, Effect::None, last.frame.clone())
            }));
            records.extend(s.intents.values().cloned().map(Record::Intent));
            records.extend(s.untold.then_some(Record::Untold(id)));
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Identity;
    use protocol::message::ClientId;
    use protocol::noise::KeyId;

    const SESSION: u64 = 1;

    fn start(next_handle: u32) -> Mirror {
        let mut mirror = Mirror::default();
        mirror.apply(Record::Start(b"first boot".to_vec()));
        let info = SessionInfo {
            client: ClientId([1; 16]),
            key: KeyId::default(),
            slots: 1,
            max_frame: 4096,
            next_handle,
            name: Vec::new(),
        };
        mirror.apply(Record::Session(SESSION, info));
        mirror
    }

    fn opened(handle: u32) -> Record {
        let id = RequestId {
            session: SESSION,
            slot: 0,
            sequence: handle,
            asked: (5, 0),
        };
        let info = HandleInfo {
            export: "rw".into(),
            path: PathBuf::new(),
            identity: Identity {
                device: 0,
                inode: 0,
            },
            file: None,
        };
        let effect = Effect::Opened {
            handle,
            base: 0,
            info,
        };
        Record::Reply(id, effect, Vec::new())
    }

    fn next(mirror: &Mirror) -> u32 {
        mirror.sessions[&SESSION].info.next_handle
    }

    /// The power fails at every moment around a block's border. Of the journal is left, at the least, what was synced,
    /// and at the most everything; a client has every handle whose record was written, but the one in between.
    #[test]
    fn no_power_cut_at_a_blocks_border_gives_a_number_out_twice() {
        let mut mirror = start(HANDLE_BLOCK - 3);
        let mut written = vec![mirror.clone()];
        let (mut synced, mut syncs) = (0, 0);
        for _ in 0..6 {
            let handle = next(&mirror);
            let record = opened(handle);
            let ends_block = mirror.ends_block(&record);
            mirror.apply(record);
            written.push(mirror.clone());
            let cut = |from: usize, given: u32| {
                for left in &written[from..] {
                    let mut left = left.clone();
                    left.apply(Record::Start(b"next boot".to_vec()));
                    assert!(next(&left) > given, "{} after {given}", next(&left));
                }
            };
            // Written, not synced yet, and not answered.
            cut(synced, handle - 1);
            if ends_block {
                (synced, syncs) = (written.len() - 1, syncs + 1);
            }
            cut(synced, handle);
        }
        assert_eq!((syncs, next(&mirror)), (1, HANDLE_BLOCK + 3));
    }
}
