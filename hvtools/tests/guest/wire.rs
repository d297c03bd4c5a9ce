//! The guest's sockets, seen from the other end of the wire: published ports, every kind of card, a bad cable, a card
//! that lies, and the trace's record of what went over it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use harness::{Faults, Forward, Hypervisor, MachineConfig, Network, Protocol, Relay, Side};
use serde_json::json;

use crate::memory::{Debugger, Memory};
use crate::support::{
    AtPrompt, BOOT, SOON, at_prompt, bitvisor, eventually, free_port, hv, hv_run,
};

/// Where the guest's echod listens.
const ECHO: u16 = 7;
/// A transfer over a bad wire may have to wait for many time-outs.
const PATIENCE: Duration = Duration::from_secs(120);

fn forward(protocol: Protocol, guest: u16) -> Forward {
    Forward {
        protocol,
        host: free_port(),
        guest,
    }
}

/// A guest that has its address and echoes TCP, and the host's port that leads there.
fn echoing(hypervisor: Hypervisor, adjust: impl Fn(&mut MachineConfig)) -> (AtPrompt, u16) {
    let echo = forward(Protocol::Tcp, ECHO);
    let mut guest = at_prompt(hypervisor, |config| {
        config.forwards.push(echo);
        adjust(config);
    });
    // What it says must not get in between what is typed.
    guest.run("echod > echod.log &");
    eventually("an address by DHCP", SOON, || {
        guest.run("ifconfig").contains("10.0.2.15").then_some(())
    });
    (guest, echo.host)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the published port is open");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Bytes that differ everywhere, and by `salt`.
fn pattern(len: usize, salt: u64) -> Vec<u8> {
    let word = |at: u64| (at ^ salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    (0..len as u64).map(|at| word(at) as u8).collect()
}

/// Sends bytes to the echo, says goodbye, and compares what comes back until the other side does so, too.
fn assert_echoed(port: u16, bytes: &[u8], what: &str) {
    let mut stream = connect(port);
    let mut sender = stream.try_clone().unwrap();
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            sender.write_all(bytes).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        stream
            .read_to_end(&mut back)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    });
    assert!(
        back == bytes,
        "{what}: {} of {} bytes came back, or others",
        back.len(),
        bytes.len()
    );
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_published_port_leads_to_httpd() {
    let port = free_port();
    let publish = format!("{port}:80");
    let mut command = hv(&["shell", "--no-build", "--hypervisor", "none", "--publish"]);
    command.args([&publish, "-c", "httpd -q"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Before httpd listens, QEMU accepts and then resets.
    let answer = eventually("an answer of httpd", BOOT, || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(SOON)).ok()?;
        stream.write_all(b"GET /README HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_published_udp_port_a_static_address_and_ipv6() {
    let udp = forward(Protocol::Udp, ECHO);
    let mut guest = at_prompt(Hypervisor::None, |config| {
        config.forwards.push(udp);
        let settings = config.settings.clone();
        config.settings = settings.with("ip", "10.0.2.15/24,10.0.2.2,10.0.2.3");
    });
    let interface = guest.run("ifconfig");
    assert!(
        interface.contains("10.0.2.15/24") && !interface.contains("lease"),
        "{interface}"
    );
    // QEMU's network has a router: it gives an IPv6 address and answers for fec0::2.
    eventually("an address by router advertisement", SOON, || {
        guest.run("ifconfig").contains("fec0::").then_some(())
    });
    let echo = guest.run("ping -c 5 fec0::2");
    assert!(echo.contains("bytes from fec0::2: sequence"), "{echo}");
    guest.run("echod -u &");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    // The first datagrams may come before echod does.
    let echoed = eventually("an echo", SOON, || {
        socket.send_to(b"hello", ("127.0.0.1", udp.host)).ok()?;
        let mut bytes = [0; 16];
        let len = socket.recv(&mut bytes).ok()?;
        Some(bytes[..len].to_vec())
    });
    assert_eq!(echoed, b"hello");
}

/// Faults one by one, then all, on one guest; everything arrives, and what happened to the frames was counted.
fn a_bad_wire(hypervisor: Hypervisor) {
    const BYTES: usize = 300_000;
    let relay = Arc::new(Relay::start(Faults::default()).unwrap());
    let network = Network::UserBehind(Arc::clone(&relay));
    let (_guest, port) = echoing(hypervisor, |config| config.network = network.clone());
    let all = [
        "drop=2%",
        "double=5%",
        "reorder=5%",
        "corrupt=2%",
        "delay=20ms",
        "drop=1%,double=2%,reorder=2%,corrupt=1%,delay=5ms",
    ];
    for (salt, faults) in all.into_iter().enumerate() {
        let before = [relay.counts(Side::Near), relay.counts(Side::Far)];
        relay.set_faults(faults.parse().unwrap());
        assert_echoed(port, &pattern(BYTES, salt as u64), faults);
        relay.set_faults(Faults::default());
        for (side, before) in [Side::Near, Side::Far].into_iter().zip(before) {
            let after = relay.counts(side);
            assert!(
                after.bytes - before.bytes > BYTES as u64,
                "{faults}: the bytes went another way"
            );
            let counted = [
                ("drop", after.dropped - before.dropped),
                ("double", after.doubled - before.doubled),
                ("reorder", after.reordered - before.reordered),
                ("corrupt", after.corrupted - before.corrupted),
                ("delay", after.delayed - before.delayed),
            ];
            println!("{faults}, {side:?}: {counted:?}");
            for (word, count) in counted {
                // A rate of 1 % can miss the few hundred frames altogether.
                let rare = faults.contains(&format!("{word}=1%"));
                assert!(
                    rare || (count > 0) == faults.contains(word),
                    "{faults}, {side:?}: {counted:?}"
                );
            }
        }
    }
    // A cable that is pulled and plugged in again ends no connection.
    let mut stream = connect(port);
    for (word, faults) in [
        (b"here", "drop=0%"),
        (b"away", "drop=100%"),
        (b"back", "drop=0%"),
    ] {
        relay.set_faults(faults.parse().unwrap());
        stream.write_all(word).unwrap();
        if faults == "drop=100%" {
            std::thread::sleep(Duration::from_secs(2));
            relay.set_faults(Faults::default());
        }
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, *word);
    }
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn transfers_survive_a_bad_wire() {
    a_bad_wire(Hypervisor::None);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn transfers_survive_a_bad_wire_on_bitvisor() {
    a_bad_wire(bitvisor());
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn sixty_four_connections_and_sixteen_listeners() {
    const FIRST: u16 = 2001;
    let listeners: Vec<Forward> = (0..16)
        .map(|at| forward(Protocol::Tcp, FIRST + at))
        .collect();
    let (mut guest, port) = echoing(Hypervisor::None, |config| {
        config.forwards.extend(&listeners)
    });
    let mut streams: Vec<TcpStream> = (0..64).map(|_| connect(port)).collect();
    // All are open at the same time: each gets its own bytes back, in the order opposite to their opening.
    for (at, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&pattern(5000, at as u64)).unwrap();
    }
    for (at, stream) in streams.iter_mut().enumerate().rev() {
        let mut back = vec![0; 5000];
        stream
            .read_exact(&mut back)
            .unwrap_or_else(|error| panic!("connection {at}: {error}"));
        assert!(back == pattern(5000, at as u64), "connection {at}");
    }
    let sockets = guest.run("netstat");
    assert_eq!(sockets.matches("established").count(), 64, "{sockets}");
    drop(streams);
    for listener in &listeners {
        let port = listener.guest;
        guest.run(&format!("echod -p {port} > echod.{port} &"));
    }
    eventually("17 listeners", SOON, || {
        (guest.run("netstat").matches(" listen").count() == 17).then_some(())
    });
    for listener in &listeners {
        assert_echoed(
            listener.host,
            &pattern(2000, listener.guest.into()),
            "a listener",
        );
    }
}

/// QEMU's card in its other shapes; by default it is transitional and has MSI-X.
#[test]
#[ignore = "boots a machine: cargo hv test"]
fn every_kind_of_card() {
    for (properties, interrupt) in [
        (&["disable-legacy=on"][..], "msi-x vector"),
        (&["disable-legacy=on", "vectors=0"], "irq 11"),
        (&["vectors=0"], "irq 11"),
    ] {
        let (guest, port) = echoing(Hypervisor::None, |config| {
            config.card_properties = properties.iter().map(ToString::to_string).collect();
        });
        let text = guest.machine.console_text();
        assert!(text.contains(interrupt), "{properties:?}: {text}");
        assert_echoed(port, &pattern(1_000_000, 5), interrupt);
    }
}

/// Where the device writes what it is done with, and how long that ring is.
struct UsedRing {
    at: u64,
    len: u16,
}

impl UsedRing {
    fn find(guest: &AtPrompt, queue: u16) -> UsedRing {
        let mut qmp = guest.machine.qmp().unwrap();
        let devices = qmp.command("x-query-virtio", json!({})).unwrap();
        let path = devices[0]["path"]
            .as_str()
            .expect("a virtio device")
            .to_owned();
        let arguments = json!({ "path": path, "queue": queue });
        let status = qmp
            .command("x-query-virtio-queue-status", arguments)
            .unwrap();
        let number = |key: &str| {
            status[key]
                .as_u64()
                .unwrap_or_else(|| panic!("{key}: {status}"))
        };
        UsedRing {
            at: number("vring-used"),
            len: number("vring-num") as u16,
        }
    }

    /// The entry behind the last one names this buffer with this length, and the index grows.
    fn add(&self, memory: &mut Memory, id: u32, len: u32) {
        let index = memory.read_u16(self.at + 2);
        let entry = self.at + 4 + 8 * u64::from(index % self.len);
        memory.write(entry, &[id.to_le_bytes(), len.to_le_bytes()].concat());
        self.advance(memory, 1);
    }

    fn advance(&self, memory: &mut Memory, by: u16) {
        let index = memory.read_u16(self.at + 2);
        memory.write(self.at + 2, &index.wrapping_add(by).to_le_bytes());
    }
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_card_that_lies_is_reset_and_works_again() {
    const RECEIVE: u16 = 0;
    const TRANSMIT: u16 = 1;
    type Lie = fn(&UsedRing, &mut Memory);
    let lies: [(&str, u16, Lie); 5] = [
        (
            "receive queue: 1000 buffers are said to be done",
            RECEIVE,
            |ring, memory| ring.advance(memory, 1000),
        ),
        (
            "receive queue: 65535 buffers are said to be done",
            RECEIVE,
            |ring, memory| ring.advance(memory, u16::MAX),
        ),
        (
            "receive queue: token 4660 is outside the ring",
            RECEIVE,
            |ring, memory| ring.add(memory, 0x1234, 60),
        ),
        (
            "receive queue: length 100000 is not within",
            RECEIVE,
            |ring, memory| ring.add(memory, 0, 100_000),
        ),
        ("transmit queue: ", TRANSMIT, |ring, memory| {
            ring.advance(memory, 1)
        }),
    ];
    let (mut guest, port) = echoing(Hypervisor::None, |_| {});
    let debugger = Debugger::open(&guest.machine);
    for (at, (complaint, queue, lie)) in lies.into_iter().enumerate() {
        assert_echoed(port, &pattern(50_000, at as u64), complaint);
        // The wire must be quiet: the next thing the device itself does would undo the lie.
        std::thread::sleep(Duration::from_secs(2));
        let ring = UsedRing::find(&guest, queue);
        lie(&ring, &mut debugger.stop());
        let text = guest.console.wait_for("resetting it", SOON).unwrap();
        assert!(text.contains(complaint), "{text}");
        // The link is back, with the address it had.
        assert_echoed(port, &pattern(50_000, at as u64), complaint);
        let interface = guest.run("ifconfig");
        assert!(
            interface.contains(&format!("{} lies", at + 1)),
            "{interface}"
        );
    }
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn frames_of_a_run_come_out_as_pcapng() {
    let arguments = ["--hypervisor", "none", "--only", "hypercall-map"];
    let with = |classes: &[&str]| {
        let run = hv_run(&[&arguments, classes].concat());
        let done = run.finish();
        assert_eq!(done.status, 0, "{}", done.text);
        let boot = done.folder.join("m00");
        let output = |words: &[&str]| {
            let output = hv(words).arg(&boot).output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        };
        let shown = String::from_utf8_lossy(&output(&["trace", "show"])).into_owned();
        (output(&["trace", "export", "--pcap"]), shown)
    };
    // Off: no frame, no doorbell, no interrupt.
    let (file, shown) = with(&[]);
    assert!(frames(&file).is_empty());
    assert!(
        !shown.contains(" notify ") && !shown.contains(" irq "),
        "{shown}"
    );
    // On: each of them.
    let (file, shown) = with(&["--trace", "packet,virtio,interrupt"]);
    assert!(
        shown.contains(" notify ") && shown.contains(" irq "),
        "{shown}"
    );
    let frames = frames(&file);
    let (sent, received): (Vec<_>, Vec<_>) = frames.iter().partition(|frame| frame.sent);
    assert!(
        sent.len() > 5 && received.len() > 5,
        "{} sent, {} received",
        sent.len(),
        received.len()
    );
    // DHCP's first word is ours (a question for IPv6's router may come before), and of the two connections to the server
    // only that of the files is there.
    let first = sent.iter().find(|frame| frame.bytes[12..14] == [8, 0]);
    assert_eq!(first.expect("an IPv4 frame").bytes[23], 17);
    let tcp = |frame: &&&Frame| frame.bytes[12..14] == [8, 0] && frame.bytes[23] == 6;
    let mut ports: Vec<&[u8]> = sent
        .iter()
        .filter(tcp)
        .map(|frame| &frame.bytes[34..36])
        .collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 1, "the trace's own connection was recorded");
}

struct Frame {
    sent: bool,
    bytes: Vec<u8>,
}

/// The packets of a pcapng file of one interface: type, length, body, length.
fn frames(file: &[u8]) -> Vec<Frame> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(word(0), 0x0a0d_0d0a);
    let (mut frames, mut at) = (Vec::new(), 0);
    while at < file.len() {
        let len = word(at + 4);
        assert_eq!(word(at + len - 4), len, "the block at {at}");
        if word(at) == 6 {
            let (captured, wire) = (word(at + 20), word(at + 24));
            assert_eq!(captured, wire, "no frame is larger than the trace takes");
            let bytes = file[at + 28..at + 28 + captured].to_vec();
            let options = at + 28 + captured.next_multiple_of(4);
            assert_eq!(word(options), 0x0004_0002, "the packet's flags");
            frames.push(Frame {
                sent: word(options + 4) == 2,
                bytes,
            });
        }
        at += len;
    }
    frames
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_tap_device_that_is_missing_is_named_with_the_commands_for_it() {
    let output = hv(&["shell", "--no-build", "--net", "tap:hvnothere"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("ip tuntap add dev hvnothere mode tap"),
        "{said}"
    );
}
