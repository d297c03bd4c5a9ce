//! The tree of directories: entries, link counts, reachability.

use super::{Checker, Finding};
use crate::fs::BlockDevice;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use fs_format::{
    BLOCK_SIZE, DIR_ENTRY_SIZE, DirEntry, DiskInode, MAX_FILE_BLOCKS, Name, ROOT_INODE, TYPE_DIR,
};

impl<D: BlockDevice> Checker<'_, D> {
    /// The entries in use of a directory, with their numbers.
    fn entries(&mut self, dir: &DiskInode) -> Vec<(usize, DirEntry)> {
        let count = dir.size as usize / DIR_ENTRY_SIZE;
        let mut entries = Vec::new();
        for (index, block) in self.addresses(dir) {
            let first = index.unwrap_or(MAX_FILE_BLOCKS) * (BLOCK_SIZE / DIR_ENTRY_SIZE);
            if first < count && self.layout.is_data_block(block) {
                let content = self.read(block);
                let here = (first..count).zip(DirEntry::all_in(&content));
                entries.extend(here.filter(|(_, entry)| entry.inode != 0));
            }
        }
        entries
    }

    pub(super) fn check_tree(&mut self) {
        if self.inodes[ROOT_INODE as usize].kind != TYPE_DIR {
            self.findings.push(Finding::NoRoot);
            return;
        }
        let mut links = vec![0_u32; self.inodes.len()];
        // The root has nobody above; xv6 counts it one link all the same.
        links[ROOT_INODE as usize] = 1;
        let mut reached = vec![false; self.inodes.len()];
        reached[ROOT_INODE as usize] = true;
        let mut waiting = VecDeque::from([(ROOT_INODE, ROOT_INODE)]);
        while let Some((dir, parent)) = waiting.pop_front() {
            for child in self.check_dir(dir, parent, &mut links) {
                if reached[child as usize] && self.inodes[child as usize].kind == TYPE_DIR {
                    self.findings.push(Finding::SecondParent {
                        dir: child,
                        parent: dir,
                    });
                } else if self.inodes[child as usize].kind == TYPE_DIR {
                    links[dir as usize] += 1;
                    waiting.push_back((child, dir));
                }
                reached[child as usize] = true;
            }
        }
        for number in ROOT_INODE..self.layout.inodes {
            let inode = self.inodes[number as usize];
            let counted = links[number as usize];
            let finding = match (inode.is_free(), reached[number as usize]) {
                (true, _) => None,
                (false, false) if inode.links == 0 => Some(Finding::Orphan { inode: number }),
                (false, false) => Some(Finding::Unreachable { inode: number }),
                (false, true) => {
                    (i64::from(inode.links) != i64::from(counted)).then_some(Finding::LinkCount {
                        inode: number,
                        stored: inode.links,
                        counted,
                    })
                }
            };
            self.findings.extend(finding);
        }
    }

    /// Checks a directory's entries, counts the names and returns the inodes they name.
    fn check_dir(&mut self, dir: u32, parent: u32, links: &mut [u32]) -> Vec<u32> {
        let inode = self.inodes[dir as usize];
        if !(inode.size as usize).is_multiple_of(DIR_ENTRY_SIZE) {
            self.findings.push(Finding::DirSize {
                dir,
                size: inode.size,
            });
        }
        let mut children = Vec::new();
        let mut names = BTreeSet::new();
        for (index, entry) in self.entries(&inode) {
            let (name, target) = (entry.name, u32::from(entry.inode));
            if name.is_unreachable() {
                self.findings.push(Finding::EntryName { dir, index });
            } else if !names.insert(name) {
                self.findings.push(Finding::NameTwice { dir, name });
            }
            if !self.layout.is_inode(target) || self.inodes[target as usize].is_free() {
                self.findings.push(Finding::EntryInode {
                    dir,
                    name,
                    inode: target,
                });
            } else if name.is_dot_or_dot_dot() {
                let expected = if name == Name::DOT { dir } else { parent };
                if target != expected {
                    self.findings.push(Finding::WrongDot {
                        dir,
                        name,
                        inode: target,
                    });
                }
            } else {
                links[target as usize] += 1;
                children.push(target);
            }
        }
        for name in [Name::DOT, Name::DOT_DOT] {
            if !names.contains(&name) {
                self.findings.push(Finding::NoDot { dir, name });
            }
        }
        children
    }
}
