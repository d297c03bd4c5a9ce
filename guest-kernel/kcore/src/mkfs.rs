//! Makes an image, laid out exactly as xv6's mkfs does: for its parameters and the same files the
//! bytes are the same.
//!
//! All files go into the root directory, data blocks follow each other in the order in which they
//! are needed, and the root's size is rounded up to whole blocks. Unlike xv6's, the image may be of
//! any size: the free map takes as many blocks as it needs.
//!
//! ```
//! let files = [kcore::mkfs::File { name: b"README", content: b"hello\n" }];
//! let image = kcore::mkfs::build(&kcore::mkfs::Parameters::default(), &files).unwrap();
//! assert_eq!(image.len(), 2000 * 1024);
//! ```

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use fs_format::{
    BLOCK_SIZE, Block, DIR_ENTRY_SIZE, DIRECT_BLOCKS, DirEntry, DiskInode, MAX_FILE_SIZE, Name,
    ROOT_INODE, SUPERBLOCK, Superblock, SuperblockError, TYPE_DIR, TYPE_FILE, set_indirect_entry,
};

/// The shape of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Blocks of the image.
    pub size: u32,
    /// Inodes, the unused inode 0 included.
    pub inodes: u32,
    /// Blocks of the log, its header included.
    pub log_blocks: u32,
}

impl Default for Parameters {
    /// xv6's: 2000 blocks, 200 inodes, 30 blocks of log.
    fn default() -> Self {
        Self {
            size: 2000,
            inodes: 200,
            log_blocks: 30,
        }
    }
}

/// A file to put into the root directory.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name, cut at 14 bytes.
    pub name: &'a [u8],
    /// Its bytes.
    pub content: &'a [u8],
}

/// Why there is no image. Files are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MkfsError {
    /// The parameters do not go together.
    Parameters(SuperblockError),
    /// The file's name is empty, `.` or `..`, or holds a `/` or NUL.
    Name {
        /// Which file.
        file: usize,
    },
    /// After cutting, the file has the name of an earlier one.
    Duplicate {
        /// Which file.
        file: usize,
    },
    /// The file is larger than the format allows: 274,432 bytes.
    FileTooBig {
        /// Which file.
        file: usize,
    },
    /// More files than inodes.
    OutOfInodes {
        /// The first file without one.
        file: usize,
    },
    /// The data does not fit: this many blocks would be needed in all.
    TooSmall {
        /// Blocks of the smallest image that would do.
        needed: usize,
    },
}

impl fmt::Display for MkfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameters(error) => write!(f, "parameters: {error}"),
            Self::Name { file } => write!(f, "file {file}: not a name for a directory entry"),
            Self::Duplicate { file } => {
                write!(f, "file {file}: its first 14 bytes name an earlier file")
            }
            Self::FileTooBig { file } => {
                write!(f, "file {file}: larger than {MAX_FILE_SIZE} bytes")
            }
            Self::OutOfInodes { file } => write!(f, "file {file}: no inode is left"),
            Self::TooSmall { needed } => write!(f, "the image needs {needed} blocks"),
        }
    }
}

impl core::error::Error for MkfsError {}

/// The name xv6's mkfs gives a host file: without a leading `user/`, then without one `_`.
pub fn xv6_name(path: &[u8]) -> &[u8] {
    let name = path.strip_prefix(b"user/").unwrap_or(path);
    name.strip_prefix(b"_").unwrap_or(name)
}

/// Builds the image.
///
/// # Errors
/// See [`MkfsError`].
pub fn build(parameters: &Parameters, files: &[File<'_>]) -> Result<Vec<u8>, MkfsError> {
    let layout = Superblock::for_size(parameters.size, parameters.inodes, parameters.log_blocks)
        .map_err(MkfsError::Parameters)?;
    let mut image = Image {
        blocks: vec![0; layout.size as usize * BLOCK_SIZE],
        layout,
        next_block: layout.data_start(),
    };
    if let Some(superblock) = image.block(SUPERBLOCK) {
        layout.encode(superblock);
    }
    let mut root = DiskInode::new(TYPE_DIR, 0, 0);
    let mut entries = vec![
        DirEntry {
            inode: ROOT_INODE as u16,
            name: Name::DOT,
        },
        DirEntry {
            inode: ROOT_INODE as u16,
            name: Name::DOT_DOT,
        },
    ];
    for entry in &entries {
        image.append(&mut root, &entry.encode());
    }
    for (index, file) in files.iter().enumerate() {
        let name = Name::cut(file.name);
        if name.is_unreachable()
            || name.is_dot_or_dot_dot()
            || file.name.contains(&0)
            || file.name.contains(&b'/')
        {
            return Err(MkfsError::Name { file: index });
        }
        if entries.iter().any(|entry| entry.name == name) {
            return Err(MkfsError::Duplicate { file: index });
        }
        if file.content.len() > MAX_FILE_SIZE {
            return Err(MkfsError::FileTooBig { file: index });
        }
        let inode = ROOT_INODE + 1 + index as u32;
        if !layout.is_inode(inode) || entries.len() * DIR_ENTRY_SIZE > MAX_FILE_SIZE - BLOCK_SIZE {
            return Err(MkfsError::OutOfInodes { file: index });
        }
        let entry = DirEntry {
            inode: inode as u16,
            name,
        };
        entries.push(entry);
        image.append(&mut root, &entry.encode());
        let mut content = DiskInode::new(TYPE_FILE, 0, 0);
        image.append(&mut content, file.content);
        image.store(inode, &content);
    }
    // An exact multiple grows, too: xv6 adds one block's worth always.
    root.size = (root.size / BLOCK_SIZE as u32 + 1) * BLOCK_SIZE as u32;
    image.store(ROOT_INODE, &root);
    if image.next_block > layout.size {
        return Err(MkfsError::TooSmall {
            needed: image.next_block as usize,
        });
    }
    for used in 0..image.next_block {
        let (map, byte, mask) = layout.bitmap_place(used);
        if let Some(bits) = image.block(map) {
            bits[byte] |= mask;
        }
    }
    Ok(image.blocks)
}

struct Image {
    blocks: Vec<u8>,
    layout: Superblock,
    next_block: u32,
}

impl Image {
    /// A block of the image. Blocks behind its end are counted but not kept, so that the error can
    /// say how many would be needed.
    fn block(&mut self, block: u32) -> Option<&mut Block> {
        self.blocks
            .as_chunks_mut::<BLOCK_SIZE>()
            .0
            .get_mut(block as usize)
    }

    fn store(&mut self, inode: u32, content: &DiskInode) {
        let (block, slot) = self.layout.inode_place(inode);
        if let Some(table) = self.block(block) {
            content.encode(table, slot);
        }
    }

    fn take(&mut self) -> u32 {
        self.next_block += 1;
        self.next_block - 1
    }

    /// Appends bytes, taking a block for each new 1024 bytes and the indirect block when its turn comes.
    fn append(&mut self, inode: &mut DiskInode, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (index, start) = (
                inode.size as usize / BLOCK_SIZE,
                inode.size as usize % BLOCK_SIZE,
            );
            let block = self.block_of(inode, index, start == 0);
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_SIZE - start));
            if let Some(content) = self.block(block) {
                content[start..start + now.len()].copy_from_slice(now);
            }
            inode.size += now.len() as u32;
            bytes = later;
        }
    }

    fn block_of(&mut self, inode: &mut DiskInode, index: usize, is_new: bool) -> u32 {
        if index < DIRECT_BLOCKS {
            if is_new {
                inode.addresses[index] = self.take();
            }
            return inode.addresses[index];
        }
        if inode.addresses[DIRECT_BLOCKS] == 0 {
            inode.addresses[DIRECT_BLOCKS] = self.take();
        }
        let indirect = inode.addresses[DIRECT_BLOCKS];
        let slot = index - DIRECT_BLOCKS;
        if is_new {
            let block = self.take();
            if let Some(table) = self.block(indirect) {
                set_indirect_entry(table, slot, block);
            }
            return block;
        }
        // Behind the end there is nothing to find, and nothing to write either.
        self.block(indirect)
            .map_or(u32::MAX, |table| fs_format::indirect_entry(table, slot))
    }
}
