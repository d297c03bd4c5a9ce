//! The server: what all connections share, and the loop that accepts them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{Config, Limits, Security};
use crate::connection;
use crate::counters::Totals;
use crate::export::Export;
use crate::inodes::Inodes;
use crate::journal::{Journal, Record, SessionInfo};
use crate::metrics;
use crate::recover;
use crate::session::{Session, Sessions};

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// In the order of the configuration.
    pub exports: Vec<Export>,
    /// Who may talk.
    pub security: Security,
    /// Bounds.
    pub limits: Limits,
    /// Random, of this process.
    pub boot_id: u64,
    /// All sessions.
    pub sessions: Sessions,
    /// All open inodes.
    pub inodes: Inodes,
    /// The state folder.
    pub journal: Journal,
    /// Held while names change.
    pub names: Mutex<()>,
    /// When the server started.
    pub started: Instant,
    next_connection: AtomicU64,
    connections: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
}

impl Shared {
    /// Counts a refused hello.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was ended because of the client.
    pub fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Numbers beside the sessions'.
    pub fn totals(&self) -> Totals {
        Totals {
            connections: self.connections.load(Ordering::Relaxed),
            accepted: self.next_connection.load(Ordering::Relaxed) - 1,
            refused: self.refused.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listener: TcpListener,
    metrics: Option<TcpListener>,
    stop: watch::Sender<bool>,
}

/// Tells a running server to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Stops accepting, says goodbye to every client, ends [`Server::run`].
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let got = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    if got != N {
        bail!("the operating system gave {got} random bytes instead of {N}");
    }
    Ok(bytes)
}

/// Names this boot of the machine.
pub fn machine_boot_id() -> anyhow::Result<Vec<u8>> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read(path)
        .with_context(|| format!("cannot read {path}"))?
        .trim_ascii()
        .to_vec())
}

impl Server {
    /// Opens exports and state, and listens. Nothing is answered before [`Self::run`].
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        check_security(&config)?;
        if config.exports.is_empty() {
            bail!("nothing to serve: give at least one --export name=dir[:ro|rw|append]");
        }
        let mut exports: Vec<Export> = Vec::new();
        for export in &config.exports {
            if exports.iter().any(|other| other.name == export.name) {
                bail!("export {} is given twice", export.name);
            }
            exports.push(Export::open(
                &export.name,
                &export.path,
                export.access.into(),
            )?);
        }
        let (journal, remembered) = match &config.state {
            Some(folder) => Journal::open(folder, &machine_boot_id()?)?,
            None => (Journal::none(), Default::default()),
        };
        let shared = Shared {
            exports,
            security: config.security,
            limits: config.limits,
            boot_id: u64::from_le_bytes(random()?),
            sessions: Sessions::default(),
            inodes: Inodes::default(),
            journal,
            names: Mutex::default(),
            started: Instant::now(),
            next_connection: AtomicU64::new(1),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        };
        recover::restore(&shared, remembered.sessions)?;
        let listener = listen(config.listen).await?;
        let metrics = match config.metrics {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        Ok(Self {
            shared: Arc::new(shared),
            listener,
            metrics,
            stop: watch::Sender::new(false),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Where Prometheus may ask.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
            .as_ref()
            .and_then(|listener| listener.local_addr().ok())
    }

    /// A handle to stop it.
    pub fn stopper(&self) -> Stop {
        Stop(self.stop.clone())
    }

    /// Serves until it is stopped.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut stopped = self.stop.subscribe();
        let mut tasks = JoinSet::new();
        if let Some(listener) = self.metrics {
            tasks.spawn(metrics::run(self.shared.clone(), listener, stopped.clone()));
        }
        loop {
            tokio::select! {
                () = stopping(&mut stopped) => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => accept(&self.shared, &mut tasks, stream, peer, stopped.clone()),
                    // Out of descriptors, or the client was gone already: neither may end the server.
                    Err(error) => {
                        tracing::warn!("accept: {error}");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                },
            }
        }
        tracing::info!("stopping");
        while tasks.join_next().await.is_some() {}
        self.shared
            .journal
            .sync()
            .context("cannot sync the state folder")
    }
}

/// What is transmitted in the clear stays on this machine.
fn check_security(config: &Config) -> anyhow::Result<()> {
    match &config.security {
        Security::Noise { .. } => Ok(()),
        Security::Plain { .. } if !config.listen.ip().is_loopback() => bail!(
            "refusing to listen on {} in plain mode: whoever reads the network reads the token. \
             Use --key FILE for other addresses than loopback",
            config.listen
        ),
        Security::Plain { token } if token.len() < 8 => {
            bail!("the token has {} bytes; 8 or more are needed", token.len())
        }
        Security::Plain { token } if token.len() > 256 => {
            bail!(
                "the token has {} bytes; a hello has room for 256",
                token.len()
            )
        }
        Security::Plain { .. } => Ok(()),
    }
}

/// Returns when the server is told to stop.
pub async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell is gone: the same.
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

fn accept(
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
    stream: TcpStream,
    peer: SocketAddr,
    stopped: watch::Receiver<bool>,
) {
    let shared = shared.clone();
    let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
    let open = shared.connections.fetch_add(1, Ordering::Relaxed);
    let over = open >= shared.limits.connections as u64;
    tasks.spawn(async move {
        connection::run(&shared, stream, peer, number, over, stopped).await;
        shared.connections.fetch_sub(1, Ordering::Relaxed);
    });
}

/// A session number that nobody can guess is not needed (the client id is the secret); one that was
/// never used before is, so it is random.
pub fn new_session_id() -> anyhow::Result<u64> {
    loop {
        let id = u64::from_le_bytes(random()?);
        if id != 0 {
            return Ok(id);
        }
    }
}

/// Writes a new session down.
pub fn remember(shared: &Shared, session: &Session) -> std::io::Result<()> {
    let info = SessionInfo {
        client: session.client,
        key: session.key,
        slots: session.slot_count(),
        max_frame: session.max_frame,
        next_handle: 1,
        name: session.name.clone().into_bytes(),
    };
    shared.journal.write(Record::Session(session.id, info))
}
