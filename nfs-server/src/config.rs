//! What the server is told: options, and the same as a TOML file.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use protocol::message::Access;
use serde::Deserialize;

/// One `--export name=dir[:ro|rw|append]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ExportConfig {
    /// What clients call it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What they may do.
    #[serde(default)]
    pub access: AccessConfig,
}

/// `ro`, `rw`, `append`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AccessConfig {
    /// Reading.
    #[default]
    Ro,
    /// Everything.
    Rw,
    /// Reading, creation, append.
    Append,
}

impl From<AccessConfig> for Access {
    fn from(access: AccessConfig) -> Self {
        match access {
            AccessConfig::Ro => Self::ReadOnly,
            AccessConfig::Rw => Self::ReadWrite,
            AccessConfig::Append => Self::AppendOnly,
        }
    }
}

impl std::str::FromStr for ExportConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text
            .split_once('=')
            .ok_or("expected name=dir[:ro|rw|append]")?;
        let (path, access) = match rest.rsplit_once(':') {
            Some((path, "ro")) => (path, AccessConfig::Ro),
            Some((path, "rw")) => (path, AccessConfig::Rw),
            Some((path, "append")) => (path, AccessConfig::Append),
            _ => (rest, AccessConfig::Ro),
        };
        if name.is_empty() || path.is_empty() {
            return Err("name and directory must not be empty".into());
        }
        Ok(Self {
            name: name.to_owned(),
            path: path.into(),
            access,
        })
    }
}

/// Bounds. What goes beyond is refused with a reason, counted and logged.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest payload of a frame, 4096 to 1 MiB.
    pub frame_bytes: u32,
    /// Requests in flight per session.
    pub slots: u16,
    /// Open handles per session.
    pub handles: usize,
    /// Sessions.
    pub sessions: usize,
    /// Connections, greeted or not.
    pub connections: usize,
    /// Follows per connection.
    pub follows: usize,
    /// Largest file that a client may make.
    pub file_bytes: u64,
    /// Bytes that one session may write.
    pub session_bytes: u64,
    /// Silence after which a connection is closed; half of it within a frame.
    pub idle_ms: u64,
    /// A client that does not read for so long is dropped.
    pub stall_ms: u64,
    /// A session without a connection is kept for so long.
    pub session_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: protocol::MAX_FRAME,
            slots: protocol::MAX_SLOTS,
            handles: 1024,
            sessions: 4096,
            connections: 2048,
            follows: 256,
            file_bytes: 64 << 30,
            session_bytes: u64::MAX,
            idle_ms: 600_000,
            stall_ms: 30_000,
            session_ms: 24 * 3_600_000,
        }
    }
}

impl Limits {
    /// As a duration.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }
}

/// Who may talk.
#[derive(Clone, PartialEq, Eq)]
pub enum Security {
    /// Anybody on this machine who knows the token.
    Plain {
        /// The token.
        token: Vec<u8>,
    },
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain { .. } => f.write_str("Plain"),
        }
    }
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is shown.
    pub exports: Vec<ExportConfig>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who may talk.
    pub security: Security,
    /// Where sessions survive a kill.
    pub state: Option<PathBuf>,
    /// Bounds.
    pub limits: Limits,
    /// Where Prometheus may ask.
    pub metrics: Option<SocketAddr>,
}

/// The configuration file. Options on the command line win; their exports are added.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// As `--listen`.
    pub listen: Option<SocketAddr>,
    /// As `--token-file`.
    pub token_file: Option<PathBuf>,
    /// As `--key`.
    pub key: Option<PathBuf>,
    /// As `--state`.
    pub state: Option<PathBuf>,
    /// As `--metrics`.
    pub metrics: Option<SocketAddr>,
    /// As `--export`, each.
    pub export: Vec<ExportConfig>,
    /// Bounds.
    pub limits: Limits,
}

impl ConfigFile {
    /// Reads one; unknown names in it are errors.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }
}

/// Reads a secret from a file that nobody else may read.
pub fn read_secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{} has mode {mode:o}, so others can read the secret: chmod 600 it",
            path.display()
        );
    }
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let secret = text.trim_ascii().to_vec();
    if secret.is_empty() {
        bail!("{} is empty", path.display());
    }
    Ok(secret)
}
