//! Files: open flags, `struct stat`, directory entries.

/// Flags of `open`, xv6's values; `APPEND`, `EXCLUSIVE` and `NONBLOCK` are ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    /// Read only.
    pub const RDONLY: Self = Self(0x000);
    /// Write only.
    pub const WRONLY: Self = Self(0x001);
    /// Read and write.
    pub const RDWR: Self = Self(0x002);
    /// Create the file if it does not exist.
    pub const CREATE: Self = Self(0x200);
    /// Cut the file to length 0.
    pub const TRUNC: Self = Self(0x400);
    /// Every write goes to the end of the file.
    pub const APPEND: Self = Self(0x800);
    /// With `CREATE`: fail with EEXIST if the file exists.
    pub const EXCLUSIVE: Self = Self(0x1000);
    /// Reads and writes return EAGAIN instead of sleeping.
    pub const NONBLOCK: Self = Self(0x2000);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the access mode allows reading.
    pub const fn readable(self) -> bool {
        self.0 & 3 != 1
    }

    /// Whether the access mode allows writing.
    pub const fn writable(self) -> bool {
        matches!(self.0 & 3, 1 | 2)
    }
}

impl core::ops::BitOr for OpenFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Position for `seek`: absolute, in bytes from the start.
pub type SeekOffset = i64;

/// `type` of [`Stat`]: directory.
pub const T_DIR: i16 = 1;
/// `type` of [`Stat`]: regular file.
pub const T_FILE: i16 = 2;
/// `type` of [`Stat`]: device.
pub const T_DEVICE: i16 = 3;
/// `type` of [`Stat`]: socket (ours).
pub const T_SOCKET: i16 = 4;
/// `type` of [`Stat`]: pipe (ours).
pub const T_PIPE: i16 = 5;

/// `struct stat` of xv6-riscv: 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Stat {
    /// Device: 1 root file system, 2 remote files, 3 boot modules.
    pub dev: i32,
    /// Inode number; of a remote file, the lower 32 bits of the server's.
    pub ino: u32,
    /// One of `T_DIR`, `T_FILE`, `T_DEVICE`, `T_SOCKET`, `T_PIPE`.
    pub kind: i16,
    /// Number of links.
    pub nlink: i16,
    /// Padding, zero.
    pub pad: u32,
    /// Size in bytes.
    pub size: u64,
}

/// Longest name in a [`DirEntry`], in bytes.
pub const NAME_MAX: usize = 255;
/// Longest path of a system call, in bytes, without the NUL. xv6 allows 128; remote paths need more.
pub const PATH_MAX: usize = 1023;

/// What `readdir` fills in: 280 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct DirEntry {
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// `T_*`.
    pub kind: i16,
    /// Length of the name in bytes.
    pub name_len: u16,
    /// Zero.
    pub reserved: u32,
    /// The name, zero-padded.
    pub name: [u8; 256],
}

impl DirEntry {
    /// An entry with this name, cut at [`NAME_MAX`] bytes.
    pub fn new(ino: u64, size: u64, kind: i16, name: &[u8]) -> Self {
        let len = name.len().min(NAME_MAX);
        let mut bytes = [0; 256];
        bytes[..len].copy_from_slice(&name[..len]);
        Self {
            ino,
            size,
            kind,
            name_len: len as u16,
            reserved: 0,
            name: bytes,
        }
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.name[..(self.name_len as usize).min(NAME_MAX)]
    }
}

/// Modes of `ttymode`: lines with echo and erase, as xv6's console.
pub const TTY_LINE: i32 = 0;
/// Modes of `ttymode`: every byte as it comes, no echo.
pub const TTY_RAW: i32 = 1;
/// Device number of the console, as xv6's.
pub const CONSOLE_MAJOR: i16 = 1;
