//! The real machine as the exit handlers see it. The binary implements it with instructions;
//! the tests with arrays.

/// Physical memory, ports and registers of the machine below the guest.
///
/// Nothing here is filtered: what the guest may reach is decided in [`crate::guest_memory`] and
/// by the handlers.
pub trait Machine {
    /// Reads physical memory.
    fn read(&self, address: u64, bytes: &mut [u8]);
    /// Reads a device's 32-bit register.
    fn read_register(&self, address: u64) -> u32;
    /// Reads a device's memory, with one access where it is aligned.
    fn read_device(&self, address: u64, bytes: &mut [u8]);
    /// Writes a device's memory, with one access where it is aligned.
    fn write_device(&mut self, address: u64, bytes: &[u8]);
    /// Writes physical memory.
    fn write(&mut self, address: u64, bytes: &[u8]);
    /// Sets bits of a physical byte in one atomic step.
    fn set_bits(&mut self, address: u64, bits: u8);
    /// IN of 1, 2 or 4 bytes.
    fn port_in(&mut self, port: u16, bytes: u8) -> u32;
    /// OUT of 1, 2 or 4 bytes.
    fn port_out(&mut self, port: u16, bytes: u8, value: u32);
    /// RDMSR of a register that exists.
    fn read_msr(&self, number: u32) -> u64;
    /// WRMSR of a register that exists with a value it takes.
    fn write_msr(&mut self, number: u32, value: u64);
    /// CPUID: EAX, EBX, ECX, EDX.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4];
    /// The time-stamp counter.
    fn ticks(&self) -> u64;
    /// A character for labvisor's own console.
    fn console(&mut self, byte: u8);
}
