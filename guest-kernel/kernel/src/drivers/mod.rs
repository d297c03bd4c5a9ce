//! Devices.

pub mod acpi;
pub mod dma;
pub mod fw_cfg;
pub mod keyboard;
pub mod mmio;
pub mod pci;
pub mod rtc;
pub mod uart;
pub mod vga;
pub mod virtio_net;
