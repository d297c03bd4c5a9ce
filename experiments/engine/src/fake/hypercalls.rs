//! BitVisor's hypercalls as a sound hypervisor answers them.

use super::{Fake, HIDDEN_END, HIDDEN_START};
use abi::probe::{Registers, WINDOW_BASE};
use alloc::{string::String, vec::Vec};

const NAMES: [&str; 6] = [
    "get_vmmcall_number",
    "boot",
    "dbgsh",
    "log_set_buf",
    "get_status",
    "lab_trace_ring",
];
const STATUS: &str = "time: hz 2600000000 tsc 1\n";

impl Fake {
    /// What the instruction does; `user` is a call from ring 3.
    pub(super) fn hypercall(&mut self, registers: &mut Registers, user: bool) {
        match usize::try_from(registers.rax)
            .ok()
            .and_then(|number| NAMES.get(number))
        {
            Some(&"get_vmmcall_number") => {
                let name = self.name_at(registers.rbx, user);
                let number = name.and_then(|name| NAMES.iter().position(|known| *known == name));
                registers.rax = number.unwrap_or(0) as u64;
            }
            Some(&"log_set_buf") => {
                if !user {
                    self.log_buffer = (registers.rbx != 0 && registers.rcx != 0)
                        .then_some((registers.rbx, registers.rcx));
                }
            }
            Some(&"get_status") => {
                let size = registers.rcx;
                registers.rcx = STATUS.len() as u64;
                registers.rax = u64::from(
                    size < STATUS.len() as u64 || !self.write_text(registers.rbx, STATUS),
                );
            }
            Some(&"dbgsh") => registers.rax = u64::MAX,
            Some(&("boot" | "lab_trace_ring")) => {}
            Some(_) | None => registers.rax = 0,
        }
    }

    fn name_at(&mut self, address: u64, user: bool) -> Option<String> {
        let mut bytes = Vec::new();
        for offset in 0..256 {
            let at = address
                .checked_add(offset)
                .filter(|at| *at >= WINDOW_BASE)?;
            let (_, flags) = self.window[Self::window_index(at)?];
            if user && flags & abi::probe::PTE_USER == 0 {
                return None;
            }
            self.window[Self::window_index(at)?].1 |= abi::probe::PTE_ACCESSED;
            match self.physical_byte(self.linear_to_physical(at)?) {
                0 => return String::from_utf8(bytes).ok(),
                byte => bytes.push(byte),
            }
        }
        None
    }

    fn write_text(&mut self, address: u64, text: &str) -> bool {
        for offset in 0..text.len() as u64 {
            let at = address.wrapping_add(offset);
            let index = Self::window_index(at);
            let writable =
                index.is_some_and(|index| self.window[index].1 & abi::probe::PTE_WRITE != 0);
            let hidden = |physical: &u64| (HIDDEN_START..HIDDEN_END).contains(physical);
            if !writable
                || self
                    .linear_to_physical(at)
                    .is_none_or(|physical| hidden(&physical))
            {
                return false;
            }
        }
        for (offset, byte) in text.bytes().enumerate() {
            if let Some(physical) = self.linear_to_physical(address + offset as u64) {
                self.set_physical_byte(physical, byte);
            }
            if let Some(index) = Self::window_index(address + offset as u64) {
                self.window[index].1 |= abi::probe::PTE_ACCESSED | abi::probe::PTE_DIRTY;
            }
        }
        true
    }
}
