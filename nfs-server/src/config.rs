//! What the server is told: options, and the same as a TOML file.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use protocol::message::Access;
use protocol::noise::{Key, KeyId};
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
    /// Sessions. Beyond them the one goes that lost its connection first.
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
            session_bytes: i64::MAX as u64,
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
    /// Anybody who has one of these keys.
    Noise {
        /// One for each client.
        keys: Vec<Key>,
    },
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain { .. } => f.write_str("Plain"),
            Self::Noise { keys } => f.debug_tuple("Noise").field(keys).finish(),
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

/// Reads a secret from a file that nobody else may read. In systemd's folder for credentials, which only the service
/// can enter, the group's bits are the mask of an access list (systemd.exec(5), LoadCredential).
pub fn read_secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mode = meta.permissions().mode() & 0o777;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let others = match credentials {
        Some(folder) if path.parent() == Some(Path::new(&folder)) => 0o007,
        _ => 0o077,
    };
    if mode & others != 0 {
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

/// Reads keys, one a line: id, secret, and whatever helps to remember whose it is.
pub fn read_keys(path: &Path) -> anyhow::Result<Vec<Key>> {
    let text = String::from_utf8(read_secret(path)?)
        .with_context(|| format!("{} is no text", path.display()))?;
    let mut keys: Vec<Key> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let key = Key::parse(line).with_context(|| {
            format!(
                "{} line {}: no key; nfs-server keygen makes one",
                path.display(),
                number + 1
            )
        })?;
        if keys.iter().any(|other| other.id == key.id) {
            bail!(
                "{} line {}: key {} is there twice",
                path.display(),
                number + 1,
                key.id
            );
        }
        keys.push(key);
    }
    if keys.is_empty() {
        bail!(
            "{} holds no key; nfs-server keygen makes one",
            path.display()
        );
    }
    Ok(keys)
}

/// Adds a fresh key to a file that only its owner may read; made if it does not exist.
pub fn add_key(path: &Path, comment: &str) -> anyhow::Result<KeyId> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let cannot = || format!("cannot write {}", path.display());
    let key = Key::generate(protocol::host::random)
        .context("the operating system gives no random numbers")?;
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .with_context(cannot)?;
    let mode = file.metadata().with_context(cannot)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{} has mode {mode:o}, so others can read the keys: chmod 600 it",
            path.display()
        );
    }
    let comment = comment.replace(|c: char| c.is_control(), " ");
    writeln!(file, "{} {comment}", key.to_line())
        .and_then(|()| file.sync_all())
        .with_context(cannot)?;
    Ok(key.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_shows_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("nfs-server.toml");
        let file = ConfigFile::read(&path).unwrap();
        assert_eq!(file.limits, Limits::default());
        assert_eq!(file.export.len(), 3);
        assert_eq!(file.listen.unwrap().port(), protocol::DEFAULT_PORT);
    }

    #[test]
    fn unknown_names_are_errors() {
        for text in [
            "exports = []",
            "[limits]\nhandels = 3",
            "[[export]]\nname='a'\npath='b'\nmode='rw'",
        ] {
            assert!(toml::from_str::<ConfigFile>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exports_on_the_command_line() {
        let export = |text: &str| text.parse::<ExportConfig>();
        let parsed = export("runs=/srv/a:b:append").unwrap();
        assert_eq!(
            (parsed.name.as_str(), parsed.path.to_str(), parsed.access),
            ("runs", Some("/srv/a:b"), AccessConfig::Append)
        );
        assert_eq!(export("x=/srv").unwrap().access, AccessConfig::Ro);
        for bad in ["x", "=dir", "x=", "x=:rw"] {
            assert!(export(bad).is_err(), "{bad}");
        }
    }
}
