//! One request: its turn, its execution, its reply.
//!
//! A session's requests are done one after the other in the order they arrive, so a client may have
//! appends to one file in flight on several slots. [`serve`] is the only place where a sequence
//! number is used up and a reply is stored.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::SystemTime;

use protocol::codec::{DecodeError, Field, Rest};
use protocol::frame::{self, HEADER, Header};
use protocol::message::{
    Access, Append, Appended, Attach, Attached, CounterList, Entries, Entry, Export as ExportEntry,
    ExportList, Fsync, Getattr, Handle, Kind, Lookup, Mkdir, Open, OpenFlags, Opened, Operation,
    Pong, Read, Readdir, Rename, Request, Stat, Statfs, StatfsReply, SyncLevel, Truncate, Unlink,
    Write, Written,
};
use protocol::name::{Path, PathBuf};
use protocol::{Errno, Reason, Refusal, codec};
use rustix::fs::FileType;

use crate::export::{self, Export, Found, Identity};
use crate::inodes::lock;
use crate::journal::{Effect, HandleInfo, Intent, Record, RequestId};
use crate::refuse::{Refused, because, because_of, system};
use crate::server::Shared;
use crate::session::{Node, Session, State, Turn};

/// The largest offset a file can have.
const MAX_OFFSET: u64 = i64::MAX as u64;
/// Bytes of an append's payload before its data.
const APPEND_HEAD: usize = 12;

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

    fn attach(&mut self, call: &Attach<'_>) -> Result<Attached, Refused> {
        let index = self
            .shared
            .exports
            .iter()
            .position(|export| export.name.as_bytes() == call.export);
        let index = index.ok_or(because(Errno::ENOENT, Reason::NoExport))?;
        let handle = self.state.plan_handle(self.shared.limits.handles)?;
        let export = &self.shared.exports[index];
        let fd = export.attach()?;
        let Found { stat, identity } = export::stat(fd.as_fd())?;
        let info = HandleInfo {
            export: export.name.clone(),
            path: PathBuf::new(),
            identity,
            file: None,
        };
        self.effect = Effect::Opened {
            handle,
            base: 0,
            info,
        };
        let node = Node {
            fd,
            export: index,
            file: None,
            inode: self.shared.inodes.get(identity),
        };
        self.state.add_handle(handle, node);
        Ok(Attached {
            root: Handle(handle),
            access: export.access,
            stat,
        })
    }

    fn lookup(&self, call: &Lookup<'_>) -> Result<Stat, Refused> {
        let dir = self.dir(call.dir)?;
        export::lookup(dir.fd.as_fd(), call.path).map(|found| found.stat)
    }

    fn getattr(&self, call: &Getattr) -> Result<Stat, Refused> {
        let node = self.state.node(call.handle)?;
        export::stat(node.fd.as_fd()).map(|found| found.stat)
    }

    fn open(&mut self, call: &Open<'_>) -> Result<Opened, Refused> {
        let flags = call.flags;
        let makes = flags.has(OpenFlags::CREATE);
        let writes = flags.has(OpenFlags::WRITE) || flags.has(OpenFlags::APPEND);
        let contradiction = flags.has(OpenFlags::EXCLUSIVE) && !makes
            || flags.has(OpenFlags::DIRECTORY) && (makes || writes)
            || flags.has(OpenFlags::TRUNCATE) && !flags.has(OpenFlags::WRITE)
            || flags.0 & (OpenFlags::READ | OpenFlags::WRITE | OpenFlags::APPEND).0 == 0;
        if contradiction {
            return Err(because(Errno::EINVAL, Reason::System));
        }
        let handle = self.state.plan_handle(self.shared.limits.handles)?;
        let dir = self.dir(call.dir)?;
        let export = dir.export;
        if writes || makes {
            self.export(dir).allow_add()?;
        }
        let (fd, found, created) = if call.path.is_empty() {
            if writes || makes {
                return Err(because(Errno::EISDIR, Reason::ExportRoot));
            }
            let fd = export::open_dir(dir.fd.as_fd(), Path::HERE)?;
            let found = export::stat(fd.as_fd())?;
            (fd, found, false)
        } else {
            let (parent, last) = export::open_parent(dir.fd.as_fd(), call.path)?;
            match export::lookup_maybe(parent.as_fd(), last)? {
                None if makes => {
                    self.intend(
                        Identity {
                            device: 0,
                            inode: 0,
                        },
                        self.payload,
                    )?;
                    let (fd, found) = export::create(parent.as_fd(), last, flags, call.mode)?;
                    (fd, found, true)
                }
                None => return Err(because(Errno::ENOENT, Reason::System)),
                Some(_) if flags.has(OpenFlags::EXCLUSIVE) => {
                    return Err(because(Errno::EEXIST, Reason::System));
                }
                Some(before) => {
                    let cuts = flags.has(OpenFlags::TRUNCATE) && before.stat.size > 0;
                    if cuts {
                        self.export(dir).allow_change()?;
                    }
                    let (fd, mut found) = export::open_existing(parent.as_fd(), last, flags)?;
                    if cuts {
                        let inode = self.shared.inodes.get(found.identity);
                        let _order = lock(&inode.order);
                        rustix::fs::ftruncate(&fd, 0).map_err(system)?;
                        inode.changed();
                        found = export::stat(fd.as_fd())?;
                    }
                    (fd, found, false)
                }
            }
        };
        let file = (found.stat.kind == Kind::File).then_some(flags);
        let info = HandleInfo {
            export: self.shared.exports[export].name.clone(),
            path: call.path.to_owned(),
            identity: found.identity,
            file,
        };
        self.effect = Effect::Opened {
            handle,
            base: call.dir.0,
            info,
        };
        let inode = self.shared.inodes.get(found.identity);
        self.state.add_handle(
            handle,
            Node {
                fd,
                export,
                file,
                inode,
            },
        );
        Ok(Opened {
            handle: Handle(handle),
            created,
            stat: found.stat,
        })
    }

    fn read(&self, call: &Read, header: &Header, out: &mut Vec<u8>) {
        let start = out.len();
        if let Err(refused) = self.read_into(call, header, out) {
            out.truncate(start);
            frame::put_reply(out, header, &Err::<(), _>(refused));
        }
    }

    fn read_into(&self, call: &Read, header: &Header, out: &mut Vec<u8>) -> Result<(), Refused> {
        let (node, flags) = self.file(call.handle)?;
        if !flags.has(OpenFlags::READ) {
            return Err(because(Errno::EBADF, Reason::HandleMode));
        }
        self.check_count(call.count)?;
        check_range(call.offset, u64::from(call.count))?;
        let start = out.len();
        frame::put_reply(out, header, &Ok(()));
        let count = call.count as usize;
        out.resize(start + HEADER + count, 0);
        let mut done = 0;
        while done < count {
            let place = &mut out[start + HEADER + done..];
            match rustix::io::pread(&node.fd, place, call.offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(system(errno)),
            }
        }
        out.truncate(start + HEADER + done);
        out[start..start + 4].copy_from_slice(&(done as u32).to_le_bytes());
        Ok(())
    }

    fn check_count(&self, count: u32) -> Result<(), Refused> {
        let limit = self.session.max_frame;
        if count > limit {
            return Err(because_of(Errno::EINVAL, Reason::CountLimit, limit.into()));
        }
        Ok(())
    }

    /// Whether the session may make a file this large, and write so many bytes more.
    fn check_room(&self, size: u64, bytes: u64) -> Result<(), Refused> {
        let limits = &self.shared.limits;
        if size > limits.file_bytes {
            return Err(because_of(
                Errno::EFBIG,
                Reason::ByteLimit,
                limits.file_bytes,
            ));
        }
        if self.state.written.saturating_add(bytes) > limits.session_bytes {
            return Err(because_of(
                Errno::EDQUOT,
                Reason::ByteLimit,
                limits.session_bytes,
            ));
        }
        Ok(())
    }

    fn write(&mut self, call: &Write<'_>) -> Result<Written, Refused> {
        let Rest(data) = call.data;
        let (node, flags) = self.file(call.handle)?;
        if !flags.has(OpenFlags::WRITE) {
            return Err(because(Errno::EBADF, Reason::HandleMode));
        }
        self.export(node).allow_change()?;
        let end = check_range(call.offset, data.len() as u64)?;
        self.check_room(end, data.len() as u64)?;
        write_all(node, data, call.offset).map_err(system)?;
        let size = export::stat(node.fd.as_fd())?.stat.size;
        self.state.written += data.len() as u64;
        Ok(Written { size })
    }

    fn append(&mut self, call: &Append<'_>) -> Result<Appended, Refused> {
        let Rest(data) = call.data;
        let (node, flags) = self.file(call.handle)?;
        if !flags.has(OpenFlags::WRITE) && !flags.has(OpenFlags::APPEND) {
            return Err(because(Errno::EBADF, Reason::HandleMode));
        }
        self.export(node).allow_add()?;
        let size = export::stat(node.fd.as_fd())?.stat.size;
        if size != call.expected {
            return Err(because_of(Errno::ERANGE, Reason::NotTheEnd, size));
        }
        let end = check_range(size, data.len() as u64)?;
        self.check_room(end, data.len() as u64)?;
        self.intend(node.inode.identity, &self.payload[..APPEND_HEAD])?;
        if let Err(errno) = write_all(node, data, size) {
            // Half an append would be neither done nor not done.
            rustix::fs::ftruncate(&node.fd, size).map_err(system)?;
            return Err(system(errno));
        }
        self.state.written += data.len() as u64;
        Ok(Appended { size: end })
    }

    fn close(&mut self, handle: Handle) -> Result<(), Refused> {
        if self.state.stale.remove(&handle.0) || self.state.handles.remove(&handle.0).is_some() {
            self.effect = Effect::Closed(handle.0);
            return Ok(());
        }
        Err(because(Errno::EBADF, Reason::System))
    }

    fn mkdir(&mut self, call: &Mkdir<'_>) -> Result<Stat, Refused> {
        let dir = self.dir(call.dir)?;
        self.export(dir).allow_add()?;
        if call.path.is_empty() {
            return Err(because(Errno::EEXIST, Reason::ExportRoot));
        }
        let (parent, last) = export::open_parent(dir.fd.as_fd(), call.path)?;
        if export::lookup_maybe(parent.as_fd(), last)?.is_some() {
            return Err(because(Errno::EEXIST, Reason::System));
        }
        self.intend(
            Identity {
                device: 0,
                inode: 0,
            },
            self.payload,
        )?;
        export::mkdir(parent.as_fd(), last, call.mode).map(|found| found.stat)
    }

    fn unlink(&mut self, call: &Unlink<'_>) -> Result<(), Refused> {
        let dir = self.dir(call.dir)?;
        self.export(dir).allow_change()?;
        let (parent, last) = export::open_parent(dir.fd.as_fd(), call.path)?;
        let victim = export::check_unlink(parent.as_fd(), last, call.removes)?;
        self.intend(victim.identity, self.payload)?;
        export::unlink(parent.as_fd(), last, victim.stat.kind)?;
        self.shared.inodes.get(victim.identity).changed();
        Ok(())
    }

    fn rename(&mut self, call: &Rename<'_>) -> Result<(), Refused> {
        let (from_dir, to_dir) = (self.dir(call.from_dir)?, self.dir(call.to_dir)?);
        if from_dir.export != to_dir.export {
            return Err(because(Errno::EXDEV, Reason::System));
        }
        self.export(from_dir).allow_change()?;
        let (from, from_name) = export::open_parent(from_dir.fd.as_fd(), call.from)?;
        let (to, to_name) = export::open_parent(to_dir.fd.as_fd(), call.to)?;
        let moving = export::lookup_name(from.as_fd(), from_name)?;
        let target = export::lookup_maybe(to.as_fd(), to_name)?;
        if target.is_some() && !call.replace {
            return Err(because(Errno::EEXIST, Reason::System));
        }
        self.intend(moving.identity, self.payload)?;
        export::rename(
            (from.as_fd(), from_name),
            (to.as_fd(), to_name),
            call.replace,
        )?;
        for identity in [Some(moving.identity), target.map(|found| found.identity)]
            .into_iter()
            .flatten()
        {
            self.shared.inodes.get(identity).changed();
        }
        self.effect = moved(call);
        Ok(())
    }

    fn readdir(&self, call: &Readdir, header: &Header, out: &mut Vec<u8>) {
        let result = self.list(call);
        let result = match &result {
            Ok((end, list)) => Ok(Entries {
                end: *end,
                entries: list
                    .iter()
                    .map(|(cookie, inode, kind, name)| Entry {
                        cookie: *cookie,
                        inode: *inode,
                        kind: *kind,
                        name,
                    })
                    .collect(),
            }),
            Err(refused) => Err(*refused),
        };
        frame::put_reply(out, header, &result);
    }

    #[expect(
        clippy::type_complexity,
        reason = "rows of a listing that lives for one reply"
    )]
    fn list(&self, call: &Readdir) -> Result<(bool, Vec<(u64, u64, Kind, Vec<u8>)>), Refused> {
        let dir = self.dir(call.handle)?;
        self.check_count(call.count)?;
        check_range(call.cookie, 0)?;
        rustix::fs::seek(&dir.fd, rustix::fs::SeekFrom::Start(call.cookie)).map_err(system)?;
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = rustix::fs::RawDir::new(&dir.fd, &mut buffer);
        let mut list = Vec::new();
        // The flag `end` takes one byte.
        let mut left = (call.count as usize).saturating_sub(1);
        while let Some(entry) = reader.next() {
            let entry = entry.map_err(system)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                FileType::Unknown => match export::lookup_name(dir.fd.as_fd(), name) {
                    Ok(found) => found.stat.kind,
                    Err(_) => continue,
                },
                _ => continue,
            };
            // cookie, inode, kind, length of the name
            let bytes = 8 + 8 + 1 + 2 + name.len();
            if bytes > left {
                if list.is_empty() {
                    return Err(because_of(
                        Errno::EINVAL,
                        Reason::CountLimit,
                        bytes as u64 + 1,
                    ));
                }
                return Ok((false, list));
            }
            left -= bytes;
            list.push((entry.next_entry_cookie(), entry.ino(), kind, name.to_vec()));
        }
        Ok((true, list))
    }

    fn truncate(&mut self, call: &Truncate) -> Result<(), Refused> {
        let (node, flags) = self.file(call.handle)?;
        if !flags.has(OpenFlags::WRITE) {
            return Err(because(Errno::EBADF, Reason::HandleMode));
        }
        self.export(node).allow_change()?;
        check_range(call.size, 0)?;
        self.check_room(call.size, 0)?;
        rustix::fs::ftruncate(&node.fd, call.size).map_err(system)
    }

    fn fsync(&self, call: &Fsync) -> Result<(), Refused> {
        let node = self.state.node(call.handle)?;
        tokio::task::block_in_place(|| {
            match call.level {
                SyncLevel::Data => rustix::fs::fdatasync(&node.fd),
                SyncLevel::All => rustix::fs::fsync(&node.fd),
            }
            .map_err(system)?;
            if call.level == SyncLevel::All && node.file.is_some() {
                export::sync_name(node.fd.as_fd(), node.inode.identity)?;
            }
            self.shared.journal.sync().map_err(|error| {
                tracing::error!("journal not synced: {error}");
                because(Errno::EIO, Reason::System)
            })
        })
    }

    fn statfs(&self, call: &Statfs) -> Result<StatfsReply, Refused> {
        let node = self.state.node(call.handle)?;
        export::statfs(node.fd.as_fd(), self.export(node).access)
    }

    fn exports(&self) -> ExportList<'_> {
        let exports = self.shared.exports.iter();
        ExportList {
            exports: exports
                .map(|e| ExportEntry {
                    access: e.access,
                    name: e.name.as_bytes(),
                })
                .collect(),
        }
    }

    fn counters(&self, header: &Header, out: &mut Vec<u8>) {
        let sessions = self.shared.sessions.all();
        let totals = self.shared.totals();
        let mut list = CounterList {
            uptime_ns: u64::try_from(self.shared.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            connections: u32::try_from(totals.connections).unwrap_or(u32::MAX),
            refused: totals.refused,
            counts: Vec::new(),
        };
        let mut left = self.session.max_frame as usize - 64;
        for session in &sessions {
            for (operation, c) in lock(&session.counts).used() {
                let bytes = 8 + 2 + session.name.len() + 8 + 1 + 24;
                if bytes > left {
                    break;
                }
                left -= bytes;
                let ago = c.last.map_or(u64::MAX, |last| {
                    u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX)
                });
                list.counts.push(protocol::message::Count {
                    session: session.id,
                    name: session.name.as_bytes(),
                    ago_ms: ago,
                    operation,
                    calls: c.calls,
                    errors: c.errors,
                    bytes: c.bytes,
                });
            }
        }
        frame::put_reply(out, header, &Ok(list));
    }
}

fn moved(call: &Rename<'_>) -> Effect {
    Effect::Moved {
        from_base: call.from_dir.0,
        from: call.from.to_owned(),
        to_base: call.to_dir.0,
        to: call.to.to_owned(),
    }
}

fn check_range(offset: u64, length: u64) -> Result<u64, Refused> {
    let end = offset.checked_add(length).filter(|end| *end <= MAX_OFFSET);
    end.ok_or(because(Errno::EINVAL, Reason::Offset))
}

fn write_all(node: &Node, data: &[u8], offset: u64) -> Result<(), rustix::io::Errno> {
    let mut done = 0;
    while done < data.len() {
        match rustix::io::pwrite(&node.fd, &data[done..], offset + done as u64) {
            Ok(0) => return Err(rustix::io::Errno::NOSPC),
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// After a restart: whether an intent was carried out before the server died, and its reply if so.
/// What was half done is undone.
pub fn decide(shared: &Shared, session: &Session, intent: &Intent) -> Option<(Vec<u8>, Effect)> {
    let state = &mut *lock(&session.state);
    let (operation, length) = intent.id.asked;
    let header = Header {
        operation,
        slot: intent.id.slot,
        sequence: intent.id.sequence,
        session: session.id,
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
pub fn revive(shared: &Shared, info: &HandleInfo) -> Option<Node> {
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
