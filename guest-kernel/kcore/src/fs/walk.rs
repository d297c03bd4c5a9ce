//! Paths: from names to inodes.

use super::{BlockDevice, FileSystem, Inum};
use abi::Errno;
use fs_format::{Name, TYPE_DIR};

/// Longest path, in bytes. xv6's limit of 128 counts the NUL.
const MAX_PATH: usize = 127;

/// The first component of a path and the rest without leading slashes; `None` when there is none.
fn split_first(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let path = path.skip_slashes();
    let end = path
        .iter()
        .position(|&byte| byte == b'/')
        .unwrap_or(path.len());
    let (first, rest) = path.split_at(end);
    (!first.is_empty()).then(|| (first, rest.skip_slashes()))
}

trait Slashes {
    fn skip_slashes(&self) -> &Self;
}

impl Slashes for [u8] {
    fn skip_slashes(&self) -> &[u8] {
        let start = self
            .iter()
            .position(|&byte| byte != b'/')
            .unwrap_or(self.len());
        &self[start..]
    }
}

/// A directory and a name in it that may or may not exist.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) dir: Inum,
    pub(super) name: Name,
}

impl<D: BlockDevice> FileSystem<D> {
    fn start_of(cwd: Inum, path: &[u8]) -> Inum {
        if path.first() == Some(&b'/') {
            Inum::ROOT
        } else {
            cwd
        }
    }

    /// The inode a path names. Like xv6, an empty path names the current directory, and slashes at
    /// the end mean nothing.
    pub(super) fn walk(&mut self, cwd: Inum, path: &[u8]) -> Result<Inum, Errno> {
        check_path(path)?;
        let mut here = Self::start_of(cwd, path);
        let mut rest = path;
        while let Some((first, after)) = split_first(rest) {
            here = self.step(here, Name::cut(first))?;
            rest = after;
        }
        self.load(here)?;
        Ok(here)
    }

    /// The directory that holds a path's last component. `None` when the path has no component.
    pub(super) fn walk_to_parent(
        &mut self,
        cwd: Inum,
        path: &[u8],
    ) -> Result<Option<Place>, Errno> {
        check_path(path)?;
        let mut dir = Self::start_of(cwd, path);
        let Some((mut name, mut rest)) = split_first(path) else {
            return Ok(None);
        };
        while let Some((next, after)) = split_first(rest) {
            dir = self.step(dir, Name::cut(name))?;
            (name, rest) = (next, after);
        }
        if self.load(dir)?.kind != TYPE_DIR {
            return Err(Errno::ENOTDIR);
        }
        Ok(Some(Place {
            dir,
            name: Name::cut(name),
        }))
    }
}

fn check_path(path: &[u8]) -> Result<(), Errno> {
    if path.len() > MAX_PATH {
        Err(Errno::ENAMETOOLONG)
    } else if path.contains(&0) {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::split_first;

    #[test]
    fn components_come_one_by_one() {
        assert_eq!(split_first(b"a/bb/c"), Some((&b"a"[..], &b"bb/c"[..])));
        assert_eq!(split_first(b"///a//bb"), Some((&b"a"[..], &b"bb"[..])));
        assert_eq!(split_first(b"a//"), Some((&b"a"[..], &b""[..])));
        assert_eq!(split_first(b""), None);
        assert_eq!(split_first(b"////"), None);
    }
}
