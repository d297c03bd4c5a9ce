//! The file server of a run: a child process, by default on a free loopback port and with a random token; in noise
//! mode with a random key.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::settings::Settings;

use anyhow::{Context, Result, bail};

/// The server answers its first request long before this.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Name of the file with the token or key.
const SECRET_FILE: &str = "secret";

/// A folder that clients see.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub folder: PathBuf,
    /// `ro`, `rw` or `append`.
    pub access: &'static str,
}

/// Where the guest reaches the host's loopback under QEMU's user network.
const HOST_SEEN_FROM_GUEST: &str = "10.0.2.2";

/// What a guest connects to in order to reach this address of the host.
#[must_use]
pub fn seen_from_guest(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) if !address.ip().is_loopback() => address.to_string(),
        address => format!("{HOST_SEEN_FROM_GUEST}:{}", address.port()),
    }
}

/// How a server's clients prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By a token, on loopback only.
    #[default]
    Plain,
    /// By a key, which encrypts all they say.
    Noise,
}

/// What a client must know; random, of one server only.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// plain mode: the token.
    Token(String),
    /// noise mode: the key, as `ID:SECRET`.
    Key(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Secret::Token(_) => "Token",
            Secret::Key(_) => "Key",
        })
    }
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How clients prove who they are.
    pub mode: Mode,
    /// The program `nfs-server`.
    pub program: PathBuf,
    /// What clients see.
    pub exports: Vec<Export>,
    /// Where its log goes, appended to.
    pub log: PathBuf,
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    child: Child,
    address: SocketAddr,
    secret: Secret,
    /// Holds the secret's file and the server's state.
    scratch: tempfile::TempDir,
}

impl Server {
    /// Starts it. The calling thread must live as long as the server.
    ///
    /// # Errors
    /// When no port is free, the program is missing, or it refuses its options.
    pub fn start(config: ServerConfig) -> Result<Server> {
        let (secret, line) = match config.mode {
            Mode::Plain => {
                let token = random_digits(16)?;
                (Secret::Token(token.clone()), token)
            }
            Mode::Noise => {
                let (id, key) = (random_digits(16)?, random_digits(32)?);
                (
                    Secret::Key(format!("{id}:{key}")),
                    format!("{id} {key} hv\n"),
                )
            }
        };
        let scratch = tempfile::Builder::new()
            .prefix("hv-")
            .tempdir()
            .context("cannot create a temporary folder")?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(scratch.path().join(SECRET_FILE))?;
        file.write_all(line.as_bytes())?;
        drop(file);
        for export in &config.exports {
            std::fs::create_dir_all(&export.folder)
                .with_context(|| format!("cannot create the folder {}", export.folder.display()))?;
        }
        let (child, address) = spawn(&config, config.listen, scratch.path())?;
        Ok(Server {
            config,
            child,
            address,
            secret,
            scratch,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client must know.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The file with the token or key, which only we can read.
    #[must_use]
    pub fn secret_file(&self) -> PathBuf {
        self.scratch.path().join(SECRET_FILE)
    }

    /// The settings of a guest that works with this server: `server=`, and `token=` or `key=`. What is set
    /// already stays.
    #[must_use]
    pub fn settings(&self, settings: Settings) -> Settings {
        let server = seen_from_guest(self.address);
        let (key, secret) = match &self.secret {
            Secret::Token(token) => ("token", token),
            Secret::Key(key) => ("key", key),
        };
        let mut all = settings;
        for (key, value) in [("server", &server), (key, secret)] {
            if all.get(key).is_none() {
                all = all.with(key, value);
            }
        }
        all
    }

    /// Its process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// It ended although nobody asked it to; starts it again on the same port, with the same secret.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn restart_if_dead(&mut self) -> Result<Option<String>> {
        let Some(status) = self
            .child
            .try_wait()
            .context("cannot ask for the server's state")?
        else {
            return Ok(None);
        };
        let (child, _) = spawn(&self.config, self.address, self.scratch.path())
            .context("cannot restart the server")?;
        self.child = child;
        Ok(Some(status.to_string()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What it answered lies with the operating system: a hard end of the process loses nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(config: &ServerConfig, listen: SocketAddr, scratch: &Path) -> Result<(Child, SocketAddr)> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&config.log)
        .with_context(|| format!("cannot open {}", config.log.display()))?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&config.program);
    command
        .arg("--listen")
        .arg(listen.to_string())
        .arg(match config.mode {
            Mode::Plain => "--token-file",
            Mode::Noise => "--key",
        })
        .arg(scratch.join(SECRET_FILE));
    // What it needs to decide repeated requests after a crash; of no use to anybody once this run is over.
    command.arg("--state").arg(scratch.join("state"));
    for export in &config.exports {
        let mut value = std::ffi::OsString::from(format!("{}=", export.name));
        value.push(&export.folder);
        value.push(format!(":{}", export.access));
        command.arg("--export").arg(value);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start nfs-server")?;
    let stdout = child
        .stdout
        .take()
        .context("the server's output is not there")?;
    match first_line(stdout) {
        Some(line) => match announced(&line) {
            Some(address) => Ok((child, address)),
            None => bail!("nfs-server said {line:?} instead of where it listens"),
        },
        None => {
            let _ = child.kill();
            let _ = child.wait();
            let mut log = String::new();
            let _ = File::open(&config.log).and_then(|mut file| file.read_to_string(&mut log));
            bail!(
                "nfs-server does not listen on {listen}: {}",
                crate::text::last_lines(&log, 3)
            )
        }
    }
}

/// The address in `listening on 127.0.0.1:40123`.
fn announced(line: &str) -> Option<SocketAddr> {
    line.trim().strip_prefix("listening on ")?.parse().ok()
}

/// The first line of the server's output; a thread goes on reading, so that the pipe never fills.
fn first_line(output: impl Read + Send + 'static) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody listens behind the first line.
            let _ = sender.send(line);
        }
    });
    receiver.recv_timeout(START_LIMIT).ok()
}

/// So many bytes from the operating system, as hexadecimal digits.
fn random_digits(count: usize) -> Result<String> {
    let mut bytes = vec![0u8; count];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn the_address_is_in_the_announcement() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 40123));
        assert_eq!(announced("listening on 127.0.0.1:40123\n"), Some(address));
        assert_eq!(announced("listening"), None);
    }

    #[test]
    fn secrets_are_random_and_long() {
        let token = random_digits(16).unwrap();
        assert_eq!(token.len(), 32);
        assert_ne!(token, random_digits(16).unwrap());
    }

    #[test]
    fn a_server_that_cannot_listen_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("server");
        std::fs::write(&program, "#!/bin/sh\necho no port is free >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(
            &program,
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let config = ServerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            mode: Mode::Plain,
            program,
            exports: Vec::new(),
            log: folder.path().join("log"),
        };
        let error = format!("{:#}", Server::start(config).unwrap_err());
        assert!(
            error.contains("does not listen") && error.contains("no port is free"),
            "{error}"
        );
    }
}
