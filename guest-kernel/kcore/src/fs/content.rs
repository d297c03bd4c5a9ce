//! Reading, writing and cutting files; listing directories.
//!
//! A long write becomes several transactions, each as big as the log allows; a cut between two of
//! them leaves a file that holds a prefix of the write. xv6 knows no holes in files (its kernel
//! panics on one), so a write behind the end fills the gap with zeros.

use super::{BlockDevice, FileSystem, Inum};
use abi::{DirEntry, Errno, Stat};
use fs_format::{BLOCK_SIZE, DIR_ENTRY_SIZE, DiskInode, MAX_FILE_SIZE, TYPE_DEVICE, TYPE_DIR};

/// `st_dev` of the root file system.
const ROOT_DEVICE: i32 = 1;

impl<D: BlockDevice> FileSystem<D> {
    /// The inode's `struct stat`.
    ///
    /// # Errors
    /// EIO.
    pub fn stat(&mut self, inum: Inum) -> Result<Stat, Errno> {
        let inode = self.load(inum)?;
        Ok(Stat {
            dev: ROOT_DEVICE,
            ino: inum.0,
            kind: inode.kind,
            nlink: inode.links,
            pad: 0,
            size: u64::from(inode.size),
        })
    }

    /// A device's major and minor number; `None` for anything else.
    ///
    /// # Errors
    /// EIO.
    pub fn device_numbers(&mut self, inum: Inum) -> Result<Option<(i16, i16)>, Errno> {
        let inode = self.load(inum)?;
        Ok((inode.kind == TYPE_DEVICE).then_some((inode.major, inode.minor)))
    }

    /// Reads from a file, or a directory's raw entries (xv6's `ls` does). Returns the bytes read,
    /// 0 at the end.
    ///
    /// # Errors
    /// EINVAL for a device, EIO.
    pub fn read_at(&mut self, inum: Inum, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let inode = self.load(inum)?;
        if inode.kind == TYPE_DEVICE {
            return Err(Errno::EINVAL);
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.read_content(&inode, offset, buf)
    }

    /// Writes into a file, which grows as needed. Returns the bytes written: fewer than given when
    /// the disk or the file is full.
    ///
    /// # Errors
    /// When nothing was written: EISDIR, EINVAL for a device, EFBIG, ENOSPC, EIO.
    pub fn write_at(&mut self, inum: Inum, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        let old_size = self.load_file(inum)?.size as usize;
        if data.is_empty() {
            return Ok(0);
        }
        let offset = usize::try_from(offset)
            .ok()
            .filter(|&offset| offset < MAX_FILE_SIZE)
            .ok_or(Errno::EFBIG)?;
        if offset > old_size {
            self.fill(inum, old_size, offset)?;
        }
        let data = &data[..data.len().min(MAX_FILE_SIZE - offset)];
        let written = self.write_parts(inum, offset, data.len(), |at, part| {
            part.copy_from_slice(&data[at - offset..at - offset + part.len()]);
        });
        if written.is_err() && offset > old_size {
            self.truncate(inum, old_size as u64)?;
        }
        written
    }

    /// Cuts a file to a size, or lets it grow by zeros.
    ///
    /// # Errors
    /// EISDIR, EINVAL for a device, EFBIG, ENOSPC (then the size is as before), EIO.
    pub fn truncate(&mut self, inum: Inum, size: u64) -> Result<(), Errno> {
        let old_size = self.load_file(inum)?.size as usize;
        let size = usize::try_from(size)
            .ok()
            .filter(|&size| size <= MAX_FILE_SIZE)
            .ok_or(Errno::EFBIG)?;
        if size > old_size {
            return self.fill(inum, old_size, size);
        }
        self.transact(|fs| {
            let mut inode = fs.load(inum)?;
            fs.cut_content(&mut inode, size)?;
            fs.store(inum, &inode)
        })
    }

    /// Lists a directory. `cookie` is 0 at first and says afterwards where to go on; entries made or
    /// removed in between may be seen or not, others are seen once. Returns how many of `out` were
    /// filled, 0 at the end.
    ///
    /// # Errors
    /// ENOTDIR, EIO.
    pub fn readdir(
        &mut self,
        dir: Inum,
        cookie: &mut u64,
        out: &mut [DirEntry],
    ) -> Result<usize, Errno> {
        let inode = self.load(dir)?;
        if inode.kind != TYPE_DIR {
            return Err(Errno::ENOTDIR);
        }
        let mut filled = 0;
        while filled < out.len() {
            let from = usize::try_from(*cookie).unwrap_or(usize::MAX);
            if from >= inode.size as usize / DIR_ENTRY_SIZE {
                break;
            }
            let Some(found) = self.find_entry(&inode, from, |entry| entry.inode != 0)? else {
                break;
            };
            let inum = self.named(&found)?;
            // A removed directory's `..` may name an inode that is free by now.
            if inode.links > 0 || inum == dir {
                let child = self.load(inum)?;
                out[filled] = DirEntry::new(
                    u64::from(inum.0),
                    u64::from(child.size),
                    child.kind,
                    found.entry.name.as_bytes(),
                );
                filled += 1;
            }
            *cookie = found.index as u64 + 1;
        }
        Ok(filled)
    }

    fn load_file(&mut self, inum: Inum) -> Result<DiskInode, Errno> {
        let inode = self.load(inum)?;
        match inode.kind {
            TYPE_DIR => Err(Errno::EISDIR),
            TYPE_DEVICE => Err(Errno::EINVAL),
            _ => Ok(inode),
        }
    }

    /// Lets a file grow from `from` to `to` by zeros, or not at all.
    fn fill(&mut self, inum: Inum, from: usize, to: usize) -> Result<(), Errno> {
        let outcome = self.write_parts(inum, from, to - from, |_, part| part.fill(0));
        if outcome == Ok(to - from) {
            return Ok(());
        }
        self.truncate(inum, from as u64)?;
        Err(outcome.err().unwrap_or(Errno::ENOSPC))
    }

    /// Writes `length` bytes in as many transactions as it takes; `edit` gets each part's position
    /// in the file and the bytes to change.
    fn write_parts(
        &mut self,
        inum: Inum,
        offset: usize,
        length: usize,
        edit: impl Fn(usize, &mut [u8]),
    ) -> Result<usize, Errno> {
        let blocks = self.blocks_per_write();
        let mut done = 0;
        while done < length {
            let at = offset + done;
            let end = ((at / BLOCK_SIZE + blocks) * BLOCK_SIZE).min(offset + length);
            match self.transact(|fs| fs.write_part(inum, at, end, &edit)) {
                Ok(written) => {
                    done += written;
                    if at + written < end {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// One transaction of a write. When blocks run out, what was written so far stays.
    fn write_part(
        &mut self,
        inum: Inum,
        from: usize,
        to: usize,
        edit: &impl Fn(usize, &mut [u8]),
    ) -> Result<usize, Errno> {
        let mut inode = self.load(inum)?;
        let mut at = from;
        while at < to {
            let length = (BLOCK_SIZE - at % BLOCK_SIZE).min(to - at);
            match self.write_in_block(&mut inode, at, length, |part| edit(at, part)) {
                Err(Errno::ENOSPC) if at > from => break,
                outcome => outcome?,
            }
            at += length;
        }
        self.store(inum, &inode)?;
        Ok(at - from)
    }
}
