//! Files and directories, local and remote (`server:/export/path`).

use crate::error::{Context, Error, Result};
use crate::io::{AsFd, OwnedFd, Read, Write};
use crate::sys::{self, Fd};
use abi::file::{T_DEVICE, T_DIR, T_FILE};
use abi::{DirEntry as RawEntry, Errno, OpenFlags, Stat};
use alloc_crate::string::String;
use alloc_crate::vec::Vec;

/// An open file.
#[derive(Debug)]
pub struct File(OwnedFd);

impl File {
    /// Opens for reading.
    pub fn open(path: &str) -> Result<Self> {
        Self::with_flags(path, OpenFlags::RDONLY)
    }

    /// Creates, or cuts to length 0, and opens for writing.
    pub fn create(path: &str) -> Result<Self> {
        let flags = OpenFlags::RDWR | OpenFlags::CREATE | OpenFlags::TRUNC;
        Self::with_flags(path, flags)
    }

    /// Opens for appending; creates the file if it does not exist.
    pub fn append(path: &str) -> Result<Self> {
        let flags = OpenFlags::WRONLY | OpenFlags::CREATE | OpenFlags::APPEND;
        Self::with_flags(path, flags)
    }

    /// Opens with any flags.
    pub fn with_flags(path: &str, flags: OpenFlags) -> Result<Self> {
        let fd = sys::open(path, flags).on(path)?;
        Ok(Self(OwnedFd::new(fd)))
    }

    /// What it is.
    pub fn metadata(&self) -> Result<Metadata> {
        Ok(Metadata(sys::fstat(self.fd())?))
    }

    /// Sets the offset.
    pub fn seek(&mut self, offset: u64) -> Result<u64> {
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        Ok(sys::seek(self.fd(), offset)?)
    }

    /// Cuts or extends.
    pub fn set_len(&self, length: u64) -> Result<()> {
        Ok(sys::ftruncate(self.fd(), length)?)
    }

    /// Waits until the content is on its medium.
    pub fn sync_all(&self) -> Result<()> {
        Ok(sys::fsync(self.fd())?)
    }

    /// The descriptor, which is then no longer closed by itself.
    pub fn into_raw(self) -> Fd {
        self.0.into_raw()
    }
}

impl AsFd for File {
    fn fd(&self) -> Fd {
        self.0.fd()
    }
}

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata(pub Stat);

impl Metadata {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.0.kind == T_DIR
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.0.kind == T_FILE
    }

    /// Whether it is a device, such as the console.
    pub fn is_device(&self) -> bool {
        self.0.kind == T_DEVICE
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.0.size
    }
}

/// What the file of this name is.
pub fn metadata(path: &str) -> Result<Metadata> {
    File::open(path)?.metadata()
}

/// One name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// Name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// `abi::file::T_*`.
    pub kind: i16,
}

/// The names in a directory, without `.` and `..`, sorted.
pub fn read_dir(path: &str) -> Result<Vec<DirEntry>> {
    let directory = File::open(path)?;
    let mut chunk = [RawEntry::new(0, 0, 0, b""); 8];
    let mut entries = Vec::new();
    loop {
        let count = sys::readdir(directory.fd(), &mut chunk).on(path)?;
        if count == 0 {
            entries.sort_unstable_by(|a: &DirEntry, b| a.name.cmp(&b.name));
            return Ok(entries);
        }
        let named = chunk[..count]
            .iter()
            .filter(|entry| !matches!(entry.name(), b"." | b".."));
        entries.extend(named.map(|entry| DirEntry {
            name: String::from_utf8_lossy(entry.name()).into_owned(),
            ino: entry.ino,
            size: entry.size,
            kind: entry.kind,
        }));
    }
}

/// The whole content of a file.
pub fn read(path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The whole content of a text file.
pub fn read_to_string(path: &str) -> Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|_| Error::Message(alloc_crate::format!("{path}: not UTF-8")))
}

/// Writes a whole file.
pub fn write(path: &str, bytes: &[u8]) -> Result<()> {
    File::create(path)?.write_all(bytes)
}

/// Makes a directory.
pub fn create_dir(path: &str) -> Result<()> {
    sys::mkdir(path).on(path)
}

/// Removes a name, or an empty directory.
pub fn remove_file(path: &str) -> Result<()> {
    sys::unlink(path).on(path)
}

/// Renames a file or directory.
pub fn rename(old: &str, new: &str) -> Result<()> {
    sys::rename(old, new).on(old)
}

/// Gives a file a second name.
pub fn hard_link(old: &str, new: &str) -> Result<()> {
    sys::link(old, new).on(new)
}

/// The last part of a path.
pub fn file_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

/// `directory/name`.
pub fn join(directory: &str, name: &str) -> String {
    let separator = if directory.ends_with('/') { "" } else { "/" };
    alloc_crate::format!("{directory}{separator}{name}")
}

/// `path`, or the place inside it that a file called `source` gets if `path` is a directory.
pub fn target_in(path: &str, source: &str) -> String {
    match metadata(path) {
        Ok(found) if found.is_dir() => join(path, file_name(source)),
        _ => String::from(path),
    }
}
