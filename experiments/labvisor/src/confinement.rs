//! The nested page table: all physical memory is the guest's, but labvisor's reads as one page
//! of zeros and cannot be written.

use core::ops::Range;

use crate::defects::{self, Defect};
use crate::paging::{Full, PAGE, PageTables, flags};

/// What the guest may do with its own memory.
pub const ALL: u64 = flags::PRESENT | flags::WRITABLE | flags::USER;
const READ: u64 = flags::PRESENT | flags::USER;

/// Maps `all` memory to itself and each page of `hidden` to the page `zeros`.
pub fn confine(
    nested: &mut PageTables,
    all: Range<u64>,
    hidden: &Range<u64>,
    zeros: u64,
) -> Result<(), Full> {
    nested.map(all.clone(), all.start, ALL)?;
    if defects::planted(Defect::HiddenReadable) {
        return nested.map(hidden.clone(), hidden.start, READ);
    }
    let rights = if defects::planted(Defect::ZeroPageWritable) {
        ALL
    } else {
        READ
    };
    let end = if defects::planted(Defect::LastHiddenPageMissed) {
        hidden.end - PAGE
    } else {
        hidden.end
    };
    for page in (hidden.start..end).step_by(PAGE as usize) {
        nested.map(page..page + PAGE, zeros, rights)?;
    }
    Ok(())
}
