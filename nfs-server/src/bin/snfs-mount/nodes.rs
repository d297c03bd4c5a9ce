//! What the kernel calls by number: paths below the mounted folder.

use std::collections::HashMap;

use protocol::message::Handle;
use protocol::name::{NameError, PathBuf};

/// The number of the mounted folder itself.
pub const ROOT: u64 = 1;

#[derive(Debug)]
struct Node {
    /// `None` once the name is gone: only open handles lead there.
    path: Option<PathBuf>,
    /// How often the kernel was told this number and has not forgotten it.
    lookups: u64,
    /// Open on the server.
    open: Vec<Handle>,
}

/// All numbers that the kernel knows.
#[derive(Debug)]
pub struct Nodes {
    by_number: HashMap<u64, Node>,
    by_path: HashMap<PathBuf, u64>,
    next: u64,
}

impl Default for Nodes {
    fn default() -> Self {
        let root = Node {
            path: Some(PathBuf::new()),
            lookups: 1,
            open: Vec::new(),
        };
        Self {
            by_number: HashMap::from([(ROOT, root)]),
            by_path: HashMap::from([(PathBuf::new(), ROOT)]),
            next: ROOT + 1,
        }
    }
}

impl Nodes {
    /// Where a number is, unless its name is gone.
    pub fn path(&self, number: u64) -> Option<&PathBuf> {
        self.by_number.get(&number)?.path.as_ref()
    }

    /// A name in a folder; `None` where the folder's own name is gone.
    pub fn child(&self, parent: u64, name: &[u8]) -> Result<Option<PathBuf>, NameError> {
        let Some(mut path) = self.path(parent).cloned() else {
            return Ok(None);
        };
        path.push(name)?;
        Ok(Some(path))
    }

    /// The number of a path, told to the kernel once more.
    pub fn number(&mut self, path: PathBuf) -> u64 {
        if let Some(number) = self.by_path.get(&path) {
            if let Some(node) = self.by_number.get_mut(number) {
                node.lookups += 1;
            }
            return *number;
        }
        let number = self.next;
        self.next += 1;
        self.by_path.insert(path.clone(), number);
        let node = Node {
            path: Some(path),
            lookups: 1,
            open: Vec::new(),
        };
        self.by_number.insert(number, node);
        number
    }

    /// The kernel does not need it any more, so many times.
    pub fn forget(&mut self, number: u64, times: u64) {
        let Some(node) = self.by_number.get_mut(&number) else {
            return;
        };
        node.lookups = node.lookups.saturating_sub(times);
        if node.lookups == 0 && number != ROOT {
            if let Some(path) = node.path.take() {
                self.by_path.remove(&path);
            }
            self.by_number.remove(&number);
        }
    }

    /// A name is gone.
    pub fn removed(&mut self, path: &PathBuf) {
        if let Some(node) = self
            .by_path
            .remove(path)
            .and_then(|number| self.by_number.get_mut(&number))
        {
            node.path = None;
        }
    }

    /// A name moved, and all below it; what had the new name has none.
    pub fn moved(&mut self, from: &PathBuf, to: &PathBuf) {
        self.removed(to);
        for (number, node) in &mut self.by_number {
            let Some(path) = &mut node.path else {
                continue;
            };
            let Some(new) = path.moved(from, to) else {
                continue;
            };
            self.by_path.remove(path);
            *path = new;
            self.by_path.insert(path.clone(), *number);
        }
    }

    /// A handle of it was opened.
    pub fn opened(&mut self, number: u64, handle: Handle) {
        if let Some(node) = self.by_number.get_mut(&number) {
            node.open.push(handle);
        }
    }

    /// A handle of it was closed.
    pub fn closed(&mut self, number: u64, handle: Handle) {
        if let Some(node) = self.by_number.get_mut(&number) {
            node.open.retain(|open| *open != handle);
        }
    }

    /// An open handle of it, which works whatever became of its name.
    pub fn handle(&self, number: u64) -> Option<Handle> {
        self.by_number.get(&number)?.open.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        PathBuf::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_rename_moves_what_is_below_and_orphans_what_was_there() {
        let mut nodes = Nodes::default();
        let (dir, file, other) = (
            nodes.number(path("a")),
            nodes.number(path("a/f")),
            nodes.number(path("b/a")),
        );
        nodes.moved(&path("a"), &path("b/a"));
        assert_eq!(nodes.path(dir), Some(&path("b/a")));
        assert_eq!(nodes.path(file), Some(&path("b/a/f")));
        assert_eq!(nodes.path(other), None);
        assert_eq!(nodes.number(path("b/a/f")), file);
        assert_ne!(nodes.number(path("a")), dir);
    }

    #[test]
    fn numbers_live_as_long_as_the_kernel_knows_them() {
        let mut nodes = Nodes::default();
        let first = nodes.number(path("x"));
        assert_eq!(nodes.number(path("x")), first);
        nodes.forget(first, 1);
        assert_eq!(nodes.path(first), Some(&path("x")));
        nodes.forget(first, 1);
        assert_eq!(nodes.path(first), None);
        assert_ne!(nodes.number(path("x")), first, "numbers are not used twice");
        nodes.forget(ROOT, 99);
        assert_eq!(nodes.path(ROOT), Some(&PathBuf::new()));
    }
}
