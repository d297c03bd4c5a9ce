//! Followers: a cursor into a file, never a queue. A slow follower loses nothing and costs nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use protocol::codec::{Field, Rest};
use protocol::frame::{self, HEADER, Header, PUSH};
use protocol::message::{Follow, FollowEvent, Followed, Kind, OpenFlags, Operation};
use protocol::name::PathBuf;
use protocol::{Errno, FOLLOW_CREDIT, NO_SLOT, Reason, Refusal};
use tokio::sync::Notify;

use crate::export::{self, Identity};
use crate::inodes::Inode;
use crate::refuse::{Refused, because};
use crate::server::Shared;

/// Data of one push, at most.
const PUSH_BYTES: usize = 64 * 1024;
/// Bytes of a push's payload before the data.
const PUSH_HEAD: usize = 13;

/// One followed file.
#[derive(Debug)]
pub struct Follower {
    id: u32,
    session: u64,
    // A handle of its own: the client may close its.
    dir: OwnedFd,
    path: PathBuf,
    file: Option<(OwnedFd, Arc<Inode>)>,
    cursor: u64,
    credit: u32,
    // What the client was last told: whether it knows that the cursor is at the end, or the file gone.
    told_end: bool,
    told_gone: bool,
}

/// What a step of a follower found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was pushed; there may be more.
    Pushed,
    /// Nothing to say for now.
    Idle,
    /// It is over.
    Over,
}

impl Follower {
    /// Starts; the first [`Self::step`] says how things are.
    pub fn new(call: &Follow<'_>, session: u64, dir: OwnedFd) -> Self {
        Self {
            id: call.id,
            session,
            dir,
            path: call.path.to_owned(),
            file: None,
            cursor: call.offset,
            credit: call.credit.min(FOLLOW_CREDIT),
            told_end: false,
            told_gone: false,
        }
    }

    /// The client took so many bytes.
    pub fn add_credit(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes).min(FOLLOW_CREDIT);
    }

    /// Says one thing if there is one to say. `may_look` is false where only files that are open are to
    /// be asked, because names were looked up a moment ago.
    pub fn step(
        &mut self,
        shared: &Shared,
        watcher: &Arc<Notify>,
        may_look: bool,
        out: &mut Vec<u8>,
    ) -> Step {
        let result = self.try_step(shared, watcher, may_look, out);
        result.unwrap_or_else(|(errno, refusal)| {
            push_refused(out, self.session, self.id, (errno, refusal));
            Step::Over
        })
    }

    fn try_step(
        &mut self,
        shared: &Shared,
        watcher: &Arc<Notify>,
        may_look: bool,
        out: &mut Vec<u8>,
    ) -> Result<Step, Refused> {
        if self.file.is_none() || may_look {
            match self.look()? {
                None => return Ok(self.gone(out)),
                Some(identity) => {
                    let same = self
                        .file
                        .as_ref()
                        .is_some_and(|(_, inode)| inode.identity == identity);
                    let replaced = self.file.is_some() && !same;
                    if replaced {
                        return Ok(self.gone(out));
                    }
                    if !same && !self.open(shared, watcher)? {
                        return Ok(self.gone(out));
                    }
                }
            }
        }
        let Some((fd, _)) = &self.file else {
            return Ok(Step::Idle);
        };
        let size = export::stat(fd.as_fd())?.stat.size;
        if size < self.cursor {
            self.push(out, FollowEvent::Truncated, &[]);
            self.cursor = 0;
            self.told_end = false;
            return Ok(Step::Pushed);
        }
        if size == self.cursor {
            if self.told_end {
                return Ok(Step::Idle);
            }
            self.push(out, FollowEvent::End, &[]);
            self.told_end = true;
            return Ok(Step::Pushed);
        }
        if self.credit == 0 {
            return Ok(Step::Idle);
        }
        let want = (size - self.cursor)
            .min(u64::from(self.credit))
            .min(PUSH_BYTES as u64) as usize;
        let start = out.len();
        self.push(out, FollowEvent::Data, &[]);
        let head = out.len();
        out.resize(head + want, 0);
        let read = rustix::io::pread(fd, &mut out[head..], self.cursor);
        let n = match read {
            Ok(n) => n,
            Err(errno) => {
                out.truncate(start);
                return Err(crate::refuse::system(errno));
            }
        };
        out.truncate(head + n);
        if n == 0 {
            // It was cut in between; the next step sees that.
            out.truncate(start);
            return Ok(Step::Idle);
        }
        out[start..start + 4].copy_from_slice(&((PUSH_HEAD + n) as u32).to_le_bytes());
        self.cursor += n as u64;
        self.credit -= n as u32;
        Ok(Step::Pushed)
    }

    /// What the path names now; `None` if nothing (yet).
    fn look(&self) -> Result<Option<Identity>, Refused> {
        match export::lookup(self.dir.as_fd(), self.path.as_path()) {
            Ok(found) if found.stat.kind == Kind::Directory => {
                Err(because(Errno::EISDIR, Reason::System))
            }
            Ok(found) => Ok(Some(found.identity)),
            Err((Errno::ENOENT, _)) => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    fn open(&mut self, shared: &Shared, watcher: &Arc<Notify>) -> Result<bool, Refused> {
        let (parent, last) = export::open_parent(self.dir.as_fd(), self.path.as_path())?;
        match export::open_existing(parent.as_fd(), last, OpenFlags::READ) {
            Ok((fd, found)) => {
                let inode = shared.inodes.get(found.identity);
                inode.watch(watcher);
                self.file = Some((fd, inode));
                self.told_gone = false;
                Ok(true)
            }
            Err((Errno::ENOENT | Errno::EAGAIN, _)) => Ok(false),
            Err(refused) => Err(refused),
        }
    }

    fn gone(&mut self, out: &mut Vec<u8>) -> Step {
        let had = self.file.take().is_some();
        if self.told_gone && !had {
            return Step::Idle;
        }
        self.push(out, FollowEvent::Gone, &[]);
        self.cursor = 0;
        self.told_gone = true;
        self.told_end = false;
        Step::Pushed
    }

    fn push(&self, out: &mut Vec<u8>, event: FollowEvent, data: &[u8]) {
        let pushed = Followed {
            id: self.id,
            event,
            offset: self.cursor,
            data: Rest(data),
        };
        frame::put(
            out,
            push_header(Operation::Follow, self.session, 0),
            |out| pushed.put(out),
        );
    }
}

/// Header of a frame that answers nothing.
pub fn push_header(operation: Operation, session: u64, status: i32) -> Header {
    Header {
        operation: operation.number(),
        flags: PUSH,
        slot: NO_SLOT,
        session,
        status,
        ..Header::default()
    }
}

/// Tells a client that a follow is over, and why.
pub fn push_refused(out: &mut Vec<u8>, session: u64, id: u32, (errno, _): (Errno, Refusal)) {
    let pushed = Followed {
        id,
        event: FollowEvent::Refused,
        offset: 0,
        data: Rest(&[]),
    };
    frame::put(
        out,
        push_header(Operation::Follow, session, errno.status()),
        |out| pushed.put(out),
    );
}

const _: () = assert!(PUSH_HEAD == 4 + 1 + 8 && HEADER == 24);
