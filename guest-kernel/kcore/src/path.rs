//! Which paths are remote, and what a remote path means.
//!
//! A path is remote if and only if the text before its first `:/` holds no `/`: `10.0.2.2:/home/a`,
//! `10.0.2.2:7050:/home/a`, and `server:/home/a` for the server named in the settings. The first
//! component is the export; `server:/` lists the exports. `.` and `..` are resolved here, by text
//! (the root's `..` is the root): the server sees plain names only, and refuses anything else.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;

/// Longest component, in bytes; the server's rule.
pub const MAX_NAME: usize = 255;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// `server:/`: the one in the settings.
    Settings,
    /// `IP:/` or `IP:PORT:/`.
    Address {
        /// IPv4 address.
        ip: [u8; 4],
        /// Port, when the path names one.
        port: Option<u16>,
    },
}

/// A remote path: server and plain components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePath {
    server: Server,
    components: Vec<Vec<u8>>,
}

/// Why a remote path makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The text before `:/` is neither `server` nor IP nor IP:PORT.
    Server,
    /// A component is longer than [`MAX_NAME`].
    NameTooLong,
    /// A component holds a NUL.
    Nul,
}

impl PathError {
    /// What a system call answers.
    pub fn errno(self) -> abi::Errno {
        match self {
            Self::Server => abi::Errno::ENOENT,
            Self::NameTooLong => abi::Errno::ENAMETOOLONG,
            Self::Nul => abi::Errno::EINVAL,
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => write!(f, "before :/ stands neither server, nor IP, nor IP:PORT"),
            Self::NameTooLong => write!(f, "a component is longer than {MAX_NAME} bytes"),
            Self::Nul => write!(f, "a component holds a NUL"),
        }
    }
}

impl core::error::Error for PathError {}

/// Splits a remote path into the text before `:/` and the path from that `/` on. `None`: local.
pub fn split_remote(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path.windows(2).position(|pair| pair == b":/")?;
    let (server, rest) = path.split_at(at);
    (!server.contains(&b'/')).then_some((server, &rest[1..]))
}

/// The non-empty components of a path, `.` and `..` among them.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|component| !component.is_empty())
}

impl RemotePath {
    /// Reads a path; `None` when it is local.
    ///
    /// # Errors
    /// When it is remote and makes no sense.
    pub fn parse(path: &[u8]) -> Result<Option<Self>, PathError> {
        let Some((server, rest)) = split_remote(path) else {
            return Ok(None);
        };
        let server = parse_server(server).ok_or(PathError::Server)?;
        Self {
            server,
            components: Vec::new(),
        }
        .join(rest)
        .map(Some)
    }

    /// This path (a current directory) followed by a relative one.
    ///
    /// # Errors
    /// When a component makes no sense.
    pub fn join(&self, relative: &[u8]) -> Result<Self, PathError> {
        let mut joined = self.clone();
        for component in components(relative) {
            match component {
                b"." => {}
                b".." => {
                    joined.components.pop();
                }
                name if name.len() > MAX_NAME => return Err(PathError::NameTooLong),
                name if name.contains(&0) => return Err(PathError::Nul),
                name => joined.components.push(name.to_owned()),
            }
        }
        Ok(joined)
    }

    /// Which server.
    pub fn server(&self) -> Server {
        self.server
    }

    /// The export; `None` for the list of exports.
    pub fn export(&self) -> Option<&[u8]> {
        self.components.first().map(Vec::as_slice)
    }

    /// The components below the export.
    pub fn names(&self) -> &[Vec<u8>] {
        self.components.get(1..).unwrap_or_default()
    }

    /// The directory that holds the last component, and that component. `None` for the list of
    /// exports and for an export itself, which cannot be made, removed or renamed.
    pub fn split_last(&self) -> Option<(Self, &[u8])> {
        let (last, above) = self.components.split_last()?;
        (!above.is_empty()).then(|| {
            (
                Self {
                    server: self.server,
                    components: above.to_vec(),
                },
                &last[..],
            )
        })
    }
}

impl fmt::Display for RemotePath {
    /// The path in normal form. Bytes that are no printable ASCII are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.server {
            Server::Settings => write!(f, "server:")?,
            Server::Address { ip, port: None } => write!(f, "{}:", Ipv4Addr::from(ip))?,
            Server::Address {
                ip,
                port: Some(port),
            } => write!(f, "{}:{port}:", Ipv4Addr::from(ip))?,
        }
        if self.components.is_empty() {
            return write!(f, "/");
        }
        self.components
            .iter()
            .try_for_each(|name| write!(f, "/{}", name.escape_ascii()))
    }
}

fn parse_server(text: &[u8]) -> Option<Server> {
    let text = str::from_utf8(text).ok()?;
    if text == "server" {
        return Some(Server::Settings);
    }
    let (ip, port) = match text.split_once(':') {
        Some((ip, port)) => (ip, Some(parse_port(port)?)),
        None => (text, None),
    };
    let ip = ip.parse::<Ipv4Addr>().ok()?.octets();
    Some(Server::Address { ip, port })
}

/// Digits only (`parse` would take a sign), not 0.
fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn shown(path: &str) -> Option<alloc::string::String> {
        RemotePath::parse(path.as_bytes())
            .unwrap()
            .map(|path| path.to_string())
    }

    #[test]
    fn the_text_before_the_first_colon_slash_decides() {
        let table = [
            ("server:/home/a", Some("server:/home/a")),
            ("10.0.2.2:/", Some("10.0.2.2:/")),
            (
                "10.0.2.2:7050:/home//./b/../a/",
                Some("10.0.2.2:7050:/home/a"),
            ),
            ("server:/../..", Some("server:/")),
            ("server:/a:/b", Some("server:/a:/b")),
            ("dir/server:/a", None),
            ("/server:/a", None),
            ("./10.0.2.2:/a", None),
            ("server:", None),
            ("server", None),
            ("a:b/c", None),
            ("a:b/c:/d", None),
            ("", None),
        ];
        for (path, expected) in table {
            assert_eq!(shown(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn bad_servers_and_names_are_errors() {
        for path in [
            ":/a",
            "host:/a",
            "1.2.3:/a",
            "1.2.3.4:0:/a",
            "1.2.3.4:+5:/a",
            "1.2.3.4:65536:/a",
            "1.2.3.4::/a",
            "server:1:/a",
            "1.2.3.4:5:6:/a",
            "\u{e9}:/a",
        ] {
            assert_eq!(
                RemotePath::parse(path.as_bytes()),
                Err(PathError::Server),
                "{path}"
            );
        }
        assert_eq!(RemotePath::parse(b"server:/a\0b"), Err(PathError::Nul));
        let long = [b"server:/".as_slice(), &[b'x'; 256]].concat();
        assert_eq!(RemotePath::parse(&long), Err(PathError::NameTooLong));
        assert!(RemotePath::parse(&long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn a_current_directory_is_joined_by_text() {
        let cwd = RemotePath::parse(b"server:/home/a/b").unwrap().unwrap();
        assert_eq!(cwd.join(b"../c").unwrap().to_string(), "server:/home/a/c");
        assert_eq!(cwd.join(b"").unwrap(), cwd);
        assert_eq!(cwd.join(b"../../../../..").unwrap().to_string(), "server:/");
        assert_eq!(cwd.export(), Some(&b"home"[..]));
        assert_eq!(cwd.names(), [b"a", b"b"]);
        let (above, last) = cwd.split_last().unwrap();
        assert_eq!(
            (above.to_string().as_str(), last),
            ("server:/home/a", &b"b"[..])
        );
        assert_eq!(
            RemotePath::parse(b"server:/home")
                .unwrap()
                .unwrap()
                .split_last(),
            None
        );
        assert_eq!(
            RemotePath::parse(b"server:/").unwrap().unwrap().export(),
            None
        );
    }

    #[test]
    fn control_bytes_are_shown_escaped() {
        assert_eq!(
            shown("server:/a\u{1b}[2J").as_deref(),
            Some(r"server:/a\x1b[2J")
        );
    }
}
