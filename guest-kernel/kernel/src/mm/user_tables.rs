//! The page tables of one address space: entries in and out, tables made on the way.

use super::frames::{self, Frame};
use super::kernel_space::{self, ENTRY_ADDRESS, index};
use super::layout::{PAGE_SIZE, USER_TOP};
use super::{PhysAddr, raw};
use ::x86_64::structures::paging::PageTableFlags as Flags;

/// Flags of an entry that leads to a table; rights are the last entry's affair.
const TABLE: Flags = Flags::PRESENT
    .union(Flags::WRITABLE)
    .union(Flags::USER_ACCESSIBLE);
/// Entries in the top table that belong to the user.
const USER_ENTRIES: usize = 256;
/// Bytes that one table of the last level translates.
const REACH: u64 = 512 * PAGE_SIZE;

/// Four levels of tables; the kernel's half is shared with everybody.
pub(super) struct UserTables {
    root: Frame,
}

impl UserTables {
    /// Tables without a user page. None if there is no memory.
    pub(super) fn new() -> Option<Self> {
        let root = frames::alloc()?;
        kernel_space::fill_upper_half(root);
        Some(Self { root })
    }

    /// What goes into CR3.
    pub(super) fn root(&self) -> PhysAddr {
        self.root.address()
    }

    /// The last table on the way to an address, if it exists.
    fn table(&self, address: u64) -> Option<Frame> {
        let mut table = self.root;
        for level in (1..4).rev() {
            let entry = raw::entry(table, index(address, level));
            if entry & Flags::PRESENT.bits() == 0 {
                return None;
            }
            table = frames::from_entry(entry & ENTRY_ADDRESS)?;
        }
        Some(table)
    }

    /// The raw entry that translates a user address; 0 if there is none.
    pub(super) fn entry(&self, address: u64) -> u64 {
        self.table(address)
            .map_or(0, |table| raw::entry(table, index(address, 0)))
    }

    /// Sets an entry, making tables on the way. None if there is no memory for one.
    pub(super) fn set_entry(&mut self, address: u64, entry: u64) -> Option<()> {
        assert!(address < USER_TOP, "a user entry above the user half");
        let mut table = self.root;
        for level in (1..4).rev() {
            let present = raw::entry(table, index(address, level));
            table = if present & Flags::PRESENT.bits() != 0 {
                frames::from_entry(present & ENTRY_ADDRESS)?
            } else {
                let next = frames::alloc()?;
                let entry = next.address().as_u64() | TABLE.bits();
                raw::set_entry(table, index(address, level), entry);
                next
            };
        }
        raw::set_entry(table, index(address, 0), entry);
        Some(())
    }

    /// Pages present between two page addresses, with their entries; skips what has no table.
    pub(super) fn present(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let mut page = start;
        core::iter::from_fn(move || {
            while page < end {
                let Some(table) = self.table(page) else {
                    page = (page / REACH + 1) * REACH;
                    continue;
                };
                let at = page;
                page += PAGE_SIZE;
                let entry = raw::entry(table, index(at, 0));
                if entry & Flags::PRESENT.bits() != 0 {
                    return Some((at, entry));
                }
            }
            None
        })
    }

    fn free_below(table: Frame, level: u32, entries: core::ops::Range<usize>) {
        for index in entries {
            let entry = raw::entry(table, index);
            if level > 0
                && entry & Flags::PRESENT.bits() != 0
                && let Some(next) = frames::from_entry(entry & ENTRY_ADDRESS)
            {
                Self::free_below(next, level - 1, 0..512);
            }
        }
        frames::free(table);
    }
}

impl Drop for UserTables {
    /// Frees the tables, not the pages. They must not be loaded on any CPU.
    fn drop(&mut self) {
        Self::free_below(self.root, 3, 0..USER_ENTRIES);
    }
}
