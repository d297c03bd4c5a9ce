//! The checker finds each kind of damage, calls a healthy image healthy, and neither it nor the file
//! system panics on any bytes.

mod common;

use abi::OpenFlags;
use common::{Random, Subject, random_op};
use fs_format::{
    Block, DirEntry, DiskInode, LogHeader, Name, Superblock, TYPE_FILE, set_indirect_entry,
};
use kcore::fs::{FileSystem, Inum, MemoryDisk};
use kcore::fsck::{self, Finding};
use kcore::mkfs;

/// Root (1): `file` (2, 20 blocks at 47.. and indirect), `dir` (3), `dir/sub` (4).
struct Patient {
    image: Vec<u8>,
    layout: Superblock,
}

impl Patient {
    fn new() -> Self {
        let parameters = mkfs::Parameters::default();
        let files = [mkfs::File {
            name: b"file",
            content: &[9; 20 * 1024],
        }];
        let image = mkfs::build(&parameters, &files).unwrap();
        let mut fs = FileSystem::mount(MemoryDisk(image)).unwrap();
        fs.mkdir(Inum::ROOT, b"dir").unwrap();
        fs.mkdir(Inum::ROOT, b"dir/sub").unwrap();
        let layout = *fs.layout();
        Self {
            image: fs.into_device().0,
            layout,
        }
    }

    fn block(&mut self, block: u32) -> &mut Block {
        &mut self.image.as_chunks_mut().0[block as usize]
    }

    fn inode(&mut self, number: u32, change: impl FnOnce(&mut DiskInode)) -> &mut Self {
        let (block, slot) = self.layout.inode_place(number);
        let content = self.block(block);
        let mut inode = DiskInode::decode(content, slot);
        change(&mut inode);
        inode.encode(content, slot);
        self
    }

    /// Overwrites an entry in a directory's first block.
    fn entry(&mut self, dir: u32, index: usize, inode: u16, name: &[u8]) -> &mut Self {
        let mut first = 0;
        self.inode(dir, |inode| first = inode.addresses[0]);
        let bytes = DirEntry {
            inode,
            name: Name::cut(name),
        }
        .encode();
        self.block(first)[index * 16..][..16].copy_from_slice(&bytes);
        self
    }

    fn mark(&mut self, block: u32, is_used: bool) -> &mut Self {
        let (map, byte, mask) = self.layout.bitmap_place(block);
        let bits = &mut self.block(map)[byte];
        if is_used {
            *bits |= mask
        } else {
            *bits &= !mask
        }
        self
    }

    fn findings(&mut self) -> Vec<Finding> {
        fsck::check(&mut MemoryDisk(&mut self.image[..]))
    }
}

/// Damages a healthy image and compares what is found.
fn diagnose(damage: impl FnOnce(&mut Patient), expected: &[Finding]) {
    let mut patient = Patient::new();
    assert_eq!(patient.findings(), []);
    damage(&mut patient);
    assert_eq!(patient.findings(), expected);
}

#[test]
fn block_damage_is_found() {
    use Finding as F;
    diagnose(|p| _ = p.mark(1999, true), &[F::Lost { block: 1999 }]);
    diagnose(
        |p| _ = p.mark(47, false),
        &[F::UsedButFree {
            block: 47,
            inode: 2,
        }],
    );
    diagnose(|p| _ = p.mark(32, false), &[F::MetadataFree { block: 32 }]);
    diagnose(
        |p| _ = p.inode(2, |inode| inode.addresses[3] = 45),
        &[
            F::Address {
                inode: 2,
                block: 45,
            },
            F::Lost { block: 50 },
        ],
    );
    diagnose(
        |p| _ = p.inode(2, |inode| inode.addresses[3] = 2000),
        &[
            F::Address {
                inode: 2,
                block: 2000,
            },
            F::Lost { block: 50 },
        ],
    );
    diagnose(
        |p| _ = p.inode(2, |inode| inode.addresses[3] = 47),
        &[
            F::UsedTwice {
                block: 47,
                first: 2,
                second: 2,
            },
            F::Lost { block: 50 },
        ],
    );
    diagnose(
        |p| set_indirect_entry(p.block(59), 1, 46),
        &[
            F::UsedTwice {
                block: 46,
                first: 1,
                second: 2,
            },
            F::Lost { block: 61 },
        ],
    );
    diagnose(
        |p| _ = p.inode(2, |inode| inode.addresses[3] = 0),
        &[F::Hole { inode: 2, index: 3 }, F::Lost { block: 50 }],
    );
    diagnose(
        |p| _ = p.inode(2, |inode| inode.size = 19 * 1024),
        &[F::BeyondSize {
            inode: 2,
            block: 67,
        }],
    );
    diagnose(
        |p| _ = p.inode(2, |inode| inode.addresses[12] = 0),
        &[
            &[F::Hole {
                inode: 2,
                index: 12,
            }][..],
            &(59..=67).map(|block| F::Lost { block }).collect::<Vec<_>>(),
        ]
        .concat(),
    );
}

#[test]
fn inode_damage_is_found() {
    use Finding as F;
    diagnose(
        |p| _ = p.inode(2, |inode| inode.kind = 9),
        &[F::InodeType { inode: 2, kind: 9 }],
    );
    diagnose(
        |p| _ = p.inode(2, |inode| inode.size = 274_433),
        &[
            &[F::InodeSize {
                inode: 2,
                size: 274_433,
            }][..],
            &(20..268)
                .map(|index| F::Hole { inode: 2, index })
                .collect::<Vec<_>>(),
        ]
        .concat(),
    );
    diagnose(
        |p| _ = p.inode(2, |inode| inode.links = 2),
        &[F::LinkCount {
            inode: 2,
            stored: 2,
            counted: 1,
        }],
    );
    diagnose(
        |p| _ = p.inode(3, |inode| inode.links = 1),
        &[F::LinkCount {
            inode: 3,
            stored: 1,
            counted: 2,
        }],
    );
    diagnose(
        |p| _ = p.inode(9, |inode| *inode = DiskInode::new(TYPE_FILE, 0, 0)),
        &[F::Unreachable { inode: 9 }],
    );
    diagnose(
        |p| {
            p.inode(9, |inode| {
                *inode = DiskInode::new(TYPE_FILE, 0, 0);
                inode.links = 0;
            });
        },
        &[F::Orphan { inode: 9 }],
    );
    diagnose(
        |p| _ = p.inode(1, |inode| inode.kind = TYPE_FILE),
        &[F::NoRoot],
    );
}

#[test]
fn directory_damage_is_found() {
    use Finding as F;
    let name = Name::cut;
    // Entries of the root: 0 `.`, 1 `..`, 2 `file`, 3 `dir`.
    diagnose(
        |p| _ = p.entry(3, 0, 0, b""),
        &[F::NoDot {
            dir: 3,
            name: Name::DOT,
        }],
    );
    diagnose(
        |p| _ = p.entry(3, 1, 0, b""),
        &[F::NoDot {
            dir: 3,
            name: Name::DOT_DOT,
        }],
    );
    diagnose(
        |p| _ = p.entry(4, 1, 1, b".."),
        &[F::WrongDot {
            dir: 4,
            name: Name::DOT_DOT,
            inode: 1,
        }],
    );
    diagnose(
        |p| _ = p.entry(4, 0, 3, b"."),
        &[F::WrongDot {
            dir: 4,
            name: Name::DOT,
            inode: 3,
        }],
    );
    diagnose(
        |p| _ = p.entry(1, 5, 2, b"file").inode(2, |inode| inode.links = 2),
        &[F::NameTwice {
            dir: 1,
            name: name(b"file"),
        }],
    );
    diagnose(
        |p| _ = p.entry(1, 5, 2, b"a/b").inode(2, |inode| inode.links = 2),
        &[F::EntryName { dir: 1, index: 5 }],
    );
    diagnose(
        |p| _ = p.entry(1, 5, 77, b"free"),
        &[F::EntryInode {
            dir: 1,
            name: name(b"free"),
            inode: 77,
        }],
    );
    diagnose(
        |p| _ = p.entry(1, 5, 200, b"none"),
        &[F::EntryInode {
            dir: 1,
            name: name(b"none"),
            inode: 200,
        }],
    );
    diagnose(
        |p| _ = p.entry(1, 5, 4, b"again").inode(4, |inode| inode.links = 2),
        &[
            F::SecondParent { dir: 4, parent: 3 },
            F::WrongDot {
                dir: 4,
                name: Name::DOT_DOT,
                inode: 3,
            },
            F::LinkCount {
                inode: 1,
                stored: 2,
                counted: 3,
            },
            F::LinkCount {
                inode: 3,
                stored: 2,
                counted: 1,
            },
        ],
    );
    // A circle cut off from the root.
    diagnose(
        |p| _ = p.entry(1, 3, 0, b"").inode(1, |inode| inode.links = 1),
        &[F::Unreachable { inode: 3 }, F::Unreachable { inode: 4 }],
    );
    diagnose(
        |p| _ = p.inode(3, |inode| inode.size += 3),
        &[F::DirSize { dir: 3, size: 51 }],
    );
}

#[test]
fn superblock_and_log_damage_is_found() {
    diagnose(
        |p| p.block(1)[0] ^= 1,
        &[Finding::Superblock(fs_format::SuperblockError::Magic(
            0x1020_3041,
        ))],
    );
    diagnose(
        |p| p.block(2)[0] = 31,
        &[Finding::Log(fs_format::LogHeaderError::Count(31))],
    );
    let committed = |p: &mut Patient| {
        let mut header = LogHeader::EMPTY;
        header.push(45);
        *p.block(2) = header.encode();
        *p.block(3) = *p.block(45);
        // What stands at home is overwritten by the log, so the damage is none.
        *p.block(45) = [0; 1024];
    };
    diagnose(committed, &[Finding::LogCommitted { blocks: 1 }]);
    let short = &mut vec![0; 1024][..];
    assert_eq!(
        fsck::check(&mut MemoryDisk(short)),
        [Finding::Unreadable { block: 1 }]
    );
}

#[test]
fn only_what_healthy_images_may_have_is_a_note() {
    let notes = [
        Finding::LogCommitted { blocks: 1 },
        Finding::Hole { inode: 2, index: 3 },
        Finding::BeyondSize {
            inode: 2,
            block: 67,
        },
        Finding::Orphan { inode: 9 },
    ];
    for finding in notes {
        assert!(
            finding.is_note() && finding.to_string().starts_with("note: "),
            "{finding}"
        );
    }
    let lost = Finding::Lost { block: 1 };
    assert!(!lost.is_note() && !lost.to_string().starts_with("note: "));
}

/// Flips bytes in the metadata of a used image, then uses it with all its might.
#[test]
fn no_bytes_make_the_checker_or_the_file_system_panic() {
    let healthy = {
        let mut random = Random(1);
        let image = Patient::new().image;
        let mut subject = Subject::new(FileSystem::mount(MemoryDisk(image)).unwrap());
        for _ in 0..200 {
            let _ = subject.run(&random_op(&mut random, 30_000));
        }
        subject.release_all();
        subject.fs.into_device().0
    };
    let mut mounted = 0;
    for seed in 0..1500 {
        let mut random = Random(seed);
        let mut image = healthy.clone();
        for _ in 0..=random.below(6) {
            // Superblock, log header, the first inodes, free map, and the first data blocks.
            let (start, length) = *random.pick(&[
                (1024, 32),
                (2048, 16),
                (32 * 1024, 2048),
                (45 * 1024, 32),
                (46 * 1024, 30_000),
            ]);
            let at = start + random.below(length);
            image[at] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => image[at] ^ (1 << random.below(8)),
                _ => random.next() as u8,
            };
        }
        for finding in fsck::check(&mut MemoryDisk(&mut image[..])) {
            assert!(!finding.to_string().is_empty());
        }
        let Ok(fs) = FileSystem::mount(MemoryDisk(image)) else {
            continue;
        };
        mounted += 1;
        let mut subject = Subject::new(fs);
        for _ in 0..60 {
            let _ = subject.run(&random_op(&mut random, 30_000));
        }
        let mut cookie = 0;
        let mut out = [abi::DirEntry::new(0, 0, 0, b""); 80];
        let _ = subject.fs.readdir(Inum::ROOT, &mut cookie, &mut out);
        let _ = subject.fs.open(Inum::ROOT, b"file", OpenFlags::TRUNC);
        let _ = subject.fs.usage();
    }
    assert!(mounted > 500, "only {mounted} images could be mounted");
}
