//! From built programs to what the machine boots: the root file system, the boot disk, and for a direct boot the
//! kernel and one archive of the boot modules.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use fs_format::BLOCK_SIZE;
use harness::Boot;
use kcore::initrd;
use kcore::mkfs::{self, MkfsError};

use crate::disk::{self, Contents, Module};
use crate::guest;
use crate::symbols;
use crate::workspace::Workspace;

/// A program bigger than this becomes a module: the file system's largest file has 268 KiB.
const LARGEST_IN_FILE_SYSTEM: usize = 250 * 1024;

/// What `cat README` shows; some of xv6's tests want a file of that name.
const README: &[u8] = b"This is the root file system of an HvLab guest.\n\
    Programs are in /, bigger ones in /boot, the host's files in server:/.\n";

/// Whether a file had to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was written now.
    New(PathBuf),
    /// It was there already, from the same input.
    Unchanged(PathBuf),
}

impl Made {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Made::New(path) | Made::Unchanged(path) => path,
        }
    }
}

/// What a direct boot takes instead of the boot disk; [`make`] makes it, too.
#[must_use]
pub fn direct(workspace: &Workspace) -> Boot {
    Boot::Direct {
        kernel: workspace.image("kernel"),
        initrd: workspace.image("modules.cpio"),
    }
}

/// Makes the boot disk from the guest binaries that are built, and what a direct boot takes.
///
/// # Errors
/// When the kernel is not built or an image cannot be made.
pub fn make(workspace: &Workspace) -> Result<Made> {
    let contents = collect(workspace)?;
    if let Some(root) = contents
        .modules
        .iter()
        .find(|module| module.name == "fs.img")
    {
        // By itself for `hv fsck` and for other people's tools.
        write_file(&workspace.image("fs.img"), &root.content)?;
    }
    write_file(&workspace.image("kernel"), &contents.kernel)?;
    let modules = contents
        .modules
        .iter()
        .map(|module| (module.name.as_str(), module.content.as_slice()));
    write_file(&workspace.image("modules.cpio"), &initrd::build(modules))?;
    write_if_changed(&workspace.image("disk.img"), fingerprint(&contents), || {
        disk::make(&contents)
    })
}

/// Everything that a boot disk holds, from the guest binaries that are built.
///
/// # Errors
/// When the kernel is not built or something does not fit.
pub fn collect(workspace: &Workspace) -> Result<Contents> {
    let kernel = guest::stripped(&workspace.guest_binary("kernel"))?;
    let labvisor = workspace.guest_binary("labvisor");
    let labvisor = if labvisor.is_file() {
        Some(guest::stripped(&labvisor)?)
    } else {
        None
    };
    let mut small = Vec::new();
    let mut modules = Vec::new();
    let rust = guest::programs(workspace)?
        .into_iter()
        .map(|name| (workspace.guest_binary(&name), name));
    let c = guest::C_PROGRAMS
        .into_iter()
        .map(|name| (guest::c_program(workspace, name), name.to_owned()));
    for (path, name) in rust.chain(c) {
        if !path.is_file() {
            continue;
        }
        let content = guest::stripped(&path)?;
        publish(workspace, &name, &content)?;
        let to = if content.len() > LARGEST_IN_FILE_SYSTEM {
            &mut modules
        } else {
            &mut small
        };
        to.push(Module { name, content });
    }
    let content = file_system(&small)?;
    modules.insert(
        0,
        Module {
            name: "fs.img".to_owned(),
            content,
        },
    );
    let symbols = std::fs::read(workspace.guest_binary("kernel"))?;
    modules.push(Module {
        name: "symbols".to_owned(),
        content: symbols::of(&symbols)?,
    });
    Ok(Contents {
        kernel,
        labvisor,
        modules,
    })
}

/// Puts a program into the folder that guests see as `server:/bin`.
fn publish(workspace: &Workspace, name: &str, content: &[u8]) -> Result<()> {
    let path = workspace.image("bin").join(name);
    if std::fs::read(&path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    std::fs::create_dir_all(workspace.image("bin"))
        .context("cannot create the folder of programs")?;
    std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// The root file system: every small program in `/`, as xv6 has it, and room for the guest's own files.
fn file_system(programs: &[Module]) -> Result<Vec<u8>> {
    let mut files = vec![mkfs::File {
        name: b"README",
        content: README,
    }];
    files.extend(programs.iter().map(|program| mkfs::File {
        name: program.name.as_bytes(),
        content: &program.content,
    }));
    let blocks: usize = files
        .iter()
        .map(|file| file.content.len().div_ceil(BLOCK_SIZE) + 1)
        .sum();
    let parameters = mkfs::Parameters {
        // As much room as xv6's own image leaves, whatever our programs take.
        size: u32::try_from(blocks)? + mkfs::Parameters::default().size,
        inodes: u32::try_from(files.len())? + mkfs::Parameters::default().inodes,
        ..mkfs::Parameters::default()
    };
    mkfs::build(&parameters, &files).map_err(|error| match error {
        MkfsError::Name { file }
        | MkfsError::Duplicate { file }
        | MkfsError::FileTooBig { file } => {
            anyhow::anyhow!(
                "cannot put `{}` into the root file system: {error}",
                String::from_utf8_lossy(files[file].name)
            )
        }
        error => anyhow::anyhow!("cannot make the root file system: {error}"),
    })
}

fn fingerprint(contents: &Contents) -> u64 {
    let mut hasher = DefaultHasher::new();
    // A change of how the image is made must not be mistaken for "unchanged".
    include_str!("disk.rs").hash(&mut hasher);
    include_str!("grub.rs").hash(&mut hasher);
    contents.kernel.hash(&mut hasher);
    contents.labvisor.hash(&mut hasher);
    for module in &contents.modules {
        module.name.hash(&mut hasher);
        module.content.hash(&mut hasher);
    }
    hasher.finish()
}

/// Writes `content` to `path` unless it is there.
fn write_file(path: &Path, content: &[u8]) -> Result<Made> {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    write_if_changed(path, hasher.finish(), || Ok(content.to_vec()))
}

/// Writes `make`'s result to `path` unless it is there from input with the same fingerprint.
fn write_if_changed(
    path: &Path,
    fingerprint: u64,
    make: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<Made> {
    let stamp = path.with_added_extension("stamp");
    let fingerprint = format!("{fingerprint:016x}\n");
    if path.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|old| old == fingerprint) {
        return Ok(Made::Unchanged(path.to_owned()));
    }
    let content = make()?;
    let folder = path.parent().context("an image needs a folder")?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    // A machine may be running from the old image: it keeps the old file, the name gets a new one.
    let new = path.with_added_extension("new");
    std::fs::write(&new, content).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))?;
    std::fs::write(&stamp, fingerprint)
        .with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(Made::New(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_input_is_not_made_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/disk.img");
        assert_eq!(
            write_if_changed(&path, 1, || Ok(vec![1])).unwrap(),
            Made::New(path.clone())
        );
        let again = write_if_changed(&path, 1, || panic!("made again"));
        assert_eq!(again.unwrap(), Made::Unchanged(path.clone()));
        assert_eq!(
            write_if_changed(&path, 2, || Ok(vec![2])).unwrap(),
            Made::New(path.clone())
        );
        assert_eq!(std::fs::read(&path).unwrap(), [2]);
    }
}
