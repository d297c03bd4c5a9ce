//! What the randomised tests share: a source of numbers, operations, an in-memory model that says
//! what each must answer, and the way from a file system to a tree that can be compared.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod model;

use abi::{Errno, OpenFlags};
use kcore::fs::{BlockDevice, DeviceError, FileSystem, Inum, Node};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A small generator (SplitMix64), so that a failing seed fails everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// An operation on paths from the root, or on a file held open.
#[derive(Clone)]
pub enum Op {
    Open(String),
    Mkdir(String),
    Mknod(String),
    Link(String, String),
    Unlink(String),
    Rename(String, String),
    Write(String, usize, Vec<u8>),
    Truncate(String, usize),
    Hold(String),
    WriteHeld(usize, Vec<u8>),
    Release(usize),
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(path) => write!(f, "open {path}"),
            Self::Mkdir(path) => write!(f, "mkdir {path}"),
            Self::Mknod(path) => write!(f, "mknod {path}"),
            Self::Link(old, new) => write!(f, "link {old} {new}"),
            Self::Unlink(path) => write!(f, "unlink {path}"),
            Self::Rename(old, new) => write!(f, "rename {old} {new}"),
            Self::Write(path, at, data) => write!(f, "write {path} at {at}, {} bytes", data.len()),
            Self::Truncate(path, size) => write!(f, "truncate {path} to {size}"),
            Self::Hold(path) => write!(f, "hold {path}"),
            Self::WriteHeld(index, data) => write!(f, "write held {index}, {} bytes", data.len()),
            Self::Release(index) => write!(f, "release {index}"),
        }
    }
}

fn random_path(random: &mut Random) -> String {
    let names = [
        "a",
        "b",
        "c",
        "d",
        "a name of 14 b",
        "a name of 14 bytes and more",
        ".",
        "..",
    ];
    let mut path = String::new();
    // Mostly good names, so that operations succeed often.
    for _ in 0..*random.pick(&[1, 1, 1, 2, 2, 3]) {
        let name = if random.below(12) == 0 {
            *random.pick(&names)
        } else {
            *random.pick(&names[..4])
        };
        path.push_str(if random.below(20) == 0 { "//" } else { "/" });
        path.push_str(name);
    }
    if random.below(25) == 0 {
        path.push('/');
    }
    path
}

fn random_data(random: &mut Random, largest: usize) -> Vec<u8> {
    let length = match random.below(4) {
        0 => random.below(200),
        1 => random.below(3000.min(largest) + 1),
        2 => 1024 * random.below(largest / 1024 + 1),
        _ => random.below(largest + 1),
    };
    let seed = random.next();
    (0..length as u64)
        .map(|at| (seed.wrapping_mul(at | 1) >> 32) as u8)
        .collect()
}

/// The next operation; `largest` bounds the bytes of a write.
pub fn random_op(random: &mut Random, largest: usize) -> Op {
    let path = random_path(random);
    match random.below(20) {
        0..=2 => Op::Open(path),
        3..=5 => Op::Mkdir(path),
        6 => Op::Mknod(path),
        7 => Op::Link(path, random_path(random)),
        8..=10 => Op::Unlink(path),
        11..=12 => Op::Rename(path, random_path(random)),
        13..=15 => {
            let at = if random.below(2) == 0 {
                0
            } else {
                random.below(largest * 2)
            };
            Op::Write(path, at, random_data(random, largest))
        }
        16 => Op::Truncate(path, random.below(largest * 2)),
        17 => Op::Hold(path),
        18 => Op::WriteHeld(random.below(4), random_data(random, largest)),
        _ => Op::Release(random.below(4)),
    }
}

/// A file system and the files a test holds open in it.
pub struct Subject<D> {
    pub fs: FileSystem<D>,
    pub held: Vec<Inum>,
}

impl<D: BlockDevice> Subject<D> {
    pub fn new(fs: FileSystem<D>) -> Self {
        Self {
            fs,
            held: Vec::new(),
        }
    }

    /// Runs an operation; what it returns is the bytes written, or 0.
    pub fn run(&mut self, op: &Op) -> Result<usize, Errno> {
        let fs = &mut self.fs;
        let root = Inum::ROOT;
        match op {
            Op::Open(path) => {
                let inum = fs.open(root, path.as_bytes(), OpenFlags::CREATE)?;
                fs.put(inum).map(|()| 0)
            }
            Op::Mkdir(path) => fs.mkdir(root, path.as_bytes()).map(|()| 0),
            Op::Mknod(path) => {
                let inum = fs.create(root, path.as_bytes(), Node::Device { major: 7, minor: 8 })?;
                fs.put(inum).map(|()| 0)
            }
            Op::Link(old, new) => fs.link(root, old.as_bytes(), new.as_bytes()).map(|()| 0),
            Op::Unlink(path) => fs.unlink(root, path.as_bytes()).map(|()| 0),
            Op::Rename(old, new) => fs.rename(root, old.as_bytes(), new.as_bytes()).map(|()| 0),
            Op::Write(path, at, data) => {
                let inum = fs.lookup(root, path.as_bytes())?;
                let outcome = fs.write_at(inum, *at as u64, data);
                fs.put(inum)?;
                outcome
            }
            Op::Truncate(path, size) => {
                let inum = fs.lookup(root, path.as_bytes())?;
                let outcome = fs.truncate(inum, *size as u64);
                fs.put(inum)?;
                outcome.map(|()| 0)
            }
            Op::Hold(path) => {
                self.held.push(fs.lookup(root, path.as_bytes())?);
                Ok(0)
            }
            Op::WriteHeld(index, data) => match self.held.get(*index) {
                Some(&inum) => fs.write_at(inum, 0, data),
                None => Ok(0),
            },
            Op::Release(index) => {
                if *index < self.held.len() {
                    fs.put(self.held.swap_remove(*index))?;
                }
                Ok(0)
            }
        }
    }

    /// Releases everything held.
    pub fn release_all(&mut self) {
        for inum in std::mem::take(&mut self.held) {
            self.fs.put(inum).unwrap();
        }
    }
}

/// One name of a tree.
#[derive(Clone, PartialEq, Eq)]
pub enum Entry {
    /// Content, and the first path of the same file.
    File(Vec<u8>, String),
    /// Its link count.
    Dir(i16),
    /// The first path of the same device.
    Device(i16, i16, String),
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(content, first) => write!(f, "file of {} bytes = {first}", content.len()),
            Self::Dir(links) => write!(f, "directory with {links} links"),
            Self::Device(major, minor, first) => write!(f, "device {major},{minor} = {first}"),
        }
    }
}

/// All paths of a file system, without `.` and `..`.
pub type Tree = BTreeMap<String, Entry>;

/// Reads the whole tree, through the calls that programs use.
pub fn tree_of<D: BlockDevice>(fs: &mut FileSystem<D>) -> Tree {
    let mut tree = Tree::new();
    walk(
        fs,
        Inum::ROOT,
        String::new(),
        &mut tree,
        &mut BTreeMap::new(),
    );
    tree
}

fn walk<D: BlockDevice>(
    fs: &mut FileSystem<D>,
    dir: Inum,
    path: String,
    tree: &mut Tree,
    first_paths: &mut BTreeMap<u32, String>,
) {
    tree.insert(format!("{path}/"), Entry::Dir(fs.stat(dir).unwrap().nlink));
    let mut names = Vec::new();
    let (mut cookie, mut out) = (0, [abi::DirEntry::new(0, 0, 0, b""); 4]);
    while let count @ 1.. = fs.readdir(dir, &mut cookie, &mut out).unwrap() {
        names.extend(out[..count].iter().map(|entry| entry.name().to_vec()));
    }
    names.retain(|name| name != b"." && name != b"..");
    names.sort();
    for name in names {
        let inum = fs.lookup(dir, &name).unwrap();
        let path = format!("{path}/{}", String::from_utf8_lossy(&name));
        let stat = fs.stat(inum).unwrap();
        let first = first_paths
            .entry(inum.get())
            .or_insert_with(|| path.clone())
            .clone();
        match stat.kind {
            abi::file::T_DIR => walk(fs, inum, path, tree, first_paths),
            abi::file::T_FILE => {
                let mut content = vec![0; stat.size as usize];
                assert_eq!(fs.read_at(inum, 0, &mut content), Ok(content.len()));
                tree.insert(path, Entry::File(content, first));
            }
            _ => {
                let (major, minor) = fs.device_numbers(inum).unwrap().unwrap();
                tree.insert(path, Entry::Device(major, minor, first));
            }
        }
        fs.put(inum).unwrap();
    }
}

/// A disk that remembers every write, in order, and fails when told to.
pub struct Recorder {
    pub blocks: Vec<[u8; 1024]>,
    pub writes: Vec<(u32, [u8; 1024])>,
    /// Writes that still succeed.
    pub writes_left: usize,
    /// After the first write that failed, all succeed again.
    pub heals: bool,
}

impl Recorder {
    pub fn new(image: &[u8]) -> Self {
        let blocks = image.as_chunks().0.to_vec();
        Self {
            blocks,
            writes: Vec::new(),
            writes_left: usize::MAX,
            heals: false,
        }
    }

    pub fn with_blocks(blocks: Vec<[u8; 1024]>) -> Self {
        Self {
            blocks,
            writes: Vec::new(),
            writes_left: usize::MAX,
            heals: false,
        }
    }
}

impl BlockDevice for Recorder {
    fn block_count(&self) -> u32 {
        self.blocks.len() as u32
    }

    fn read(&mut self, block: u32, buf: &mut [u8; 1024]) -> Result<(), DeviceError> {
        *buf = *self.blocks.get(block as usize).ok_or(DeviceError)?;
        Ok(())
    }

    fn write(&mut self, block: u32, buf: &[u8; 1024]) -> Result<(), DeviceError> {
        if self.writes_left == 0 {
            if self.heals {
                self.writes_left = usize::MAX;
            }
            return Err(DeviceError);
        }
        self.writes_left -= 1;
        *self.blocks.get_mut(block as usize).ok_or(DeviceError)? = *buf;
        self.writes.push((block, *buf));
        Ok(())
    }
}

impl BlockDevice for &mut Recorder {
    fn block_count(&self) -> u32 {
        Recorder::block_count(self)
    }

    fn read(&mut self, block: u32, buf: &mut [u8; 1024]) -> Result<(), DeviceError> {
        Recorder::read(self, block, buf)
    }

    fn write(&mut self, block: u32, buf: &[u8; 1024]) -> Result<(), DeviceError> {
        Recorder::write(self, block, buf)
    }
}

/// A disk that the test can look at while a file system is mounted on it.
#[derive(Clone)]
pub struct Shared(pub Rc<RefCell<Recorder>>);

impl BlockDevice for Shared {
    fn block_count(&self) -> u32 {
        self.0.borrow().block_count()
    }

    fn read(&mut self, block: u32, buf: &mut [u8; 1024]) -> Result<(), DeviceError> {
        self.0.borrow_mut().read(block, buf)
    }

    fn write(&mut self, block: u32, buf: &[u8; 1024]) -> Result<(), DeviceError> {
        self.0.borrow_mut().write(block, buf)
    }
}
