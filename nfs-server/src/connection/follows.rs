//! The followers of a connection, and the frames that have no answer.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use protocol::codec::{self, DecodeError, Field};
use protocol::frame::{self, Header};
use protocol::message::{Follow, Operation, Request};
use protocol::{Errno, Reason};

use super::wire::HIGH_WATER;
use super::{Connection, LOOK_EVERY};
use crate::follow::{self, Follower, Step};
use crate::inodes::lock;
use crate::refuse::{Refused, because, because_of};
use crate::session::Session;

impl Connection<'_> {
    pub(super) fn one_way(
        &mut self,
        session: &Arc<Session>,
        header: Header,
        payload: &[u8],
    ) -> Result<(), DecodeError> {
        let operation = frame::check_request(&header)?;
        let request = match Request::decode(header.operation, payload) {
            Err(DecodeError::Name(error)) if operation == Operation::Follow => {
                // The id comes first in the payload.
                let id = u32::get(&mut codec::Reader::new(payload), "id")?;
                let (errno, reason) = error.refusal();
                follow::push_refused(&mut self.out, session.id, id, because(errno, reason));
                return Ok(());
            }
            other => other?,
        };
        let bytes = u64::from(header.length);
        match request {
            Request::Follow(call) => {
                self.follows.remove(&call.id);
                let started = self.start_follow(session, &call);
                lock(&session.counts).add(operation, started.is_err(), bytes);
                match started {
                    Ok(follower) => {
                        self.follows.insert(call.id, follower);
                    }
                    Err(refused) => {
                        follow::push_refused(&mut self.out, session.id, call.id, refused)
                    }
                }
            }
            Request::Credit(call) => {
                if let Some(follower) = self.follows.get_mut(&call.id) {
                    follower.add_credit(call.bytes);
                }
                lock(&session.counts).add(operation, false, bytes);
            }
            Request::Unfollow(call) => {
                self.follows.remove(&call.id);
                lock(&session.counts).add(operation, false, bytes);
            }
            other => return Err(DecodeError::Operation(other.operation().number())),
        }
        Ok(())
    }

    fn start_follow(&self, session: &Session, call: &Follow<'_>) -> Result<Follower, Refused> {
        let limit = self.shared.limits.follows;
        if self.follows.len() >= limit {
            return Err(because_of(Errno::EMFILE, Reason::FollowLimit, limit as u64));
        }
        let state = lock(&session.state);
        let node = state.node(call.dir)?;
        if node.file.is_some() {
            return Err(because(Errno::ENOTDIR, Reason::System));
        }
        let dir = node.fd.as_fd().try_clone_to_owned();
        let dir = dir.map_err(|_| because(Errno::EMFILE, Reason::System))?;
        Ok(Follower::new(call, session.id, dir))
    }

    /// Lets every follower say what it has to say, while there is room. Whether one has more.
    pub(super) fn pump(&mut self) -> bool {
        if self.follows.is_empty() {
            return false;
        }
        let may_look = self.looked.elapsed() >= LOOK_EVERY;
        if may_look {
            self.looked = Instant::now();
        }
        let mut more = false;
        let mut over = Vec::new();
        for (id, follower) in &mut self.follows {
            if self.out.len() - self.sent >= HIGH_WATER {
                return true;
            }
            match follower.step(self.shared, &self.watcher, may_look, &mut self.out) {
                Step::Pushed => more = true,
                Step::Idle => {}
                Step::Over => over.push(*id),
            }
        }
        for id in over {
            self.follows.remove(&id);
        }
        more
    }
}
