//! What the kernel asks, as requests to the server.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags as KernelFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use protocol::Errno;
use protocol::message::{Access, Handle, Kind, OpenFlags, Removes, Stat, SyncLevel};
use protocol::name::PathBuf;
use rustix::fs::OFlags;

use crate::nodes::Nodes;
use crate::remote::{Failed, Name, Remote};

/// How long the kernel may believe what it was told: others change files, too.
const BELIEVE: Duration = Duration::from_millis(200);
/// Blocks of st_blocks and statfs.
const BLOCK: u32 = 512;

type Result<T> = core::result::Result<T, Failed>;

/// An open file or folder of a program.
#[derive(Debug)]
struct Opened {
    number: u64,
    handle: Handle,
    /// Where writes go.
    writes: Writes,
    /// A folder's names, as they were when it was opened.
    names: Vec<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// To the offset that the program says.
    Anywhere,
    /// To the end, wherever it is (O_APPEND).
    End,
    /// To the offset that the program says, which must be the end: an append-only export.
    OnlyEnd,
}

#[derive(Debug)]
struct State {
    remote: Remote,
    nodes: Nodes,
    open: HashMap<u64, Opened>,
    next: u64,
}

/// A mounted folder.
#[derive(Debug)]
pub struct System {
    state: Mutex<State>,
    /// Whose the files are, as programs see it.
    owner: (u32, u32),
}

fn code(Failed(errno): Failed) -> fuser::Errno {
    fuser::Errno::from_i32(errno.0)
}

fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
    }
}

impl System {
    /// Of this connection.
    pub fn new(remote: Remote) -> Self {
        let state = State {
            remote,
            nodes: Nodes::default(),
            open: HashMap::new(),
            next: 1,
        };
        Self {
            state: Mutex::new(state),
            owner: (
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
            ),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every request leaves the state whole, also one that failed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, number: u64, stat: &Stat) -> FileAttr {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(stat.modified_ns);
        FileAttr {
            ino: INodeNo(number),
            size: stat.size,
            blocks: stat.size.div_ceil(BLOCK.into()),
            atime: modified,
            mtime: modified,
            ctime: modified,
            crtime: modified,
            kind: kind(stat.kind),
            perm: stat.mode & 0o7777,
            nlink: stat.links,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl State {
    fn path(&self, number: INodeNo) -> Result<PathBuf> {
        self.nodes
            .path(number.0)
            .cloned()
            .ok_or(Failed(Errno::ESTALE))
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf> {
        self.nodes
            .child(parent.0, name.as_bytes())?
            .ok_or(Failed(Errno::ENOENT))
    }

    fn opened(&self, file: FileHandle) -> Result<&Opened> {
        self.open.get(&file.0).ok_or(Failed(Errno::EBADF))
    }

    fn stat(&mut self, number: INodeNo) -> Result<Stat> {
        if let Some(handle) = self.nodes.handle(number.0) {
            match self.remote.stat_handle(handle) {
                // Of a lost session: who opens the file now need not suffer from that.
                Err(Failed(Errno::ESTALE)) => {}
                stat => return stat,
            }
        }
        let path = self.path(number)?;
        self.remote.stat(&path)
    }

    fn keep(
        &mut self,
        number: u64,
        handle: Handle,
        writes: Writes,
        names: Vec<Name>,
    ) -> FileHandle {
        let file = self.next;
        self.next += 1;
        self.nodes.opened(number, handle);
        let opened = Opened {
            number,
            handle,
            writes,
            names,
        };
        self.open.insert(file, opened);
        FileHandle(file)
    }

    fn close(&mut self, file: FileHandle) {
        if let Some(opened) = self.open.remove(&file.0) {
            self.nodes.closed(opened.number, opened.handle);
            if let Err(Failed(errno)) = self.remote.close(opened.handle) {
                eprintln!(
                    "snfs-mount: what a program wrote before it closed a file may be lost: {errno}"
                );
            }
        }
    }

    /// How the server has to open what a program opens so.
    fn flags(&self, flags: i32) -> (OpenFlags, Writes) {
        let flags = OFlags::from_bits_retain(flags as u32);
        let reads = !flags.contains(OFlags::WRONLY);
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let mut asked = OpenFlags::default();
        if reads {
            asked = asked | OpenFlags::READ;
        }
        let how = match self.remote.access() {
            Access::AppendOnly if flags.contains(OFlags::APPEND) => Writes::End,
            Access::AppendOnly => Writes::OnlyEnd,
            _ if flags.contains(OFlags::APPEND) => Writes::End,
            _ => Writes::Anywhere,
        };
        if writes {
            let write = match how {
                Writes::Anywhere => OpenFlags::WRITE,
                Writes::End | Writes::OnlyEnd => OpenFlags::APPEND,
            };
            asked = asked | write;
        }
        (asked, how)
    }

    fn open(&mut self, number: INodeNo, flags: i32) -> Result<FileHandle> {
        let path = self.path(number)?;
        let (asked, writes) = self.flags(flags);
        let opened = self.remote.open(&path, asked, 0)?;
        Ok(self.keep(number.0, opened.handle, writes, Vec::new()))
    }

    fn create(
        &mut self,
        parent: INodeNo,
        name: &OsStr,
        mode: u16,
        flags: i32,
    ) -> Result<(u64, Stat, FileHandle)> {
        let path = self.child(parent, name)?;
        let (mut asked, writes) = self.flags(flags);
        asked = asked | OpenFlags::CREATE;
        if OFlags::from_bits_retain(flags as u32).contains(OFlags::EXCL) {
            asked = asked | OpenFlags::EXCLUSIVE;
        }
        let opened = self.remote.open(&path, asked, mode)?;
        let number = self.nodes.number(path);
        let file = self.keep(number, opened.handle, writes, Vec::new());
        Ok((number, opened.stat, file))
    }

    fn write(&mut self, file: FileHandle, offset: u64, data: &[u8]) -> Result<u32> {
        let &Opened { handle, writes, .. } = self.opened(file)?;
        match writes {
            Writes::Anywhere => self.remote.write(handle, offset, data)?,
            Writes::End => self.remote.append(handle, offset, data, true)?,
            Writes::OnlyEnd => {
                let written = self.remote.append(handle, offset, data, false);
                written.map_err(|failed| match failed {
                    Failed(Errno::ERANGE) => Failed(Errno::EPERM),
                    other => other,
                })?;
            }
        }
        Ok(data.len() as u32)
    }

    fn resize(&mut self, number: INodeNo, size: u64) -> Result<()> {
        // What changes nothing is no change: opening a fresh file with O_TRUNC works on an append-only export.
        if self.stat(number)?.size == size {
            return Ok(());
        }
        let path = self.path(number)?;
        let handle = self.remote.open(&path, OpenFlags::WRITE, 0)?.handle;
        let done = self.remote.truncate(handle, size);
        let closed = self.remote.close(handle);
        done.and(closed)
    }

    fn fsync(&mut self, file: FileHandle, only_data: bool) -> Result<()> {
        let handle = self.opened(file)?.handle;
        let level = if only_data {
            SyncLevel::Data
        } else {
            SyncLevel::All
        };
        self.remote.fsync(handle, level)
    }

    fn unlink(&mut self, parent: INodeNo, name: &OsStr, removes: Removes) -> Result<()> {
        let path = self.child(parent, name)?;
        self.remote.unlink(&path, removes)?;
        self.nodes.removed(&path);
        Ok(())
    }

    fn rename(
        &mut self,
        (parent, name): (INodeNo, &OsStr),
        (new_parent, new_name): (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        let replace = match flags {
            RenameFlags::RENAME_NOREPLACE => false,
            other if other.is_empty() => true,
            _ => return Err(Failed(Errno::EINVAL)),
        };
        let (from, to) = (self.child(parent, name)?, self.child(new_parent, new_name)?);
        self.remote.rename(&from, &to, replace)?;
        if from != to {
            self.nodes.moved(&from, &to);
        }
        Ok(())
    }

    fn open_folder(&mut self, number: INodeNo) -> Result<FileHandle> {
        let path = self.path(number)?;
        let flags = OpenFlags::READ | OpenFlags::DIRECTORY;
        let handle = self.remote.open(&path, flags, 0)?.handle;
        match self.remote.list(handle) {
            Ok(names) => Ok(self.keep(number.0, handle, Writes::Anywhere, names)),
            Err(failed) => {
                // The first error counts.
                let _ = self.remote.close(handle);
                Err(failed)
            }
        }
    }
}

/// Answers with a value or an error number.
macro_rules! answer {
    ($result:expr, $reply:ident, $value:pat => $good:expr) => {
        match $result {
            Ok($value) => $good,
            Err(failed) => $reply.error(code(failed)),
        }
    };
}

impl Filesystem for System {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let most = self.state().remote.max_write();
        // Where the kernel cannot do that much it says what it can.
        if let Err(most) = config.set_max_write(most) {
            let _ = config.set_max_write(most);
        }
        // What others wrote is seen when the size or the time of the file changes.
        let _ = config.add_capabilities(InitFlags::FUSE_AUTO_INVAL_DATA);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.state();
        let found = state.child(parent, name).and_then(|path| {
            let stat = state.remote.stat(&path)?;
            Ok((state.nodes.number(path), stat))
        });
        answer!(found, reply, (number, stat) =>
            reply.entry(&BELIEVE, &self.attributes(number, &stat), Generation(0)));
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.state().nodes.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.state().stat(number);
        answer!(found, reply, stat => reply.attr(&BELIEVE, &self.attributes(number.0, &stat)));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        let done = state.stat(number).and_then(|stat| {
            let other_owner = uid.is_some_and(|uid| uid != self.owner.0)
                || gid.is_some_and(|gid| gid != self.owner.1);
            if other_owner || mode.is_some_and(|mode| mode & 0o7777 != u32::from(stat.mode)) {
                return Err(Failed(Errno::EPERM));
            }
            match size {
                None => Ok(stat),
                Some(size) => state.resize(number, size).and_then(|()| state.stat(number)),
            }
        });
        answer!(done, reply, stat => reply.attr(&BELIEVE, &self.attributes(number.0, &stat)));
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        // Only regular files exist there.
        if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::RegularFile {
            return reply.error(fuser::Errno::EPERM);
        }
        let mut state = self.state();
        let flags = OFlags::WRONLY | OFlags::EXCL;
        let mode = (mode & !umask & 0o777) as u16;
        let made = state.create(parent, name, mode, flags.bits() as i32);
        answer!(made, reply, (number, stat, file) => {
            state.close(file);
            reply.entry(&BELIEVE, &self.attributes(number, &stat), Generation(0));
        });
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mut state = self.state();
        let made = state.child(parent, name).and_then(|path| {
            let stat = state.remote.mkdir(&path, (mode & !umask & 0o777) as u16)?;
            Ok((state.nodes.number(path), stat))
        });
        answer!(made, reply, (number, stat) =>
            reply.entry(&BELIEVE, &self.attributes(number, &stat), Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.state().unlink(parent, name, Removes::File);
        answer!(done, reply, () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.state().unlink(parent, name, Removes::Directory);
        answer!(done, reply, () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = self
            .state()
            .rename((parent, name), (new_parent, new_name), flags);
        answer!(done, reply, () => reply.ok());
    }

    fn open(&self, _: &Request, number: INodeNo, flags: KernelFlags, reply: ReplyOpen) {
        let done = self.state().open(number, flags.0);
        answer!(done, reply, file => reply.opened(file, FopenFlags::empty()));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let mode = (mode & !umask & 0o777) as u16;
        let made = self.state().create(parent, name, mode, flags);
        answer!(made, reply, (number, stat, file) => {
            let attributes = self.attributes(number, &stat);
            reply.created(&BELIEVE, &attributes, Generation(0), file, FopenFlags::empty());
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        file: FileHandle,
        offset: u64,
        size: u32,
        _: KernelFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.state();
        let handle = state.opened(file).map(|opened| opened.handle);
        let read = handle.and_then(|handle| state.remote.read(handle, offset, size));
        answer!(read, reply, data => reply.data(&data));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: KernelFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let done = self.state().write(file, offset, data);
        answer!(done, reply, count => reply.written(count));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Every write was answered already.
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        file: FileHandle,
        _: KernelFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.state().close(file);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, file: FileHandle, data: bool, reply: ReplyEmpty) {
        let done = self.state().fsync(file, data);
        answer!(done, reply, () => reply.ok());
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: KernelFlags, reply: ReplyOpen) {
        let done = self.state().open_folder(number);
        answer!(done, reply, file => reply.opened(file, FopenFlags::empty()));
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        file: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.state();
        let opened = match state.opened(file) {
            Ok(opened) => opened,
            Err(failed) => return reply.error(code(failed)),
        };
        let dots = [".", ".."].map(|name| (number, FileType::Directory, OsStr::new(name)));
        let names = opened.names.iter().map(|name| {
            (
                INodeNo(name.inode),
                kind(name.kind),
                OsStr::from_bytes(&name.name),
            )
        });
        let all = dots.into_iter().chain(names).enumerate();
        for (at, (inode, kind, name)) in all.skip(offset as usize) {
            if reply.add(inode, at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        file: FileHandle,
        _: KernelFlags,
        reply: ReplyEmpty,
    ) {
        self.state().close(file);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, file: FileHandle, data: bool, reply: ReplyEmpty) {
        let done = self.state().fsync(file, data);
        answer!(done, reply, () => reply.ok());
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let space = self.state().remote.statfs();
        answer!(space, reply, space => {
            let block = u64::from(BLOCK);
            let free = space.free_bytes / block;
            let (files, free_files) = (space.total_files, space.free_files);
            reply.statfs(space.total_bytes / block, free, free, files, free_files, BLOCK, 255, BLOCK);
        });
    }
}
