//! Descriptors of one process, and the count of all open files.

use super::{File, NFILE, NOFILE};
use abi::Errno;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Descriptor table of a process.
pub struct FileTable {
    files: [Option<File>; NOFILE],
}

impl FileTable {
    /// No descriptor.
    pub const fn new() -> Self {
        Self {
            files: [const { None }; NOFILE],
        }
    }

    /// The file behind a descriptor.
    pub fn get(&self, fd: i32) -> Result<File, Errno> {
        usize::try_from(fd)
            .ok()
            .and_then(|fd| self.files.get(fd))
            .and_then(Clone::clone)
            .ok_or(Errno::EBADF)
    }

    /// Gives a file the lowest free descriptor.
    pub fn install(&mut self, file: File) -> Result<i32, (Errno, File)> {
        match self.files.iter().position(Option::is_none) {
            Some(fd) => {
                self.files[fd] = Some(file);
                Ok(fd as i32)
            }
            None => Err((Errno::EMFILE, file)),
        }
    }

    /// Frees a descriptor. Drop the file outside the table's lock: closing may sleep.
    pub fn remove(&mut self, fd: i32) -> Result<File, Errno> {
        usize::try_from(fd)
            .ok()
            .and_then(|fd| self.files.get_mut(fd))
            .and_then(Option::take)
            .ok_or(Errno::EBADF)
    }

    /// All descriptors again, for fork.
    pub fn duplicate(&self) -> Self {
        Self {
            files: self.files.clone(),
        }
    }

    /// Empties the table; drop the result outside its lock.
    pub fn take_all(&mut self) -> Self {
        core::mem::take(self)
    }
}

impl Default for FileTable {
    fn default() -> Self {
        Self::new()
    }
}

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// The right to be one of the system's NFILE open files.
#[derive(Debug)]
pub struct Ticket(());

impl Ticket {
    /// One more open file, or ENFILE.
    pub fn new() -> Result<Self, Errno> {
        OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < NFILE).then_some(open + 1)
        })
        .map(|_| Self(()))
        .map_err(|_| Errno::ENFILE)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Open files in the system.
pub fn open_count() -> usize {
    OPEN.load(Ordering::Relaxed)
}
