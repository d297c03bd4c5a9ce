//! `kill -9` and cut connections at random moments: nothing acknowledged is lost, nothing is done twice.
//! The same with one packet in a hundred lost. SNFS_CHAOS_ROUNDS sets the number of rounds (default 12 for a quick run), SNFS_CHAOS_SEED the seed.

#[path = "common/chaos.rs"]
mod chaos;
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{Server, write_secret};
use protocol::host::{Options, random};
use protocol::noise::Key;

/// Set in the process that has a network of its own.
const INSIDE: &str = "SNFS_CHAOS_INSIDE";
/// Of a thousand packets in each direction.
const LOST_PER_MILLE: &str = "10";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn kill_9_at_random_moments() {
    let (rounds, seed) = (
        number("SNFS_CHAOS_ROUNDS", 12) as u32,
        number("SNFS_CHAOS_SEED", 1),
    );
    let mut server = Server::start_with(&["--state={}/state"]);
    let options = server.options();
    let sum = chaos::run(&options, 3, rounds, seed, |_, _| {
        server.kill();
        server.restart();
    });
    println!(
        "{rounds} kills, seed {seed}: {} appends, {} names, {} new boots seen",
        sum.appends, sum.names, sum.resumed
    );
    assert!(sum.resumed > rounds, "the clients saw the restarts");
}

#[test]
fn cut_connections_at_random_moments() {
    let (rounds, seed) = (
        number("SNFS_CHAOS_ROUNDS", 12) as u32 * 5,
        number("SNFS_CHAOS_SEED", 1),
    );
    let server = Server::start();
    let connections: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let relay = relay(server.address, connections.clone());
    let mut options = server.options();
    options.address = relay;
    let sum = chaos::run(&options, 3, rounds, seed, |_, _| {
        for stream in connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    println!(
        "{rounds} cuts, seed {seed}: {} appends, {} names",
        sum.appends, sum.names
    );
}

/// A wire on which packets get lost, see the script; gone when dropped.
struct Wire(Child);

impl Wire {
    /// `None` where such a thing cannot be made.
    fn new(seed: u64) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/lossy-wire.pl");
        let mut child = Command::new("perl")
            .args([script, "wire", LOST_PER_MILLE, &seed.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let out = child.stdout.take()?;
        let read = BufReader::new(out).read_line(&mut line);
        let wire = Self(child);
        (read.is_ok() && line == "up\n").then_some(wire)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn one_packet_in_a_hundred_lost() {
    if std::env::var_os(INSIDE).is_some() {
        return lose_packets();
    }
    // In a network of its own, so that nothing else sees the device.
    let inside = Command::new("unshare")
        .args(["--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "one_packet_in_a_hundred_lost", "--nocapture"])
        .env(INSIDE, "1")
        .status();
    match inside.ok().and_then(|status| status.code()) {
        Some(0) => {}
        // What unshare says where it may not; a test program says 101.
        None | Some(1) => println!("NOT RUN: no network of our own can be made"),
        Some(code) => panic!("it ended with {code}"),
    }
}

/// Kills, over a wire that loses packets: to another address than loopback, so the channel is encrypted.
fn lose_packets() {
    let (rounds, seed) = (
        number("SNFS_CHAOS_ROUNDS", 12) as u32,
        number("SNFS_CHAOS_SEED", 1),
    );
    let Some(_wire) = Wire::new(seed) else {
        println!("NOT RUN: perl, ip and /dev/net/tun are needed to lose packets");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("keys"), Key::generate(random).unwrap());
    write_secret(&file, key.to_line().as_bytes());
    let keys = format!("--key={}", file.display());
    let mut server = Server::start_at("10.9.0.1:0", &[&keys, "--state={}/state"]);
    // The far end of the wire is ourselves again.
    let far = ([10, 9, 0, 2], server.address.port()).into();
    let options = Options::with_key(far, key);
    let before = retransmitted();
    let sum = chaos::run(&options, 3, rounds, seed, |_, _| {
        server.kill();
        server.restart();
    });
    let again = retransmitted() - before;
    println!(
        "{rounds} kills with 1 % loss, seed {seed}: {} appends, {} names, {again} segments sent again",
        sum.appends, sum.names
    );
    assert!(again > 0, "no packet was lost");
}

/// Segments that TCP sent again in this network (RFC 4022, tcpRetransSegs).
fn retransmitted() -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "RetransSegs");
    values.split(' ').nth(at.unwrap()).unwrap().parse().unwrap()
}

/// Passes bytes on, in pieces of odd sizes, until its connections are cut.
fn relay(
    target: std::net::SocketAddr,
    connections: Arc<Mutex<Vec<TcpStream>>>,
) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(target).unwrap());
            let copies = [(&client, &server), (&server, &client)];
            for (from, to) in copies {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    let mut buf = [0; 777];
                    while let Ok(n @ 1..) = from.read(&mut buf) {
                        if to.write_all(&buf[..n]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
            connections.lock().unwrap().extend([client, server]);
        }
    });
    address
}
