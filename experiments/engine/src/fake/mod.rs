//! A model of a machine with a sound hypervisor, for dry runs of scripts and for tests.
//!
//! It holds what scripts touch: RAM with a hidden part, the probe window, an interpreter for the usual
//! instructions, a table of CPUID leaves and MSRs, BitVisor's hypercalls as a sound hypervisor answers them. What it
//! does not model does nothing. A verdict on the model says that a script runs, not that a claim holds.

mod cpu;
mod hypercalls;

use crate::guest::{Guest, decode_exec, encode_exec_response, encode_machine_info};
use abi::{
    Errno,
    probe::{self, MachineInfo, PTE_PRESENT, SPACE_PHYSICAL, WINDOW_BASE, WINDOW_PAGES},
};
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    rc::Rc,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::cell::RefCell;

/// First byte of the memory that the modelled hypervisor hides.
pub const HIDDEN_START: u64 = 0x1f00_0000;
/// First byte behind it.
pub const HIDDEN_END: u64 = 0x1ffe_0000;
const RAM_END: u64 = 0x2000_0000;
const PAGE: u64 = 4096;

/// Files of the catalogue that imports find: path below the catalogue, content.
pub type Files = Rc<dyn Fn(&str) -> Option<Vec<u8>>>;

/// The modelled machine.
pub struct Fake {
    hypervisor: bool,
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
    window: [(u64, u64); WINDOW_PAGES as usize],
    next_page: u64,
    msrs: BTreeMap<u32, u64>,
    cr: [u64; 9],
    dr: [u64; 8],
    pci_select: u32,
    ticks: u64,
    time_ns: u64,
    log_buffer: Option<(u64, u64)>,
    files: Files,
    said: Rc<RefCell<Vec<String>>>,
}

impl Fake {
    fn new(hypervisor: bool) -> Fake {
        let mut msrs = BTreeMap::new();
        for number in [
            0xc000_0081u32,
            0xc000_0082,
            0xc000_0083,
            0xc000_0084,
            0xc000_0100,
            0xc000_0101,
            0xc000_0102,
        ] {
            msrs.insert(number, 0);
        }
        for number in [
            0x174,
            0x175,
            0x176,
            0x277,
            0x2ff,
            0x1d9,
            0xc000_0103,
            0xc001_0015,
            0xc001_0117,
        ] {
            msrs.insert(number, 0);
        }
        msrs.insert(0xc000_0080, 0xd01);
        msrs.insert(0x1b, 0xfee0_0900);
        msrs.insert(0xc001_0114, 0x10);
        Fake {
            hypervisor,
            pages: BTreeMap::new(),
            window: [(0, 0); WINDOW_PAGES as usize],
            next_page: 0x20_0000,
            msrs,
            cr: [0x8001_0033, 0, 0, 0x1000, 0x6a0, 0, 0, 0, 0],
            dr: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            pci_select: 0,
            ticks: 1_000_000,
            time_ns: 0,
            log_buffer: None,
            files: Rc::new(|_| None),
            said: Rc::default(),
        }
    }

    /// A machine with a sound hypervisor that speaks BitVisor's hypercalls.
    pub fn labvisor() -> Fake {
        Fake::new(true)
    }

    /// A machine without a hypervisor.
    pub fn bare() -> Fake {
        Fake::new(false)
    }

    /// Lets imports find files.
    pub fn with_files(mut self, files: Files) -> Fake {
        self.files = files;
        self
    }

    /// What scripts printed; the list stays valid while the machine runs.
    pub fn said(&self) -> Rc<RefCell<Vec<String>>> {
        self.said.clone()
    }

    fn physical_byte(&self, address: u64) -> u8 {
        if (HIDDEN_START..HIDDEN_END).contains(&address) || address >= RAM_END {
            return 0;
        }
        self.pages
            .get(&(address / PAGE))
            .map_or(0, |page| page[(address % PAGE) as usize])
    }

    fn set_physical_byte(&mut self, address: u64, byte: u8) {
        if (HIDDEN_START..HIDDEN_END).contains(&address) || address >= RAM_END {
            return;
        }
        let page = self
            .pages
            .entry(address / PAGE)
            .or_insert_with(|| Box::new([0; PAGE as usize]));
        page[(address % PAGE) as usize] = byte;
    }

    /// The window page of a linear address.
    fn window_index(address: u64) -> Option<usize> {
        let offset = address.checked_sub(WINDOW_BASE)?;
        usize::try_from(offset / PAGE)
            .ok()
            .filter(|index| *index < WINDOW_PAGES as usize)
    }

    fn linear_to_physical(&self, address: u64) -> Option<u64> {
        let (physical, flags) = self.window[Self::window_index(address)?];
        (flags & PTE_PRESENT != 0 && flags & probe::PTE_RESERVED == 0)
            .then_some(physical + address % PAGE)
    }

    fn memory(&mut self, request: &[u8], write: bool, response: &mut [u8]) -> Result<usize, Errno> {
        let word = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().expect("8 bytes"));
        if request.len() < 24 {
            return Err(Errno::EINVAL);
        }
        let (address, len, space) = (word(0), word(8), word(16) as u32);
        let data = request[24..].to_vec();
        for offset in 0..len {
            let at = address.wrapping_add(offset);
            let physical = if space == SPACE_PHYSICAL {
                at
            } else {
                self.linear_to_physical(at).ok_or(Errno::EFAULT)?
            };
            if write {
                self.set_physical_byte(physical, data[offset as usize]);
            } else {
                *response.get_mut(offset as usize).ok_or(Errno::ENOBUFS)? =
                    self.physical_byte(physical);
            }
        }
        Ok(if write { 0 } else { len as usize })
    }

    fn map(&self) -> Vec<(u64, u64, u32)> {
        let end = if self.hypervisor {
            HIDDEN_START
        } else {
            HIDDEN_END
        };
        vec![
            (0, 0x9_fc00, 1),
            (0x9_fc00, 0x400, 2),
            (0xf_0000, 0x1_0000, 2),
            (0x10_0000, end - 0x10_0000, 1),
            (HIDDEN_END, RAM_END - HIDDEN_END, 2),
            (0xfffc_0000, 0x4_0000, 2),
        ]
    }
}

fn put(response: &mut [u8], bytes: &[u8]) -> Result<usize, Errno> {
    response
        .get_mut(..bytes.len())
        .ok_or(Errno::ENOBUFS)?
        .copy_from_slice(bytes);
    Ok(bytes.len())
}

impl Guest for Fake {
    fn probe(
        &mut self,
        operation: i32,
        request: &[u8],
        response: &mut [u8],
    ) -> Result<usize, Errno> {
        let word = |index: usize| {
            request
                .get(index * 8..index * 8 + 8)
                .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
        };
        match operation {
            probe::EXEC => {
                let request = decode_exec(request).ok_or(Errno::EINVAL)?;
                let (answer, ticks) = self.execute(&request)?;
                let mut bytes = encode_exec_response(&answer);
                ticks
                    .iter()
                    .for_each(|ticks| bytes.extend_from_slice(&ticks.to_le_bytes()));
                put(response, &bytes)
            }
            probe::PAGES_ALLOC => {
                let pages = word(1)
                    .filter(|pages| (1..=256).contains(pages))
                    .ok_or(Errno::EINVAL)?;
                let physical = self.next_page;
                self.next_page += pages * PAGE;
                put(response, &physical.to_le_bytes())
            }
            probe::PAGES_FREE => {
                let (physical, pages) =
                    (word(0).ok_or(Errno::EINVAL)?, word(1).ok_or(Errno::EINVAL)?);
                (0..pages).for_each(|page| drop(self.pages.remove(&(physical / PAGE + page))));
                Ok(0)
            }
            probe::PAGE_MAP => {
                let (Some(index), Some(physical), Some(flags)) = (word(0), word(1), word(2)) else {
                    return Err(Errno::EINVAL);
                };
                *self.window.get_mut(index as usize).ok_or(Errno::EINVAL)? = (physical, flags);
                put(response, &(WINDOW_BASE + index * PAGE).to_le_bytes())
            }
            probe::PAGE_ENTRY => {
                let index = word(0).ok_or(Errno::EINVAL)?;
                let (physical, flags) = *self.window.get(index as usize).ok_or(Errno::EINVAL)?;
                put(response, &(physical | flags).to_le_bytes())
            }
            probe::MEMORY_READ => self.memory(request, false, response),
            probe::MEMORY_WRITE => self.memory(request, true, response),
            probe::MEMORY_MAP => {
                let mut bytes = Vec::new();
                for (base, len, kind) in self.map() {
                    bytes.extend_from_slice(&base.to_le_bytes());
                    bytes.extend_from_slice(&len.to_le_bytes());
                    bytes.extend_from_slice(&u64::from(kind).to_le_bytes());
                }
                put(response, &bytes)
            }
            probe::VMM_LOG | probe::CHECKPOINT => Ok(0),
            probe::MACHINE_INFO => {
                let mut info = MachineInfo {
                    hypercall: if self.hypervisor {
                        probe::HYPERCALL_VMMCALL
                    } else {
                        probe::HYPERCALL_NONE
                    },
                    cpus: 1,
                    tsc_hz: 2_600_000_000,
                    vendor: [0; 16],
                    brand: [0; 48],
                    test_device: 0,
                    test_device_address: 0,
                    reserved: [0; 5],
                };
                info.vendor[..12].copy_from_slice(b"AuthenticAMD");
                info.brand[..12].copy_from_slice(b"Fake machine");
                put(response, &encode_machine_info(&info))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn now_ns(&mut self) -> u64 {
        // Every look costs a millisecond, so that an endless script ends soon.
        self.time_ns += 1_000_000;
        self.time_ns
    }

    fn sleep_ms(&mut self, milliseconds: u64) {
        self.time_ns += milliseconds * 1_000_000;
    }

    fn catalogue_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        (self.files)(path).ok_or(Errno::ENOENT)
    }

    fn setting(&mut self, key: &str) -> Option<String> {
        (key == "run").then(|| "fake/m00".to_string())
    }

    fn say(&mut self, line: &str) {
        self.said.borrow_mut().push(line.to_string());
    }

    fn event(&mut self, text: &str) {
        self.said.borrow_mut().push(format!("event: {text}"));
    }
}
