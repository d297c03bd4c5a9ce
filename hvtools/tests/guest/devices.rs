//! Media on a real block device: a loop device of this computer, which the kernel treats as any other disk.

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::media::{GREETING, Pc, start_by_active_partition};
use crate::support::hv;

const BYTES: u64 = 64 << 20;
const SECTOR: u64 = 512;
/// Where the only partition of a disk that has one begins, in sectors.
const PARTITION: u64 = 2048;

/// A loop device over a file; detached when dropped.
struct Disk {
    folder: TempDir,
    device: PathBuf,
    /// A node that we made, as nobody else did.
    made: Option<PathBuf>,
}

/// Runs a program that must succeed; what it printed.
fn must(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Major and minor number of a block device's node, as `259:3`.
fn block_device(node: &Path) -> Option<String> {
    let metadata = std::fs::symlink_metadata(node).ok()?;
    let number = metadata.rdev();
    metadata.file_type().is_block_device().then(|| {
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        format!("{major}:{minor}")
    })
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Disk {
    fn empty() -> Disk {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        let disk = std::fs::File::create(&file).unwrap();
        disk.set_len(BYTES).unwrap();
        let attach = ["--find", "--show", "--partscan", str(&file)];
        Disk {
            device: must("losetup", &attach).into(),
            folder,
            made: None,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn name(&self) -> &str {
        self.device.file_name().unwrap().to_str().unwrap()
    }

    /// Gives it a partition: told to the kernel, which may not read partition tables. The node is made where nobody does,
    /// or where one is left over: the numbers of partitions are given out anew, and its may be a foreign disk's by now.
    fn partition(&mut self) -> PathBuf {
        let (first, sectors) = (PARTITION.to_string(), BYTES / SECTOR - PARTITION);
        let device = str(&self.device);
        must("addpart", &[device, "1", &first, &sectors.to_string()]);
        let name = format!("{}p1", self.name());
        let numbers = std::fs::read_to_string(format!("/sys/class/block/{name}/dev")).unwrap();
        let numbers = numbers.trim();
        let node = Path::new("/dev").join(name);
        if block_device(&node).as_deref() != Some(numbers) {
            let _ = std::fs::remove_file(&node);
            let (major, minor) = numbers.split_once(':').unwrap();
            must("mknod", &[str(&node), "b", major, minor]);
            self.made = Some(node.clone());
        }
        // Root makes file systems on it.
        assert_eq!(block_device(&node).as_deref(), Some(numbers), "{node:?}");
        node
    }

    /// `hv media` onto it, with these answers: whether it did, and what it said.
    fn write(&self, device: &Path, answers: &str) -> (bool, String) {
        let mut child = hv(&["media", "--no-build"])
            .arg(device)
            .args(["--set", &format!("start=echo,{GREETING}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that refuses at once reads nothing.
        let _ = child.stdin.take().unwrap().write_all(answers.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// What is before the partition; that may be mounted, and then its file system writes.
    fn before_partition(&self) -> Vec<u8> {
        let file = std::fs::File::open(self.file()).unwrap();
        let mut bytes = Vec::new();
        file.take(PARTITION * SECTOR)
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(bytes.len() as u64, PARTITION * SECTOR);
        bytes
    }

    fn assert_refused(&self, why: &str) {
        let before = self.before_partition();
        let (done, said) = self.write(&self.device, &format!("{0}\n{0}\n", self.name()));
        assert!(!done && said.contains(why), "{said}");
        assert!(before == self.before_partition(), "{said}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let device = str(&self.device);
        let _ = Command::new("delpart")
            .args([device, "1"])
            .stderr(Stdio::null())
            .status();
        // While the loop device is still ours, and so its partition's name.
        if let Some(node) = &self.made {
            let _ = std::fs::remove_file(node);
        }
        let _ = Command::new("losetup").args(["-d", device]).status();
    }
}

/// Undoes what a test did to this computer, however the test ends.
struct Undo<'a>(&'a str, &'a Path);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let _ = Command::new(self.0).arg(self.1).status();
    }
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_medium_on_a_loop_device_starts_the_guest() {
    let disk = Disk::empty();
    let name = disk.name();
    for answers in [String::new(), format!("{name}\n"), format!("{name}\nsda\n")] {
        let (done, said) = disk.write(&disk.device, &answers);
        assert!(!done && said.contains("nothing was written"), "{said}");
        let bytes = std::fs::read(disk.file()).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0), "{said}");
    }
    let (done, said) = disk.write(&disk.device, &format!("{name}\n{name}\n"));
    assert!(done, "{said}");
    let logs = tempfile::tempdir().unwrap();
    start_by_active_partition(&disk.file());
    let said = Pc::start(logs.path(), &disk.file(), "virtio-net-pci", &[]).finish();
    assert!(said.contains(GREETING), "{said}");
}

#[test]
#[ignore = "changes devices of this computer: cargo hv test"]
fn a_loop_device_in_use_and_the_disk_of_this_system_are_refused() {
    let mut disk = Disk::empty();
    let partition = disk.partition();
    let (done, said) = disk.write(&partition, "");
    assert!(!done && said.contains("is a partition"), "{said}");

    must("mkswap", &[str(&partition)]);
    must("swapon", &[str(&partition)]);
    let undo = Undo("swapoff", &partition);
    disk.assert_refused("p1 is swap space");
    drop(undo);

    must("mkfs.ext2", &["-q", "-F", str(&partition)]);
    let folder = tempfile::tempdir().unwrap();
    must("mount", &[str(&partition), str(folder.path())]);
    let undo = Undo("umount", folder.path());
    disk.assert_refused("p1 is mounted at");
    drop(undo);

    // Whatever holds the root file system: named by its number, as it may have no node here.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[4] == "/").then(|| fields[2].split_once(':'))?
    });
    let (major, minor) = root.expect("a root file system");
    if Path::new(&format!("/sys/dev/block/{major}:{minor}")).exists() {
        let node = folder.path().join("system");
        must("mknod", &[str(&node), "b", major, minor]);
        let (done, said) = disk.write(&node, "system\nsystem\n");
        let reasons = ["is mounted at", "is a partition"];
        assert!(
            !done && reasons.iter().any(|why| said.contains(why)),
            "{said}"
        );
    }
}
