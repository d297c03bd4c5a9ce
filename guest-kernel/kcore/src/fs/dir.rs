//! Directories: files of 16-byte entries.

use super::{BlockDevice, FileSystem, Inum};
use abi::Errno;
use fs_format::{BLOCK_SIZE, DIR_ENTRY_SIZE, DirEntry, DiskInode, Name, TYPE_DIR};

const ENTRIES_PER_BLOCK: usize = BLOCK_SIZE / DIR_ENTRY_SIZE;

/// An entry in use and its number in the directory.
pub(super) struct Found {
    pub(super) index: usize,
    pub(super) entry: DirEntry,
}

impl<D: BlockDevice> FileSystem<D> {
    /// The first entry from number `from` on that `wanted` accepts. An entry of a hole is free.
    pub(super) fn find_entry(
        &mut self,
        dir: &DiskInode,
        from: usize,
        wanted: impl Fn(&DirEntry) -> bool,
    ) -> Result<Option<Found>, Errno> {
        let count = dir.size as usize / DIR_ENTRY_SIZE;
        for first in (from - from % ENTRIES_PER_BLOCK..count).step_by(ENTRIES_PER_BLOCK) {
            let here = ENTRIES_PER_BLOCK.min(count - first);
            let skip = from.saturating_sub(first);
            let pick = |block: &_| {
                let mut entries = DirEntry::all_in(block).take(here).enumerate().skip(skip);
                entries.find(|(_, entry)| wanted(entry))
            };
            let found = match self.find_block(dir, first / ENTRIES_PER_BLOCK)? {
                Some(block) => self.log.view(block, pick)?,
                None => pick(&fs_format::ZERO_BLOCK),
            };
            if let Some((slot, entry)) = found {
                return Ok(Some(Found {
                    index: first + slot,
                    entry,
                }));
            }
        }
        Ok(None)
    }

    /// The entry of this name.
    pub(super) fn find_name(
        &mut self,
        dir: &DiskInode,
        name: Name,
    ) -> Result<Option<Found>, Errno> {
        self.find_entry(dir, 0, |entry| entry.inode != 0 && entry.name == name)
    }

    /// The inode of this name, one step of a path. In a directory that was removed while it was
    /// somebody's current one there is nothing but itself: its parent may be gone, too.
    pub(super) fn step(&mut self, dir: Inum, name: Name) -> Result<Inum, Errno> {
        let inode = self.load(dir)?;
        if inode.kind != TYPE_DIR {
            return Err(Errno::ENOTDIR);
        }
        if inode.links == 0 {
            return if name == Name::DOT {
                Ok(dir)
            } else {
                Err(Errno::ENOENT)
            };
        }
        let found = self.find_name(&inode, name)?.ok_or(Errno::ENOENT)?;
        self.named(&found)
    }

    /// The inode that an entry names, checked.
    pub(super) fn named(&self, found: &Found) -> Result<Inum, Errno> {
        let inode = u32::from(found.entry.inode);
        if self.layout.is_inode(inode) {
            Ok(Inum(inode))
        } else {
            Err(Errno::EIO)
        }
    }

    /// Adds an entry in the first free place, within the transaction. The name must be new.
    pub(super) fn add_entry(&mut self, dir: Inum, name: Name, inum: Inum) -> Result<(), Errno> {
        let inode = self.load(dir)?;
        if inode.links == 0 {
            return Err(Errno::ENOENT);
        }
        let index = match self.find_entry(&inode, 0, |entry| entry.inode == 0)? {
            Some(free) => free.index,
            None => inode.size as usize / DIR_ENTRY_SIZE,
        };
        self.set_entry(
            dir,
            index,
            &DirEntry {
                inode: inum.as_u16(),
                name,
            },
        )
    }

    /// Overwrites an entry, within the transaction.
    pub(super) fn set_entry(
        &mut self,
        dir: Inum,
        index: usize,
        entry: &DirEntry,
    ) -> Result<(), Errno> {
        let mut inode = self.load(dir)?;
        self.write_in_block(
            &mut inode,
            index * DIR_ENTRY_SIZE,
            DIR_ENTRY_SIZE,
            |bytes| {
                bytes.copy_from_slice(&entry.encode());
            },
        )
        .map_err(|error| {
            if error == Errno::EFBIG {
                Errno::ENOSPC
            } else {
                error
            }
        })?;
        self.store(dir, &inode)
    }

    /// Whether a directory holds nothing but `.` and `..`.
    pub(super) fn is_empty_dir(&mut self, dir: &DiskInode) -> Result<bool, Errno> {
        let other = self.find_entry(dir, 0, |entry| {
            entry.inode != 0 && !entry.name.is_dot_or_dot_dot()
        })?;
        Ok(other.is_none())
    }
}
