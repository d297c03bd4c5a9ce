//! Page tables: the nested ones that confine the guest, and labvisor's own. Both have the
//! four-level long-mode format (APM vol. 2, 5.3 and 15.25.5).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// Entry bits.
pub mod flags {
    /// The entry maps something.
    pub const PRESENT: u64 = 1 << 0;
    /// Writes are allowed.
    pub const WRITABLE: u64 = 1 << 1;
    /// User accesses are allowed; to nested tables every guest access is one.
    pub const USER: u64 = 1 << 2;
    /// Set by the processor at the first access.
    pub const ACCESSED: u64 = 1 << 5;
    /// Set by the processor at the first write.
    pub const DIRTY: u64 = 1 << 6;
    /// The entry maps a page of 2 MiB or 1 GiB itself.
    pub const LARGE: u64 = 1 << 7;
    /// Instruction fetches are refused.
    pub const NO_EXECUTE: u64 = 1 << 63;
}

/// The address in an entry.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The smallest page.
pub const PAGE: u64 = 4096;
const LEVELS: usize = 4;

/// One table.
#[repr(C, align(4096))]
#[derive(Clone)]
struct Table([u64; 512]);

/// No table is left for a split.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// A tree of tables out of a fixed pool.
pub struct PageTables {
    pool: Box<[Table]>,
    free: Vec<usize>,
    base: u64,
    largest_level: usize,
}

impl PageTables {
    /// An empty tree of at most `tables` tables. `physical` turns a pointer's address into a
    /// physical one; `gigabyte_pages` says whether the processor has them.
    pub fn new(tables: usize, gigabyte_pages: bool, physical: impl Fn(u64) -> u64) -> Self {
        let pool = alloc::vec![Table([0; 512]); tables].into_boxed_slice();
        let base = physical(pool.as_ptr() as u64);
        Self {
            pool,
            free: (1..tables).rev().collect(),
            base,
            largest_level: if gigabyte_pages { 2 } else { 1 },
        }
    }

    /// What CR3 or the VMCB's N_CR3 holds.
    pub fn root(&self) -> u64 {
        self.base
    }

    /// Maps `from` to the physical addresses from `to` on, replacing what was there. The pages
    /// are as large as alignment allows.
    pub fn map(&mut self, from: Range<u64>, to: u64, flags: u64) -> Result<(), Full> {
        let mut at = from.start;
        while at < from.end {
            let target = to + (at - from.start);
            let fits = |level: &usize| {
                let size = page_size(*level);
                (at | target).is_multiple_of(size) && from.end - at >= size
            };
            let level = (0..=self.largest_level).rev().find(fits).unwrap_or(0);
            self.set(at, level, target | flags)?;
            at += page_size(level);
        }
        Ok(())
    }

    /// Takes the mapping of `range` away.
    pub fn unmap(&mut self, range: Range<u64>) -> Result<(), Full> {
        for page in range.step_by(PAGE as usize) {
            self.set(page, 0, 0)?;
        }
        Ok(())
    }

    /// The physical address and the entry bits for `address`.
    pub fn lookup(&self, address: u64) -> Option<(u64, u64)> {
        let mut table = 0;
        for level in (0..LEVELS).rev() {
            let entry = self.pool[table].0[index(address, level)];
            if entry & flags::PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & flags::LARGE != 0 {
                let offset = address & (page_size(level) - 1);
                return Some(((entry & ADDRESS) + offset, entry & !ADDRESS));
            }
            table = self.table_of(entry);
        }
        None
    }

    fn set(&mut self, address: u64, level: usize, entry: u64) -> Result<(), Full> {
        let mut table = 0;
        for above in (level + 1..LEVELS).rev() {
            table = self.descend(table, above, address)?;
        }
        let large = entry != 0 && level > 0;
        let slot = index(address, level);
        let old = self.pool[table].0[slot];
        if level > 0 && old & flags::PRESENT != 0 && old & flags::LARGE == 0 {
            self.release(self.table_of(old), level - 1);
        }
        self.pool[table].0[slot] = entry | if large { flags::LARGE } else { 0 };
        Ok(())
    }

    /// The table below `table`'s entry for `address`, made or split out of a large page when it
    /// is not there.
    fn descend(&mut self, table: usize, level: usize, address: u64) -> Result<usize, Full> {
        let slot = index(address, level);
        let entry = self.pool[table].0[slot];
        if entry & flags::PRESENT != 0 && entry & flags::LARGE == 0 {
            return Ok(self.table_of(entry));
        }
        let below = self.free.pop().ok_or(Full)?;
        let large = if level > 1 { flags::LARGE } else { 0 };
        for (number, slot) in self.pool[below].0.iter_mut().enumerate() {
            *slot = if entry & flags::PRESENT == 0 {
                0
            } else {
                ((entry & !flags::LARGE) + number as u64 * page_size(level - 1)) | large
            };
        }
        // The upper levels allow all; the entry that maps the page decides.
        let permissive = flags::PRESENT | flags::WRITABLE | flags::USER;
        self.pool[table].0[slot] = (self.base + below as u64 * PAGE) | permissive;
        Ok(below)
    }

    fn release(&mut self, table: usize, level: usize) {
        for slot in 0..512 {
            let entry = self.pool[table].0[slot];
            if level > 0 && entry & flags::PRESENT != 0 && entry & flags::LARGE == 0 {
                self.release(self.table_of(entry), level - 1);
            }
        }
        self.free.push(table);
    }

    fn table_of(&self, entry: u64) -> usize {
        (((entry & ADDRESS) - self.base) / PAGE) as usize
    }
}

fn page_size(level: usize) -> u64 {
    PAGE << (9 * level)
}

fn index(address: u64, level: usize) -> usize {
    (address >> (12 + 9 * level)) as usize % 512
}

#[cfg(test)]
mod tests {
    use super::*;

    const RW: u64 = flags::PRESENT | flags::WRITABLE | flags::USER;

    fn identity(tables: usize) -> PageTables {
        let mut tree = PageTables::new(tables, true, |address| address);
        tree.map(0..512 << 30, 0, RW).unwrap();
        tree
    }

    #[test]
    fn a_hole_leaves_its_neighbours_alone() {
        let mut tree = identity(8);
        tree.map(
            0x1f60_0000..0x1f60_1000,
            0x5000,
            flags::PRESENT | flags::USER,
        )
        .unwrap();
        tree.unmap(0x1f60_1000..0x1f60_2000).unwrap();
        assert_eq!(
            tree.lookup(0x1f5f_ffff),
            Some((0x1f5f_ffff, RW | flags::LARGE))
        );
        assert_eq!(
            tree.lookup(0x1f60_0123),
            Some((0x5123, flags::PRESENT | flags::USER))
        );
        assert_eq!(tree.lookup(0x1f60_1123), None);
        assert_eq!(tree.lookup(0x1f60_2123), Some((0x1f60_2123, RW)));
        assert_eq!(
            tree.lookup((511 << 30) + 5),
            Some(((511 << 30) + 5, RW | flags::LARGE))
        );
    }

    #[test]
    fn a_large_page_over_a_split_one_gives_the_table_back() {
        let mut tree = identity(4);
        for round in 0..100u64 {
            let page = 0x4000_0000 + round * 0x20_0000;
            tree.unmap(page..page + PAGE).unwrap();
            let start = page & !0x1f_ffff;
            tree.map(start..start + 0x20_0000, start, RW).unwrap();
        }
        tree.unmap(0..PAGE).err();
        tree.map(0x4000_0000..0x8000_0000, 0x4000_0000, RW).unwrap();
        assert_eq!(tree.unmap(0..PAGE), Ok(()));
        assert_eq!(tree.unmap(0x8000_0000..0x8000_0000 + PAGE), Err(Full));
    }
}
