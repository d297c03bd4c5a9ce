//! The root file system: kcore's, on a RAM disk; and where paths lead.

pub mod boot_files;
mod inode_file;
mod path;

pub use inode_file::InodeFile;
pub use path::{WorkingDirectory, chdir, link, mkdir, mknod, open, read_program, rename, unlink};

use crate::mm::raw;
use crate::sync::{SleepGuard, SleepLock};
use abi::Errno;
use kcore::fs::{FileSystem, Inum, MemoryDisk};

/// The root file system's type.
pub type RootFs = FileSystem<MemoryDisk<&'static mut [u8]>>;

static ROOT: SleepLock<Option<RootFs>> = SleepLock::new("file system", None);

/// Mounts the boot module `fs.img`.
pub fn init() {
    let Some(image) = raw::take_root_image() else {
        crate::println!("fs: no module fs.img, so no root file system");
        return;
    };
    let size = image.len();
    match FileSystem::mount(MemoryDisk(image)) {
        Ok(fs) => {
            let recovery = fs.recovery();
            crate::println!(
                "fs: root on a RAM disk of {} KiB, {} blocks replayed, {} inodes freed",
                size / 1024,
                recovery.replayed_blocks,
                recovery.freed_inodes
            );
            *ROOT.lock() = Some(fs);
        }
        Err(error) => crate::println!("fs: cannot mount fs.img: {error}"),
    }
}

/// The mounted file system, for one operation.
struct Root(SleepGuard<'static, Option<RootFs>>);

impl Root {
    fn lock() -> Result<Self, Errno> {
        let guard = ROOT.lock();
        if guard.is_none() {
            return Err(Errno::ENODEV);
        }
        Ok(Self(guard))
    }
}

impl core::ops::Deref for Root {
    type Target = RootFs;
    fn deref(&self) -> &RootFs {
        self.0.as_ref().expect("checked by lock")
    }
}

impl core::ops::DerefMut for Root {
    fn deref_mut(&mut self) -> &mut RootFs {
        self.0.as_mut().expect("checked by lock")
    }
}

/// A counted reference to an inode.
#[derive(Debug)]
pub struct InodeRef(Inum);

impl InodeRef {
    /// The inode.
    pub fn inum(&self) -> Inum {
        self.0
    }
}

impl Drop for InodeRef {
    fn drop(&mut self) {
        let result = Root::lock().and_then(|mut fs| fs.put(self.0));
        if let Err(error) = result {
            crate::println!("fs: closing inode {}: {error}", self.0.get());
        }
    }
}
