//! PCI: configuration space and the list of functions (PCI Local Bus Specification 3.0, section 3.2.2.3.2).

use crate::arch::port::PCI_CONFIG;
use crate::sync::SpinLock;
use alloc::vec::Vec;
use core::fmt;

const ADDRESS: u16 = 0;
const DATA: u16 = 4;
const ENABLE: u32 = 1 << 31;

/// Configuration registers.
pub mod register {
    /// Device and vendor id.
    pub const ID: u8 = 0x00;
    /// Status and command.
    pub const COMMAND: u8 = 0x04;
    /// Class, subclass, interface, revision.
    pub const CLASS: u8 = 0x08;
    /// Header type in bits 16 to 23.
    pub const HEADER: u8 = 0x0c;
    /// First base address register.
    pub const BAR0: u8 = 0x10;
    /// Bus numbers of a bridge.
    pub const BUSES: u8 = 0x18;
    /// Interrupt pin and line.
    pub const INTERRUPT: u8 = 0x3c;
}

/// Address of a function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bdf {
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

/// One function that answered.
#[derive(Clone, Copy)]
pub struct Function {
    /// Where.
    pub bdf: Bdf,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Class code: class, subclass, interface.
    pub class: [u8; 3],
    /// Interrupt line the firmware chose; 255 for none. Never written.
    pub interrupt_line: u8,
}

/// The register pair is shared by all functions.
static CONFIG: SpinLock<()> = SpinLock::new("pci", ());

fn select(bdf: Bdf, register: u8) {
    let address = ENABLE
        | u32::from(bdf.bus) << 16
        | u32::from(bdf.device & 31) << 11
        | u32::from(bdf.function & 7) << 8
        | u32::from(register & 0xfc);
    PCI_CONFIG.write(ADDRESS, address);
}

/// Reads a 32-bit register of configuration space.
pub fn read(bdf: Bdf, register: u8) -> u32 {
    let _guard = CONFIG.lock();
    select(bdf, register);
    PCI_CONFIG.read(DATA)
}

/// Writes a 32-bit register of configuration space.
pub fn write(bdf: Bdf, register: u8, value: u32) {
    let _guard = CONFIG.lock();
    select(bdf, register);
    PCI_CONFIG.write(DATA, value);
}

fn function_at(bdf: Bdf) -> Option<Function> {
    let id = read(bdf, register::ID);
    if id & 0xffff == 0xffff {
        return None;
    }
    let class = read(bdf, register::CLASS);
    Some(Function {
        bdf,
        vendor: id as u16,
        device: (id >> 16) as u16,
        class: [(class >> 24) as u8, (class >> 16) as u8, (class >> 8) as u8],
        interrupt_line: read(bdf, register::INTERRUPT) as u8,
    })
}

/// All functions, buses behind bridges included.
pub fn enumerate() -> Vec<Function> {
    let mut found = Vec::new();
    let mut buses = alloc::vec![0u8];
    let mut next = 0;
    while let Some(&bus) = buses.get(next) {
        next += 1;
        for device in 0..32 {
            let header = read(
                Bdf {
                    bus,
                    device,
                    function: 0,
                },
                register::HEADER,
            ) >> 16;
            let functions = if header & 0x80 != 0 { 8 } else { 1 };
            for function in (0..functions).filter_map(|function| {
                function_at(Bdf {
                    bus,
                    device,
                    function,
                })
            }) {
                if function.class[..2] == [0x06, 0x04] {
                    let secondary = (read(function.bdf, register::BUSES) >> 8) as u8;
                    if !buses.contains(&secondary) {
                        buses.push(secondary);
                    }
                }
                found.push(function);
            }
        }
    }
    found
}
