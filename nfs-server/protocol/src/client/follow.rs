//! Files that the server pushes as they grow.

use alloc::vec::Vec;

use super::types::Failure;
use super::{Broken, Client, Outgoing, Push, SESSION_LOST, Status};
use crate::codec::{self, Rest};
use crate::errno::{Reason, Refusal};
use crate::frame::{self, Header};
use crate::message::{Credit, Follow, FollowEvent, Followed, Handle, Unfollow};
use crate::name::{Path, PathBuf};
use crate::{FOLLOW_CREDIT, NO_SLOT};

/// Pushes that may wait to be taken. Credit bounds their bytes, this their number.
const MAX_PUSHES: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Following {
    dir: Handle,
    path: PathBuf,
    // Everything before was received.
    cursor: u64,
    // Received, not yet taken by the caller.
    waiting: u32,
    // Taken, not yet returned as credit.
    taken: u32,
}

impl Client {
    /// Starts to follow a file from an offset, over any number of connections.
    pub fn follow(&mut self, dir: Handle, path: Path<'_>, offset: u64) -> u32 {
        let id = self.next_follow;
        self.next_follow = self.next_follow.wrapping_add(1);
        let Some(dir) = self.handles.to_server(dir.0).map(Handle) else {
            self.refuse_follow(id, offset, SESSION_LOST);
            return id;
        };
        self.follows.insert(
            id,
            Following {
                dir,
                path: path.to_owned(),
                cursor: offset,
                waiting: 0,
                taken: 0,
            },
        );
        self.send_follow(id);
        id
    }

    /// Stops a follow and drops its waiting pushes.
    pub fn unfollow(&mut self, id: u32) {
        if self.follows.remove(&id).is_some() {
            self.pushes.retain(|push| push.id != id);
            self.send_one_way(&Unfollow { id });
        }
    }

    /// The next push of any follow. Taking it returns its credit.
    pub fn next_push(&mut self) -> Option<Push> {
        let push = self.pushes.pop_front()?;
        if let Some(follow) = self.follows.get_mut(&push.id) {
            let bytes = push.data.len() as u32;
            follow.waiting = follow.waiting.saturating_sub(bytes);
            follow.taken += bytes;
            // In portions: a frame of credit for every small push would double the traffic.
            if follow.taken >= FOLLOW_CREDIT / 4 {
                let credit = Credit {
                    id: push.id,
                    bytes: follow.taken,
                };
                follow.taken = 0;
                self.send_one_way(&credit);
            }
        }
        Some(push)
    }

    pub(super) fn send_follow(&mut self, id: u32) {
        if self.status != Status::Ready {
            return;
        }
        let Some(follow) = self.follows.get_mut(&id) else {
            return;
        };
        follow.taken = 0;
        let credit = FOLLOW_CREDIT.saturating_sub(follow.waiting);
        let call = Follow {
            id,
            dir: follow.dir,
            offset: follow.cursor,
            credit,
            path: follow.path.as_path(),
        };
        let frame = frame::request(&call, NO_SLOT, 0, self.session);
        self.sending.push_back(Outgoing::Bytes(frame));
    }

    pub(super) fn pushed(&mut self, header: Header, payload: &[u8]) -> Result<(), Broken> {
        let Followed {
            id,
            event,
            offset,
            data: Rest(data),
        } = codec::decode(payload)?;
        // Pushes of a follow that was just stopped are still on their way.
        let Some(follow) = self.follows.get_mut(&id) else {
            return Ok(());
        };
        if self.pushes.len() >= MAX_PUSHES {
            return Err(Broken::BadPush);
        }
        match event {
            FollowEvent::Data => {
                let waiting = follow.waiting.saturating_add(data.len() as u32);
                if offset != follow.cursor || waiting.saturating_add(follow.taken) > FOLLOW_CREDIT {
                    return Err(Broken::BadPush);
                }
                follow.waiting = waiting;
                follow.cursor = offset.saturating_add(data.len() as u64);
            }
            FollowEvent::Truncated | FollowEvent::Gone => follow.cursor = 0,
            FollowEvent::End | FollowEvent::Refused => {}
        }
        let failure = header.error().map(|errno| Failure {
            errno,
            refusal: Refusal {
                reason: Reason::System,
                value: 0,
            },
        });
        if event == FollowEvent::Refused {
            self.follows.remove(&id);
        }
        self.pushes.push_back(Push {
            id,
            event,
            offset,
            data: data.to_vec(),
            failure,
        });
        Ok(())
    }

    /// Every follow ends with this failure.
    pub(super) fn fail_follows(&mut self, failure: Failure) {
        for (id, follow) in core::mem::take(&mut self.follows) {
            self.refuse_follow(id, follow.cursor, failure);
        }
    }

    fn refuse_follow(&mut self, id: u32, offset: u64, failure: Failure) {
        self.pushes.push_back(Push {
            id,
            event: FollowEvent::Refused,
            offset,
            data: Vec::new(),
            failure: Some(failure),
        });
    }
}
