//! Making, linking, removing and renaming: each call is one transaction.

use super::walk::Place;
use super::{BlockDevice, FileSystem, Inum, Node};
use abi::{Errno, OpenFlags};
use fs_format::{DirEntry, DiskInode, Name, TYPE_DEVICE, TYPE_DIR, TYPE_FILE};

impl<D: BlockDevice> FileSystem<D> {
    /// Finds or makes a file as `open` does, and counts a reference. Of the flags, those that
    /// concern the name count: `CREATE`, `EXCLUSIVE`, `TRUNC`; a directory opens for reading only.
    /// Take the descriptor first: `TRUNC` cannot be undone.
    ///
    /// # Errors
    /// Those of [`Self::lookup`] and [`Self::create`]; EISDIR for a directory to be written or made.
    pub fn open(&mut self, cwd: Inum, path: &[u8], flags: OpenFlags) -> Result<Inum, Errno> {
        let inum = if flags.contains(OpenFlags::CREATE) {
            match self.create(cwd, path, Node::File) {
                Err(Errno::EEXIST) if !flags.contains(OpenFlags::EXCLUSIVE) => {
                    self.lookup(cwd, path)?
                }
                outcome => return outcome,
            }
        } else {
            self.lookup(cwd, path)?
        };
        let outcome = self.open_existing(inum, flags);
        if outcome.is_err() {
            self.put(inum)?;
        }
        outcome.map(|()| inum)
    }

    fn open_existing(&mut self, inum: Inum, flags: OpenFlags) -> Result<(), Errno> {
        let kind = self.load(inum)?.kind;
        let asks_more = flags.writable()
            || flags.contains(OpenFlags::CREATE)
            || flags.contains(OpenFlags::TRUNC);
        if kind == TYPE_DIR && asks_more {
            return Err(Errno::EISDIR);
        }
        if kind == TYPE_FILE && flags.contains(OpenFlags::TRUNC) {
            self.truncate(inum, 0)?;
        }
        Ok(())
    }

    /// Makes a file, directory or device and counts a reference to it.
    ///
    /// # Errors
    /// EEXIST; ENOENT or ENOTDIR on the way, ENOENT also in a directory that was removed; ENOSPC
    /// without a free inode or block; EMLINK when the parent cannot count another `..`.
    pub fn create(&mut self, cwd: Inum, path: &[u8], node: Node) -> Result<Inum, Errno> {
        let inum = self.transact(|fs| {
            let Place { dir, name } = fs.place_to_create(cwd, path)?;
            let inum = fs.take_inode(&node.new_inode())?;
            if matches!(node, Node::Directory) {
                fs.add_entry(inum, Name::DOT, inum)?;
                fs.add_entry(inum, Name::DOT_DOT, dir)?;
            }
            fs.add_entry(dir, name, inum)?;
            if matches!(node, Node::Directory) {
                fs.add_link(dir)?;
            }
            Ok(inum)
        })?;
        self.references[inum.index()] += 1;
        Ok(inum)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// Those of [`Self::create`].
    pub fn mkdir(&mut self, cwd: Inum, path: &[u8]) -> Result<(), Errno> {
        let inum = self.create(cwd, path, Node::Directory)?;
        self.put(inum)
    }

    /// Makes a device.
    ///
    /// # Errors
    /// Those of [`Self::create`].
    pub fn mknod(&mut self, cwd: Inum, path: &[u8], major: i16, minor: i16) -> Result<(), Errno> {
        let inum = self.create(cwd, path, Node::Device { major, minor })?;
        self.put(inum)
    }

    /// Gives a file or device a second name.
    ///
    /// # Errors
    /// EPERM for a directory; EEXIST; EMLINK; ENOENT, ENOTDIR, ENOSPC as ever.
    pub fn link(&mut self, cwd: Inum, old: &[u8], new: &[u8]) -> Result<(), Errno> {
        self.transact(|fs| {
            let inum = fs.walk(cwd, old)?;
            if fs.load(inum)?.kind == TYPE_DIR {
                return Err(Errno::EPERM);
            }
            let Place { dir, name } = fs.place_to_create(cwd, new)?;
            fs.add_entry(dir, name, inum)?;
            fs.add_link(inum)
        })
    }

    /// Removes a name. What it named goes with its last name and last reference.
    ///
    /// # Errors
    /// EINVAL for `.` and `..`, EBUSY for `/`, ENOTEMPTY, ENOENT, ENOTDIR.
    pub fn unlink(&mut self, cwd: Inum, path: &[u8]) -> Result<(), Errno> {
        self.transact(|fs| {
            let Place { dir, name } = fs.place_to_change(cwd, path)?;
            let inode = fs.load(dir)?;
            let found = fs.find_name(&inode, name)?.ok_or(Errno::ENOENT)?;
            let inum = fs.named(&found)?;
            fs.set_entry(dir, found.index, &DirEntry::FREE)?;
            fs.drop_name(dir, inum)
        })
    }

    /// Renames or moves. What `new` named is replaced: a file by a file, an empty directory by a
    /// directory. Two names of one file: nothing happens.
    ///
    /// # Errors
    /// EINVAL for `.`, `..` and for a directory into itself; EBUSY for `/`; EISDIR, ENOTDIR,
    /// ENOTEMPTY when `new` exists and does not match; ENOENT, ENOSPC, EMLINK.
    pub fn rename(&mut self, cwd: Inum, old: &[u8], new: &[u8]) -> Result<(), Errno> {
        self.transact(|fs| {
            let from = fs.place_to_change(cwd, old)?;
            let to = fs.place_to_change(cwd, new)?;
            let from_dir = fs.load(from.dir)?;
            let source = fs.find_name(&from_dir, from.name)?.ok_or(Errno::ENOENT)?;
            let inum = fs.named(&source)?;
            let moved = fs.load(inum)?;
            let is_dir = moved.kind == TYPE_DIR;
            let to_dir = fs.load(to.dir)?;
            let target = fs.find_name(&to_dir, to.name)?;
            if let Some(target) = &target
                && fs.named(target)? == inum
            {
                return Ok(());
            }
            if is_dir && fs.is_inside(to.dir, inum)? {
                return Err(Errno::EINVAL);
            }
            match &target {
                Some(target) => {
                    let replaced = fs.named(target)?;
                    match (is_dir, fs.load(replaced)?.kind == TYPE_DIR) {
                        (true, false) => return Err(Errno::ENOTDIR),
                        (false, true) => return Err(Errno::EISDIR),
                        _ => {}
                    }
                    let entry = DirEntry {
                        inode: inum.as_u16(),
                        name: to.name,
                    };
                    fs.set_entry(to.dir, target.index, &entry)?;
                    fs.drop_name(to.dir, replaced)?;
                }
                None => fs.add_entry(to.dir, to.name, inum)?,
            }
            fs.set_entry(from.dir, source.index, &DirEntry::FREE)?;
            if is_dir && from.dir != to.dir {
                let up = fs.find_name(&moved, Name::DOT_DOT)?.ok_or(Errno::EIO)?;
                let entry = DirEntry {
                    inode: to.dir.as_u16(),
                    name: Name::DOT_DOT,
                };
                fs.set_entry(inum, up.index, &entry)?;
                fs.add_link(to.dir)?;
                fs.drop_link(from.dir)?;
            }
            Ok(())
        })
    }

    /// Where a new name goes: it must not exist.
    fn place_to_create(&mut self, cwd: Inum, path: &[u8]) -> Result<Place, Errno> {
        let Some(place) = self.walk_to_parent(cwd, path)? else {
            return Err(if path.is_empty() {
                Errno::ENOENT
            } else {
                Errno::EEXIST
            });
        };
        match self.step(place.dir, place.name) {
            Err(Errno::ENOENT) => Ok(place),
            Err(error) => Err(error),
            Ok(_) => Err(Errno::EEXIST),
        }
    }

    /// Where a name is to be changed that is neither the root nor a dot.
    fn place_to_change(&mut self, cwd: Inum, path: &[u8]) -> Result<Place, Errno> {
        let Some(place) = self.walk_to_parent(cwd, path)? else {
            return Err(if path.is_empty() {
                Errno::ENOENT
            } else {
                Errno::EBUSY
            });
        };
        if place.name.is_dot_or_dot_dot() {
            Err(Errno::EINVAL)
        } else {
            Ok(place)
        }
    }

    /// Counts another name of an inode, or another subdirectory of a directory.
    fn add_link(&mut self, inum: Inum) -> Result<(), Errno> {
        let mut inode = self.load(inum)?;
        inode.links = inode.links.checked_add(1).ok_or(Errno::EMLINK)?;
        self.store(inum, &inode)
    }

    /// Takes a link from an inode that goes on to live.
    fn drop_link(&mut self, inum: Inum) -> Result<DiskInode, Errno> {
        let mut inode = self.load(inum)?;
        if inode.links == 0 {
            return Err(Errno::EIO);
        }
        inode.links -= 1;
        self.store(inum, &inode)?;
        Ok(inode)
    }

    /// After the entry in `dir` is gone: takes the link from what it named, the parent's link for an
    /// empty directory's `..`, and frees what has neither links nor references.
    fn drop_name(&mut self, dir: Inum, inum: Inum) -> Result<(), Errno> {
        let inode = self.load(inum)?;
        if inode.kind == TYPE_DIR {
            if !self.is_empty_dir(&inode)? {
                return Err(Errno::ENOTEMPTY);
            }
            self.drop_link(dir)?;
        }
        let inode = self.drop_link(inum)?;
        if inode.links == 0 && self.references[inum.index()] == 0 {
            self.free_inode(inum)?;
        }
        Ok(())
    }

    /// Whether `dir` is `ancestor` or below it.
    fn is_inside(&mut self, dir: Inum, ancestor: Inum) -> Result<bool, Errno> {
        let mut here = dir;
        for _ in 0..self.layout.inodes {
            if here == ancestor {
                return Ok(true);
            }
            if here == Inum::ROOT {
                return Ok(false);
            }
            here = self.step(here, Name::DOT_DOT)?;
        }
        Err(Errno::EIO)
    }
}

impl Node {
    fn new_inode(self) -> DiskInode {
        match self {
            Self::File => DiskInode::new(TYPE_FILE, 0, 0),
            Self::Directory => DiskInode::new(TYPE_DIR, 0, 0),
            Self::Device { major, minor } => DiskInode::new(TYPE_DEVICE, major, minor),
        }
    }
}
