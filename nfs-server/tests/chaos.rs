//! `kill -9` and cut connections at random moments: nothing acknowledged is lost, nothing is done twice.
//! SNFS_CHAOS_ROUNDS sets the number of rounds (default 12 for a quick run), SNFS_CHAOS_SEED the seed.

#[path = "common/chaos.rs"]
mod chaos;
mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use common::Server;

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
