//! Every number of the on-disk format, pinned: a change here is a change of the format.

use fs_format::*;

#[test]
fn the_numbers_are_xv6s() {
    let table: [(&str, u64, u64); 17] = [
        ("block", BLOCK_SIZE as u64, 1024),
        ("magic", u64::from(MAGIC), 0x1020_3040),
        ("superblock", u64::from(SUPERBLOCK), 1),
        ("log start", u64::from(LOG_START), 2),
        ("root", u64::from(ROOT_INODE), 1),
        ("inode", INODE_SIZE as u64, 64),
        ("inodes in a block", u64::from(INODES_PER_BLOCK), 16),
        ("direct", DIRECT_BLOCKS as u64, 12),
        ("indirect", INDIRECT_BLOCKS as u64, 256),
        ("largest file", MAX_FILE_SIZE as u64, 274_432),
        ("bits in a block", u64::from(BITS_PER_BLOCK), 8192),
        ("entry", DIR_ENTRY_SIZE as u64, 16),
        ("name", NAME_SIZE as u64, 14),
        ("log header", LOG_CAPACITY as u64, 30),
        ("directory", TYPE_DIR as u64, 1),
        ("file", TYPE_FILE as u64, 2),
        ("device", TYPE_DEVICE as u64, 3),
    ];
    for (what, ours, xv6s) in table {
        assert_eq!(ours, xv6s, "{what}");
    }
}

#[test]
fn the_usual_image_is_laid_out_as_mkfs_does() {
    let layout = Superblock::for_size(2000, 200, 30).unwrap();
    let mut block = ZERO_BLOCK;
    layout.encode(&mut block);
    #[rustfmt::skip]
    let bytes: [u8; 32] = [
        0x40, 0x30, 0x20, 0x10, 0xd0, 7, 0, 0, 0xa2, 7, 0, 0, 200, 0, 0, 0,
        30, 0, 0, 0, 2, 0, 0, 0, 32, 0, 0, 0, 45, 0, 0, 0,
    ];
    assert_eq!(block[..32], bytes);
    assert_eq!(block[32..], ZERO_BLOCK[32..]);
    assert_eq!(layout.data_start(), 46);
    assert_eq!(layout.inode_place(0), (32, 0));
    assert_eq!(layout.inode_place(15), (32, 15));
    assert_eq!(layout.inode_place(199), (44, 7));
    assert_eq!(layout.bitmap_place(1999), (45, 249, 0x80));
    assert!(!layout.is_data_block(45) && layout.is_data_block(46) && !layout.is_data_block(2000));
    assert!(!layout.is_inode(0) && layout.is_inode(199) && !layout.is_inode(200));
}

#[test]
fn a_big_image_has_several_blocks_of_free_map() {
    let layout = Superblock::for_size(16384, 1000, 30).unwrap();
    assert_eq!(layout.bitmap_start, 32 + 63);
    assert_eq!(layout.data_start(), 95 + 3);
    assert_eq!(layout.bitmap_place(8192), (96, 0, 1));
}

#[test]
fn impossible_layouts_are_refused() {
    use SuperblockError as E;
    let good = Superblock::for_size(2000, 200, 30).unwrap();
    let cases = [
        (Superblock { magic: 1, ..good }, E::Magic(1)),
        (
            Superblock { size: 2001, ..good },
            E::LargerThanDevice {
                size: 2001,
                device: 2000,
            },
        ),
        (
            Superblock {
                log_blocks: 1,
                ..good
            },
            E::LogTooSmall(1),
        ),
        (Superblock { inodes: 1, ..good }, E::Inodes(1)),
        (
            Superblock {
                inodes: 0x1_0001,
                ..good
            },
            E::Inodes(0x1_0001),
        ),
        (
            Superblock {
                log_start: 1,
                ..good
            },
            E::Regions,
        ),
        (
            Superblock {
                log_start: 3,
                ..good
            },
            E::Regions,
        ),
        (
            Superblock {
                inode_start: 31,
                ..good
            },
            E::Regions,
        ),
        (
            Superblock {
                bitmap_start: 44,
                ..good
            },
            E::Regions,
        ),
        (
            Superblock {
                bitmap_start: u32::MAX,
                ..good
            },
            E::Regions,
        ),
        (
            Superblock {
                data_blocks: 1955,
                ..good
            },
            E::Regions,
        ),
        (
            Superblock {
                data_blocks: 0,
                ..good
            },
            E::Regions,
        ),
        (Superblock { size: 46, ..good }, E::Regions),
    ];
    assert_eq!(good.validate(2000), Ok(()));
    for (superblock, error) in cases {
        assert_eq!(superblock.validate(2000), Err(error), "{superblock:?}");
    }
    assert_eq!(Superblock::for_size(46, 200, 30), Err(E::Regions));
    assert_eq!(
        Superblock::for_size(u32::MAX, 200, u32::MAX),
        Err(E::Regions)
    );
}

#[test]
fn an_inode_has_its_fields_where_xv6_has_them() {
    let mut inode = DiskInode::new(TYPE_DEVICE, 0x0102, -2);
    inode.size = 0x0a0b_0c0d;
    for (index, address) in inode.addresses.iter_mut().enumerate() {
        *address = 0x100 + index as u32;
    }
    let mut block = ZERO_BLOCK;
    inode.encode(&mut block, 15);
    assert_eq!(block[..960], ZERO_BLOCK[..960]);
    assert_eq!(
        block[960..972],
        [3, 0, 2, 1, 0xfe, 0xff, 1, 0, 0x0d, 0x0c, 0x0b, 0x0a]
    );
    assert_eq!(block[972..976], [0, 1, 0, 0]);
    assert_eq!(block[1020..1024], [12, 1, 0, 0]);
    assert_eq!(DiskInode::decode(&block, 15), inode);
    assert!(DiskInode::decode(&block, 14).is_free());
    set_indirect_entry(&mut block, 255, 0xaabb_ccdd);
    assert_eq!(block[1020..], [0xdd, 0xcc, 0xbb, 0xaa]);
    assert_eq!(indirect_entry(&block, 255), 0xaabb_ccdd);
}

#[test]
fn an_entry_cuts_and_pads_its_name() {
    let entry = DirEntry {
        inode: 0x0201,
        name: Name::cut(b"abc"),
    };
    assert_eq!(entry.encode(), *b"\x01\x02abc\0\0\0\0\0\0\0\0\0\0\0");
    let long = DirEntry {
        inode: 1,
        name: Name::cut(b"123456789012345"),
    };
    assert_eq!(long.encode(), *b"\x01\x0012345678901234");
    assert_eq!(long.name, Name::cut(b"12345678901234"));
    assert_eq!(
        DirEntry::decode(b"\x05\x00a\0bcdefghijklm").name,
        Name::cut(b"a")
    );
    assert_eq!(DirEntry::decode(&long.encode()), long);
    assert_eq!(DirEntry::FREE.encode(), [0; 16]);
    assert_eq!(Name::DOT.as_bytes(), b".");
    assert_eq!(Name::DOT_DOT.as_bytes(), b"..");
    assert_eq!(format!("{}", Name::cut(b"\x1b[2J")), r"\x1b[2J");
    assert!(Name::cut(b"").is_unreachable() && Name::cut(b"a/b").is_unreachable());
    assert_eq!(DirEntry::all_in(&ZERO_BLOCK).count(), 64);
}

#[test]
fn a_log_header_is_checked_before_it_is_believed() {
    let layout = Superblock::for_size(2000, 200, 30).unwrap();
    let mut header = LogHeader::EMPTY;
    assert!(header.push(45) && header.push(0x1ff));
    let mut block = header.encode();
    assert_eq!(block[..12], [2, 0, 0, 0, 45, 0, 0, 0, 0xff, 1, 0, 0]);
    assert_eq!(LogHeader::decode(&block, &layout), Ok(header));
    block[4] = 31;
    assert_eq!(
        LogHeader::decode(&block, &layout),
        Err(LogHeaderError::Target(31))
    );
    block[0] = 30;
    assert_eq!(
        LogHeader::decode(&block, &layout),
        Err(LogHeaderError::Count(30))
    );
    block[..4].copy_from_slice(&[0xff; 4]);
    assert_eq!(
        LogHeader::decode(&block, &layout),
        Err(LogHeaderError::Count(-1))
    );
    assert_eq!(LogHeader::capacity(&layout), 29);
    let mut full = LogHeader::EMPTY;
    assert_eq!((0..40).filter(|&block| full.push(block)).count(), 30);
}
