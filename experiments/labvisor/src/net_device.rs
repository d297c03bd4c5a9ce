//! Labvisor's network device as the guest meets it: a PCI function, and a page of registers
//! that the nested page table leaves absent, so that every access to it exits.

use core::ops::Range;

use crate::confinement::ALL;
use crate::defects::{self, Defect};
use crate::guest_memory::GuestMemory;
use crate::machine::Machine;
use crate::paging::{Full, PAGE, PageTables};
use crate::pci::{self, Function, Target};
use crate::virtio::Device;

/// The device.
pub struct NetDevice {
    /// Its configuration space.
    pub function: Function,
    /// Its registers.
    pub device: Device,
    window: Option<Range<u64>>,
}

impl NetDevice {
    /// In the last free slot of bus 0, its registers in a free page below 4 GiB; `None` when
    /// there is no such slot.
    pub fn place(m: &mut dyn Machine, memory: &GuestMemory) -> Option<Self> {
        const FIRST_PAGE: u32 = 0xc000_0000;
        const LAST_PAGE: u32 = 0xdfff_0000;
        const STEP: usize = 0x10_0000;
        let slot = (0..32).rev().find(|slot| is_empty(m, *slot))?;
        let page = (FIRST_PAGE..LAST_PAGE)
            .step_by(STEP)
            .find(|page| !memory.touches_ram(u64::from(*page), PAGE) && !is_used(m, *page))?;
        Some(Self {
            function: Function::new(slot, page),
            device: Device::default(),
            window: None,
        })
    }

    /// Where the registers are now.
    pub fn window(&self) -> Option<&Range<u64>> {
        self.window.as_ref()
    }

    /// Moves the hole in the nested page table to where the guest wants the registers. They do
    /// not appear over RAM or over labvisor's memory. Says whether anything moved.
    pub fn follow_bar(
        &mut self,
        memory: &GuestMemory,
        nested: &mut PageTables,
    ) -> Result<bool, Full> {
        let wanted = self.function.window().filter(|window| {
            let over_hidden = memory.touches_hidden(window.start, PAGE);
            if defects::planted(Defect::BarOverHidden) && over_hidden {
                return true;
            }
            let over_ram = memory.touches_ram(window.start, PAGE);
            !over_hidden && (!over_ram || defects::planted(Defect::BarOverRam))
        });
        if wanted == self.window {
            return Ok(false);
        }
        if self.window.is_some() && defects::planted(Defect::BarMoveIgnored) {
            return Ok(false);
        }
        if let Some(old) = self.window.take() {
            give_back(memory, nested, old.start)?;
        }
        if let Some(new) = &wanted {
            nested.unmap(new.clone())?;
        }
        self.window = wanted;
        Ok(true)
    }
}

/// What lay below the registers is the guest's again, in as large a page as before.
fn give_back(memory: &GuestMemory, nested: &mut PageTables, page: u64) -> Result<(), Full> {
    const LARGE: u64 = 2 << 20;
    let start = page / LARGE * LARGE;
    if memory.touches_hidden(start, LARGE) {
        nested.map(page..page + PAGE, page, ALL)
    } else {
        nested.map(start..start + LARGE, start, ALL)
    }
}

fn read_config(m: &mut dyn Machine, slot: u8, offset: u32) -> u32 {
    let address = 1 << 31 | u32::from(slot) << 11 | offset;
    m.port_out(pci::ADDRESS_PORT, 4, address);
    m.port_in(pci::DATA_PORT, 4)
}

fn is_empty(m: &mut dyn Machine, slot: u8) -> bool {
    read_config(m, slot, 0) & 0xffff == 0xffff
}

/// Whether a memory BAR of bus 0 lies near the page.
fn is_used(m: &mut dyn Machine, page: u32) -> bool {
    const NEAR: u32 = 16 << 20;
    (0..32).any(|slot| {
        !is_empty(m, slot)
            && (0x10..0x28).step_by(4).any(|offset| {
                let bar = read_config(m, slot, offset);
                bar & 1 == 0 && (bar & !0xf).abs_diff(page) < NEAR
            })
    })
}

/// The configuration space that an access to a data port means, if it is the device's.
pub fn target(m: &mut dyn Machine, device: &NetDevice, port: u16) -> Option<Target> {
    let target = Target::new(m.port_in(pci::ADDRESS_PORT, 4), port)?;
    device.function.owns(target).then_some(target)
}
