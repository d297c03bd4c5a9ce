//! The interface: its addresses, and what `netinfo` tells about it.

use super::infos::connection_info;
use super::{Change, Lease, Moment, Notify, Owner, Proto, Stack};
use crate::net::port::{Counters, MTU, Receive, Tap, Transmit};
use crate::net::settings::{Address6, StaticAddress6};
use abi::net::{ADDRESS_OWN, ADDRESS_ROUTER, Interface, InterfaceAddress, SocketInfo};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use smoltcp::socket::{dhcpv4, dns};
use smoltcp::wire::{DhcpPacket, HardwareAddress, IpAddress, IpCidr, Ipv4Cidr, Ipv6Cidr};

/// `fe80::/64` (RFC 4291 section 2.5.6).
const LINK_LOCAL: Ipv6Cidr = Ipv6Cidr::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);

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

    /// All addresses for `netinfo`, and IPv6's default router.
    pub fn addresses(&self) -> Vec<InterfaceAddress> {
        let info = |address: IpAddr, prefix_len, role| {
            let (address_len, address) = match address {
                IpAddr::V4(v4) => (4, v4.to_ipv6_mapped()),
                IpAddr::V6(v6) => (16, v6),
            };
            InterfaceAddress {
                address: address.octets(),
                prefix_len,
                address_len,
                role,
                ..InterfaceAddress::default()
            }
        };
        let own = self.core.iface.ip_addrs().iter();
        let router = self.core.iface.routes().get_default_ipv6_route();
        own.map(|cidr| info(cidr.address().into(), cidr.prefix_len(), ADDRESS_OWN))
            .chain(router.map(|route| info(route.via_router.into(), 0, ADDRESS_ROUTER)))
            .collect()
    }

    /// The IPv6 addresses that no router gives.
    pub(super) fn configure6(&mut self, address: Address6) {
        let link_local = match self.core.iface.hardware_addr() {
            mac @ HardwareAddress::Ethernet(_) => Ipv6Cidr::from_link_prefix(&LINK_LOCAL, mac),
        };
        let (fixed, gateway) = match address {
            Address6::Static(StaticAddress6 {
                address,
                prefix_len,
                gateway,
            }) => (Some(Ipv6Cidr::new(address, prefix_len)), gateway),
            Address6::Router | Address6::Off => (None, None),
        };
        let link_local = link_local.filter(|_| address != Address6::Off);
        self.core.iface.update_ip_addrs(|addresses| {
            for cidr in [
                Some(Ipv6Cidr::new(Ipv6Addr::LOCALHOST, 128)),
                link_local,
                fixed,
            ]
            .into_iter()
            .flatten()
            {
                let fits = addresses.push(IpCidr::Ipv6(cidr));
                debug_assert!(fits.is_ok());
            }
        });
        if let Some(gateway) = gateway {
            let added = self.core.iface.routes_mut().add_default_ipv6_route(gateway);
            debug_assert!(added.is_ok());
        }
        self.follow_router();
    }

    /// Notices what smoltcp learned from router advertisements (RFC 4862), and what ran out.
    pub(super) fn follow_router(&mut self) {
        let is_told = |cidr: &&Ipv6Cidr| {
            !cidr.address().is_loopback() && !cidr.address().is_unicast_link_local()
        };
        let now = || {
            self.core
                .iface
                .ip_addrs()
                .iter()
                .filter_map(|cidr| match cidr {
                    IpCidr::Ipv6(cidr) => Some(cidr),
                    IpCidr::Ipv4(_) => None,
                })
        };
        if now().filter(is_told).eq(self.addresses6.iter()) {
            return;
        }
        let is: Vec<Ipv6Cidr> = now().filter(is_told).copied().collect();
        let was = core::mem::replace(&mut self.addresses6, is);
        let gone = was.iter().filter(|cidr| !self.addresses6.contains(cidr));
        self.changes.extend(gone.map(|cidr| Change::Down6 {
            address: cidr.address(),
        }));
        let new = self.addresses6.iter().filter(|cidr| !was.contains(cidr));
        self.changes.extend(new.map(|cidr| Change::Up6 {
            address: cidr.address(),
            prefix_len: cidr.prefix_len(),
        }));
        self.tell_port();
    }

    /// Tells the port which addresses are ours.
    fn tell_port(&mut self) {
        let own = self.core.iface.ip_addrs().iter();
        self.port
            .set_own(own.map(|cidr| cidr.address().into()).collect());
    }

    pub(super) fn configure(&mut self, lease: Lease) {
        let was = self.lease.address;
        self.lease = lease;
        let core = &mut self.core;
        core.lease_up = lease.address.is_some();
        core.has_gateway = lease.gateway.is_some();
        let own = lease.address.map(|(address, prefix_len)| {
            IpCidr::Ipv4(Ipv4Cidr::new(Ipv4Addr::from(address), prefix_len))
        });
        core.iface.update_ip_addrs(|addresses| {
            addresses.retain(|cidr| matches!(cidr, IpCidr::Ipv6(_)));
            let loopback = IpCidr::Ipv4(Ipv4Cidr::new(Ipv4Addr::LOCALHOST, 8));
            for cidr in own.into_iter().chain([loopback]) {
                let fits = addresses.push(cidr);
                debug_assert!(fits.is_ok());
            }
        });
        let routes = core.iface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(gateway) = lease.gateway {
            // However many routers advertise themselves, IPv4 has its route.
            routes.update(|routes| {
                if routes.is_full() {
                    routes.pop();
                }
            });
            let added = routes.add_default_ipv4_route(Ipv4Addr::from(gateway));
            debug_assert!(added.is_ok());
        }
        let servers: Vec<IpAddress> = lease
            .dns
            .map(|dns| IpAddress::Ipv4(Ipv4Addr::from(dns)))
            .into_iter()
            .collect();
        core.sockets
            .get_mut::<dns::Socket<'_>>(self.dns)
            .update_servers(&servers);
        self.tell_port();
        self.changes.extend(match lease.address {
            Some((address, prefix_len)) if was != lease.address => Some(Change::Up {
                address,
                prefix_len,
                gateway: lease.gateway,
                dns: lease.dns,
            }),
            None if was.is_some() => Some(Change::Down),
            _ => None,
        });
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
