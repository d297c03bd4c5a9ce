//! The file system's calls, one by one.

use abi::{Errno, OpenFlags};
use kcore::fs::{FileSystem, Inum, MemoryDisk, MountError, Node};
use kcore::fsck;
use kcore::mkfs::{self, Parameters};

const ROOT: Inum = Inum::ROOT;
type Fs = FileSystem<MemoryDisk<Vec<u8>>>;

fn image(size: u32, inodes: u32) -> Vec<u8> {
    mkfs::build(
        &Parameters {
            size,
            inodes,
            log_blocks: 30,
        },
        &[],
    )
    .unwrap()
}

fn fresh() -> Fs {
    FileSystem::mount(MemoryDisk(image(2000, 200))).unwrap()
}

fn write(fs: &mut Fs, path: &str, data: &[u8]) {
    let inum = fs
        .open(ROOT, path.as_bytes(), OpenFlags::CREATE | OpenFlags::TRUNC)
        .unwrap();
    assert_eq!(fs.write_at(inum, 0, data), Ok(data.len()));
    fs.put(inum).unwrap();
}

fn read(fs: &mut Fs, path: &str) -> Result<Vec<u8>, Errno> {
    let inum = fs.lookup(ROOT, path.as_bytes())?;
    let mut buf = vec![0; 300_000];
    let length = fs.read_at(inum, 0, &mut buf)?;
    buf.truncate(length);
    fs.put(inum)?;
    Ok(buf)
}

fn links(fs: &mut Fs, path: &str) -> i16 {
    let inum = fs.lookup(ROOT, path.as_bytes()).unwrap();
    let stat = fs.stat(inum).unwrap();
    fs.put(inum).unwrap();
    stat.nlink
}

fn names(fs: &mut Fs, path: &str) -> Vec<String> {
    let dir = fs.lookup(ROOT, path.as_bytes()).unwrap();
    let (mut cookie, mut names) = (0, Vec::new());
    let mut out = [abi::DirEntry::new(0, 0, 0, b""); 3];
    loop {
        let count = fs.readdir(dir, &mut cookie, &mut out).unwrap();
        if count == 0 {
            break;
        }
        let text = |entry: &abi::DirEntry| String::from_utf8_lossy(entry.name()).into_owned();
        names.extend(out[..count].iter().map(text));
    }
    fs.put(dir).unwrap();
    names
}

#[test]
fn files_of_every_size_come_back() {
    let mut fs = fresh();
    for size in [0, 1, 1023, 1024, 1025, 12 * 1024, 12 * 1024 + 1, 268 * 1024] {
        let data: Vec<u8> = (0..size).map(|at| (at * 7 + at / 1024) as u8).collect();
        write(&mut fs, "f", &data);
        assert_eq!(read(&mut fs, "f").unwrap(), data);
    }
    let full = fs.lookup(ROOT, b"f").unwrap();
    assert_eq!(fs.write_at(full, 268 * 1024, b"x"), Err(Errno::EFBIG));
    assert_eq!(fs.write_at(full, 268 * 1024 - 1, b"xy"), Ok(1));
    assert_eq!(fs.write_at(full, u64::MAX, b"x"), Err(Errno::EFBIG));
    assert_eq!(fs.read_at(full, u64::MAX, &mut [0; 4]), Ok(0));
    assert_eq!(fs.truncate(full, 268 * 1024 + 1), Err(Errno::EFBIG));
}

#[test]
fn a_write_behind_the_end_and_a_growing_truncate_fill_with_zeros() {
    let mut fs = fresh();
    write(&mut fs, "f", b"abc");
    let inum = fs.lookup(ROOT, b"f").unwrap();
    assert_eq!(fs.write_at(inum, 40_000, b"z"), Ok(1));
    let mut expected = b"abc".to_vec();
    expected.resize(40_000, 0);
    expected.push(b'z');
    assert_eq!(read(&mut fs, "f").unwrap(), expected);
    fs.truncate(inum, 2).unwrap();
    fs.truncate(inum, 5).unwrap();
    assert_eq!(read(&mut fs, "f").unwrap(), b"ab\0\0\0");
}

#[test]
fn names_are_cut_at_fourteen_bytes() {
    let mut fs = fresh();
    fs.mkdir(ROOT, b"12345678901234").unwrap();
    fs.mkdir(ROOT, b"12345678901234/123456789012345").unwrap();
    write(
        &mut fs,
        "123456789012345/123456789012345/123456789012345",
        b"x",
    );
    assert_eq!(
        read(&mut fs, "12345678901234/12345678901234/12345678901234").unwrap(),
        b"x"
    );
    assert_eq!(
        fs.mkdir(ROOT, b"12345678901234/12345678901234"),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        fs.mkdir(ROOT, b"123456789012345/12345678901234"),
        Err(Errno::EEXIST)
    );
}

#[test]
fn a_path_has_at_most_127_bytes() {
    let mut fs = fresh();
    let path = "x".repeat(127);
    write(&mut fs, &path, b"x");
    assert_eq!(read(&mut fs, &path).unwrap(), b"x");
    let too_long = [b'x'; 128];
    for outcome in [
        fs.open(ROOT, &too_long, OpenFlags::CREATE),
        fs.lookup(ROOT, &too_long),
    ] {
        assert_eq!(outcome, Err(Errno::ENAMETOOLONG));
    }
}

#[test]
fn unlink_while_open_keeps_the_file_until_the_last_put() {
    let mut fs = fresh();
    let before = fs.usage().unwrap();
    write(&mut fs, "f", &[7; 20_000]);
    let inum = fs.lookup(ROOT, b"f").unwrap();
    fs.dup(inum);
    fs.unlink(ROOT, b"f").unwrap();
    assert_eq!(fs.lookup(ROOT, b"f"), Err(Errno::ENOENT));
    fs.put(inum).unwrap();
    assert_eq!(fs.write_at(inum, 20_000, b"more"), Ok(4));
    assert_eq!(fs.stat(inum).unwrap().nlink, 0);
    assert_ne!(fs.usage().unwrap(), before);
    fs.put(inum).unwrap();
    assert_eq!(fs.usage().unwrap(), before);
    assert_eq!(fs.references(), 0);
}

#[test]
fn mount_frees_what_was_open_and_nameless() {
    let mut fs = fresh();
    let before = fs.usage().unwrap();
    write(&mut fs, "f", &[7; 20_000]);
    fs.mkdir(ROOT, b"d").unwrap();
    fs.lookup(ROOT, b"f").unwrap();
    fs.lookup(ROOT, b"d").unwrap();
    fs.unlink(ROOT, b"f").unwrap();
    fs.unlink(ROOT, b"d").unwrap();
    let mut fs = FileSystem::mount(fs.into_device()).unwrap();
    assert_eq!(fs.recovery().freed_inodes, 2);
    assert_eq!(fs.usage().unwrap(), before);
}

#[test]
fn a_removed_current_directory_holds_only_itself() {
    let mut fs = fresh();
    fs.mkdir(ROOT, b"a").unwrap();
    fs.mkdir(ROOT, b"a/b").unwrap();
    let cwd = fs.lookup_dir(ROOT, b"a/b").unwrap();
    fs.unlink(ROOT, b"a/b").unwrap();
    fs.unlink(ROOT, b"a").unwrap();
    assert_eq!(fs.create(cwd, b"x", Node::File), Err(Errno::ENOENT));
    assert_eq!(fs.lookup(cwd, b".."), Err(Errno::ENOENT));
    assert_eq!(fs.lookup(cwd, b"."), Ok(cwd));
    fs.put(cwd).unwrap();
}

#[test]
fn directories_count_their_subdirectories() {
    let mut fs = fresh();
    assert_eq!(links(&mut fs, "/"), 1);
    fs.mkdir(ROOT, b"a").unwrap();
    fs.mkdir(ROOT, b"b").unwrap();
    fs.mkdir(ROOT, b"a/sub").unwrap();
    assert_eq!(
        (
            links(&mut fs, "/"),
            links(&mut fs, "a"),
            links(&mut fs, "b")
        ),
        (3, 2, 1)
    );
    fs.rename(ROOT, b"a/sub", b"b/sub").unwrap();
    assert_eq!(
        (
            links(&mut fs, "/"),
            links(&mut fs, "a"),
            links(&mut fs, "b")
        ),
        (3, 1, 2)
    );
    assert_eq!(fs.lookup(ROOT, b"b/sub/.."), fs.lookup(ROOT, b"b"));
    assert_eq!(fs.unlink(ROOT, b"b"), Err(Errno::ENOTEMPTY));
    fs.unlink(ROOT, b"b/sub").unwrap();
    fs.unlink(ROOT, b"b").unwrap();
    assert_eq!(links(&mut fs, "/"), 2);
}

#[test]
fn rename_follows_its_rules() {
    let mut fs = fresh();
    let before = fs.usage().unwrap();
    write(&mut fs, "f", b"f");
    write(&mut fs, "g", &[1; 5000]);
    fs.mkdir(ROOT, b"d").unwrap();
    fs.mkdir(ROOT, b"d/e").unwrap();
    fs.mkdir(ROOT, b"empty").unwrap();
    let table: [(&str, &str, Errno); 13] = [
        ("f", "d", Errno::EISDIR),
        ("d", "f", Errno::ENOTDIR),
        ("empty", "d", Errno::ENOTEMPTY),
        ("d", "d/e/x", Errno::EINVAL),
        ("d", "d/x", Errno::EINVAL),
        ("none", "x", Errno::ENOENT),
        ("f", "none/x", Errno::ENOENT),
        ("f", "g/x", Errno::ENOTDIR),
        ("d/.", "x", Errno::EINVAL),
        ("d/..", "x", Errno::EINVAL),
        ("f", "d/..", Errno::EINVAL),
        ("/", "x", Errno::EBUSY),
        ("d/e", "d", Errno::ENOTEMPTY),
    ];
    for (old, new, error) in table {
        assert_eq!(
            fs.rename(ROOT, old.as_bytes(), new.as_bytes()),
            Err(error),
            "{old} {new}"
        );
    }
    fs.link(ROOT, b"f", b"f2").unwrap();
    fs.rename(ROOT, b"f", b"f2").unwrap(); // two names of one file
    assert_eq!((links(&mut fs, "f"), links(&mut fs, "f2")), (2, 2));
    fs.rename(ROOT, b"f", b"g").unwrap();
    assert_eq!(read(&mut fs, "g").unwrap(), b"f");
    fs.rename(ROOT, b"d/e", b"empty").unwrap();
    fs.rename(ROOT, b"g", b"d/g").unwrap();
    fs.rename(ROOT, b"d", b"d").unwrap();
    assert_eq!(
        names(&mut fs, "/"),
        [".", "..", "d", "empty", "f2"].map(String::from)
    );
    for name in ["d/g", "f2", "d", "empty"] {
        fs.unlink(ROOT, name.as_bytes()).unwrap();
    }
    assert_eq!(fs.usage().unwrap(), before);
    assert_eq!(links(&mut fs, "/"), 1);
}

#[test]
fn a_replaced_open_file_lives_on() {
    let mut fs = fresh();
    write(&mut fs, "old", b"old");
    write(&mut fs, "new", b"new");
    let held = fs.lookup(ROOT, b"new").unwrap();
    fs.rename(ROOT, b"old", b"new").unwrap();
    let mut buf = [0; 3];
    assert_eq!(fs.read_at(held, 0, &mut buf), Ok(3));
    assert_eq!(&buf, b"new");
    fs.put(held).unwrap();
    assert_eq!(read(&mut fs, "new").unwrap(), b"old");
}

#[test]
fn open_and_create_answer_like_xv6_with_reasons() {
    let mut fs = fresh();
    fs.mkdir(ROOT, b"d").unwrap();
    write(&mut fs, "f", b"x");
    fs.mknod(ROOT, b"console", 1, 0).unwrap();
    let open = |fs: &mut Fs, path: &str, flags| fs.open(ROOT, path.as_bytes(), flags);
    let (create, rdonly) = (OpenFlags::CREATE, OpenFlags::RDONLY);
    assert_eq!(open(&mut fs, "d", OpenFlags::RDWR), Err(Errno::EISDIR));
    assert_eq!(open(&mut fs, "d", create), Err(Errno::EISDIR));
    assert_eq!(open(&mut fs, "/", create), Err(Errno::EISDIR));
    assert_eq!(open(&mut fs, "", create), Err(Errno::ENOENT));
    assert_eq!(open(&mut fs, "none", rdonly), Err(Errno::ENOENT));
    assert_eq!(open(&mut fs, "f/x", create), Err(Errno::ENOTDIR));
    assert_eq!(
        open(&mut fs, "f", create | OpenFlags::EXCLUSIVE),
        Err(Errno::EEXIST)
    );
    assert_eq!(open(&mut fs, "a\0b", create), Err(Errno::EINVAL));
    assert_eq!(fs.references(), 0);
    let console = open(&mut fs, "console", create | OpenFlags::RDWR).unwrap();
    assert_eq!(fs.device_numbers(console), Ok(Some((1, 0))));
    assert_eq!(fs.write_at(console, 0, b"x"), Err(Errno::EINVAL));
    assert_eq!(open(&mut fs, "", rdonly), Ok(ROOT));
    assert_eq!(fs.mkdir(ROOT, b""), Err(Errno::ENOENT));
    assert_eq!(fs.mkdir(ROOT, b"/"), Err(Errno::EEXIST));
    assert_eq!(fs.mkdir(ROOT, b"d/."), Err(Errno::EEXIST));
    assert_eq!(fs.unlink(ROOT, b"d/."), Err(Errno::EINVAL));
    assert_eq!(fs.unlink(ROOT, b"d/.."), Err(Errno::EINVAL));
    assert_eq!(fs.unlink(ROOT, b"/"), Err(Errno::EBUSY));
    assert_eq!(fs.link(ROOT, b"d", b"d2"), Err(Errno::EPERM));
    assert_eq!(fs.link(ROOT, b"f", b"d"), Err(Errno::EEXIST));
    assert_eq!(fs.lookup_dir(ROOT, b"f"), Err(Errno::ENOTDIR));
    assert_eq!(fs.write_at(ROOT, 0, b"x"), Err(Errno::EISDIR));
    assert_eq!(fs.readdir(console, &mut 0, &mut []), Err(Errno::ENOTDIR));
}

#[test]
fn links_do_not_overflow() {
    let mut fs = fresh();
    write(&mut fs, "f", b"x");
    let device = fs.into_device();
    let mut image = device.0;
    image[32 * 1024 + 2 * 64 + 6..][..2].copy_from_slice(&i16::MAX.to_le_bytes());
    let mut fs = FileSystem::mount(MemoryDisk(image)).unwrap();
    assert_eq!(fs.link(ROOT, b"f", b"g"), Err(Errno::EMLINK));
    assert_eq!(fs.lookup(ROOT, b"g"), Err(Errno::ENOENT));
}

#[test]
fn a_full_disk_and_a_full_inode_table_lose_nothing() {
    let mut fs = FileSystem::mount(MemoryDisk(image(120, 20))).unwrap();
    let before = fs.usage().unwrap();
    let inum = fs.open(ROOT, b"big", OpenFlags::CREATE).unwrap();
    let written = fs.write_at(inum, 0, &[5; 200_000]).unwrap();
    assert_eq!(fs.usage().unwrap().free_blocks, 0);
    assert_eq!(fs.write_at(inum, written as u64, b"x"), Err(Errno::ENOSPC));
    assert_eq!(fs.mkdir(ROOT, b"d"), Err(Errno::ENOSPC));
    assert_eq!(fs.stat(inum).unwrap().size, written as u64);
    fs.truncate(inum, 1024).unwrap();
    assert_eq!(fs.truncate(inum, 250_000), Err(Errno::ENOSPC));
    assert_eq!(fs.write_at(inum, 250_000, b"x"), Err(Errno::ENOSPC));
    assert_eq!(fs.stat(inum).unwrap().size, 1024);
    fs.unlink(ROOT, b"big").unwrap();
    fs.put(inum).unwrap();
    let mut made = 0;
    while fs.mknod(ROOT, format!("n{made}").as_bytes(), 1, 1).is_ok() {
        made += 1;
    }
    assert_eq!(
        (made, fs.usage().unwrap().free_inodes),
        (before.free_inodes, 0)
    );
    assert_eq!(fs.create(ROOT, b"one more", Node::File), Err(Errno::ENOSPC));
    for number in 0..made {
        fs.unlink(ROOT, format!("n{number}").as_bytes()).unwrap();
    }
    assert_eq!(fs.usage().unwrap(), before);
}

#[test]
fn an_indirect_block_without_a_block_to_name_is_not_kept() {
    let mut fs = FileSystem::mount(MemoryDisk(image(60, 20))).unwrap();
    let inum = fs.open(ROOT, b"f", OpenFlags::CREATE).unwrap();
    let other = fs.open(ROOT, b"g", OpenFlags::CREATE).unwrap();
    assert_eq!(fs.write_at(inum, 0, &[1; 11 * 1024]), Ok(11 * 1024));
    let free = fs.usage().unwrap().free_blocks as usize;
    assert!((3..=14).contains(&free), "{free} blocks are free");
    let blocks = free - 2;
    assert_eq!(
        fs.write_at(other, 0, &vec![2; blocks * 1024]),
        Ok(blocks * 1024)
    );
    // One block becomes the twelfth; the other alone cannot be table and data.
    assert_eq!(fs.write_at(inum, 11 * 1024, &[1; 3000]), Ok(1024));
    assert_eq!(fs.usage().unwrap().free_blocks, 1);
    let mut disk = fs.into_device();
    assert_eq!(fsck::check(&mut disk), []);
}

/// A failed operation must also forget where it was looking for free blocks and inodes.
#[test]
fn what_a_failed_operation_took_can_be_had_at_once() {
    let names: Vec<_> = (0..62).map(|index| format!("f{index}")).collect();
    let file = |name: &String| mkfs::File {
        name: name.clone().leak().as_bytes(),
        content: b"",
    };
    let files: Vec<_> = names.iter().map(file).collect();
    // The root's first block is full; 64 inodes are in use, one is left.
    let shape = Parameters {
        size: 60,
        inodes: 65,
        log_blocks: 30,
    };
    let mut fs = FileSystem::mount(MemoryDisk(mkfs::build(&shape, &files).unwrap())).unwrap();
    let filler = fs.lookup(ROOT, b"f0").unwrap();
    let free = fs.usage().unwrap().free_blocks as usize;
    let blocks = if free > 13 { free - 2 } else { free - 1 };
    assert_eq!(
        fs.write_at(filler, 0, &vec![1; blocks * 1024]),
        Ok(blocks * 1024)
    );
    assert_eq!(fs.usage().unwrap().free_blocks, 1);
    // A block for the directory, another for its name in the root: one too many.
    assert_eq!(fs.mkdir(ROOT, b"dir"), Err(Errno::ENOSPC));
    let inum = fs.lookup(ROOT, b"f1").unwrap();
    assert_eq!(fs.write_at(inum, 0, b"the last block"), Ok(14));
    fs.unlink(ROOT, b"f2").unwrap();
    fs.mknod(ROOT, b"dev", 1, 1).unwrap();
    assert_eq!(fs.usage().unwrap().free_inodes, 1);
}

#[test]
fn impossible_images_are_refused() {
    let refuse = |image: Vec<u8>| {
        FileSystem::mount(MemoryDisk(image))
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(refuse(Vec::new()), MountError::Device);
    assert!(matches!(refuse(vec![0; 4096]), MountError::Superblock(_)));
    let mut no_root = image(2000, 200);
    no_root[32 * 1024 + 64] = 2;
    assert_eq!(refuse(no_root), MountError::NoRoot);
    let mut bad_log = image(2000, 200);
    bad_log[2048] = 31;
    assert!(matches!(refuse(bad_log), MountError::Log(_)));
    let small_log = Parameters {
        log_blocks: 11,
        ..Parameters::default()
    };
    let error = refuse(mkfs::build(&small_log, &[]).unwrap());
    assert_eq!(
        error,
        MountError::SmallLog {
            capacity: 10,
            needed: 11
        }
    );
}
