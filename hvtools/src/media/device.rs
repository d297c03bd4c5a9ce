//! A device to write to, and every reason not to.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A whole disk that nobody uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// As in /dev/NAME.
    pub name: String,
    path: PathBuf,
    model: String,
    bytes: u64,
}

/// Why a device is not written to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    Unknown,
    Partition,
    ReadOnly,
    NoMedium,
    Fixed,
    Mounted { part: String, at: String },
    Swap(String),
    Held { part: String, by: String },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unknown => f.write_str("the kernel knows no such disk (/sys/class/block)"),
            Refusal::Partition => f.write_str("is a partition; name the whole disk"),
            Refusal::ReadOnly => f.write_str("is write-protected"),
            Refusal::NoMedium => f.write_str("has no medium in it"),
            Refusal::Fixed => f.write_str(
                "is a disk of this machine, neither removable nor on USB; make an image and write it by other means",
            ),
            Refusal::Mounted { part, at } => {
                write!(f, "is in use: {part} is mounted at {at}; unmount it first")
            }
            Refusal::Swap(part) => write!(f, "is in use: {part} is swap space"),
            Refusal::Held { part, by } => write!(f, "is in use: {part} belongs to {by}"),
        }
    }
}

/// What of the running system is looked at; tests have one of their own.
struct System {
    /// /sys
    sys: PathBuf,
    /// The text of /proc/self/mountinfo.
    mounts: String,
    /// The text of /proc/swaps.
    swaps: String,
}

impl System {
    fn running() -> Result<System> {
        let read = |path: &str| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
        };
        Ok(System {
            sys: "/sys".into(),
            mounts: read("/proc/self/mountinfo")?,
            swaps: read("/proc/swaps")?,
        })
    }
}

/// The device of this path; `None` when the path is that of a file, be it there or not.
///
/// # Errors
/// When the device must not be written to.
pub fn find(path: &Path) -> Result<Option<Device>> {
    let Ok(meta) = std::fs::metadata(path) else {
        if path.starts_with("/dev") {
            bail!("there is no device {}", path.display());
        }
        return Ok(None);
    };
    if meta.is_file() {
        return Ok(None);
    }
    if !meta.file_type().is_block_device() {
        bail!("{} is neither a file nor a disk", path.display());
    }
    let (major, minor) = (
        rustix::fs::major(meta.rdev()),
        rustix::fs::minor(meta.rdev()),
    );
    match judge(&System::running()?, &format!("{major}:{minor}"), path) {
        Ok(device) => Ok(Some(device)),
        Err(refusal) => bail!("{} {refusal}", path.display()),
    }
}

/// Whether the disk with this number may be written to.
fn judge(system: &System, number: &str, path: &Path) -> Result<Device, Refusal> {
    let folder = system.sys.join("dev/block").join(number);
    let folder = folder.canonicalize().map_err(|_| Refusal::Unknown)?;
    let name = file_name(&folder);
    let value = |file: &str| {
        let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        text.trim().to_owned()
    };
    if folder.join("partition").exists() {
        return Err(Refusal::Partition);
    }
    for part in std::iter::once(folder.clone()).chain(partitions(&folder)) {
        in_use(system, &part)?;
    }
    // Sectors of 512 bytes, whatever the device's own are.
    let sectors: u64 = value("size").parse().unwrap_or(0);
    let inside = folder.strip_prefix(&system.sys).unwrap_or(&folder);
    let pluggable = inside.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part.starts_with("usb") || part.starts_with("mmc")
    });
    match () {
        () if !pluggable && value("removable") != "1" && !name.starts_with("loop") => {
            Err(Refusal::Fixed)
        }
        () if sectors == 0 => Err(Refusal::NoMedium),
        () if value("ro") != "0" => Err(Refusal::ReadOnly),
        () => Ok(Device {
            model: format!("{} {}", value("device/vendor"), value("device/model"))
                .trim()
                .to_owned(),
            bytes: sectors * 512,
            path: path.to_owned(),
            name,
        }),
    }
}

fn partitions(disk: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(disk) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("partition").exists())
        .collect()
}

/// A disk or partition that is mounted, is swap space, or carries something (a volume group, an array, an encrypted disk).
fn in_use(system: &System, part: &Path) -> Result<(), Refusal> {
    let name = file_name(part);
    let node = format!("/dev/{name}");
    let number = std::fs::read_to_string(part.join("dev")).unwrap_or_default();
    for line in system.mounts.lines() {
        // proc(5): id, parent, major:minor, root, mount point, options, ... - type, source, options
        let fields: Vec<&str> = line.split(' ').collect();
        let source = line
            .split_once(" - ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        if fields.get(2) == Some(&number.trim()) || source == Some(&node) {
            return Err(Refusal::Mounted {
                part: name,
                at: fields.get(4).unwrap_or(&"?").escape_debug().to_string(),
            });
        }
    }
    let swap = |line: &str| line.split_whitespace().next() == Some(&node);
    if system.swaps.lines().any(swap) {
        return Err(Refusal::Swap(name));
    }
    let holder = std::fs::read_dir(part.join("holders"))
        .ok()
        .and_then(|mut entries| entries.next()?.ok());
    match holder {
        Some(holder) => Err(Refusal::Held {
            part: name,
            by: file_name(&holder.path()),
        }),
        None => Ok(()),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = if self.model.is_empty() {
            "no model name"
        } else {
            &self.model
        };
        write!(
            f,
            "{}: {}, {} MB",
            self.path.display(),
            model.escape_debug(),
            self.bytes / 1_000_000
        )
    }
}

impl Device {
    /// Overwrites the beginning of the device, and waits until it is really there.
    ///
    /// # Errors
    /// When it is too small, somebody began to use it, or it fails.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        if self.bytes < bytes.len() as u64 {
            bail!(
                "{} has {} bytes, the medium needs {}",
                self.path.display(),
                self.bytes,
                bytes.len()
            );
        }
        // O_EXCL on a block device: refused while anybody has it mounted (open(2)).
        let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits())?;
        let mut file = OpenOptions::new()
            .write(true)
            .custom_flags(exclusive)
            .open(&self.path)
            .with_context(|| format!("cannot open {} for writing", self.path.display()))?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write to {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A /sys with one disk `sdb` (8:16) on USB with a partition `sdb1` (8:17).
    struct Fake {
        folder: tempfile::TempDir,
        system: System,
    }

    const DISK: &str = "devices/pci0/usb1/host0/block/sdb";

    impl Fake {
        fn new(disk: &str) -> Fake {
            let folder = tempfile::tempdir().unwrap();
            let sys = folder.path().to_owned();
            let fake = Fake {
                system: System {
                    sys: sys.clone(),
                    mounts: "25 1 254:1 / / rw - ext4 /dev/vda1 rw\n".into(),
                    swaps: "Filename Type Size\n/dev/vda2 partition 1\n".into(),
                },
                folder,
            };
            for (path, content) in [
                ("dev", "8:16\n"),
                ("size", "15728640\n"),
                ("ro", "0\n"),
                ("removable", "0\n"),
                ("device/vendor", "Acme\n"),
                ("device/model", "Stick \n"),
                ("sdb1/dev", "8:17\n"),
                ("sdb1/partition", "1\n"),
            ] {
                fake.write(&format!("{disk}/{path}"), content);
            }
            std::fs::create_dir_all(sys.join("dev/block")).unwrap();
            for (number, to) in [("8:16", disk.to_owned()), ("8:17", format!("{disk}/sdb1"))] {
                std::os::unix::fs::symlink(sys.join(to), sys.join("dev/block").join(number))
                    .unwrap();
            }
            fake
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }

        fn judge(&self, number: &str) -> Result<Device, Refusal> {
            judge(&self.system, number, Path::new("/dev/sdb"))
        }
    }

    #[test]
    fn a_stick_that_nobody_uses_is_taken() {
        let device = Fake::new(DISK).judge("8:16").unwrap();
        assert_eq!(device.to_string(), "/dev/sdb: Acme Stick, 8053 MB");
        assert_eq!(device.name, "sdb");
    }

    #[test]
    fn a_disk_inside_the_machine_is_refused_unless_it_is_removable() {
        let inside = "devices/pci0/ata1/host0/block/sdb";
        let fake = Fake::new(inside);
        assert_eq!(fake.judge("8:16"), Err(Refusal::Fixed));
        fake.write(&format!("{inside}/removable"), "1\n");
        assert!(fake.judge("8:16").is_ok());
    }

    #[test]
    fn whatever_is_in_use_is_refused() {
        let mut fake = Fake::new(DISK);
        let quiet = fake.system.mounts.clone();
        let mounted = |part: &str, at: &str| {
            Err(Refusal::Mounted {
                part: part.into(),
                at: at.into(),
            })
        };
        fake.system.mounts = format!("{quiet}30 25 8:17 / /media/x rw - vfat /dev/sdb1 rw\n");
        assert_eq!(fake.judge("8:16"), mounted("sdb1", "/media/x"));
        // btrfs has a number of its own; the source tells.
        fake.system.mounts = format!("{quiet}31 25 0:40 / /y rw - btrfs /dev/sdb rw\n");
        assert_eq!(fake.judge("8:16"), mounted("sdb", "/y"));
        fake.system.mounts = quiet;
        fake.system.swaps += "/dev/sdb1 partition 100\n";
        assert_eq!(fake.judge("8:16"), Err(Refusal::Swap("sdb1".into())));
        fake.system.swaps.clear();
        assert!(fake.judge("8:16").is_ok());
        fake.write(&format!("{DISK}/sdb1/holders/dm-0"), "");
        let held = Refusal::Held {
            part: "sdb1".into(),
            by: "dm-0".into(),
        };
        assert_eq!(fake.judge("8:16"), Err(held));
    }

    #[test]
    fn partitions_and_what_cannot_be_written_are_refused() {
        let fake = Fake::new(DISK);
        assert_eq!(fake.judge("8:17"), Err(Refusal::Partition));
        assert_eq!(fake.judge("9:9"), Err(Refusal::Unknown));
        fake.write(&format!("{DISK}/ro"), "1\n");
        assert_eq!(fake.judge("8:16"), Err(Refusal::ReadOnly));
        fake.write(&format!("{DISK}/size"), "0\n");
        assert_eq!(fake.judge("8:16"), Err(Refusal::NoMedium));
    }

    #[test]
    fn paths_that_are_no_devices() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(&folder.path().join("new.img")).unwrap(), None);
        assert!(find(folder.path()).is_err(), "a folder");
        assert!(find(Path::new("/dev/null")).is_err(), "no disk");
        assert!(find(Path::new("/dev/no-such-disk")).is_err());
    }
}
