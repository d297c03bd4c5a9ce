//! The server's side of a mount: requests below one folder of one export.

use protocol::client::{Failure, Reply};
use protocol::host::{Error, Options, Session};
use protocol::message::{
    Access, Attach, Call, Getattr, Handle, Kind, Lookup, Mkdir, OpenFlags, Opened, Read, Readdir,
    Removes, Rename, Stat, Statfs, StatfsReply, SyncLevel, Unlink,
};
use protocol::name::{NameError, Path, PathBuf};
use protocol::unsynced::Change;
use protocol::{Errno, Reason};

/// Bytes of one part of a listing.
const LIST_BYTES: u32 = 64 * 1024;

/// One name of a folder.
#[derive(Clone, Debug)]
pub struct Name {
    /// Its bytes.
    pub name: Vec<u8>,
    /// File or folder.
    pub kind: Kind,
    /// The server's inode number.
    pub inode: u64,
}

/// Why a request failed, as a program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub Errno);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::Refused(failure) | Error::Unwelcome(failure) => failure.errno,
            Error::Away { .. } => Errno::ETIMEDOUT,
            Error::TooLarge { .. } => Errno::EINVAL,
            Error::Local(_) => Errno::EIO,
        })
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self(failure.errno)
    }
}

impl From<NameError> for Failed {
    fn from(error: NameError) -> Self {
        Self(error.refusal().0)
    }
}

type Result<T> = core::result::Result<T, Failed>;

/// A session and the folder that is mounted.
#[derive(Debug)]
pub struct Remote {
    session: Session,
    export: Vec<u8>,
    /// From the export's root to the mounted folder.
    below: PathBuf,
    access: Access,
    root: Handle,
    /// Of the session that `root` belongs to.
    generation: u32,
}

impl Remote {
    /// Connects, and attaches to `export[/folder]`.
    pub fn connect(options: Options, path: &str) -> anyhow::Result<Self> {
        let path = PathBuf::parse(path.as_bytes())?;
        let mut names = path.as_path().names();
        let export = names
            .next()
            .ok_or_else(|| anyhow::anyhow!("the URL names no export: snfs://host:port/export"))?;
        let mut below = PathBuf::new();
        for name in names {
            below.push(name)?;
        }
        let mut remote = Self {
            session: Session::connect(options)?,
            export: export.to_vec(),
            below,
            access: Access::ReadOnly,
            root: Handle(0),
            generation: 0,
        };
        remote.attach()?;
        let stat = remote
            .stat(&PathBuf::new())
            .map_err(|Failed(errno)| anyhow::anyhow!("the folder cannot be used: {errno}"))?;
        if stat.kind != Kind::Directory {
            anyhow::bail!("it is a file; only folders can be mounted");
        }
        Ok(remote)
    }

    /// What the export allows.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The most bytes of one write.
    pub fn max_write(&self) -> u32 {
        self.session.max_data()
    }

    fn attach(&mut self) -> core::result::Result<(), Error> {
        let call = Attach {
            export: &self.export,
        };
        let attached = self.session.call(&call)?.get::<Attach<'_>>()?;
        self.access = attached.access;
        self.root = attached.root;
        self.generation = self.session.generation();
        Ok(())
    }

    /// The root's handle, in the session that there is now.
    fn root(&mut self) -> Result<Handle> {
        if self.session.generation() != self.generation {
            self.attach()?;
        }
        Ok(self.root)
    }

    /// A path from the export's root.
    fn full(&self, path: &PathBuf) -> Result<PathBuf> {
        let mut full = self.below.clone();
        for name in path.as_path().names() {
            full.push(name)?;
        }
        Ok(full)
    }

    /// Asks something about a path; once more if the session was lost meanwhile and it is sure that nothing was
    /// done: a new session has no handles before we attach.
    fn at<'p, C: Call>(
        &mut self,
        path: &'p PathBuf,
        build: impl Fn(Handle, Path<'p>) -> C,
    ) -> Result<Reply> {
        loop {
            let root = self.root()?;
            let answer = self.session.call(&build(root, path.as_path()));
            let lost = self.session.generation() != self.generation;
            match answer {
                Err(Error::Refused(failure))
                    if lost
                        && (failure.errno == Errno::EBADF
                            || !C::OPERATION.is_once()
                                && failure.refusal.reason == Reason::SessionLost) => {}
                answer => return Ok(answer?),
            }
        }
    }

    /// Describes a path.
    pub fn stat(&mut self, path: &PathBuf) -> Result<Stat> {
        let full = self.full(path)?;
        let reply = self.at(&full, |dir, path| Lookup { dir, path })?;
        Ok(reply.get::<Lookup<'_>>()?)
    }

    /// Describes an open file.
    pub fn stat_handle(&mut self, handle: Handle) -> Result<Stat> {
        let reply = self.session.ask(handle, |handle| Getattr { handle })?;
        Ok(reply.get::<Getattr>()?)
    }

    /// Opens or makes a file, or opens a folder.
    pub fn open(&mut self, path: &PathBuf, flags: OpenFlags, mode: u16) -> Result<Opened> {
        let full = self.full(path)?;
        loop {
            let root = self.root()?;
            let opened = self.session.open(root, full.as_path(), flags, mode);
            let lost = self.session.generation() != self.generation;
            match opened {
                // A new session has no handles before we attach: nothing was done.
                Err(Error::Refused(failure)) if lost && failure.errno == Errno::EBADF => {}
                opened => return Ok(opened?),
            }
        }
    }

    /// Gives a handle back. An error is about what was written.
    pub fn close(&mut self, handle: Handle) -> Result<()> {
        Ok(self.session.close(handle)?)
    }

    /// Fewer bytes than asked for mean the end of the file.
    pub fn read(&mut self, handle: Handle, offset: u64, count: u32) -> Result<Vec<u8>> {
        let most = self.session.max_data();
        let mut data = Vec::new();
        while (data.len() as u32) < count {
            let (at, some) = (
                offset + data.len() as u64,
                most.min(count - data.len() as u32),
            );
            let call = |handle| Read {
                handle,
                offset: at,
                count: some,
            };
            let part = self.session.ask(handle, call)?.into_payload();
            data.extend_from_slice(&part);
            if (part.len() as u32) < some {
                break;
            }
        }
        Ok(data)
    }

    /// Writes at an offset.
    pub fn write(&mut self, handle: Handle, offset: u64, data: &[u8]) -> Result<()> {
        let mut at = offset;
        for part in data.chunks(self.session.max_data() as usize) {
            self.session.change(handle, Change::Write(at, part))?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Appends to a file that should have `expected` bytes. If it has others now: with `anywhere` at its real
    /// end, else not at all.
    pub fn append(
        &mut self,
        handle: Handle,
        mut expected: u64,
        data: &[u8],
        anywhere: bool,
    ) -> Result<()> {
        for part in data.chunks(self.session.max_data() as usize) {
            loop {
                match self.session.change(handle, Change::Append(expected, part)) {
                    Ok(size) => {
                        expected = size;
                        break;
                    }
                    Err(Error::Refused(failure))
                        if anywhere
                            && failure.errno == Errno::ERANGE
                            && failure.refusal.reason == Reason::NotTheEnd =>
                    {
                        expected = failure.refusal.value;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Sets the size of a file.
    pub fn truncate(&mut self, handle: Handle, size: u64) -> Result<()> {
        self.session.change(handle, Change::Resize(size))?;
        Ok(())
    }

    /// Makes safe what was written.
    pub fn fsync(&mut self, handle: Handle, level: SyncLevel) -> Result<()> {
        Ok(self.session.fsync(handle, level)?)
    }

    /// Makes a folder.
    pub fn mkdir(&mut self, path: &PathBuf, mode: u16) -> Result<Stat> {
        let full = self.full(path)?;
        let reply = self.at(&full, |dir, path| Mkdir { dir, mode, path })?;
        Ok(reply.get::<Mkdir<'_>>()?)
    }

    /// Removes a name.
    pub fn unlink(&mut self, path: &PathBuf, removes: Removes) -> Result<()> {
        let full = self.full(path)?;
        self.at(&full, |dir, path| Unlink { dir, removes, path })?;
        Ok(())
    }

    /// Renames.
    pub fn rename(&mut self, from: &PathBuf, to: &PathBuf, replace: bool) -> Result<()> {
        let (from, to) = (self.full(from)?, self.full(to)?);
        self.at(&from, |dir, path| Rename {
            from_dir: dir,
            to_dir: dir,
            replace,
            from: path,
            to: to.as_path(),
        })?;
        Ok(())
    }

    /// Every name of an open folder, without `.` and `..`.
    pub fn list(&mut self, handle: Handle) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        let mut cookie = 0;
        loop {
            let count = LIST_BYTES.min(self.session.max_data());
            let reply = self.session.ask(handle, |handle| Readdir {
                handle,
                cookie,
                count,
            })?;
            let part = reply.get::<Readdir>()?;
            for entry in &part.entries {
                cookie = entry.cookie;
                names.push(Name {
                    name: entry.name.to_vec(),
                    kind: entry.kind,
                    inode: entry.inode,
                });
            }
            if part.end || part.entries.is_empty() {
                return Ok(names);
            }
        }
    }

    /// Space of the export.
    pub fn statfs(&mut self) -> Result<StatfsReply> {
        let handle = self.root()?;
        Ok(self.session.call(&Statfs { handle })?.get::<Statfs>()?)
    }
}
