//! From untrusted bytes to a plan for loading a program.
//!
//! A program is a static ELF64 file of type EXEC for x86-64. [`plan`] reads its headers only, through
//! [`ReadAt`], so that a remote file need not be fetched whole. What it returns is safe to follow:
//! segments begin at a page, lie in the user half below the limit, share no page, come from inside the
//! file, and none is both writable and executable; the entry point lies in an executable one.
//! Everything else is refused, and [`ElfError`] says why.

use crate::umem::{PAGE_SIZE, USER_END};
use ::elf::abi::{
    EM_X86_64, ET_EXEC, EV_CURRENT, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_INTERP, PT_LOAD,
};
use ::elf::endian::AnyEndian;
use ::elf::file::{Class, FileHeader, parse_ident};
use ::elf::parse::ParsingTable;
use ::elf::segment::ProgramHeader;
use abi::Errno;
use alloc::vec::Vec;
use core::fmt;

#[cfg(test)]
mod test;

const HEADER_SIZE: usize = 64;
const IDENT_SIZE: usize = 16;
const PROGRAM_HEADER_SIZE: usize = 56;
/// More than any linker makes for a static program.
const MAX_PROGRAM_HEADERS: usize = 32;

/// A file of which parts can be read.
pub trait ReadAt {
    /// Bytes of the file.
    ///
    /// # Errors
    /// What the file answers.
    fn size(&mut self) -> Result<u64, Errno>;

    /// Fills `buf` from `offset`, as far as the file goes, and returns how much that was.
    ///
    /// # Errors
    /// What the file answers.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno>;
}

impl ReadAt for &[u8] {
    fn size(&mut self) -> Result<u64, Errno> {
        Ok(self.len() as u64)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.len());
        let length = buf.len().min(self.len() - start);
        buf[..length].copy_from_slice(&self[start..start + length]);
        Ok(length)
    }
}

/// What a segment's pages allow besides reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Read,
    /// Writing.
    Write,
    /// Executing.
    Execute,
}

/// Pages to be filled from the file and then with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address, at the start of a page.
    pub address: u64,
    /// Bytes in memory, at least 1. The rest of the last page is zero, too.
    pub memory_size: u64,
    /// Where its bytes stand in the file.
    pub file_offset: u64,
    /// Bytes in the file, at most those in memory.
    pub file_size: u64,
    /// What its pages allow.
    pub access: Access,
}

impl Segment {
    /// The address behind its last page.
    pub fn end(&self) -> u64 {
        (self.address + self.memory_size).next_multiple_of(PAGE_SIZE)
    }

    /// Pages.
    pub fn pages(&self) -> u64 {
        (self.end() - self.address) / PAGE_SIZE
    }
}

/// How to load a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where it starts.
    pub entry: u64,
    /// Its segments, ascending by address, without shared pages.
    pub segments: Vec<Segment>,
    /// The stack size it asks for in PT_GNU_STACK, in bytes, a multiple of the page size.
    pub stack_size: Option<u64>,
}

impl Plan {
    /// The address behind the last segment's last page.
    pub fn image_end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }
}

/// What the caller allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Segments must end at or below this address; never above [`USER_END`].
    pub image_end: u64,
    /// Most pages of all segments together.
    pub pages: u64,
    /// Largest stack, in bytes.
    pub stack_size: u64,
}

impl Default for Limits {
    /// Up to 1 GiB of addresses, 64 MiB of pages, 8 MiB of stack.
    fn default() -> Self {
        Self {
            image_end: 1 << 30,
            pages: 16 * 1024,
            stack_size: 8 << 20,
        }
    }
}

/// Why a file is no program of ours. `segment` counts the PT_LOAD headers from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// Reading failed.
    Read(Errno),
    /// The file ends inside its headers.
    Truncated,
    /// It does not begin like an ELF file.
    NotElf,
    /// It is not ELF64, little-endian, for x86-64.
    OtherMachine,
    /// It is an object, a library or position independent: anything but ET_EXEC.
    NotExecutable(u16),
    /// It wants an interpreter or dynamic linking.
    Dynamic,
    /// Its program headers have another size than 56 bytes.
    HeaderSize(u16),
    /// It has more program headers than the loader reads.
    TooManyHeaders(u16),
    /// It has nothing to load.
    NoSegments,
    /// The segment does not begin at a page, or its alignment is no power of two.
    Unaligned {
        /// Which one.
        segment: usize,
    },
    /// The segment ends behind the highest address, or has more bytes in the file than in memory.
    Wraps {
        /// Which one.
        segment: usize,
    },
    /// The segment lies outside the user's addresses.
    OutOfRange {
        /// Which one.
        segment: usize,
    },
    /// All segments together have too many pages.
    TooBig,
    /// The segment's bytes lie behind the end of the file.
    OutsideFile {
        /// Which one.
        segment: usize,
    },
    /// The segment is both writable and executable.
    WritableCode {
        /// Which one.
        segment: usize,
    },
    /// The segment allows nothing at all.
    NoAccess {
        /// Which one.
        segment: usize,
    },
    /// Two segments share a page.
    Overlap,
    /// The entry point is not in the file's part of an executable segment.
    Entry(u64),
    /// The stack it asks for is too big.
    Stack(u64),
}

impl ElfError {
    /// What `exec` answers.
    pub fn errno(self) -> Errno {
        match self {
            Self::Read(errno) => errno,
            _ => Errno::ENOEXEC,
        }
    }
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Read(errno) => write!(f, "cannot read: {errno}"),
            Self::Truncated => write!(f, "the file ends inside its headers"),
            Self::NotElf => write!(f, "not an ELF file"),
            Self::OtherMachine => write!(f, "not ELF64 for x86-64"),
            Self::NotExecutable(kind) => write!(f, "ELF type {kind}, not a static executable"),
            Self::Dynamic => write!(f, "dynamically linked"),
            Self::HeaderSize(size) => write!(f, "program headers of {size} bytes"),
            Self::TooManyHeaders(count) => write!(f, "{count} program headers"),
            Self::NoSegments => write!(f, "nothing to load"),
            Self::Unaligned { segment } => write!(f, "segment {segment} is not page-aligned"),
            Self::Wraps { segment } => write!(f, "segment {segment} has impossible sizes"),
            Self::OutOfRange { segment } => {
                write!(f, "segment {segment} lies outside user addresses")
            }
            Self::TooBig => write!(f, "the segments have too many pages"),
            Self::OutsideFile { segment } => write!(f, "segment {segment} lies outside the file"),
            Self::WritableCode { segment } => {
                write!(f, "segment {segment} is writable and executable")
            }
            Self::NoAccess { segment } => write!(f, "segment {segment} allows no access"),
            Self::Overlap => write!(f, "two segments share a page"),
            Self::Entry(entry) => write!(f, "entry point {entry:#x} is not in code"),
            Self::Stack(size) => write!(f, "a stack of {size} bytes is too big"),
        }
    }
}

impl core::error::Error for ElfError {}

/// Reads a program's headers and checks everything that loading relies on.
///
/// # Errors
/// See [`ElfError`].
pub fn plan(file: &mut impl ReadAt, limits: &Limits) -> Result<Plan, ElfError> {
    let file_size = file.size().map_err(ElfError::Read)?;
    let mut bytes = [0; HEADER_SIZE];
    read_exact(file, 0, &mut bytes)?;
    let header = check_header(&bytes)?;
    let count = usize::from(header.e_phnum);
    let mut table = [0; MAX_PROGRAM_HEADERS * PROGRAM_HEADER_SIZE];
    let table = table
        .get_mut(..count * PROGRAM_HEADER_SIZE)
        .ok_or(ElfError::TooManyHeaders(header.e_phnum))?;
    read_exact(file, header.e_phoff, table)?;

    let mut plan = Plan {
        entry: header.e_entry,
        segments: Vec::new(),
        stack_size: None,
    };
    let mut loads = 0;
    for item in ParsingTable::<_, ProgramHeader>::new(header.endianness, Class::ELF64, table) {
        match item.p_type {
            PT_LOAD => {
                plan.segments
                    .extend(check_segment(&item, loads, file_size, limits)?);
                loads += 1;
            }
            PT_INTERP | PT_DYNAMIC => return Err(ElfError::Dynamic),
            PT_GNU_STACK => plan.stack_size = check_stack(item.p_memsz, limits)?,
            _ => {}
        }
    }
    check_together(&mut plan, limits)?;
    Ok(plan)
}

fn read_exact(file: &mut impl ReadAt, offset: u64, buf: &mut [u8]) -> Result<(), ElfError> {
    let mut done = 0;
    while done < buf.len() {
        let at = offset.checked_add(done as u64).ok_or(ElfError::Truncated)?;
        match file.read_at(at, &mut buf[done..]).map_err(ElfError::Read)? {
            0 => return Err(ElfError::Truncated),
            length => done = (done + length).min(buf.len()),
        }
    }
    Ok(())
}

fn check_header(bytes: &[u8; HEADER_SIZE]) -> Result<FileHeader<AnyEndian>, ElfError> {
    let ident = parse_ident::<AnyEndian>(&bytes[..IDENT_SIZE]).map_err(|error| match error {
        ::elf::ParseError::BadMagic(_) => ElfError::NotElf,
        _ => ElfError::OtherMachine,
    })?;
    let (endian, class, ..) = ident;
    if class != Class::ELF64 || endian != AnyEndian::Little {
        return Err(ElfError::OtherMachine);
    }
    let header =
        FileHeader::parse_tail(ident, &bytes[IDENT_SIZE..]).map_err(|_| ElfError::Truncated)?;
    if header.e_machine != EM_X86_64 || header.version != u32::from(EV_CURRENT) {
        return Err(ElfError::OtherMachine);
    }
    if header.e_type != ET_EXEC {
        return Err(ElfError::NotExecutable(header.e_type));
    }
    if header.e_phnum == 0 {
        return Err(ElfError::NoSegments);
    }
    if usize::from(header.e_phentsize) != PROGRAM_HEADER_SIZE {
        return Err(ElfError::HeaderSize(header.e_phentsize));
    }
    Ok(header)
}

/// Checks one PT_LOAD header by itself. An empty segment is none.
fn check_segment(
    header: &ProgramHeader,
    segment: usize,
    file_size: u64,
    limits: &Limits,
) -> Result<Option<Segment>, ElfError> {
    if header.p_filesz > header.p_memsz {
        return Err(ElfError::Wraps { segment });
    }
    if header.p_memsz == 0 {
        return Ok(None);
    }
    if !header.p_vaddr.is_multiple_of(PAGE_SIZE)
        || (header.p_align != 0 && !header.p_align.is_power_of_two())
    {
        return Err(ElfError::Unaligned { segment });
    }
    let end = header
        .p_vaddr
        .checked_add(header.p_memsz)
        .ok_or(ElfError::Wraps { segment })?;
    if end > limits.image_end.min(USER_END) {
        return Err(ElfError::OutOfRange { segment });
    }
    match header.p_offset.checked_add(header.p_filesz) {
        Some(file_end) if file_end <= file_size => {}
        _ => return Err(ElfError::OutsideFile { segment }),
    }
    let access = match (header.p_flags & PF_W != 0, header.p_flags & PF_X != 0) {
        (true, true) => return Err(ElfError::WritableCode { segment }),
        (true, false) => Access::Write,
        (false, true) => Access::Execute,
        (false, false) if header.p_flags & PF_R != 0 => Access::Read,
        (false, false) => return Err(ElfError::NoAccess { segment }),
    };
    Ok(Some(Segment {
        address: header.p_vaddr,
        memory_size: header.p_memsz,
        file_offset: header.p_offset,
        file_size: header.p_filesz,
        access,
    }))
}

fn check_stack(size: u64, limits: &Limits) -> Result<Option<u64>, ElfError> {
    if size > limits.stack_size {
        return Err(ElfError::Stack(size));
    }
    Ok((size > 0).then(|| size.next_multiple_of(PAGE_SIZE)))
}

/// What no segment shows by itself: order, overlap, total, entry.
fn check_together(plan: &mut Plan, limits: &Limits) -> Result<(), ElfError> {
    if plan.segments.is_empty() {
        return Err(ElfError::NoSegments);
    }
    plan.segments
        .sort_unstable_by_key(|segment| segment.address);
    if plan
        .segments
        .windows(2)
        .any(|pair| pair[0].end() > pair[1].address)
    {
        return Err(ElfError::Overlap);
    }
    if plan.segments.iter().map(Segment::pages).sum::<u64>() > limits.pages {
        return Err(ElfError::TooBig);
    }
    let entry = plan.entry;
    let in_code = plan.segments.iter().any(|segment| {
        segment.access == Access::Execute
            && entry >= segment.address
            && entry - segment.address < segment.file_size
    });
    if in_code {
        Ok(())
    } else {
        Err(ElfError::Entry(entry))
    }
}
