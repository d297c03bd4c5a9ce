//! Checks an image: reports everything that the format or the file system's rules forbid.
//!
//! A committed log is looked through as if it were installed already, as the next mount will do;
//! that it waits is a note. So is what xv6 and its mkfs leave behind in good order (see
//! [`Finding::is_note`]). Nothing is written, and no bytes make the checker panic.
//!
//! ```
//! use kcore::{fs::MemoryDisk, fsck, mkfs};
//! let mut image = mkfs::build(&mkfs::Parameters::default(), &[]).unwrap();
//! assert!(fsck::check(&mut MemoryDisk(&mut image[..])).is_empty());
//! image[45 * 1024 + 100] = 1; // a bit of the free map
//! let findings = fsck::check(&mut MemoryDisk(&mut image[..]));
//! assert_eq!(findings[0].to_string(), "block 800 is marked used, nothing uses it");
//! ```

mod finding;
mod tree;

pub use finding::Finding;

use crate::fs::BlockDevice;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use fs_format::{
    BLOCK_SIZE, Block, DIRECT_BLOCKS, DiskInode, INDIRECT_BLOCKS, LogHeader, MAX_FILE_SIZE,
    ROOT_INODE, SUPERBLOCK, Superblock, TYPE_DEVICE, TYPE_DIR, TYPE_FILE, ZERO_BLOCK,
    indirect_entry,
};

/// Checks an image and lists what was found; the empty list is a clean image.
pub fn check<D: BlockDevice>(device: &mut D) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut block = ZERO_BLOCK;
    if device.read(SUPERBLOCK, &mut block).is_err() {
        return vec![Finding::Unreadable { block: SUPERBLOCK }];
    }
    let layout = Superblock::decode(&block);
    if let Err(error) = layout.validate(device.block_count()) {
        return vec![Finding::Superblock(error)];
    }
    let mut logged = BTreeMap::new();
    if device.read(layout.log_start, &mut block).is_err() {
        findings.push(Finding::Unreadable {
            block: layout.log_start,
        });
    } else {
        match LogHeader::decode(&block, &layout) {
            Ok(header) if header.blocks().is_empty() => {}
            Ok(header) => {
                findings.push(Finding::LogCommitted {
                    blocks: header.blocks().len(),
                });
                logged.extend(header.blocks().iter().copied().zip(layout.log_start + 1..));
            }
            Err(error) => findings.push(Finding::Log(error)),
        }
    }
    let mut checker = Checker {
        device,
        layout,
        logged,
        findings,
        inodes: Vec::new(),
        owners: vec![0; layout.size as usize],
    };
    checker.read_inodes();
    checker.claim_blocks();
    checker.check_tree();
    checker.check_free_map();
    checker.findings
}

struct Checker<'a, D> {
    device: &'a mut D,
    layout: Superblock,
    /// Blocks of a committed transaction: home, and where they stand in the log.
    logged: BTreeMap<u32, u32>,
    findings: Vec<Finding>,
    /// All inodes, by number.
    inodes: Vec<DiskInode>,
    /// The inode that uses each block; 0 is none.
    owners: Vec<u32>,
}

impl<D: BlockDevice> Checker<'_, D> {
    /// A block as the next mount will see it; zeros when it cannot be read.
    fn read(&mut self, block: u32) -> Block {
        let mut content = ZERO_BLOCK;
        let place = self.logged.get(&block).copied().unwrap_or(block);
        if self.device.read(place, &mut content).is_err() {
            self.findings.push(Finding::Unreadable { block: place });
            return ZERO_BLOCK;
        }
        content
    }

    fn read_inodes(&mut self) {
        let mut block = (0, ZERO_BLOCK);
        for number in 0..self.layout.inodes {
            let (place, slot) = self.layout.inode_place(number);
            if block.0 != place {
                block = (place, self.read(place));
            }
            let inode = DiskInode::decode(&block.1, slot);
            self.inodes.push(inode);
            if number < ROOT_INODE || inode.is_free() {
                continue;
            }
            if ![TYPE_DIR, TYPE_FILE, TYPE_DEVICE].contains(&inode.kind) {
                self.findings.push(Finding::InodeType {
                    inode: number,
                    kind: inode.kind,
                });
            }
            if inode.size as usize > MAX_FILE_SIZE {
                self.findings.push(Finding::InodeSize {
                    inode: number,
                    size: inode.size,
                });
            }
        }
    }

    /// The block addresses of an inode: number in the file (`None` for the indirect block) and block.
    fn addresses(&mut self, inode: &DiskInode) -> Vec<(Option<usize>, u32)> {
        let direct = inode.addresses[..DIRECT_BLOCKS].iter().copied();
        let mut all: Vec<_> = (0..).map(Some).zip(direct).collect();
        let indirect = inode.addresses[DIRECT_BLOCKS];
        all.push((None, indirect));
        if self.layout.is_data_block(indirect) {
            let table = self.read(indirect);
            let entries = (0..INDIRECT_BLOCKS).map(|index| indirect_entry(&table, index));
            all.extend((DIRECT_BLOCKS..).map(Some).zip(entries));
        } else {
            // One hole stands for all that the missing table would have named.
            all.push((Some(DIRECT_BLOCKS), 0));
        }
        all
    }

    fn claim_blocks(&mut self) {
        for number in ROOT_INODE..self.layout.inodes {
            let inode = self.inodes[number as usize];
            if inode.is_free() {
                continue;
            }
            let blocks = (inode.size as usize).div_ceil(BLOCK_SIZE);
            for (index, block) in self.addresses(&inode) {
                if block == 0 {
                    if inode.kind == TYPE_FILE && index.is_some_and(|index| index < blocks) {
                        self.findings.push(Finding::Hole {
                            inode: number,
                            index: index.unwrap_or(0),
                        });
                    }
                    continue;
                }
                if !self.layout.is_data_block(block) {
                    self.findings.push(Finding::Address {
                        inode: number,
                        block,
                    });
                    continue;
                }
                if index.map_or(blocks <= DIRECT_BLOCKS, |index| index >= blocks) {
                    self.findings.push(Finding::BeyondSize {
                        inode: number,
                        block,
                    });
                }
                match self.owners[block as usize] {
                    0 => self.owners[block as usize] = number,
                    first => self.findings.push(Finding::UsedTwice {
                        block,
                        first,
                        second: number,
                    }),
                }
            }
        }
    }

    fn check_free_map(&mut self) {
        let mut map = (0, ZERO_BLOCK);
        for block in 0..self.layout.size {
            let (place, byte, mask) = self.layout.bitmap_place(block);
            if map.0 != place {
                map = (place, self.read(place));
            }
            let is_marked = map.1[byte] & mask != 0;
            let owner = self.owners[block as usize];
            let finding = if !self.layout.is_data_block(block) {
                (!is_marked).then_some(Finding::MetadataFree { block })
            } else if owner != 0 {
                (!is_marked).then_some(Finding::UsedButFree {
                    block,
                    inode: owner,
                })
            } else {
                is_marked.then_some(Finding::Lost { block })
            };
            self.findings.extend(finding);
        }
    }
}
