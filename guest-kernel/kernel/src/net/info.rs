//! What `netinfo` tells programs.

use super::DEFERRED;
use crate::net;
use abi::Errno;
use abi::net::{
    Interface, InterfaceAddress, NETINFO_ADDRESSES, NETINFO_INTERFACE, NETINFO_SOCKETS, SocketInfo,
};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// An answer of `netinfo`.
pub enum Answer {
    /// The interface.
    Interface(Interface),
    /// All sockets.
    Sockets(Vec<SocketInfo>),
    /// All addresses.
    Addresses(Vec<InterfaceAddress>),
}

/// Looks up `what`, one of `abi::net::NETINFO_*`.
pub fn netinfo(what: i32) -> Result<Answer, Errno> {
    let net = net::lock();
    match what {
        NETINFO_INTERFACE => {
            let mut interface = net.stack.interface_info();
            interface.interrupts = DEFERRED.interrupts();
            if let Some(card) = &net.card {
                let counters = &card.counters;
                interface.notifies = counters.notifies.load(Ordering::Relaxed);
                interface.isr_reads = counters.isr_reads.load(Ordering::Relaxed);
                interface.device_errors = counters.errors.load(Ordering::Relaxed);
                interface.tx_dropped += counters.dropped.load(Ordering::Relaxed);
            } else {
                // Nothing can be sent.
                interface.mtu = 0;
            }
            Ok(Answer::Interface(interface))
        }
        NETINFO_ADDRESSES => Ok(Answer::Addresses(net.stack.addresses())),
        NETINFO_SOCKETS => Ok(Answer::Sockets(net.stack.socket_infos())),
        _ => Err(Errno::EINVAL),
    }
}
