//! Registers of a virtio device on PCI (Virtual I/O Device 1.2, section 4.1).

/// Vendor id of all virtio devices.
pub const VENDOR: u16 = 0x1af4;
/// Device ids of a network card: transitional, modern.
pub const NET_DEVICES: [u16; 2] = [0x1000, 0x1041];

/// Capability ids in PCI configuration space.
pub mod capability {
    /// MSI-X (PCI Local Bus Specification 3.0, section 6.8.2).
    pub const MSIX: u8 = 0x11;
    /// Vendor specific: a virtio structure (section 4.1.4).
    pub const VENDOR: u8 = 0x09;
    /// `cfg_type` of the common configuration.
    pub const COMMON: u8 = 1;
    /// `cfg_type` of the doorbells.
    pub const NOTIFY: u8 = 2;
    /// `cfg_type` of the interrupt status.
    pub const ISR: u8 = 3;
    /// `cfg_type` of the device's own configuration.
    pub const DEVICE: u8 = 4;
}

/// Offsets in the common configuration (section 4.1.4.3). Width and access in the name's doc.
pub mod common {
    /// u32, write: which half of the device's features to show.
    pub const DEVICE_FEATURE_SELECT: usize = 0x00;
    /// u32, read.
    pub const DEVICE_FEATURE: usize = 0x04;
    /// u32, write: which half of the driver's features follows.
    pub const DRIVER_FEATURE_SELECT: usize = 0x08;
    /// u32, write.
    pub const DRIVER_FEATURE: usize = 0x0c;
    /// u8, read and write.
    pub const DEVICE_STATUS: usize = 0x14;
    /// u16, write.
    pub const QUEUE_SELECT: usize = 0x16;
    /// u16, read and write.
    pub const QUEUE_SIZE: usize = 0x18;
    /// u16, read and write, only with MSI-X: without it BitVisor calls through an uninitialised pointer.
    pub const QUEUE_MSIX_VECTOR: usize = 0x1a;
    /// u16, read and write.
    pub const QUEUE_ENABLE: usize = 0x1c;
    /// u16, read.
    pub const QUEUE_NOTIFY_OFF: usize = 0x1e;
    /// u64, write.
    pub const QUEUE_DESC: usize = 0x20;
    /// u64, write.
    pub const QUEUE_DRIVER: usize = 0x28;
    /// u64, write.
    pub const QUEUE_DEVICE: usize = 0x30;
    /// Bytes.
    pub const LEN: usize = 0x38;
}

/// Feature bits we know (sections 5.1.3 and 6).
pub mod feature {
    /// The device has a hardware address.
    pub const MAC: u64 = 1 << 5;
    /// The device follows version 1 of the specification.
    pub const VERSION_1: u64 = 1 << 32;
    /// What we take of what is offered. Neither EVENT_IDX (the flags do as well, and virtio-drivers
    /// compares its index wrongly when it wraps) nor indirect descriptors (one descriptor a frame).
    pub const SUPPORTED: u64 = MAC | VERSION_1;
}

/// Queues of a network card (section 5.1.2).
pub mod queue {
    /// The card to us.
    pub const RECEIVE: u16 = 0;
    /// We to the card.
    pub const TRANSMIT: u16 = 1;
}

/// Bytes before each frame with VERSION_1 (section 5.1.6).
pub const HEADER_LEN: usize = 12;
/// No vector.
pub const NO_VECTOR: u16 = 0xffff;
