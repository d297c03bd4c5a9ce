//! The attack table: each row against the real server over a real socket.

#[path = "../common/mod.rs"]
mod common;
mod frames;
mod limits;
mod numbers;
mod paths;
mod sessions;

use common::{Raw, Server, TOKEN};
use protocol::codec;
use protocol::frame::Header;
use protocol::message::{Attach, Attached, Handle, Open, OpenFlags, Opened, Ping};
use protocol::name::PathBuf;
use protocol::{Errno, Reason, Refusal};

fn refused<T: std::fmt::Debug>(result: Result<T, (i32, Refusal)>) -> (Errno, Reason) {
    let (status, refusal) = result.expect_err("it should be refused");
    (Errno::from_status(status).unwrap(), refusal.reason)
}

fn attach(raw: &mut Raw, export: &[u8]) -> Handle {
    codec::decode::<Attached>(&raw.call(&Attach { export }).unwrap())
        .unwrap()
        .root
}

fn open(
    raw: &mut Raw,
    dir: Handle,
    path: &str,
    flags: OpenFlags,
) -> Result<Opened, (i32, Refusal)> {
    let path = PathBuf::parse(path.as_bytes()).unwrap();
    let reply = raw.call(&Open {
        dir,
        flags,
        mode: 0o644,
        path: path.as_path(),
    })?;
    Ok(codec::decode(&reply).unwrap())
}

/// The server lives and the connection answers.
fn answers(raw: &mut Raw) {
    raw.call(&Ping {}).expect("the connection lives");
}

/// A new client is served.
fn serves(server: &Server) {
    let mut raw = Raw::connect(server);
    raw.hello([99; 16], TOKEN, 0)
        .expect("a new client is welcome");
    answers(&mut raw);
}

fn header(operation: u8) -> Header {
    Header {
        operation,
        sequence: 1,
        ..Header::default()
    }
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
