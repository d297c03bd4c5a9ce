//! `snfs://host:port/export/path`.

use std::fmt;
use std::format;
use std::net::{SocketAddr, ToSocketAddrs};
use std::string::{String, ToString};

use crate::DEFAULT_PORT;

/// A place on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Name or address.
    pub host: String,
    /// Port, [`DEFAULT_PORT`] if none was given.
    pub port: u16,
    /// Export and path, without a slash before; empty for the list of exports.
    pub path: String,
}

impl Url {
    /// Looks the host up.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found
            .next()
            .ok_or_else(|| std::io::Error::other(format!("{} has no address", self.host)))
    }
}

impl std::str::FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("snfs://")
            .ok_or("expected snfs://host[:port]/export/path")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of a bare IPv6 address are inside brackets.
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse().map_err(|_| format!("{port:?} is no port"))?,
            ),
            _ => (authority, DEFAULT_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("the host is missing: snfs://host[:port]/export/path".to_string());
        }
        Ok(Self {
            host: host.to_string(),
            port,
            path: path.trim_matches('/').to_string(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, path } = self;
        if host.contains(':') {
            write!(f, "snfs://[{host}]:{port}/{path}")
        } else {
            write!(f, "snfs://{host}:{port}/{path}")
        }
    }
}
