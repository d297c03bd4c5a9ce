//! Loading the guest's kernel, the first module, as GRUB would have: an ELF64 file entered by
//! the Multiboot2 rules.

use alloc::vec::Vec;
use core::ops::Range;

use elf::abi::{EI_NIDENT, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::{self, Class, FileHeader};
use elf::segment::{ProgramHeader, SegmentTable};
use labvisor::memory_map::Region;
use labvisor::multiboot::Info;
use labvisor::paging::PAGE;

use crate::hw::physical;

/// The file's headers are in this many bytes at its start.
const HEAD: u64 = 64 << 10;

/// Where the guest starts.
pub struct Loaded {
    /// Physical address of its first instruction.
    pub entry: u32,
    /// Physical address of its Multiboot2 information.
    pub info: u32,
}

/// Moves all modules to the top of the guest's RAM below `top`, so that none lies where the
/// kernel wants to be. GRUB puts them where it likes. In descending order every module moves
/// up, over nothing but itself and those moved before.
pub fn gather_modules(info: &mut Info, top: u64) -> Result<(), &'static str> {
    let mut order: Vec<_> = info.modules.iter_mut().collect();
    order.sort_by_key(|module| core::cmp::Reverse(module.range.start));
    let mut top = top;
    for module in order {
        let Range { start, end } = module.range;
        let place = top
            .checked_sub(end - start)
            .map(|place| place / PAGE * PAGE)
            .filter(|place| *place >= start)
            .ok_or("no room for the guest's modules")?;
        copy_up(start, place, end - start);
        module.range = place..place + (end - start);
        top = place;
    }
    Ok(())
}

/// Puts the first module's segments and the information structure into memory. `info` becomes
/// the guest's: its command line is the module's text after the name, its modules the others.
pub fn load(info: &mut Info) -> Result<Loaded, &'static str> {
    if info.modules.is_empty() {
        return Err("no guest: the first module must be its kernel");
    }
    let kernel = info.modules.remove(0);
    let words = kernel.text.trim_start();
    info.command_line = words.split_once(' ').map_or("", |(_, rest)| rest).into();

    let file = kernel.range;
    let mut head: Vec<u8> = alloc::vec![0; HEAD.min(file.end - file.start) as usize];
    physical::read(file.start, &mut head);
    let (header, segments) = headers(&head).ok_or("the guest is not an ELF64 file")?;
    let mut entry = None;
    let mut top = 0;
    for segment in segments.iter().filter(|segment| segment.p_type == PT_LOAD) {
        let place = segment.p_paddr..segment.p_paddr.saturating_add(segment.p_memsz);
        let from = file.start.saturating_add(segment.p_offset);
        if from.saturating_add(segment.p_filesz) > file.end || segment.p_filesz > segment.p_memsz {
            return Err("the guest's ELF file is cut short");
        }
        check_free(&place, info)?;
        copy(from, place.start, segment.p_filesz);
        zero(place.start + segment.p_filesz..place.end);
        // The entry point is a virtual or a physical address, as GRUB takes it.
        for base in [segment.p_vaddr, segment.p_paddr] {
            let offset = header.e_entry.wrapping_sub(base);
            if offset < segment.p_memsz && entry.is_none() {
                entry = Some(segment.p_paddr + offset);
            }
        }
        top = top.max(place.end);
    }
    let entry = entry.ok_or("the guest's entry point is outside its segments")?;
    let entry = u32::try_from(entry).map_err(|_| "the guest's entry point is above 4 GiB")?;

    let bytes = info.write();
    let place = top.next_multiple_of(PAGE);
    check_free(&(place..place + bytes.len() as u64), info)?;
    physical::write(place, &bytes);
    Ok(Loaded {
        entry,
        info: place as u32,
    })
}

fn headers(head: &[u8]) -> Option<(FileHeader<LittleEndian>, Vec<ProgramHeader>)> {
    let ident = file::parse_ident::<LittleEndian>(head).ok()?;
    let tail = head.get(EI_NIDENT..)?;
    let header = FileHeader::parse_tail(ident, tail).ok()?;
    let table = head.get(usize::try_from(header.e_phoff).ok()?..)?;
    let segments = SegmentTable::new(header.endianness, header.class, table);
    let segments: Vec<_> = segments.iter().take(header.e_phnum.into()).collect();
    let whole = header.class == Class::ELF64 && segments.len() == usize::from(header.e_phnum);
    whole.then_some((header, segments))
}

fn copy(from: u64, to: u64, length: u64) {
    let mut buffer = [0; PAGE as usize];
    for offset in (0..length).step_by(buffer.len()) {
        let piece = &mut buffer[..(length - offset).min(PAGE) as usize];
        physical::read(from + offset, piece);
        physical::write(to + offset, piece);
    }
}

/// Copies to a higher address, from the end, so that the ranges may overlap.
fn copy_up(from: u64, to: u64, length: u64) {
    let mut buffer = [0; PAGE as usize];
    let mut left = length;
    while left > 0 {
        let step = left.min(PAGE);
        left -= step;
        let piece = &mut buffer[..step as usize];
        physical::read(from + left, piece);
        physical::write(to + left, piece);
    }
}

fn zero(range: Range<u64>) {
    for at in range.clone().step_by(PAGE as usize) {
        physical::write(
            at,
            &[0; PAGE as usize][..(range.end - at).min(PAGE) as usize],
        );
    }
}

/// All of `place` must be usable RAM that holds no module.
fn check_free(place: &Range<u64>, info: &Info) -> Result<(), &'static str> {
    let holds = |region: &Region| {
        let range = region.range();
        region.kind == Region::USABLE && range.start <= place.start && place.end <= range.end
    };
    if !info.memory.iter().any(holds) {
        return Err("the guest wants to be loaded where no RAM is");
    }
    let overlaps = |range: &Range<u64>| range.start < place.end && range.end > place.start;
    if info.modules.iter().any(|module| overlaps(&module.range)) {
        return Err("the guest wants to be loaded over one of its modules");
    }
    Ok(())
}
