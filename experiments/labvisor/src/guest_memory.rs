//! What labvisor may touch on the guest's behalf: the guest's own RAM, through the guest's own
//! page tables, with the rights of the guest's code that asked.

use alloc::vec::Vec;
use core::ops::Range;

use crate::defects::{self, Defect};
use crate::machine::Machine;
use crate::memory_map::Region;
use crate::paging::{self, PAGE, flags};
use crate::vcpu::{Exception, Vcpu, bits};

/// The address does not belong to the guest's RAM.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

/// What an access does and who asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// A write; otherwise a read.
    pub write: bool,
    /// An instruction fetch.
    pub fetch: bool,
    /// Privilege level 3.
    pub user: bool,
}

impl Access {
    /// A read with the rights of the code that runs.
    pub fn read(vcpu: &Vcpu) -> Self {
        Self {
            write: false,
            fetch: false,
            user: vcpu.is_user(),
        }
    }

    /// A write with the rights of the code that runs.
    pub fn write(vcpu: &Vcpu) -> Self {
        Self {
            write: true,
            ..Self::read(vcpu)
        }
    }

    /// An instruction fetch.
    pub fn fetch(vcpu: &Vcpu) -> Self {
        Self {
            fetch: true,
            ..Self::read(vcpu)
        }
    }
}

/// Why a linear address could not be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The guest's page tables refuse it; the error code and the address a #PF would have.
    Page {
        /// Error code.
        code: u32,
        /// Faulting linear address.
        address: u64,
    },
    /// Not canonical: a #GP.
    NonCanonical,
    /// It maps something that is not the guest's RAM.
    NotRam,
}

impl Fault {
    /// The exception the processor would have raised itself.
    pub fn exception(self) -> Exception {
        match self {
            Fault::Page { code, address } => Exception::PageFault { code, address },
            Fault::NonCanonical | Fault::NotRam => Exception::GeneralProtection(0),
        }
    }
}

/// The guest's physical address space.
pub struct GuestMemory {
    ram: Vec<Range<u64>>,
    hidden: Range<u64>,
}

impl GuestMemory {
    /// From the firmware's memory map and the part that labvisor keeps.
    pub fn new(map: &[Region], hidden: Range<u64>) -> Self {
        let kinds = [Region::USABLE, Region::ACPI_RECLAIMABLE];
        let ram = map.iter().filter(|region| kinds.contains(&region.kind));
        Self {
            ram: ram.map(Region::range).collect(),
            hidden,
        }
    }

    /// Labvisor's own memory.
    pub fn hidden(&self) -> &Range<u64> {
        &self.hidden
    }

    /// Whether any byte of the range is labvisor's.
    pub fn touches_hidden(&self, address: u64, length: u64) -> bool {
        let end = address.saturating_add(length);
        address < self.hidden.end && end > self.hidden.start
    }

    /// Whether any byte of the range is RAM, labvisor's included.
    pub fn touches_ram(&self, address: u64, length: u64) -> bool {
        let end = address.saturating_add(length);
        let touches = |ram: &Range<u64>| address < ram.end && end > ram.start;
        self.ram.iter().any(touches)
    }

    /// Whether all of the range is RAM that belongs to the guest.
    pub fn is_ram(&self, address: u64, length: u64) -> bool {
        let Some(end) = address.checked_add(length) else {
            return false;
        };
        let inside = |ram: &Range<u64>| ram.start <= address && end <= ram.end;
        let ram = self.ram.iter().any(inside);
        ram && (!self.touches_hidden(address, length) || defects::planted(Defect::HiddenIsRam))
    }

    /// Reads guest-physical memory; labvisor's reads as zeros, as it does for the guest.
    pub fn read(&self, m: &dyn Machine, address: u64, bytes: &mut [u8]) -> Result<(), Refused> {
        let length = bytes.len() as u64;
        if self.is_ram(address, length) {
            m.read(address, bytes);
        } else if self.touches_hidden(address, length) {
            bytes.fill(0);
        } else {
            return Err(Refused);
        }
        Ok(())
    }

    /// Writes guest-physical memory.
    pub fn write(&self, m: &mut dyn Machine, address: u64, bytes: &[u8]) -> Result<(), Refused> {
        if !self.is_ram(address, bytes.len() as u64) {
            return Err(Refused);
        }
        m.write(address, bytes);
        Ok(())
    }

    /// Reads from a linear address.
    pub fn read_linear(
        &self,
        m: &mut dyn Machine,
        vcpu: &Vcpu,
        linear: u64,
        bytes: &mut [u8],
        access: Access,
    ) -> Result<(), Fault> {
        let mut done = 0;
        while done < bytes.len() {
            let at = self.linear(vcpu, linear, done);
            let physical = self.translate(m, vcpu, at, access)?;
            let step = (bytes.len() - done).min((PAGE - at % PAGE) as usize);
            self.read(m, physical, &mut bytes[done..done + step])
                .map_err(|Refused| Fault::NotRam)?;
            done += step;
        }
        Ok(())
    }

    /// Writes to a linear address, all or nothing.
    pub fn write_linear(
        &self,
        m: &mut dyn Machine,
        vcpu: &Vcpu,
        linear: u64,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let access = Access::write(vcpu);
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < bytes.len() {
            let at = self.linear(vcpu, linear, done);
            let step = (bytes.len() - done).min((PAGE - at % PAGE) as usize);
            let piece = self.translate(m, vcpu, at, access);
            if defects::planted(Defect::PartialWrite)
                && let Ok(physical) = piece
            {
                let _ = self.write(m, physical, &bytes[done..done + step]);
            }
            let physical = piece?;
            if !self.is_ram(physical, step as u64) {
                return Err(Fault::NotRam);
            }
            pieces.push((physical, done..done + step));
            done += step;
        }
        for (physical, part) in pieces {
            m.write(physical, &bytes[part]);
        }
        Ok(())
    }

    fn linear(&self, vcpu: &Vcpu, linear: u64, offset: usize) -> u64 {
        let at = linear.wrapping_add(offset as u64);
        if vcpu.vmcb.save.efer & bits::EFER_LMA == 0 {
            at & 0xffff_ffff
        } else {
            at
        }
    }

    /// Walks the guest's page tables (APM vol. 2, chapter 5), checks the rights and sets the
    /// accessed and dirty bits as the processor does.
    pub fn translate(
        &self,
        m: &mut dyn Machine,
        vcpu: &Vcpu,
        linear: u64,
        access: Access,
    ) -> Result<u64, Fault> {
        let save = &vcpu.vmcb.save;
        if save.cr0 & bits::CR0_PG == 0 {
            return Ok(linear & 0xffff_ffff);
        }
        let format = Format::of(vcpu);
        let spare_bits = 64 - (12 + 9 * format.levels);
        let extended = (linear << spare_bits) as i64 >> spare_bits;
        let canonical = extended as u64 == linear || defects::planted(Defect::NonCanonicalAccepted);
        if format.long && !canonical {
            return Err(Fault::NonCanonical);
        }
        let user = access.user && !defects::planted(Defect::SupervisorWalk);
        let nx = save.efer & bits::EFER_NXE != 0;
        let code = u32::from(access.write) << 1
            | u32::from(access.user) << 2
            | u32::from(access.fetch && (nx || save.cr4 & bits::CR4_SMEP != 0)) << 4;
        let fault = |present: u32, reserved: u32| Fault::Page {
            code: code | present | reserved << 3,
            address: linear,
        };

        let mut table = save.cr3 & format.root_mask;
        let mut rights = flags::WRITABLE | flags::USER;
        let mut no_execute = false;
        let mut path = [(0, 0); 5];
        for level in (0..format.levels).rev() {
            let slot = table + format.index(linear, level) * format.entry_bytes;
            let mut bytes = [0; 8];
            let width = format.entry_bytes as usize;
            if self.read(m, slot, &mut bytes[..width]).is_err() {
                return Err(fault(0, 0));
            }
            let entry = u64::from_le_bytes(bytes);
            path[level] = (slot, entry);
            if entry & flags::PRESENT == 0 {
                return Err(fault(0, 0));
            }
            let large = format.has_large(level) && entry & flags::LARGE != 0;
            let reserved = format.reserved(level, large, nx) & entry != 0;
            if reserved && !defects::planted(Defect::ReservedBitsIgnored) {
                return Err(fault(1, 1));
            }
            let pointer_of_pae = format.levels == 3 && level == 2;
            if !pointer_of_pae {
                rights &= entry;
                no_execute |= nx && entry & flags::NO_EXECUTE != 0;
            }
            if level > 0 && !large {
                table = entry & paging::ADDRESS;
                continue;
            }
            let wp = user || save.cr0 & bits::CR0_WP != 0;
            let user_page = rights & flags::USER != 0;
            let smap = save.cr4 & bits::CR4_SMAP != 0 && save.rflags & bits::RFLAGS_AC == 0;
            let smep = save.cr4 & bits::CR4_SMEP != 0;
            let refused = (user && !user_page)
                || (access.write
                    && rights & flags::WRITABLE == 0
                    && wp
                    && !defects::planted(Defect::WriteIgnoresReadOnly))
                || (access.fetch && (no_execute || (smep && !user && user_page)))
                || (!user
                    && !access.fetch
                    && smap
                    && user_page
                    && !defects::planted(Defect::SmapIgnored));
            if refused {
                return Err(fault(1, 0));
            }
            self.mark(m, &path[level..format.levels], access.write);
            let size = format.page_size(level);
            if defects::planted(Defect::LargePageOffset) {
                return Ok(format.address(entry, size) + linear % PAGE);
            }
            return Ok(format.address(entry, size) + (linear & (size - 1)));
        }
        Err(fault(0, 0))
    }

    /// Sets the accessed bits on the path of entries, and the dirty bit of its last one.
    fn mark(&self, m: &mut dyn Machine, path: &[(u64, u64)], write: bool) {
        for (depth, (slot, entry)) in path.iter().enumerate() {
            let dirty = write && depth == 0 && !defects::planted(Defect::DirtyBitMissed);
            let bits = flags::ACCESSED | if dirty { flags::DIRTY } else { 0 };
            if entry & bits != bits && self.is_ram(*slot, 8) {
                m.set_bits(*slot, bits as u8);
            }
        }
    }
}

/// The shape of the guest's page tables.
struct Format {
    levels: usize,
    entry_bytes: u64,
    index_bits: usize,
    root_mask: u64,
    page_size_extension: bool,
    long: bool,
}

impl Format {
    fn of(vcpu: &Vcpu) -> Self {
        let save = &vcpu.vmcb.save;
        let long = save.efer & bits::EFER_LMA != 0;
        let pae = save.cr4 & bits::CR4_PAE != 0;
        let (levels, entry_bytes, index_bits, root_mask) = if long {
            let five = save.cr4 & bits::CR4_LA57 != 0;
            (4 + usize::from(five), 8, 9, paging::ADDRESS)
        } else if pae {
            (3, 8, 9, 0xffff_ffe0)
        } else {
            (2, 4, 10, 0xffff_f000)
        };
        Self {
            levels,
            entry_bytes,
            index_bits,
            root_mask,
            page_size_extension: pae || save.cr4 & bits::CR4_PSE != 0,
            long,
        }
    }

    fn index(&self, linear: u64, level: usize) -> u64 {
        (linear >> (12 + self.index_bits * level)) & ((1 << self.index_bits) - 1)
    }

    fn page_size(&self, level: usize) -> u64 {
        PAGE << (self.index_bits * level)
    }

    fn has_large(&self, level: usize) -> bool {
        match level {
            1 => self.page_size_extension,
            2 => self.long,
            _ => false,
        }
    }

    /// Bits that must be 0 in an entry.
    fn reserved(&self, level: usize, large: bool, nx: bool) -> u64 {
        if self.entry_bytes == 4 {
            return 0;
        }
        let nx = if nx { 0 } else { flags::NO_EXECUTE };
        // Bit 12 of a large page is PAT; the rest below its size must be 0.
        let inside = if large {
            (self.page_size(level) - 1) & paging::ADDRESS & !(1 << 12)
        } else {
            0
        };
        let top = if level >= 3 { flags::LARGE } else { 0 };
        nx | inside | top
    }

    fn address(&self, entry: u64, size: u64) -> u64 {
        if self.entry_bytes == 4 && size > PAGE {
            // 4 MiB pages hold address bits 32-39 in bits 13-20.
            return (entry & 0xffc0_0000) | (entry >> 13 & 0xff) << 32;
        }
        entry & paging::ADDRESS & !(size - 1)
    }
}
