//! Sockets. Addresses are 4 (IPv4) or 16 (IPv6) bytes in network order; ports are in host order.
//!
//! A socket takes and gives addresses of its family's length. One of `AF_INET6` reaches IPv4, too:
//! such an address is written `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2), and bound to `::` it hears
//! both.

/// `family` of `socket`: IPv4 (Linux's value).
pub const AF_INET: i32 = 2;
/// `family` of `socket`: IPv6 (Linux's value).
pub const AF_INET6: i32 = 10;
/// `type` of `socket`: TCP.
pub const SOCK_STREAM: i32 = 1;
/// `type` of `socket`: UDP.
pub const SOCK_DGRAM: i32 = 2;
/// `type` of `socket`: raw, with `IPPROTO_ICMP` or, of family `AF_INET6`, `IPPROTO_ICMPV6` only.
pub const SOCK_RAW: i32 = 3;
/// `protocol`: ICMP.
pub const IPPROTO_ICMP: i32 = 1;
/// `protocol`: ICMPv6.
pub const IPPROTO_ICMPV6: i32 = 58;
/// `flags` of `send` and `recv`: do not sleep (Linux's value).
pub const MSG_DONTWAIT: i32 = 0x40;
/// `flags` of `recv`: leave the data in the queue (Linux's value).
pub const MSG_PEEK: i32 = 0x02;
/// `how` of `shutdown`: no more reads.
pub const SHUT_RD: i32 = 0;
/// `how` of `shutdown`: no more writes.
pub const SHUT_WR: i32 = 1;
/// `how` of `shutdown`: neither.
pub const SHUT_RDWR: i32 = 2;
/// `option` of `setsockopt`: keep-alive interval in milliseconds, 0 for none.
pub const SO_KEEPALIVE_MS: i32 = 1;
/// `option` of `setsockopt`: 1 sends small segments at once (TCP_NODELAY).
pub const SO_NODELAY: i32 = 2;

/// Bits in an [`FdSet`], and the largest `max` of `select`.
pub const FD_SETSIZE: usize = 256;

/// A set of file descriptors for `select`: 32 bytes, bit n of word n/64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct FdSet {
    /// Words, lowest descriptors first.
    pub bits: [u64; FD_SETSIZE / 64],
}

impl FdSet {
    /// Adds a descriptor; those of 256 and more are ignored.
    pub fn insert(&mut self, fd: usize) {
        if let Some(word) = self.bits.get_mut(fd / 64) {
            *word |= 1 << (fd % 64);
        }
    }

    /// Whether the descriptor is in the set.
    pub fn contains(&self, fd: usize) -> bool {
        self.bits
            .get(fd / 64)
            .is_some_and(|word| word & (1 << (fd % 64)) != 0)
    }
}

/// Time-out of `select`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct TimeVal {
    /// Seconds.
    pub seconds: i64,
    /// Microseconds, 0 to 999,999.
    pub microseconds: i64,
}

/// `what` of `netinfo`: one [`Interface`]; the call returns 1.
pub const NETINFO_INTERFACE: i32 = 1;
/// `what` of `netinfo`: an array of [`SocketInfo`]; the call returns how many were written.
pub const NETINFO_SOCKETS: i32 = 2;
/// `what` of `netinfo`: an array of [`InterfaceAddress`]; the call returns how many were written.
pub const NETINFO_ADDRESSES: i32 = 3;

/// `role` of an [`InterfaceAddress`]: an own address.
pub const ADDRESS_OWN: u8 = 0;
/// `role` of an [`InterfaceAddress`]: IPv6's default router.
pub const ADDRESS_ROUTER: u8 = 1;

/// An address, for `ifconfig`: 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct InterfaceAddress {
    /// The address; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Length of the network prefix in bits, of an own address.
    pub prefix_len: u8,
    /// Bytes of the address: 4 or 16.
    pub address_len: u8,
    /// `ADDRESS_*`.
    pub role: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// State of the network interface: 128 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Interface {
    /// Hardware address.
    pub mac: [u8; 6],
    /// Length of the network prefix in bits.
    pub prefix_len: u8,
    /// 1 if an address is configured.
    pub up: u8,
    /// Own address.
    pub address: [u8; 4],
    /// Default gateway, zero if none.
    pub gateway: [u8; 4],
    /// Name server, zero if none.
    pub dns: [u8; 4],
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Received frames dropped.
    pub rx_dropped: u64,
    /// Frames that could not be sent.
    pub tx_dropped: u64,
    /// Interrupts taken.
    pub interrupts: u64,
    /// Doorbell writes.
    pub notifies: u64,
    /// Reads of the ISR register.
    pub isr_reads: u64,
    /// Times the device told a lie and was reset.
    pub device_errors: u64,
    /// Seconds the DHCP lease has left, 0 without one.
    pub lease_seconds: u64,
    /// Zero.
    pub reserved: u64,
    /// Zero.
    pub reserved2: u64,
}

/// One socket, for `netstat`: 56 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct SocketInfo {
    /// Type, `SOCK_*`.
    pub kind: u8,
    /// TCP state in the order of RFC 9293 section 3.3.2: 0 closed, 1 listen, 2 syn-sent, 3 syn-received,
    /// 4 established, 5 fin-wait-1, 6 fin-wait-2, 7 close-wait, 8 closing, 9 last-ack, 10 time-wait.
    pub state: u8,
    /// Bytes in an address: 4 or 16.
    pub address_len: u8,
    /// Zero.
    pub reserved: u8,
    /// Own port.
    pub local_port: u16,
    /// Peer's port.
    pub remote_port: u16,
    /// Own address.
    pub local: [u8; 16],
    /// Peer's address.
    pub remote: [u8; 16],
    /// Bytes waiting to be read.
    pub receive_queue: u32,
    /// Bytes waiting to be acknowledged.
    pub send_queue: u32,
    /// 1 if it belongs to the kernel (remote files, trace).
    pub kernel: u32,
    /// Zero.
    pub reserved2: u32,
}
