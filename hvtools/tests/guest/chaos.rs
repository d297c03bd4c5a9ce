//! A guest and clients of the host work on one file server while it is killed, their connections are cut, and frames
//! are lost: nothing acknowledged is lost, nothing is done twice.
//!
//! `HV_CHAOS_ROUNDS` says how often to disturb (default 10; 200 takes some minutes), `HV_CHAOS_SEED` when.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use harness::{Hypervisor, MachineConfig, Mode, Network, Relay, Server, ServerConfig};
use hvtools::build::Freshness;
use hvtools::{access, service};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{at_prompt, workspace};

#[path = "../../../nfs-server/tests/common/chaos.rs"]
#[expect(dead_code, reason = "its `run` is for tests without a guest")]
mod host;

/// For the guest to compare everything, on a busy host.
const END: Duration = Duration::from_secs(180);
/// For the guest to come back and do something before the next disturbance.
const MOMENT: Duration = Duration::from_secs(5);
/// Clients on the host beside the guest.
const CLIENTS: u64 = 2;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// What goes between the guest and its server, and what happens each round.
struct Disturbance<'a> {
    network: Network,
    /// Where the guest finds the server.
    door: SocketAddr,
    each_round: &'a mut dyn FnMut(&mut Server),
}

fn start(mode: Mode) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(ServerConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        mode,
        program: service::build_if_needed(&workspace(), Freshness::AsBuilt).unwrap(),
        exports: vec![harness::Export {
            name: "rw",
            folder: folder.path().join("rw"),
            access: "rw",
        }],
        log: folder.path().join("server.log"),
    });
    (server.unwrap(), folder)
}

fn survives(mut server: Server, folder: &tempfile::TempDir, disturbance: Disturbance<'_>) {
    let (rounds, seed) = (number("HV_CHAOS_ROUNDS", 10), number("HV_CHAOS_SEED", 1));
    println!("{rounds} rounds, seed {seed}");
    let door = harness::seen_from_guest(disturbance.door);
    let mut guest = at_prompt(Hypervisor::None, |config: &mut MachineConfig| {
        config.network = disturbance.network.clone();
        let settings = config.settings.clone().with("server", &door);
        config.settings = server.settings(settings);
    });
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let options = access::client(server.address(), server.secret()).unwrap();
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let name = format!("c{client}");
            std::thread::spawn(move || host::work(options, &name, seed + client, &stop, &done))
        })
        .collect();
    guest
        .console
        .type_line(&format!("snfschaos server:/rw/guest {seed}"))
        .unwrap();
    guest.console.wait_for("at work", END).unwrap();
    let mut random = host::Random(seed | 1);
    let home = folder.path().join("rw/guest");
    let mut progressed = 0;
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(20 + random.below(700)));
        let before = state_of(&home);
        (disturbance.each_round)(&mut server);
        let until = Instant::now() + MOMENT;
        while state_of(&home) == before && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        progressed += u64::from(state_of(&home) != before);
    }
    println!("guest: changed something after {progressed} of {rounds} disturbances");
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let outcome = client.join().unwrap().unwrap();
        println!("host: {} appends, {} names", outcome.appends, outcome.names);
    }
    std::fs::write(folder.path().join("rw/guest/stop"), "").unwrap();
    let said = guest.console.wait_for("\n$ ", END);
    let said = said.unwrap_or_else(|silence| panic!("{silence}"));
    assert!(said.contains("as it must be"), "{said}");
    println!("{}", said.trim());
}

/// What changes when the guest appends, writes or names something.
fn state_of(home: &Path) -> [Option<(u64, SystemTime)>; 3] {
    [home.to_owned(), home.join("log"), home.join("data")].map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.len(), meta.modified().ok()?))
    })
}

/// kill -9, and a new start over the same state folder.
fn kill(server: &mut Server) {
    let pid = Pid::from_raw(server.process_id().cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    while server.restart_if_dead().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn chaos_while_the_server_is_killed() {
    let (server, folder) = start(Mode::Noise);
    let disturbance = Disturbance {
        network: Network::User,
        door: server.address(),
        each_round: &mut kill,
    };
    survives(server, &folder, disturbance);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn chaos_while_connections_are_cut() {
    let (server, folder) = start(Mode::Plain);
    let connections = Arc::new(Mutex::new(Vec::new()));
    let disturbance = Disturbance {
        network: Network::User,
        door: cutter(server.address(), Arc::clone(&connections)),
        each_round: &mut |_| {
            for connection in connections.lock().unwrap().drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        },
    };
    survives(server, &folder, disturbance);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn chaos_while_frames_are_lost_and_the_server_is_killed() {
    let (server, folder) = start(Mode::Plain);
    let relay = Relay::start("drop=1%,seed=7".parse().unwrap()).unwrap();
    let disturbance = Disturbance {
        network: Network::UserBehind(Arc::new(relay)),
        door: server.address(),
        each_round: &mut kill,
    };
    survives(server, &folder, disturbance);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_process_that_waits_for_an_away_server_can_be_killed() {
    let (mut server, _folder) = start(Mode::Plain);
    let door = harness::seen_from_guest(server.address());
    let mut guest = at_prompt(Hypervisor::None, |config: &mut MachineConfig| {
        let settings = config.settings.clone().with("server", &door);
        config.settings = server.settings(settings);
    });
    guest.run("echo before > server:/rw/file");
    let pid = Pid::from_raw(server.process_id().cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    guest.console.type_line("cat server:/rw/file &").unwrap();
    guest.console.wait_for(" is away (", END).unwrap();
    let list = guest.run("ps");
    let waiting = list.lines().find(|line| line.ends_with(" cat"));
    let waiting = waiting.and_then(|line| line.split_whitespace().next());
    let waiting = waiting.unwrap_or_else(|| panic!("cat does not wait: {list}"));
    guest.run(&format!("kill {waiting}"));
    let list = guest.run("ps");
    assert!(!list.lines().any(|line| line.ends_with(" cat")), "{list}");
    // Its question goes with it, not the session.
    while server.restart_if_dead().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    guest.console.type_line("cat server:/rw/file").unwrap();
    guest.console.wait_for("before", END).unwrap();
}

/// Passes connections on, and lists them.
fn cutter(server: SocketAddr, connections: Arc<Mutex<Vec<TcpStream>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(server) else {
                continue;
            };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
            connections.lock().unwrap().extend([client, server]);
        }
    });
    address
}
