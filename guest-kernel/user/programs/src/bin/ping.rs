//! ping: send ICMP echo requests.
#![no_std]
#![no_main]
use core::time::Duration;
use ulib::abi::net::{AF_INET, IPPROTO_ICMP, SOCK_RAW};
use ulib::io::{AsFd, OwnedFd};
use ulib::prelude::*;
use ulib::time::Instant;

ulib::main!(
    main,
    "ping [-c COUNT] [-s BYTES] HOST\n\
     Send ICMP echo requests, one a second, and show how long the answers take.\n\
     -c stop after so many (default 4)  -s bytes of data (default 56)\n\
     Status 0 if any answer came."
);

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Type, code, checksum, identifier, sequence (RFC 792).
const HEADER_BYTES: usize = 8;
const DATA_MAX: usize = 1400;
const SECOND: Duration = Duration::from_secs(1);

fn main() -> Result<i32> {
    let options = env::options("c:s:")?;
    let [host] = options.operands[..] else {
        return Err(Error::Usage);
    };
    let count: u16 = options.number('c', 4)?;
    let bytes = options.number('s', 56usize)?.min(DATA_MAX);
    let peer = ulib::net::socket_address(host, 0)?;
    let socket = OwnedFd::new(sys::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)?);
    let identifier = process::id() as u16;
    println!("ping {host} ({}): {bytes} bytes of data", peer.ip());
    let mut answers = 0;
    for sequence in 1..=count {
        let start = Instant::now();
        let request = echo_request(identifier, sequence, bytes);
        sys::sendto(socket.fd(), &request, 0, &peer.ip().octets(), 0)?;
        if let Some(from) = answer(&socket, identifier, sequence, start)? {
            let took = start.elapsed();
            println!(
                "{bytes} bytes from {from}: sequence {sequence}, {} ms",
                milliseconds(took)
            );
            answers += 1;
        } else {
            println!("sequence {sequence}: no answer");
        }
        if sequence < count {
            ulib::thread::sleep(SECOND.saturating_sub(start.elapsed()));
        }
    }
    println!("{count} sent, {answers} answered");
    Ok(i32::from(answers == 0))
}

/// Milliseconds, with the microseconds behind the point.
fn milliseconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_millis(), time.subsec_micros() % 1000)
}

fn echo_request(identifier: u16, sequence: u16, bytes: usize) -> Vec<u8> {
    let mut packet = vec![ECHO_REQUEST, 0, 0, 0];
    packet.extend(identifier.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend((0..bytes).map(|index| index as u8));
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Waits a second for our answer; who sent it.
fn answer(
    socket: &OwnedFd,
    identifier: u16,
    sequence: u16,
    start: Instant,
) -> Result<Option<ulib::net::Ipv4Addr>> {
    let mut buffer = [0; DATA_MAX + 100];
    loop {
        let left = SECOND.saturating_sub(start.elapsed());
        if ulib::net::wait_readable(&[socket.fd()], Some(left))?.is_empty() {
            return Ok(None);
        }
        let (len, from, _) = sys::recvfrom(socket.fd(), &mut buffer, 0)?;
        let mut packet = &buffer[..len];
        // A raw socket may hand out the IP header too.
        if let Some(first @ 0x45..=0x4f) = packet.first() {
            packet = packet.get(usize::from(first & 0x0f) * 4..).unwrap_or(&[]);
        }
        let ours = packet.len() >= HEADER_BYTES
            && packet[0] == ECHO_REPLY
            && packet[4..6] == identifier.to_be_bytes()
            && packet[6..8] == sequence.to_be_bytes();
        if ours {
            return Ok(Some(from.into()));
        }
    }
}
