//! Devices.

pub mod acpi;
pub mod dma;
pub mod fw_cfg;
pub mod mmio;
pub mod pci;
pub mod rtc;
pub mod uart;
pub mod virtio_net;
