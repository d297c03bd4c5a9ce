//! ping: send ICMP echo requests.
#![no_std]
#![no_main]
use core::time::Duration;
use ulib::abi::net::{AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, SOCK_RAW};
use ulib::io::{AsFd, OwnedFd};
use ulib::net::IpAddr;
use ulib::prelude::*;
use ulib::time::Instant;

ulib::main!(
    main,
    "ping [-c COUNT] [-s BYTES] HOST\n\
     Send ICMP echo requests, one a second, and show how long the answers take.\n\
     -c stop after so many (default 4)  -s bytes of data (default 56)\n\
     Status 0 if any answer came."
);

/// Type, code, checksum, identifier, sequence (RFC 792, RFC 4443 section 4.1).
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
    let peer = ulib::net::socket_address(host, 0)?.ip();
    let echo = Echo::new(peer)?;
    let identifier = process::id() as u16;
    println!("ping {host} ({peer}): {bytes} bytes of data");
    let mut answers = 0;
    for sequence in 1..=count {
        let start = Instant::now();
        echo.ask(identifier, sequence, bytes)?;
        if let Some(from) = echo.answer(identifier, sequence, start)? {
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

/// A raw socket for one peer, and what an echo is in its family.
struct Echo {
    socket: OwnedFd,
    peer: IpAddr,
    request: u8,
    reply: u8,
}

impl Echo {
    fn new(peer: IpAddr) -> Result<Self> {
        let (family, protocol, request, reply) = match peer {
            IpAddr::V4(_) => (AF_INET, IPPROTO_ICMP, 8, 0),
            IpAddr::V6(_) => (AF_INET6, IPPROTO_ICMPV6, 128, 129),
        };
        Ok(Self {
            socket: OwnedFd::new(sys::socket(family, SOCK_RAW, protocol)?),
            peer,
            request,
            reply,
        })
    }

    /// The kernel fills the checksum in.
    fn ask(&self, identifier: u16, sequence: u16, bytes: usize) -> Result<()> {
        let mut message = vec![self.request, 0, 0, 0];
        message.extend(identifier.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend((0..bytes).map(|index| index as u8));
        let fd = self.socket.fd();
        match self.peer {
            IpAddr::V4(peer) => sys::sendto(fd, &message, 0, &peer.octets(), 0)?,
            IpAddr::V6(peer) => sys::sendto(fd, &message, 0, &peer.octets(), 0)?,
        };
        Ok(())
    }

    /// Waits a second for our answer; who sent it.
    fn answer(&self, identifier: u16, sequence: u16, start: Instant) -> Result<Option<IpAddr>> {
        let mut buffer = [0; DATA_MAX + 100];
        loop {
            let left = SECOND.saturating_sub(start.elapsed());
            if ulib::net::wait_readable(&[self.socket.fd()], Some(left))?.is_empty() {
                return Ok(None);
            }
            let (len, from, _) = sys::recvfrom(self.socket.fd(), &mut buffer, 0)?;
            let mut message = &buffer[..len];
            // Of IPv4, the IP header comes with it.
            if let (IpAddr::V4(_), Some(first @ 0x45..=0x4f)) = (self.peer, message.first()) {
                message = message.get(usize::from(first & 0x0f) * 4..).unwrap_or(&[]);
            }
            let ours = message.len() >= HEADER_BYTES
                && message[0] == self.reply
                && message[4..6] == identifier.to_be_bytes()
                && message[6..8] == sequence.to_be_bytes();
            if ours {
                let [a, b, c, d, ..] = from;
                return Ok(Some(match self.peer {
                    IpAddr::V4(_) => [a, b, c, d].into(),
                    IpAddr::V6(_) => from.into(),
                }));
            }
        }
    }
}
