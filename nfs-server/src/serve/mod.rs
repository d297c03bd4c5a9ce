//! One request: its turn, its execution, its reply.
//!
//! A session's requests are done one after the other in the order they arrive, so a client may have
//! appends to one file in flight on several slots. [`serve`] is the only place where a sequence
//! number is used up and a reply is stored.

mod data;
mod listing;
mod names;

use std::sync::Arc;
use std::time::SystemTime;

use protocol::codec::{DecodeError, Field};
use protocol::frame::{self, Header};
use protocol::message::{Append, Handle, OpenFlags, Operation, Pong, Request, Truncate, Write};
use protocol::{Errno, Reason, Refusal, codec};

use crate::export::{Export, Identity};
use crate::inodes::lock;
use crate::journal::{Effect, Intent, Record, RequestId};
use crate::refuse::{Refused, because, because_of};
use crate::server::Shared;
use crate::session::{Node, Session, State, Turn};

pub use names::moved;

/// The largest offset a file can have.
const MAX_OFFSET: u64 = i64::MAX as u64;
/// Bytes of an append's payload before its data.
pub const APPEND_HEAD: usize = 12;

/// Answers one request into `out`. An error is the client's: the connection ends.
pub fn serve(
    shared: &Shared,
    session: &Arc<Session>,
    header: Header,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let operation = frame::check_request(&header)?;
    let state = &mut *lock(&session.state);
    let start = out.len();
    let asked = (header.operation, header.length);
    let turn = match state.turn(header.slot, header.sequence, asked) {
        Ok(turn) => turn,
        Err(refused) => {
            frame::put_reply(out, &header, &Err::<(), _>(refused));
            count(session, operation, header, &out[start..]);
            return Ok(());
        }
    };
    if let Turn::Repeat(reply) = turn {
        out.extend_from_slice(&reply);
        return Ok(());
    }
    let request = match Request::decode(header.operation, payload) {
        Ok(request) => Ok(request),
        Err(DecodeError::Name(error)) => {
            let (errno, reason) = error.refusal();
            Err(because(errno, reason))
        }
        Err(broken) => return Err(broken),
    };
    let id = RequestId {
        session: session.id,
        slot: header.slot,
        sequence: header.sequence,
        asked,
    };
    let mut job = Job {
        shared,
        session,
        state,
        id,
        payload,
        effect: Effect::None,
    };
    let once = operation.is_once();
    {
        // Held until the reply is in the journal: at a crash nothing can have happened after an
        // intent that has no reply.
        let _names = request
            .as_ref()
            .is_ok_and(changes_names)
            .then(|| lock(&shared.names));
        let inode = request
            .as_ref()
            .ok()
            .and_then(changed_handle)
            .and_then(|handle| job.state.inode(handle));
        let _order = inode.as_ref().map(|inode| lock(&inode.order));
        job.run(request, &header, out);
        if once && shared.journal.is_kept() {
            let effect = std::mem::replace(&mut job.effect, Effect::None);
            if let Err(error) =
                shared
                    .journal
                    .write(Record::Reply(id, effect, out[start..].to_vec()))
            {
                tracing::error!("reply not in the journal: {error}");
            }
        }
        if let Some(inode) = &inode {
            inode.changed();
        }
    }
    let slot = &mut job.state.slots[usize::from(header.slot)];
    slot.last = Some(header.sequence);
    slot.exact = true;
    slot.asked = asked;
    slot.reply = once.then(|| out[start..].to_vec());
    count(session, operation, header, &out[start..]);
    Ok(())
}

/// Counts and logs a request. What looks like an attempt to get out of an export is logged as such.
fn count(session: &Session, operation: Operation, asked: Header, reply: &[u8]) {
    let Ok((answer, payload)) = frame::split(reply) else {
        return;
    };
    let bytes = u64::from(asked.length) + payload.len() as u64;
    lock(&session.counts).add(operation, answer.status != 0, bytes);
    let refusal = answer
        .error()
        .and_then(|_| codec::decode::<Refusal>(payload).ok());
    match refusal.map(|refusal| refusal.reason) {
        Some(
            reason @ (Reason::NameDotDot
            | Reason::NameSlash
            | Reason::NameNul
            | Reason::Symlink
            | Reason::Special
            | Reason::NoExport),
        ) => {
            tracing::warn!(target: "nfs_server::security", client = session.name, ?operation, %reason, "refused");
        }
        _ => tracing::debug!(
            client = session.name,
            ?operation,
            status = answer.status,
            bytes,
            "done"
        ),
    }
}

fn changes_names(request: &Request<'_>) -> bool {
    match request {
        Request::Open(open) => open.flags.has(OpenFlags::CREATE),
        Request::Mkdir(_) | Request::Unlink(_) | Request::Rename(_) => true,
        _ => false,
    }
}

fn changed_handle(request: &Request<'_>) -> Option<Handle> {
    match request {
        Request::Write(Write { handle, .. })
        | Request::Append(Append { handle, .. })
        | Request::Truncate(Truncate { handle, .. }) => Some(*handle),
        _ => None,
    }
}

/// Nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

struct Job<'a> {
    shared: &'a Shared,
    session: &'a Arc<Session>,
    state: &'a mut State,
    id: RequestId,
    payload: &'a [u8],
    effect: Effect,
}

impl Job<'_> {
    fn run(&mut self, request: Result<Request<'_>, Refused>, header: &Header, out: &mut Vec<u8>) {
        fn put<'a>(out: &mut Vec<u8>, header: &Header, result: Result<impl Field<'a>, Refused>) {
            frame::put_reply(out, header, &result);
        }
        let request = match request {
            Ok(request) => request,
            Err(refused) => return put(out, header, Err::<(), _>(refused)),
        };
        match request {
            Request::Attach(call) => put(out, header, self.attach(&call)),
            Request::Lookup(call) => put(out, header, self.lookup(&call)),
            Request::Getattr(call) => put(out, header, self.getattr(&call)),
            Request::Open(call) => put(out, header, self.open(&call)),
            Request::Read(call) => self.read(&call, header, out),
            Request::Write(call) => put(out, header, self.write(&call)),
            Request::Append(call) => put(out, header, self.append(&call)),
            Request::Close(call) => put(out, header, self.close(call.handle)),
            Request::Mkdir(call) => put(out, header, self.mkdir(&call)),
            Request::Unlink(call) => put(out, header, self.unlink(&call)),
            Request::Rename(call) => put(out, header, self.rename(&call)),
            Request::Readdir(call) => self.readdir(&call, header, out),
            Request::Truncate(call) => put(out, header, self.truncate(&call)),
            Request::Fsync(call) => put(out, header, self.fsync(&call)),
            Request::Statfs(call) => put(out, header, self.statfs(&call)),
            Request::Ping(_) => put(out, header, Ok(Pong { time_ns: wall_ns() })),
            Request::Exports(_) => put(out, header, Ok(self.exports())),
            Request::Counters(_) => self.counters(header, out),
            Request::Goodbye(_) => put(out, header, Ok(())),
            // These never come here: they have no slot.
            Request::Hello(_) | Request::Follow(_) | Request::Credit(_) | Request::Unfollow(_) => {
                put(
                    out,
                    header,
                    Err::<(), _>(because(Errno::EPROTO, Reason::BadMessage)),
                );
            }
        }
    }

    fn export(&self, node: &Node) -> &Export {
        &self.shared.exports[node.export]
    }

    fn dir(&self, handle: Handle) -> Result<&Node, Refused> {
        let node = self.state.node(handle)?;
        match node.file {
            None => Ok(node),
            Some(_) => Err(because(Errno::ENOTDIR, Reason::System)),
        }
    }

    fn file(&self, handle: Handle) -> Result<(&Node, OpenFlags), Refused> {
        let node = self.state.node(handle)?;
        let flags = node.file.ok_or(because(Errno::EISDIR, Reason::System))?;
        Ok((node, flags))
    }

    fn intend(&self, seen: Identity, payload: &[u8]) -> Result<(), Refused> {
        if !self.shared.journal.is_kept() {
            return Ok(());
        }
        let intent = Intent {
            id: self.id,
            seen,
            payload: payload.to_vec(),
        };
        self.shared
            .journal
            .write(Record::Intent(intent))
            .map_err(|error| {
                tracing::error!("refused a request because the journal cannot be written: {error}");
                because(Errno::EIO, Reason::System)
            })
    }

    fn check_count(&self, count: u32) -> Result<(), Refused> {
        let limit = self.session.max_frame;
        if count > limit {
            return Err(because_of(Errno::EINVAL, Reason::CountLimit, limit.into()));
        }
        Ok(())
    }
}

fn check_range(offset: u64, length: u64) -> Result<u64, Refused> {
    let end = offset.checked_add(length).filter(|end| *end <= MAX_OFFSET);
    end.ok_or(because(Errno::EINVAL, Reason::Offset))
}
