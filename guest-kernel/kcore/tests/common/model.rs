//! The file system as a student would write it in an afternoon: maps and vectors, no disk.

use super::{Entry, Op, Tree};
use abi::Errno;
use std::collections::BTreeMap;

const ROOT: usize = 1;
const LARGEST: usize = 268 * 1024;

#[derive(Clone)]
enum Kind {
    File(Vec<u8>),
    Dir {
        parent: usize,
        names: BTreeMap<String, usize>,
    },
    Device(i16, i16),
}

/// What the file system should hold.
#[derive(Clone)]
pub struct Model {
    nodes: BTreeMap<usize, Kind>,
    next: usize,
    held: Vec<usize>,
}

impl Model {
    pub fn new() -> Self {
        let root = Kind::Dir {
            parent: ROOT,
            names: BTreeMap::new(),
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            held: Vec::new(),
        }
    }

    fn names(&mut self, dir: usize) -> Result<&mut BTreeMap<String, usize>, Errno> {
        match self.nodes.get_mut(&dir) {
            Some(Kind::Dir { names, .. }) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn is_dir(&self, node: usize) -> bool {
        matches!(self.nodes[&node], Kind::Dir { .. })
    }

    /// Whether a name of the tree leads to the node.
    fn is_named(&self, node: usize) -> bool {
        node == ROOT
            || self.nodes.values().any(|kind| match kind {
                Kind::Dir { names, .. } => names.values().any(|&named| named == node),
                _ => false,
            })
    }

    fn step(&mut self, dir: usize, name: &str) -> Result<usize, Errno> {
        let Kind::Dir { parent, names } = &self.nodes[&dir] else {
            return Err(Errno::ENOTDIR);
        };
        match name {
            "." => Ok(dir),
            ".." => Ok(*parent),
            name => names.get(name).copied().ok_or(Errno::ENOENT),
        }
    }

    fn split(path: &str) -> Vec<String> {
        let cut = |name: &str| name.chars().take(14).collect();
        path.split('/')
            .filter(|name| !name.is_empty())
            .map(cut)
            .collect()
    }

    fn find(&mut self, path: &str) -> Result<usize, Errno> {
        Self::split(path)
            .iter()
            .try_fold(ROOT, |here, name| self.step(here, name))
    }

    fn find_parent(&mut self, path: &str) -> Result<(usize, String), Errno> {
        let mut names = Self::split(path);
        let last = names.pop().expect("the generator makes no empty path");
        let dir = names
            .iter()
            .try_fold(ROOT, |here, name| self.step(here, name))?;
        self.names(dir)?;
        Ok((dir, last))
    }

    fn create(&mut self, path: &str, kind: impl Fn(usize) -> Kind) -> Result<usize, Errno> {
        let (dir, name) = self.find_parent(path)?;
        if self.step(dir, &name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let node = self.next;
        self.next += 1;
        self.nodes.insert(node, kind(dir));
        self.names(dir)?.insert(name, node);
        Ok(node)
    }

    fn content(&mut self, node: usize) -> Result<&mut Vec<u8>, Errno> {
        match self.nodes.get_mut(&node) {
            Some(Kind::File(content)) => Ok(content),
            Some(Kind::Dir { .. }) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Applies an operation. `written` is what the file system says it wrote, which a full disk may
    /// have cut short.
    pub fn run(&mut self, op: &Op, written: usize) -> Result<usize, Errno> {
        match op {
            Op::Open(path) => match self.create(path, |_| Kind::File(Vec::new())) {
                Err(Errno::EEXIST) => {
                    let node = self.find(path)?;
                    if self.is_dir(node) {
                        Err(Errno::EISDIR)
                    } else {
                        Ok(0)
                    }
                }
                outcome => outcome.map(|_| 0),
            },
            Op::Mkdir(path) => self
                .create(path, |parent| Kind::Dir {
                    parent,
                    names: BTreeMap::new(),
                })
                .map(|_| 0),
            Op::Mknod(path) => self.create(path, |_| Kind::Device(7, 8)).map(|_| 0),
            Op::Link(old, new) => {
                let node = self.find(old)?;
                if self.is_dir(node) {
                    return Err(Errno::EPERM);
                }
                let (dir, name) = self.find_parent(new)?;
                if self.step(dir, &name).is_ok() {
                    return Err(Errno::EEXIST);
                }
                self.names(dir)?.insert(name, node);
                Ok(0)
            }
            Op::Unlink(path) => {
                let (dir, name) = self.find_parent(path)?;
                if name == "." || name == ".." {
                    return Err(Errno::EINVAL);
                }
                let node = self.step(dir, &name)?;
                if self.is_dir(node) && !self.names(node)?.is_empty() {
                    return Err(Errno::ENOTEMPTY);
                }
                self.names(dir)?.remove(&name);
                Ok(0)
            }
            Op::Rename(old, new) => self.rename(old, new),
            Op::Write(path, at, data) => {
                let node = self.find(path)?;
                self.write(node, *at, data, written)
            }
            Op::Truncate(path, size) => {
                let node = self.find(path)?;
                let content = self.content(node)?;
                if *size > LARGEST {
                    return Err(Errno::EFBIG);
                }
                content.resize(*size, 0);
                Ok(0)
            }
            Op::Hold(path) => {
                let node = self.find(path)?;
                self.held.push(node);
                Ok(0)
            }
            Op::WriteHeld(index, data) => match self.held.get(*index) {
                Some(&node) => self.write(node, 0, data, written),
                None => Ok(0),
            },
            Op::Release(index) => {
                if *index < self.held.len() {
                    self.held.swap_remove(*index);
                }
                Ok(0)
            }
        }
    }

    fn write(
        &mut self,
        node: usize,
        at: usize,
        data: &[u8],
        written: usize,
    ) -> Result<usize, Errno> {
        let content = self.content(node)?;
        if data.is_empty() {
            return Ok(0);
        }
        if at >= LARGEST {
            return Err(Errno::EFBIG);
        }
        let length = data.len().min(written).min(LARGEST - at);
        content.resize(content.len().max(at + length), 0);
        content[at..at + length].copy_from_slice(&data[..length]);
        Ok(length)
    }

    fn rename(&mut self, old: &str, new: &str) -> Result<usize, Errno> {
        let (from, from_name) = self.find_parent(old)?;
        let (to, to_name) = if from_name == "." || from_name == ".." {
            return Err(Errno::EINVAL);
        } else {
            self.find_parent(new)?
        };
        if to_name == "." || to_name == ".." {
            return Err(Errno::EINVAL);
        }
        let node = self.step(from, &from_name)?;
        let target = self.step(to, &to_name).ok();
        if target == Some(node) {
            return Ok(0);
        }
        let mut above = to;
        while self.is_dir(node) {
            if above == node {
                return Err(Errno::EINVAL);
            }
            if above == ROOT {
                break;
            }
            above = self.step(above, "..")?;
        }
        if let Some(target) = target {
            match (self.is_dir(node), self.is_dir(target)) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !self.names(target)?.is_empty() => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
        }
        self.names(from)?.remove(&from_name);
        self.names(to)?.insert(to_name, node);
        if let Some(Kind::Dir { parent, .. }) = self.nodes.get_mut(&node) {
            *parent = to;
        }
        Ok(0)
    }

    /// Inodes in use: those named and those held.
    pub fn inodes(&self) -> usize {
        let is_used = |&&node: &&usize| self.is_named(node) || self.held.contains(&node);
        self.nodes.keys().filter(is_used).count()
    }

    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        self.walk(ROOT, String::new(), &mut tree, &mut BTreeMap::new());
        tree
    }

    fn walk(
        &self,
        dir: usize,
        path: String,
        tree: &mut Tree,
        first_paths: &mut BTreeMap<usize, String>,
    ) {
        let Kind::Dir { names, .. } = &self.nodes[&dir] else {
            return;
        };
        let subdirs = names.values().filter(|&&node| self.is_dir(node)).count();
        tree.insert(format!("{path}/"), Entry::Dir(1 + subdirs as i16));
        for (name, &node) in names {
            let path = format!("{path}/{name}");
            let first = first_paths
                .entry(node)
                .or_insert_with(|| path.clone())
                .clone();
            match &self.nodes[&node] {
                Kind::Dir { .. } => self.walk(node, path, tree, first_paths),
                Kind::File(content) => {
                    tree.insert(path, Entry::File(content.clone(), first));
                }
                Kind::Device(major, minor) => {
                    tree.insert(path, Entry::Device(*major, *minor, first));
                }
            }
        }
    }
}
