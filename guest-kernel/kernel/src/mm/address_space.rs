//! A process's memory: regions that say what may be there, page tables that say what is.
//!
//! Pages come on first touch (demand zero) and are shared after fork until written (copy-on-write).
//! No page is both writable and executable.

use super::frames::{self, Frame};
use super::kernel_space::ENTRY_ADDRESS;
use super::layout::{PAGE_SIZE, USER_TOP, page_down, page_up};
use super::user_tables::UserTables;
use super::{PhysAddr, commit, raw};
use crate::arch::paging;
use ::x86_64::structures::paging::PageTableFlags as Flags;
use abi::Errno;
use kcore::umem::{Piece, UserRange};

/// Most regions: ELF segments, stack, heap.
const MAX_REGIONS: usize = 18;
/// Pages promised for an address space's tables, besides one for each 2 MiB of a region.
const TABLE_PAGES: usize = 12;
/// Shared and read-only because of it: a write makes a copy.
const COPY_ON_WRITE: Flags = Flags::BIT_9;
const PAGES_PER_TABLE: u64 = 512;

/// What a region allows; reading always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// Read only.
    Read,
    /// Read and write.
    Write,
    /// Read and execute.
    Execute,
}

/// What somebody wants to do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Instruction fetch.
    Execute,
}

/// Why an access is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// Nothing is there.
    Unmapped,
    /// The region does not allow it.
    Denied,
    /// No page is left, although one was promised: somebody allocates without promise.
    OutOfMemory,
}

impl From<FaultError> for Errno {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Unmapped | FaultError::Denied => Errno::EFAULT,
            FaultError::OutOfMemory => Errno::ENOMEM,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Region {
    start: u64,
    end: u64,
    protection: Protection,
}

impl Region {
    fn promised(&self) -> usize {
        promised(self.start, self.end)
    }
}

fn promised(start: u64, end: u64) -> usize {
    let pages = (page_up(end) - page_down(start)) / PAGE_SIZE;
    (pages + pages.div_ceil(PAGES_PER_TABLE)) as usize
}

/// User memory of one process.
pub struct AddressSpace {
    tables: UserTables,
    regions: [Option<Region>; MAX_REGIONS],
    /// First address of the heap region.
    heap_start: u64,
    /// End of the heap: what `sbrk` moves, to the byte.
    heap_end: u64,
    promised: usize,
    resident: usize,
}

impl AddressSpace {
    /// An empty one.
    pub fn new() -> Result<Self, Errno> {
        if !commit::reserve(TABLE_PAGES) {
            return Err(Errno::ENOMEM);
        }
        let Some(tables) = UserTables::new() else {
            commit::release(TABLE_PAGES);
            return Err(Errno::ENOMEM);
        };
        Ok(Self {
            tables,
            regions: [None; MAX_REGIONS],
            heap_start: 0,
            heap_end: 0,
            promised: TABLE_PAGES,
            resident: 0,
        })
    }

    /// What goes into CR3.
    pub fn root(&self) -> PhysAddr {
        self.tables.root()
    }

    /// Pages present.
    pub fn resident_pages(&self) -> usize {
        self.resident
    }

    fn promise(&mut self, pages: usize) -> Result<(), Errno> {
        if !commit::reserve(pages) {
            return Err(Errno::ENOMEM);
        }
        self.promised += pages;
        Ok(())
    }

    fn unpromise(&mut self, pages: usize) {
        self.promised -= pages;
        commit::release(pages);
    }

    /// Adds a region of whole pages.
    pub fn add_region(
        &mut self,
        start: u64,
        end: u64,
        protection: Protection,
    ) -> Result<(), Errno> {
        let (start, end) = (page_down(start), page_up(end));
        if start >= end || end > USER_TOP {
            return Err(Errno::ENOMEM);
        }
        if self
            .regions
            .iter()
            .flatten()
            .any(|other| start < other.end && other.start < end)
        {
            return Err(Errno::ENOEXEC);
        }
        let free = self
            .regions
            .iter()
            .position(Option::is_none)
            .ok_or(Errno::ENOMEM)?;
        let region = Region {
            start,
            end,
            protection,
        };
        self.promise(region.promised())?;
        self.regions[free] = Some(region);
        Ok(())
    }

    /// Sets where the (empty) heap starts.
    pub fn set_heap(&mut self, start: u64) {
        self.heap_start = start;
        self.heap_end = start;
    }

    /// Moves the end of the heap; returns the old one. New pages come when touched.
    pub fn sbrk(&mut self, delta: i64) -> Result<u64, Errno> {
        let old = self.heap_end;
        let new = old
            .checked_add_signed(delta)
            .filter(|&new| new <= USER_TOP)
            .ok_or(Errno::ENOMEM)?;
        if new < self.heap_start {
            return Err(Errno::EINVAL);
        }
        let (old_page, new_page) = (page_up(old), page_up(new));
        if new_page > old_page {
            // The room above the heap must be free (probe's window, a segment linked high).
            let clash = |region: &Region| region.start < new_page && old_page < region.end;
            if self.regions.iter().flatten().any(clash) || new_page > abi::probe::WINDOW_BASE {
                return Err(Errno::ENOMEM);
            }
        }
        self.resize_heap_region(new_page)?;
        if new_page < old_page {
            for page in (new_page..old_page).step_by(PAGE_SIZE as usize) {
                self.unmap(page);
            }
        }
        self.heap_end = new;
        Ok(old)
    }

    fn heap_region(&mut self) -> Option<usize> {
        let start = self.heap_start;
        self.regions
            .iter()
            .position(|region| region.is_some_and(|region| region.start == start))
    }

    fn resize_heap_region(&mut self, end: u64) -> Result<(), Errno> {
        let slot = self.heap_region();
        let old = slot.and_then(|slot| self.regions[slot]);
        let before = old.as_ref().map_or(0, Region::promised);
        let after = if end > self.heap_start {
            promised(self.heap_start, end)
        } else {
            0
        };
        if after > before {
            self.promise(after - before)?;
        } else {
            self.unpromise(before - after);
        }
        let new = (end > self.heap_start).then_some(Region {
            start: self.heap_start,
            end,
            protection: Protection::Write,
        });
        match slot.or_else(|| self.regions.iter().position(Option::is_none)) {
            Some(slot) => self.regions[slot] = new,
            None if new.is_none() => {}
            None => {
                self.unpromise(after);
                return Err(Errno::ENOMEM);
            }
        }
        Ok(())
    }

    fn region_at(&self, address: u64) -> Option<Region> {
        self.regions
            .iter()
            .flatten()
            .copied()
            .find(|region| (region.start..region.end).contains(&address))
    }

    /// Makes the page at an address present for an access, and returns it.
    pub fn fault(&mut self, address: u64, access: Access) -> Result<Frame, FaultError> {
        let region = self.region_at(address).ok_or(FaultError::Unmapped)?;
        match (access, region.protection) {
            (Access::Write, Protection::Write)
            | (Access::Execute, Protection::Execute)
            | (Access::Read, _) => {}
            _ => return Err(FaultError::Denied),
        }
        let page = page_down(address);
        let entry = self.entry(page);
        if entry & Flags::PRESENT.bits() == 0 {
            let frame = frames::alloc().ok_or(FaultError::OutOfMemory)?;
            return self.install(page, frame, region.protection);
        }
        let frame = frames::from_entry(entry & ENTRY_ADDRESS).ok_or(FaultError::Unmapped)?;
        if access == Access::Write && entry & COPY_ON_WRITE.bits() != 0 {
            return self.unshare(page, frame);
        }
        Ok(frame)
    }

    fn install(
        &mut self,
        page: u64,
        frame: Frame,
        protection: Protection,
    ) -> Result<Frame, FaultError> {
        let flags = match protection {
            Protection::Read => Flags::PRESENT | Flags::USER_ACCESSIBLE | Flags::NO_EXECUTE,
            Protection::Write => {
                Flags::PRESENT | Flags::USER_ACCESSIBLE | Flags::NO_EXECUTE | Flags::WRITABLE
            }
            Protection::Execute => Flags::PRESENT | Flags::USER_ACCESSIBLE,
        };
        if self
            .tables
            .set_entry(page, frame.address().as_u64() | flags.bits())
            .is_none()
        {
            frames::free(frame);
            return Err(FaultError::OutOfMemory);
        }
        self.resident += 1;
        Ok(frame)
    }

    fn unshare(&mut self, page: u64, frame: Frame) -> Result<Frame, FaultError> {
        let flags = Flags::PRESENT | Flags::USER_ACCESSIBLE | Flags::NO_EXECUTE | Flags::WRITABLE;
        let own = if frames::is_exclusive(frame) {
            frame
        } else {
            let copy = frames::alloc_dirty().ok_or(FaultError::OutOfMemory)?;
            raw::copy(frame, copy);
            frames::free(frame);
            copy
        };
        self.tables
            .set_entry(page, own.address().as_u64() | flags.bits());
        paging::flush_page(page);
        Ok(own)
    }

    fn unmap(&mut self, page: u64) {
        let entry = self.entry(page);
        if entry & Flags::PRESENT.bits() == 0 {
            return;
        }
        self.tables.set_entry(page, 0);
        paging::flush_page(page);
        self.resident -= 1;
        if let Some(frame) = frames::from_entry(entry & ENTRY_ADDRESS) {
            frames::free(frame);
        }
    }

    /// The raw entry that translates a user address; 0 if there is none.
    pub fn entry(&self, address: u64) -> u64 {
        self.tables.entry(address)
    }

    /// Sets a raw entry inside probe's window. What it points to is not counted: neither fork nor
    /// the end of the address space copies or frees it.
    pub fn map_raw(&mut self, address: u64, entry: u64) -> Result<(), Errno> {
        let window = abi::probe::WINDOW_BASE
            ..abi::probe::WINDOW_BASE
                + (abi::probe::WINDOW_PAGES + abi::probe::WINDOW_EXTRA) * PAGE_SIZE;
        if !window.contains(&address) {
            return Err(Errno::EINVAL);
        }
        self.tables.set_entry(address, entry).ok_or(Errno::ENOMEM)?;
        paging::flush_page(address);
        Ok(())
    }

    /// A copy for a new process: pages are shared until one side writes.
    pub fn fork(&mut self) -> Result<Self, Errno> {
        let mut child = Self::new()?;
        child.promise(self.promised - TABLE_PAGES)?;
        child.regions = self.regions;
        child.heap_start = self.heap_start;
        child.heap_end = self.heap_end;
        let regions = self.regions;
        let shared = regions
            .iter()
            .flatten()
            .try_for_each(|region| self.share_region(&mut child, region));
        // The parent's pages became read-only.
        paging::flush_user();
        shared.map(|()| child)
    }

    fn share_region(&mut self, child: &mut Self, region: &Region) -> Result<(), Errno> {
        // A page at a time, because the parent's entries change on the way.
        let mut from = region.start;
        loop {
            let next = self.tables.present(from, region.end).next();
            let Some((page, mut entry)) = next else {
                return Ok(());
            };
            let frame =
                frames::from_entry(entry & ENTRY_ADDRESS).expect("a region holds counted pages");
            if entry & Flags::WRITABLE.bits() != 0 {
                entry = (entry & !Flags::WRITABLE.bits()) | COPY_ON_WRITE.bits();
                self.tables.set_entry(page, entry).ok_or(Errno::ENOMEM)?;
            }
            child.tables.set_entry(page, entry).ok_or(Errno::ENOMEM)?;
            child.resident += 1;
            frames::share(frame);
            from = page + PAGE_SIZE;
        }
    }

    /// Whether a whole range may be accessed.
    pub fn check(&self, range: UserRange, access: Access) -> Result<(), Errno> {
        let mut at = range.start();
        while at < range.end() {
            let region = self.region_at(at).ok_or(Errno::EFAULT)?;
            if access == Access::Write && region.protection != Protection::Write {
                return Err(Errno::EFAULT);
            }
            at = region.end;
        }
        Ok(())
    }

    /// Copies from a page of user memory; `bytes` has the piece's length.
    pub fn read(&mut self, piece: Piece, bytes: &mut [u8]) -> Result<(), Errno> {
        let frame = self.fault(piece.address, Access::Read)?;
        raw::read(frame, piece.offset(), bytes);
        Ok(())
    }

    /// Copies to a page of user memory.
    pub fn write(&mut self, piece: Piece, bytes: &[u8]) -> Result<(), Errno> {
        let frame = self.fault(piece.address, Access::Write)?;
        raw::write(frame, piece.offset(), bytes);
        Ok(())
    }

    /// Fills in memory of a program being loaded, whatever its protection will be.
    pub fn load(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut rest = bytes;
        for piece in UserRange::new(address, bytes.len() as u64)?.pieces() {
            let (part, behind) = rest.split_at(piece.length);
            let frame = self.fault(piece.address, Access::Read)?;
            raw::write(frame, piece.offset(), part);
            rest = behind;
        }
        Ok(())
    }
}

impl Drop for AddressSpace {
    /// Frees all pages; the tables follow. It must not be loaded on any CPU.
    fn drop(&mut self) {
        for region in self.regions.iter().flatten() {
            for (_, entry) in self.tables.present(region.start, region.end) {
                if let Some(frame) = frames::from_entry(entry & ENTRY_ADDRESS) {
                    frames::free(frame);
                }
            }
        }
        commit::release(self.promised);
    }
}
