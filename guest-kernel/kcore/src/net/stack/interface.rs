//! The interface: its addresses, and what `netinfo` tells about it.

use super::infos::connection_info;
use super::{Change, LOCALHOST, Lease, Moment, Notify, Owner, Proto, Stack};
use crate::net::port::{Counters, MTU, Receive, Tap, Transmit};
use abi::net::{Interface, SocketInfo};
use alloc::vec::Vec;
use smoltcp::socket::{dhcpv4, dns};
use smoltcp::wire::{DhcpPacket, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr};

impl<Rx: Receive, Tx: Transmit, T: Tap, N: Notify> Stack<Rx, Tx, T, N> {
    /// The interface for `netinfo`; the driver adds what only it counts.
    pub fn interface_info(&self) -> Interface {
        let Counters {
            rx_frames,
            rx_bytes,
            tx_frames,
            tx_bytes,
            rx_dropped,
            tx_dropped,
        } = self.port.counters();
        let (address, prefix_len) = self.lease.address.unwrap_or_default();
        Interface {
            mac: self.port.mac(),
            prefix_len,
            up: u8::from(self.core.lease_up),
            address,
            gateway: self.lease.gateway.unwrap_or_default(),
            dns: self.lease.dns.unwrap_or_default(),
            mtu: MTU as u32,
            rx_frames,
            rx_bytes,
            tx_frames,
            tx_bytes,
            rx_dropped,
            tx_dropped,
            lease_seconds: self.lease.until.map_or(0, |until| {
                until.0.saturating_sub(self.core.now.0) / 1_000_000
            }),
            ..Interface::default()
        }
    }

    /// All sockets for `netinfo`.
    pub fn socket_infos(&self) -> Vec<SocketInfo> {
        let mut infos = Vec::new();
        for entry in self.entries.iter().flatten() {
            let kernel = u32::from(entry.owner == Owner::Kernel);
            match &entry.proto {
                Proto::Stream(stream) => stream.infos(&self.core, kernel, &mut infos),
                Proto::Datagram(datagram) => infos.push(datagram.info(&self.core, kernel)),
                Proto::Raw(raw) => infos.push(raw.info(&self.core, kernel)),
            }
        }
        for &(handle, _) in &self.core.orphans {
            infos.push(connection_info(self.core.tcp(handle), 0));
        }
        infos
    }

    pub(super) fn configure(&mut self, lease: Lease) {
        let was = self.lease.address;
        self.lease = lease;
        let core = &mut self.core;
        core.lease_up = lease.address.is_some();
        core.has_gateway = lease.gateway.is_some();
        let own = lease.address.map(|(address, prefix_len)| {
            IpCidr::Ipv4(Ipv4Cidr::new(Ipv4Address::from(address), prefix_len))
        });
        core.iface.update_ip_addrs(|addresses| {
            addresses.clear();
            // Two fit: smoltcp's default room is two addresses.
            for cidr in own
                .into_iter()
                .chain([IpCidr::Ipv4(Ipv4Cidr::new(LOCALHOST, 8))])
            {
                let fits = addresses.push(cidr);
                debug_assert!(fits.is_ok());
            }
        });
        let routes = core.iface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(gateway) = lease.gateway {
            let added = routes.add_default_ipv4_route(Ipv4Address::from(gateway));
            debug_assert!(added.is_ok());
        }
        let servers: Vec<IpAddress> = lease
            .dns
            .map(|dns| IpAddress::Ipv4(Ipv4Address::from(dns)))
            .into_iter()
            .collect();
        core.sockets
            .get_mut::<dns::Socket<'_>>(self.dns)
            .update_servers(&servers);
        let own_addresses = lease.address.map(|(address, _)| address);
        self.port.set_own(
            own_addresses
                .into_iter()
                .chain([LOCALHOST.octets()])
                .collect(),
        );
        self.change = match lease.address {
            Some((address, prefix_len)) if was != lease.address => Some(Change::Up {
                address,
                prefix_len,
                gateway: lease.gateway,
                dns: lease.dns,
            }),
            None if was.is_some() => Some(Change::Down),
            _ => self.change,
        };
    }

    pub(super) fn follow_dhcp(&mut self) {
        let Some(dhcp) = self.dhcp else { return };
        let now = self.core.now;
        let socket = self.core.sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp);
        let lease = match socket.poll() {
            None => return,
            Some(dhcpv4::Event::Deconfigured) => Lease::default(),
            Some(dhcpv4::Event::Configured(config)) => {
                let address = config.address.address();
                // The server is not trusted: smoltcp panics on an own address that is not unicast.
                let usable = !address.is_unspecified()
                    && !address.is_multicast()
                    && !address.is_broadcast()
                    && !address.is_loopback();
                Lease {
                    address: usable.then(|| (address.octets(), config.address.prefix_len())),
                    gateway: config.router.map(|router| router.octets()),
                    dns: config.dns_servers.first().map(|dns| dns.octets()),
                    until: config
                        .packet
                        .as_ref()
                        .and_then(lease_seconds)
                        .map(|seconds| {
                            Moment(now.0.saturating_add(u64::from(seconds) * 1_000_000))
                        }),
                }
            }
        };
        self.configure(lease);
    }
}

/// The lease time a DHCP server gave (option 51, RFC 2132 section 9.2).
fn lease_seconds(packet: &DhcpPacket<&[u8]>) -> Option<u32> {
    let option = packet.options().find(|option| option.kind == 51)?;
    option.data.try_into().ok().map(u32::from_be_bytes)
}
