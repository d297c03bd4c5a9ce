//! `ip=` and `server=` of the kernel's settings.

use core::fmt;

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
