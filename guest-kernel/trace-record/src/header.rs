//! The head of a trace file: 128 fixed bytes, then TLV strings.

use crate::bytes::{Take, pad8};
use alloc::string::String;
use alloc::vec::Vec;

/// First eight bytes of a trace file.
pub const MAGIC: [u8; 8] = *b"HVTRACE\0";
/// Version of the format; readers refuse another major one.
pub const MAJOR: u16 = 1;
/// Grows when kinds are added.
pub const MINOR: u16 = 0;
/// Length of the fixed part in bytes.
pub const FIXED_LEN: usize = 128;
/// Longest head with its strings in bytes.
pub const HEADER_MAX: usize = 4096;

/// Tag of the string that names the hypervisor, as the guest found it.
pub const TAG_HYPERVISOR: u16 = 1;
/// Tag of the string that names the kernel and its version.
pub const TAG_KERNEL: u16 = 2;
/// Tag of the string that names the machine (CPU brand).
pub const TAG_MACHINE: u16 = 3;

/// What stands at the start of a trace file. One file per boot, one writer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileHeader {
    /// TSC frequency in Hz.
    pub tsc_hz: u64,
    /// TSC when the trace began.
    pub first_tsc: u64,
    /// Time of `first_tsc` in nanoseconds since 1970.
    pub first_time_ns: u64,
    /// Run id, zero-padded.
    pub run: [u8; 16],
    /// Number of the machine in the run (the NN of `mNN`).
    pub machine: u32,
    /// Number of the boot of that machine.
    pub boot: u32,
    /// Hypervisor, as the guest found it.
    pub hypervisor: String,
    /// Kernel and version.
    pub kernel: String,
    /// Machine.
    pub machine_name: String,
}

/// Why the head of a file is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// More bytes are needed; the file may still grow.
    Incomplete,
    /// It does not begin with [`MAGIC`].
    NotATrace,
    /// Another major version.
    Version {
        /// Major version of the file.
        major: u16,
    },
    /// A length in it is wrong.
    Malformed,
}

impl core::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Incomplete => f.write_str("the trace file ends inside its head"),
            Self::NotATrace => f.write_str("not a trace file (it does not begin with HVTRACE)"),
            Self::Version { major } => {
                write!(f, "trace format {major}, this program reads format {MAJOR}")
            }
            Self::Malformed => f.write_str("the head of the trace file is damaged"),
        }
    }
}

impl core::error::Error for HeaderError {}

impl FileHeader {
    /// Appends the head; its length is a multiple of 8.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&MAJOR.to_le_bytes());
        out.extend_from_slice(&MINOR.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.tsc_hz.to_le_bytes());
        out.extend_from_slice(&self.first_tsc.to_le_bytes());
        out.extend_from_slice(&self.first_time_ns.to_le_bytes());
        out.extend_from_slice(&self.run);
        out.extend_from_slice(&self.machine.to_le_bytes());
        out.extend_from_slice(&self.boot.to_le_bytes());
        out.resize(start + FIXED_LEN, 0);
        for (tag, text) in [
            (TAG_HYPERVISOR, &self.hypervisor),
            (TAG_KERNEL, &self.kernel),
            (TAG_MACHINE, &self.machine_name),
        ] {
            let bytes = &text.as_bytes()[..text.len().min(1000)];
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        pad8(out, start);
        let len = (out.len() - start) as u32;
        out[start + 12..start + 16].copy_from_slice(&len.to_le_bytes());
    }

    /// Decodes a head and says how many bytes it took.
    ///
    /// # Errors
    /// [`HeaderError`]; `Incomplete` may heal when more bytes arrive.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), HeaderError> {
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(HeaderError::NotATrace);
        }
        let mut take = Take(bytes);
        take.bytes(8).ok_or(HeaderError::Incomplete)?;
        let major = take.u16().ok_or(HeaderError::Incomplete)?;
        if major != MAJOR {
            return Err(HeaderError::Version { major });
        }
        take.u16().ok_or(HeaderError::Incomplete)?;
        let len = take.u32().ok_or(HeaderError::Incomplete)? as usize;
        if !(FIXED_LEN..=HEADER_MAX).contains(&len) || !len.is_multiple_of(8) {
            return Err(HeaderError::Malformed);
        }
        let mut take = Take(bytes.get(16..len).ok_or(HeaderError::Incomplete)?);
        let mut header = FileHeader::default();
        let fixed = (|| {
            header.tsc_hz = take.u64()?;
            header.first_tsc = take.u64()?;
            header.first_time_ns = take.u64()?;
            header.run.copy_from_slice(take.bytes(16)?);
            header.machine = take.u32()?;
            header.boot = take.u32()?;
            take.bytes(FIXED_LEN - 64)
        })();
        fixed.ok_or(HeaderError::Malformed)?;
        while let (Some(tag), Some(text)) = (take.u16(), take.string()) {
            let text = String::from_utf8_lossy(text).into_owned();
            match tag {
                TAG_HYPERVISOR => header.hypervisor = text,
                TAG_KERNEL => header.kernel = text,
                TAG_MACHINE => header.machine_name = text,
                _ => {}
            }
        }
        Ok((header, len))
    }
}
