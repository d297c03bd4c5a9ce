//! Remote files: paths on SNFS servers.
//!
//! `session` holds the exactly-once bookkeeping (which is `protocol::client`'s), `link` its connection, `secret`
//! what the server wants to hear; `file` and `directory` are what a descriptor stands for; `names` the calls that take a path;
//! `channel` what the trace writes through, in a session of its own.
//!
//! Losing a server makes callers wait, never fail: the session resumes where it was. Only a server that
//! lost the session itself (restarted without its state) makes handles stale; files are then opened
//! again by path, and what is not safe to repeat is looked at first.

pub mod channel;
mod directory;
mod file;
mod link;
mod names;
mod secret;
mod session;

pub use names::{check_directory, mkdir, open, read_file, rename, unlink};

use crate::net::event::Event;
use crate::sync::SpinLock;
use crate::time;
use crate::{println, proc, settings};
use abi::Errno;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use kcore::net::stack::Endpoint;
use kcore::path::{RemotePath, Server};
use secret::Secret;
use session::{Purpose, Session};

/// Design section 14: an empty request every 500 ms tells the harness that the machine lives.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Servers one boot may talk to.
const SESSIONS_MAX: usize = 16;
/// `st_dev` of remote files.
const DEVICE: i32 = 2;

static SESSIONS: SpinLock<Vec<Arc<Session>>> = SpinLock::new("sessions", Vec::new());
/// Wakes the thread.
static WORK: Event = Event::new();

/// Starts the thread, and the sessions with the server in the settings.
pub fn init() {
    let settings = settings::get();
    if let Some(server) = settings.server.map(endpoint) {
        if let Secret::Unusable(why) = secret::get() {
            println!("remote: {why}; remote files are refused");
        }
        let mut sessions = SESSIONS.lock();
        sessions.push(Arc::new(Session::new(server, Purpose::Files)));
        if settings.run.is_some() {
            sessions.push(Arc::new(Session::new(server, Purpose::Run)));
        }
    }
    proc::spawn_kernel_thread("remote", run);
}

fn endpoint((address, port): ([u8; 4], u16)) -> Endpoint {
    Endpoint {
        address: address.into(),
        port,
    }
}

/// The thread: looks after every session.
fn run() {
    loop {
        let seen = WORK.seen();
        let sessions: Vec<Arc<Session>> = SESSIONS.lock().clone();
        let next = sessions.iter().map(|session| session.look_after()).min();
        WORK.wait_until(
            seen,
            next.map(|next| next.max(time::now() + Duration::from_millis(1))),
        );
    }
}

/// The session with a server, made if there is none.
fn session(server: Server) -> Result<Arc<Session>, Errno> {
    let settings = settings::get();
    let server = match server {
        Server::Settings => endpoint(settings.server.ok_or(Errno::ENXIO)?),
        Server::Address { ip, port } => endpoint((ip, port.unwrap_or(protocol::DEFAULT_PORT))),
    };
    // Made outside the lock: it allocates.
    let new = Arc::new(Session::new(server, Purpose::Files));
    let mut sessions = SESSIONS.lock();
    if let Some(session) = sessions
        .iter()
        .find(|session| session.server == server && session.purpose == Purpose::Files)
    {
        return Ok(Arc::clone(session));
    }
    if sessions.len() >= SESSIONS_MAX {
        return Err(Errno::ENFILE);
    }
    sessions.push(Arc::clone(&new));
    drop(sessions);
    WORK.signal();
    Ok(new)
}

/// The session of trace and verdicts of this boot.
fn run_session() -> Result<Arc<Session>, Errno> {
    let sessions = SESSIONS.lock();
    sessions
        .iter()
        .find(|session| session.purpose == Purpose::Run)
        .cloned()
        .ok_or(Errno::ENXIO)
}

/// Whether a path is below this boot's own run folder: what programs write there, verdicts above all,
/// goes the same way as the trace and is not part of it.
fn in_run_folder(path: &RemotePath) -> bool {
    let Some(run) = &settings::get().run else {
        return false;
    };
    let own_server = path.server() == Server::Settings;
    own_server
        && path.export() == Some(channel::EXPORT.as_bytes())
        && path
            .names()
            .first()
            .is_some_and(|name| name == run.id.as_bytes())
        && path
            .names()
            .get(1)
            .is_some_and(|name| *name == channel::machine_name(run).into_bytes())
}
