//! A guest made of arrays: 4 MiB of RAM whose top MiB is hidden, long-mode page tables, one
//! instruction at a time.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::confinement;
use crate::exits::{Stop, Vmm};
use crate::guest_memory::GuestMemory;
use crate::log::Log;
use crate::machine::Machine;
use crate::memory_map::Region;
use crate::paging::PageTables;
use crate::vcpu::{Tables, Vcpu, bits};

pub(super) const RAM: u64 = 4 << 20;
pub(super) const HIDDEN: u64 = 3 << 20;
/// Where the zero page is; not in RAM.
const ZEROS: u64 = 6 << 20;
pub(super) const CODE: u64 = 0x8000;
/// A page for data, followed by one that is not mapped.
pub(super) const DATA: u64 = 0x9000;
pub(super) const READ_ONLY: u64 = 0xb000;
pub(super) const SUPERVISOR: u64 = 0xc000;
/// Linear address of the network device's registers.
pub(super) const DEVICE: u64 = 0xd000;
/// The guest's page table for the first 2 MiB.
pub(super) const TABLE: u64 = 0x4000;
const SLOT: u32 = 31;

pub(super) struct Fake {
    pub(super) memory: Vec<u8>,
    pub(super) console: Vec<u8>,
    pub(super) ports: Vec<(u16, u8, u32)>,
    /// What was written to devices.
    pub(super) devices: Vec<(u64, Vec<u8>)>,
    pub(super) ticks: Cell<u64>,
    pub(super) msrs: BTreeMap<u32, u64>,
    config: u32,
}

impl Machine for Fake {
    fn read(&self, address: u64, bytes: &mut [u8]) {
        for (offset, byte) in bytes.iter_mut().enumerate() {
            let at = address.saturating_add(offset as u64);
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            *byte = self.memory.get(at).copied().unwrap_or(0xee);
        }
        self.ticks.set(self.ticks.get() + 1);
    }

    /// The local APIC's timer, if anybody asks: vector 20h, on.
    fn read_register(&self, _address: u64) -> u32 {
        0x20
    }

    fn read_device(&self, address: u64, bytes: &mut [u8]) {
        self.read(address, bytes);
    }

    fn write_device(&mut self, address: u64, bytes: &[u8]) {
        self.devices.push((address, bytes.to_vec()));
    }

    fn write(&mut self, address: u64, bytes: &[u8]) {
        for (offset, byte) in bytes.iter().enumerate() {
            if let Some(place) = self.memory.get_mut(address as usize + offset) {
                *place = *byte;
            }
        }
    }

    fn set_bits(&mut self, address: u64, bits: u8) {
        self.memory[address as usize] |= bits;
    }

    /// Each byte of a port holds the port's low byte.
    fn port_in(&mut self, port: u16, bytes: u8) -> u32 {
        match port {
            0xcf8 if bytes == 4 => self.config,
            0xcfc if bytes == 4 => 0xffff_ffff,
            _ => (0..bytes).fold(0, |all, n| {
                all | (u32::from(port as u8) + u32::from(n)) << (8 * n)
            }),
        }
    }

    fn port_out(&mut self, port: u16, bytes: u8, value: u32) {
        if port == 0xcf8 {
            self.config = value;
        } else {
            self.ports.push((port, bytes, value));
        }
    }

    fn read_msr(&self, number: u32) -> u64 {
        self.msrs.get(&number).copied().unwrap_or(0x1234_5000)
    }

    fn write_msr(&mut self, number: u32, value: u64) {
        self.msrs.insert(number, value);
    }

    /// SVM everywhere, a hypervisor below, OSXSAVE off.
    fn cpuid(&self, leaf: u32, _subleaf: u32) -> [u32; 4] {
        match leaf {
            0 => [0xd, 1, 2, 3],
            0x4000_0000 => [0x4000_0001, 0xabab, 0xabab, 0xabab],
            0x8000_0001 => [0, 0, 1 << 2 | 1 << 12, 0],
            0x8000_0008 => [40, 0, 0, 0],
            0x8000_000a => [1, 16, 0, 0xf],
            other => [other, 0, 0, 0],
        }
    }

    fn ticks(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 10);
        self.ticks.get()
    }

    fn console(&mut self, byte: u8) {
        self.console.push(byte);
    }
}

pub(super) struct Guest {
    pub(super) vmm: Vmm,
    pub(super) vcpu: Vcpu,
    pub(super) m: Fake,
}

impl Guest {
    pub(super) fn new() -> Self {
        let mut m = Fake {
            memory: alloc::vec![0; 8 << 20],
            console: Vec::new(),
            ports: Vec::new(),
            devices: Vec::new(),
            ticks: Cell::new(1 << 40),
            msrs: BTreeMap::new(),
            config: 0,
        };
        m.memory[HIDDEN as usize..RAM as usize].fill(0x5e);
        let map = [Region {
            base: 0,
            length: RAM,
            kind: Region::USABLE,
        }];
        let hidden = HIDDEN..RAM;
        let memory = GuestMemory::new(&map, hidden.clone());
        let mut nested = PageTables::new(32, true, |address| address);
        confinement::confine(&mut nested, 0..16 << 30, &hidden, ZEROS).unwrap();
        let tables = Tables {
            iopm: 0,
            msrpm: 0,
            nested_root: nested.root(),
        };
        let mut vcpu = Vcpu::multiboot2(CODE as u32, 0, 0, &tables);
        let save = vcpu.save();
        save.cr0 |= bits::CR0_PG | bits::CR0_WP;
        save.cr4 = bits::CR4_PAE;
        save.efer |= bits::EFER_LME | bits::EFER_LMA | bits::EFER_NXE;
        save.cs.attributes = 0xa9b;
        save.cr3 = 0x1000;
        let mut vmm = Vmm::new(memory, nested, Log::default(), false);
        vmm.add_net_device(&mut m);
        let mut guest = Self { vmm, vcpu, m };
        guest.map();
        guest
    }

    /// The first 2 MiB by small pages, the rest by large ones; all for user and kernel.
    fn map(&mut self) {
        const USER: u64 = 7;
        const LARGE: u64 = 0x80;
        self.put(0x1000, 0x2000 | USER);
        self.put(0x2000, 0x3000 | USER);
        self.put(0x3000, TABLE | USER);
        self.put(0x3008, 2 << 20 | USER | LARGE);
        for page in 0..512 {
            self.put(TABLE + 8 * page, page << 12 | USER);
        }
        self.put(TABLE + 8 * (DATA / 4096 + 1), 0);
        self.put(TABLE + 8 * (READ_ONLY / 4096), READ_ONLY | 5);
        self.put(TABLE + 8 * (SUPERVISOR / 4096), SUPERVISOR | 3);
        let device = self.window();
        self.put(TABLE + 8 * (DEVICE / 4096), device | USER);
    }

    /// Physical address of the device's registers; 0 when they are nowhere.
    pub(super) fn window(&self) -> u64 {
        let net = self.vmm.net.as_ref().unwrap();
        net.window().map_or(0, |window| window.start)
    }

    pub(super) fn put(&mut self, address: u64, value: u64) {
        self.m.write(address, &value.to_le_bytes());
    }

    pub(super) fn get(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.m.read(address, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// What the guest reads through the nested page table.
    pub(super) fn seen(&self, address: u64) -> u64 {
        self.vmm
            .nested
            .lookup(address)
            .map_or(u64::MAX, |(at, _)| self.get(at))
    }

    /// An exit at `code`.
    pub(super) fn exit(
        &mut self,
        code: &[u8],
        number: u64,
        info_1: u64,
        info_2: u64,
    ) -> Result<(), Stop> {
        self.m.write(CODE, code);
        self.vcpu.save().rip = CODE;
        let control = self.vcpu.control();
        control.exit_code = number;
        control.exit_info_1 = info_1;
        control.exit_info_2 = info_2;
        self.vmm.handle(&mut self.vcpu, &mut self.m)
    }

    /// How far RIP moved.
    pub(super) fn moved(&self) -> u64 {
        self.vcpu.vmcb.save.rip - CODE
    }

    pub(super) fn call(&mut self, rax: u64, rbx: u64, rcx: u64) -> u64 {
        self.vcpu.save().rax = rax;
        self.vcpu.registers.rbx = rbx;
        self.vcpu.registers.rcx = rcx;
        self.exit(b"\x0f\x01\xd9", 0x81, 0, 0).unwrap();
        self.vcpu.vmcb.save.rax
    }

    /// Looks a name up that is put at the start of the data page.
    pub(super) fn number(&mut self, name: &[u8]) -> u64 {
        self.m.write(DATA, name);
        self.m.write(DATA + name.len() as u64, &[0]);
        self.call(0, DATA, 0)
    }

    pub(super) fn cpuid(&mut self, leaf: u64) -> [u64; 4] {
        self.vcpu.save().rax = leaf;
        self.vcpu.registers.rcx = 0;
        self.exit(b"\x0f\xa2", 0x72, 0, 0).unwrap();
        let registers = self.vcpu.registers;
        [
            self.vcpu.vmcb.save.rax,
            registers.rbx,
            registers.rcx,
            registers.rdx,
        ]
    }

    /// `None`: #GP.
    pub(super) fn rdmsr(&mut self, number: u64) -> Option<u64> {
        self.vcpu.registers.rcx = number;
        self.exit(b"\x0f\x32", 0x7c, 0, 0).unwrap();
        let value = self.vcpu.registers.rdx << 32 | self.vcpu.vmcb.save.rax;
        self.injected().is_none().then_some(value)
    }

    /// Whether it was taken.
    pub(super) fn wrmsr(&mut self, number: u64, value: u64) -> bool {
        self.vcpu.registers.rcx = number;
        self.vcpu.registers.rdx = value >> 32;
        self.vcpu.save().rax = value & 0xffff_ffff;
        self.exit(b"\x0f\x30", 0x7c, 1, 0).unwrap();
        self.injected().is_none()
    }

    pub(super) fn port_in(&mut self, port: u64, bytes: u64) -> u64 {
        self.vcpu.save().rax = u64::MAX;
        self.exit(b"\xed", 0x7b, port << 16 | bytes << 4 | 1, CODE + 1)
            .unwrap();
        self.vcpu.vmcb.save.rax
    }

    pub(super) fn port_out(&mut self, port: u64, bytes: u64, value: u64) {
        self.vcpu.save().rax = value;
        self.exit(b"\xef", 0x7b, port << 16 | bytes << 4, CODE + 1)
            .unwrap();
    }

    /// A register of the device's configuration space.
    pub(super) fn config(&mut self, offset: u32) -> u64 {
        self.m.config = 1 << 31 | SLOT << 11 | offset;
        self.port_in(0xcfc, 4)
    }

    pub(super) fn set_config(&mut self, offset: u32, value: u64) {
        self.m.config = 1 << 31 | SLOT << 11 | offset;
        self.port_out(0xcfc, 4, value);
        let device = self.window();
        self.put(TABLE + 8 * (DEVICE / 4096), device | 7);
    }

    /// An instruction that touches the device's page at RDI = its address + `offset`.
    pub(super) fn device(&mut self, code: &[u8], offset: u64) -> Result<(), Stop> {
        self.vcpu.registers.rdi = DEVICE + offset;
        let address = self.window() + offset;
        self.exit(code, 0x400, 4, address)
    }

    /// A 32-bit read of a device register: MOV EAX, [RDI].
    pub(super) fn register(&mut self, offset: u64) -> u64 {
        self.device(b"\x8b\x07", offset).unwrap();
        self.vcpu.vmcb.save.rax
    }

    /// A write of 1, 2, 4 or 8 bytes: MOV [RDI], RAX.
    pub(super) fn set_register(&mut self, offset: u64, bytes: usize, value: u64) {
        let code: &[u8] = match bytes {
            1 => b"\x88\x07",
            2 => b"\x66\x89\x07",
            4 => b"\x89\x07",
            _ => b"\x48\x89\x07",
        };
        self.vcpu.save().rax = value;
        self.device(code, offset).unwrap();
    }

    /// Vector and error code of what will be delivered.
    pub(super) fn injected(&self) -> Option<(u64, u64)> {
        let event = self.vcpu.vmcb.control.event_injection;
        (event & 1 << 31 != 0).then_some((event & 0xff, event >> 32))
    }
}
