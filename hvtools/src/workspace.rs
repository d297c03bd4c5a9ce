//! Where things are: the workspace, the guest's target folder, the run folders.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// The checkout that `hv` works on.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace: the one cargo runs us from, else the one around the current folder.
    ///
    /// # Errors
    /// When neither holds one.
    pub fn find() -> Result<Workspace> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let current = std::env::current_dir().ok();
        for start in [manifest, current].into_iter().flatten() {
            if let Some(root) = start.ancestors().find(|folder| is_workspace(folder)) {
                return Ok(Workspace {
                    root: root.to_owned(),
                });
            }
        }
        bail!("no HvLab workspace here: run `cargo hv` inside a clone of it");
    }

    /// The top folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the top folder.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Cargo's target folder of the guest.
    #[must_use]
    pub fn guest_target(&self) -> PathBuf {
        self.path("target/guest")
    }

    /// Where a built guest binary lies, with its symbols.
    #[must_use]
    pub fn guest_binary(&self, name: &str) -> PathBuf {
        self.guest_target()
            .join("x86_64-unknown-none/guest")
            .join(name)
    }

    /// Where the images are made.
    #[must_use]
    pub fn image(&self, name: &str) -> PathBuf {
        self.guest_target().join("image").join(name)
    }

    /// Cargo, the one that runs us if one does, started in the workspace.
    ///
    /// What `cargo run` put into our environment for the package `hvtools` is taken out again: build
    /// scripts that look at it would otherwise be run again at every change between the two.
    #[must_use]
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
            }) {
                command.env_remove(name);
            }
        }
        command
    }
}

/// A path as short as one would type it in the current folder.
#[must_use]
pub fn from_here(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok())
        .unwrap_or(path)
}

fn is_workspace(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file() && folder.join("guest-kernel/kernel/Cargo.toml").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_the_current_folder_is_shown_without_it() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(from_here(&here.join("runs/x")), Path::new("runs/x"));
        assert_eq!(from_here(Path::new("/runs/x")), Path::new("/runs/x"));
    }
}
