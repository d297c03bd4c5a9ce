//! netstat: list sockets.
#![no_std]
#![no_main]
use ulib::abi::net::{SOCK_DGRAM, SOCK_STREAM, SocketInfo};
use ulib::net::{IpAddr, SocketAddr};
use ulib::prelude::*;

ulib::main!(
    main,
    "netstat\nList sockets; those marked k belong to the kernel."
);

const STATES: [&str; 11] = [
    "closed",
    "listen",
    "syn-sent",
    "syn-received",
    "established",
    "fin-wait-1",
    "fin-wait-2",
    "close-wait",
    "closing",
    "last-ack",
    "time-wait",
];

fn main() -> Result<()> {
    let mut list = vec![SocketInfo::default(); 256];
    let count = sys::sockets(&mut list)?;
    println!("kind  receive     send own address            peer                  state");
    for socket in &list[..count] {
        let kind = match i32::from(socket.kind) {
            SOCK_STREAM => "tcp",
            SOCK_DGRAM => "udp",
            _ => "raw",
        };
        let state = match kind {
            "tcp" => STATES.get(usize::from(socket.state)).unwrap_or(&"?"),
            _ => "",
        };
        println!(
            "{kind} {} {:8} {:8} {:22} {:22} {state}",
            if socket.kernel == 1 { 'k' } else { ' ' },
            socket.receive_queue,
            socket.send_queue,
            address(socket, &socket.local, socket.local_port),
            address(socket, &socket.remote, socket.remote_port),
        );
    }
    Ok(())
}

fn address(socket: &SocketInfo, bytes: &[u8; 16], port: u16) -> String {
    let address = match *bytes {
        [a, b, c, d, ..] if socket.address_len == 4 => IpAddr::from([a, b, c, d]),
        v6 => v6.into(),
    };
    match (port, address) {
        (0, IpAddr::V4(v4)) => format!("{v4}:*"),
        (0, IpAddr::V6(v6)) => format!("[{v6}]:*"),
        _ => SocketAddr::new(address, port).to_string(),
    }
}
