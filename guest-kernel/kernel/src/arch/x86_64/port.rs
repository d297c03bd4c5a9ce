//! Port I/O.
#![expect(unsafe_code, reason = "in and out")]

use ::x86_64::instructions::port::{PortRead, PortWrite};

/// Reads a port. Reading has side effects on devices, never on memory.
pub fn read<T: PortRead>(port: u16) -> T {
    // SAFETY: `in` touches no memory; what a device makes of it is its driver's business, and all
    // drivers here use devices without bus mastering through ports.
    unsafe { T::read_from_port(port) }
}

/// Writes a port.
///
/// # Safety
/// The device behind the port must not be told to write memory that is in use, nor to reset the
/// machine by accident.
pub unsafe fn write<T: PortWrite>(port: u16, value: T) {
    // SAFETY: the caller's promise.
    unsafe { T::write_to_port(port, value) };
}

/// A range of ports of one device that does no bus mastering: the safe way to write ports.
#[derive(Clone, Copy)]
pub struct PortRange {
    base: u16,
    len: u16,
}

impl PortRange {
    /// Claims a range.
    ///
    /// # Safety
    /// Writes to these ports must not be able to make a device write to memory.
    pub const unsafe fn new(base: u16, len: u16) -> Self {
        Self { base, len }
    }

    /// Reads at an offset.
    pub fn read<T: PortRead>(self, offset: u16) -> T {
        assert!(offset < self.len, "port offset {offset} outside the device");
        read(self.base + offset)
    }

    /// Writes at an offset.
    pub fn write<T: PortWrite>(self, offset: u16, value: T) {
        assert!(offset < self.len, "port offset {offset} outside the device");
        // SAFETY: promised to `new`, and the offset is within the range.
        unsafe { write(self.base + offset, value) };
    }
}

/// The second serial line, COM2: the guest's console.
// SAFETY: a UART does no bus mastering.
pub const COM2: PortRange = unsafe { PortRange::new(0x2f8, 8) };
/// The first serial line, COM1: the hypervisor's, unless the setting `console=` says otherwise.
// SAFETY: a UART does no bus mastering.
pub const COM1: PortRange = unsafe { PortRange::new(0x3f8, 8) };
/// Index and data register of the screen's controller.
// SAFETY: it moves the cursor.
pub const VGA_CRTC: PortRange = unsafe { PortRange::new(0x3d4, 2) };
/// Data register of the keyboard controller.
// SAFETY: no bus mastering; only read here.
pub const KEYBOARD_DATA: PortRange = unsafe { PortRange::new(0x60, 1) };
/// Status register of the keyboard controller. Only read: a write could reset the machine.
// SAFETY: as above.
pub const KEYBOARD_STATUS: PortRange = unsafe { PortRange::new(0x64, 1) };
/// Master interrupt controller.
// SAFETY: an 8259 does no bus mastering.
pub const PIC_MASTER: PortRange = unsafe { PortRange::new(0x20, 2) };
/// Slave interrupt controller.
// SAFETY: an 8259 does no bus mastering.
pub const PIC_SLAVE: PortRange = unsafe { PortRange::new(0xa0, 2) };
/// Interval timer.
// SAFETY: an 8254 does no bus mastering.
pub const PIT: PortRange = unsafe { PortRange::new(0x40, 4) };
/// System control port B: gate of timer channel 2.
// SAFETY: it gates the timer and the speaker.
pub const CONTROL_B: PortRange = unsafe { PortRange::new(0x61, 1) };
/// Real-time clock.
// SAFETY: an MC146818 does no bus mastering.
pub const CMOS: PortRange = unsafe { PortRange::new(0x70, 2) };
/// QEMU's fw_cfg selector and data register; its DMA register (offset 4) is left out on purpose.
// SAFETY: without the DMA register the device does not touch memory.
pub const FW_CFG: PortRange = unsafe { PortRange::new(0x510, 2) };
/// PCI configuration mechanism 1. Bus mastering is turned on by it, but a device only masters the
/// bus with addresses its own driver gives it.
// SAFETY: see above; drivers hand out addresses of `DmaBuffer`s only.
pub const PCI_CONFIG: PortRange = unsafe { PortRange::new(0xcf8, 8) };
