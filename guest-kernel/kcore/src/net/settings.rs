//! `ip=`, `ip6=` and `server=` of the kernel's settings.

use core::fmt;
use core::net::Ipv6Addr;

/// Where the interface's address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Address {
    /// A DHCP server.
    #[default]
    Dhcp,
    /// The settings.
    Static(StaticAddress),
}

/// An address by hand: `A.B.C.D/LEN[,GATEWAY[,DNS]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaticAddress {
    /// Own address.
    pub address: [u8; 4],
    /// Bits of the network prefix.
    pub prefix_len: u8,
    /// Default gateway.
    pub gateway: Option<[u8; 4]>,
    /// Name server.
    pub dns: Option<[u8; 4]>,
}

/// Where the interface's IPv6 addresses come from, beside the link's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Address6 {
    /// Router advertisements (RFC 4862).
    #[default]
    Router,
    /// The settings.
    Static(StaticAddress6),
    /// Nowhere: no IPv6 but `::1`.
    Off,
}

/// An IPv6 address by hand: `ADDRESS/LEN[,GATEWAY]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaticAddress6 {
    /// Own address.
    pub address: Ipv6Addr,
    /// Bits of the network prefix.
    pub prefix_len: u8,
    /// Default router.
    pub gateway: Option<Ipv6Addr>,
}

/// Why a setting was refused; prints as a sentence that names the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadSetting<'a> {
    value: &'a str,
    wanted: &'static str,
}

impl fmt::Display for BadSetting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {}", self.value, self.wanted)
    }
}

/// Four decimal bytes with dots, nothing else.
pub fn parse_ipv4(text: &str) -> Option<[u8; 4]> {
    let mut parts = text.split('.');
    let mut bytes = [0; 4];
    for byte in &mut bytes {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *byte = part.parse().ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// `dhcp` or `A.B.C.D/LEN[,GATEWAY[,DNS]]`.
pub fn parse_address(text: &str) -> Result<Address, BadSetting<'_>> {
    let bad = BadSetting {
        value: text,
        wanted: "dhcp or ADDRESS/LEN[,GATEWAY[,DNS]]",
    };
    if text == "dhcp" {
        return Ok(Address::Dhcp);
    }
    let mut parts = text.split(',');
    let (address, prefix_len) = parts
        .next()
        .and_then(|cidr| cidr.split_once('/'))
        .ok_or(bad)?;
    let optional = |part: Option<&str>| match part {
        None => Ok(None),
        Some(part) => parse_ipv4(part).map(Some).ok_or(bad),
    };
    let gateway = optional(parts.next())?;
    let dns = optional(parts.next())?;
    let address = parse_ipv4(address).ok_or(bad)?;
    let prefix_len = prefix_len
        .parse()
        .ok()
        .filter(|len| (1..=32).contains(len))
        .ok_or(bad)?;
    // smoltcp refuses, by panicking, an own address that is not unicast.
    if parts.next().is_some() || address[0] == 0 || address[0] >= 224 {
        return Err(bad);
    }
    Ok(Address::Static(StaticAddress {
        address,
        prefix_len,
        gateway,
        dns,
    }))
}

/// `slaac`, `off` or `ADDRESS/LEN[,GATEWAY]`.
pub fn parse_address6(text: &str) -> Result<Address6, BadSetting<'_>> {
    let bad = BadSetting {
        value: text,
        wanted: "slaac, off or ADDRESS/LEN[,GATEWAY]",
    };
    match text {
        "slaac" => return Ok(Address6::Router),
        "off" => return Ok(Address6::Off),
        _ => {}
    }
    let (cidr, gateway) = match text.split_once(',') {
        None => (text, None),
        Some((cidr, gateway)) => (cidr, Some(gateway)),
    };
    let gateway = gateway
        .map(str::parse::<Ipv6Addr>)
        .transpose()
        .map_err(|_| bad)?;
    let (address, prefix_len) = cidr.split_once('/').ok_or(bad)?;
    let address: Ipv6Addr = address.parse().map_err(|_| bad)?;
    let prefix_len = prefix_len
        .parse()
        .ok()
        .filter(|len| (1..=128).contains(len))
        .ok_or(bad)?;
    // smoltcp refuses, by panicking, an own address that is not unicast.
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(bad);
    }
    Ok(Address6::Static(StaticAddress6 {
        address,
        prefix_len,
        gateway,
    }))
}

/// `IP[:PORT]` of a server.
pub fn parse_server(text: &str, default_port: u16) -> Result<([u8; 4], u16), BadSetting<'_>> {
    let bad = BadSetting {
        value: text,
        wanted: "IP or IP:PORT",
    };
    let (address, port) = match text.split_once(':') {
        None => (text, default_port),
        Some((address, port)) => (
            address,
            port.parse().ok().filter(|&port| port != 0).ok_or(bad)?,
        ),
    };
    Ok((parse_ipv4(address).ok_or(bad)?, port))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn addresses() {
        assert_eq!(parse_ipv4("10.0.2.15"), Some([10, 0, 2, 15]));
        for bad in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1..2.3",
            "+1.2.3.4",
            "a.b.c.d",
            "0001.2.3.4",
        ] {
            assert_eq!(parse_ipv4(bad), None, "{bad}");
        }
    }

    #[test]
    fn interface() {
        assert_eq!(parse_address("dhcp"), Ok(Address::Dhcp));
        assert_eq!(
            parse_address("192.168.7.2/24,192.168.7.1,8.8.8.8"),
            Ok(Address::Static(StaticAddress {
                address: [192, 168, 7, 2],
                prefix_len: 24,
                gateway: Some([192, 168, 7, 1]),
                dns: Some([8, 8, 8, 8]),
            }))
        );
        assert!(parse_address("10.0.0.1/8").is_ok());
        for bad in [
            "",
            "10.0.0.1",
            "10.0.0.1/33",
            "10.0.0.1/0",
            "224.0.0.1/4",
            "0.0.0.0/8",
            "10.0.0.1/8,",
            "10.0.0.1/8,1.1.1.1,1.1.1.1,x",
        ] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
        let message = parse_address("here")
            .expect_err("not an address")
            .to_string();
        assert_eq!(
            message,
            "\"here\" is not dhcp or ADDRESS/LEN[,GATEWAY[,DNS]]"
        );
    }

    #[test]
    fn interface_of_ipv6() {
        assert_eq!(parse_address6("slaac"), Ok(Address6::Router));
        assert_eq!(parse_address6("off"), Ok(Address6::Off));
        let wanted = |gateway| {
            Ok(Address6::Static(StaticAddress6 {
                address: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7),
                prefix_len: 64,
                gateway,
            }))
        };
        assert_eq!(parse_address6("fd00::7/64"), wanted(None));
        let gateway = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        assert_eq!(parse_address6("fd00::7/64,fe80::1"), wanted(Some(gateway)));
        for bad in [
            "",
            "on",
            "fd00::7",
            "fd00::7/0",
            "fd00::7/129",
            "::/64",
            "::1/128",
            "ff02::1/64",
            "fd00::7/64,",
            "fd00::7/64,10.0.0.1",
            "10.0.0.1/8",
        ] {
            assert!(parse_address6(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn server() {
        assert_eq!(parse_server("10.0.2.2:7049", 1), Ok(([10, 0, 2, 2], 7049)));
        assert_eq!(parse_server("10.0.2.2", 7049), Ok(([10, 0, 2, 2], 7049)));
        for bad in [
            "",
            ":1",
            "10.0.2.2:",
            "10.0.2.2:0",
            "10.0.2.2:65536",
            "host:1",
        ] {
            assert!(parse_server(bad, 7049).is_err(), "{bad}");
        }
    }
}
