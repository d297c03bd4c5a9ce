//! The hardware half: everything that needs instructions no safe function has. Each file states
//! what it does with unsafe code and why that is sound; nothing outside this folder is unsafe.

pub mod boot;
pub mod console;
pub mod cpu;
pub mod firmware;
pub mod heap;
pub mod image;
pub mod physical;
pub mod port;
pub mod traps;
pub mod world;

use console::Console;
use labvisor::machine::Machine;

/// The machine below the guest.
pub struct Hardware;

impl Machine for Hardware {
    fn read(&self, address: u64, bytes: &mut [u8]) {
        physical::read(address, bytes);
    }

    fn read_register(&self, address: u64) -> u32 {
        physical::read_register(address)
    }

    fn read_device(&self, address: u64, bytes: &mut [u8]) {
        physical::read_device(address, bytes);
    }

    fn write_device(&mut self, address: u64, bytes: &[u8]) {
        physical::write_device(address, bytes);
    }

    fn write(&mut self, address: u64, bytes: &[u8]) {
        physical::write(address, bytes);
    }

    fn set_bits(&mut self, address: u64, bits: u8) {
        physical::set_bits(address, bits);
    }

    fn port_in(&mut self, number: u16, bytes: u8) -> u32 {
        port::read(number, bytes)
    }

    fn port_out(&mut self, number: u16, bytes: u8, value: u32) {
        port::write(number, bytes, value);
    }

    fn read_msr(&self, number: u32) -> u64 {
        cpu::read_msr(number)
    }

    fn write_msr(&mut self, number: u32, value: u64) {
        cpu::write_msr(number, value);
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        cpu::cpuid(leaf, subleaf)
    }

    fn ticks(&self) -> u64 {
        cpu::ticks()
    }

    fn console(&mut self, byte: u8) {
        Console.put(byte);
    }
}
