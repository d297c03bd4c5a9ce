//! A stack whose address and names come from a server on the wire: DHCP (RFC 2131) and DNS (RFC 1035), their bytes
//! written out here, so that no mistake is on both sides.

use super::port::Port;
use super::settings::{Address, Address6, StaticAddress};
use super::stack::{Change, Family, Kind, Moment, Stack};
use super::stack6_test::{ALL_NODES, PREFIX, advertised, icmpv6_frame};
use super::test_wire::{CardRx, CardTx, Frames, Host, at, socket};
use abi::Errno;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SERVER: [u8; 4] = [10, 0, 0, 9];
const GIVEN: [u8; 4] = [10, 0, 0, 77];
/// Seconds; renewal is due after half of it.
const LEASE: u32 = 600;
const SECOND: u64 = 1_000_000;

/// DHCP message types (RFC 2132 section 9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

struct Net {
    host: Host,
    out: Frames,
    input: Frames,
    now: u64,
    /// The server answers.
    alive: bool,
    /// What the host asked of the DHCP server: type, and whether it was sent to the server alone.
    asked: Vec<(u8, bool)>,
    /// What the name server says to every question: addresses, or a refusal.
    names: Option<Vec<IpAddr>>,
    changes: Vec<Change>,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The ones' complement sum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A UDP datagram from the server, without a UDP checksum.
fn datagram(to: [u8; 4], from_port: u16, to_port: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = [MAC, SERVER_MAC].concat();
    frame.extend_from_slice(&[8, 0]);
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&(28 + data.len() as u16).to_be_bytes());
    ip.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend_from_slice(&SERVER);
    ip.extend_from_slice(&to);
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    frame.extend_from_slice(&ip);
    for field in [from_port, to_port, 8 + data.len() as u16, 0] {
        frame.extend_from_slice(&field.to_be_bytes());
    }
    frame.extend_from_slice(data);
    frame
}

impl Net {
    fn new(address: Address) -> Self {
        Self::with(address, Address6::Off)
    }

    fn with(address: Address, address6: Address6) -> Self {
        let (out, input) = (Frames::default(), Frames::default());
        let port = Port::new(CardRx(input.clone()), CardTx(out.clone()), (), MAC);
        Self {
            host: Stack::new(port, address, address6, 1 << 20, 7, Moment(0)),
            out,
            input,
            now: 0,
            alive: true,
            asked: Vec::new(),
            names: None,
            changes: Vec::new(),
        }
    }

    fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        match word(frame, 12) {
            0x0806 if frame[38..42] == SERVER => {
                let mut answer = [MAC, SERVER_MAC].concat();
                answer.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
                answer.extend_from_slice(&SERVER_MAC);
                answer.extend_from_slice(&SERVER);
                answer.extend_from_slice(&frame[22..32]);
                Some(answer)
            }
            0x0800 if frame[23] == 17 => {
                let (udp, alone) = (&frame[34..], frame[30..34] == SERVER);
                match word(udp, 2) {
                    67 => self.dhcp(&udp[8..], alone),
                    53 => self.dns(&udp[8..], word(udp, 0)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn dhcp(&mut self, request: &[u8], alone: bool) -> Option<Vec<u8>> {
        let mut options = &request[240..];
        let kind = loop {
            match *options {
                [53, 1, kind, ..] => break kind,
                [0, ref rest @ ..] => options = rest,
                [_, len, ref rest @ ..] => options = &rest[usize::from(len)..],
                _ => panic!("a DHCP message without a type"),
            }
        };
        self.asked.push((kind, alone));
        if !self.alive {
            return None;
        }
        let mut answer = vec![2, 1, 6, 0];
        answer.extend_from_slice(&request[4..8]); // transaction
        answer.extend_from_slice(&[0; 8]);
        answer.extend_from_slice(&GIVEN);
        answer.extend_from_slice(&SERVER);
        answer.extend_from_slice(&[0; 4]);
        answer.extend_from_slice(&MAC);
        answer.resize(236, 0);
        answer.extend_from_slice(&[99, 130, 83, 99]);
        answer.extend_from_slice(&[53, 1, if kind == DISCOVER { OFFER } else { ACK }]);
        answer.extend_from_slice(&[1, 4, 255, 255, 255, 0, 51, 4]);
        answer.extend_from_slice(&LEASE.to_be_bytes());
        for code in [3, 6, 54] {
            answer.extend_from_slice(&[code, 4]);
            answer.extend_from_slice(&SERVER);
        }
        answer.push(255);
        Some(datagram(GIVEN, 67, 68, &answer))
    }

    fn dns(&mut self, question: &[u8], from_port: u16) -> Option<Vec<u8>> {
        if !self.alive {
            return None;
        }
        let addresses = self.names.clone();
        let mut answer = question[..2].to_vec();
        // A response, recursion available; 3 is "no such name".
        answer.extend_from_slice(&[0x81, if addresses.is_some() { 0x80 } else { 0x83 }, 0, 1]);
        // Type A (RFC 1035 section 3.2.2) or AAAA (RFC 3596 section 2.1), as it was asked.
        let kind = question[question.len() - 3];
        let addresses: Vec<Vec<u8>> = addresses
            .unwrap_or_default()
            .into_iter()
            .filter_map(|address| match (address, kind) {
                (IpAddr::V4(v4), 1) => Some(v4.octets().to_vec()),
                (IpAddr::V6(v6), 28) => Some(v6.octets().to_vec()),
                _ => None,
            })
            .collect();
        answer.extend_from_slice(&[0, addresses.len() as u8, 0, 0, 0, 0]);
        answer.extend_from_slice(&question[12..]);
        for address in addresses {
            // The question's name and type, class IN, a minute, so many bytes.
            answer.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60]);
            answer.extend_from_slice(&(address.len() as u16).to_be_bytes());
            answer.extend_from_slice(&address);
        }
        Some(datagram(GIVEN, 53, from_port, &answer))
    }

    fn step(&mut self, micros: u64) {
        self.now += micros;
        self.changes.extend(self.host.poll(Moment(self.now)).change);
        while let Some(frame) = { self.out.borrow_mut().pop_front() } {
            if let Some(answer) = self.answer(&frame) {
                self.input.borrow_mut().push_back(answer);
            }
        }
        self.changes.extend(self.host.poll(Moment(self.now)).change);
    }

    fn seconds(&mut self, count: u32) {
        for _ in 0..10 * count {
            self.step(SECOND / 10);
        }
    }

    fn lease_left(&self) -> u64 {
        self.host.interface_info().lease_seconds
    }

    fn resolve(&mut self, name: &str) -> Result<Vec<IpAddr>, Errno> {
        let mut query = self.host.resolve_start(name)?;
        for _ in 0..300 {
            match self.host.resolve_finish(&mut query) {
                Err(Errno::EAGAIN) => self.step(SECOND / 10),
                result => return result,
            }
        }
        self.host.resolve_cancel(query);
        Err(Errno::ETIMEDOUT)
    }
}

const UP: Change = Change::Up {
    address: GIVEN,
    prefix_len: 24,
    gateway: Some(SERVER),
    dns: Some(SERVER),
};

#[test]
fn a_lease_is_renewed_from_its_server_before_it_ends() {
    let mut net = Net::new(Address::Dhcp);
    net.seconds(15);
    assert_eq!(net.changes, [UP]);
    assert_eq!(net.asked, [(DISCOVER, false), (REQUEST, false)]);
    net.asked.clear();
    // For ten times its length the address stays, and each renewal asks the server itself.
    let mut least = u64::from(LEASE);
    for _ in 0..10 * LEASE {
        net.seconds(1);
        least = least.min(net.lease_left());
    }
    assert!(net.asked.len() >= 10, "{:?}", net.asked);
    assert!(
        net.asked.iter().all(|asked| *asked == (REQUEST, true)),
        "{:?}",
        net.asked
    );
    assert!(least >= u64::from(LEASE) / 2 - 2, "{least} s were left");
    assert_eq!(net.changes, [UP], "nothing changed for anybody else");
}

#[test]
fn without_an_answer_the_address_goes_and_comes_back_with_the_server() {
    let mut net = Net::new(Address::Dhcp);
    net.seconds(15);
    assert!(net.host.is_up());
    net.alive = false;
    net.asked.clear();
    net.seconds(LEASE + 20);
    assert_eq!(net.changes, [UP, Change::Down]);
    assert_eq!(net.host.interface_info().address, [0; 4]);
    let alone = net
        .asked
        .iter()
        .filter(|asked| **asked == (REQUEST, true))
        .count();
    let to_all = net
        .asked
        .iter()
        .filter(|asked| **asked == (REQUEST, false))
        .count();
    assert!(
        alone >= 1 && to_all >= 1,
        "renewed, then rebound: {:?}",
        net.asked
    );
    net.alive = true;
    net.seconds(30);
    assert_eq!(net.changes, [UP, Change::Down, UP]);
}

#[test]
fn names_are_asked_of_the_server_that_dhcp_named() {
    let mut net = Net::new(Address::Dhcp);
    assert_eq!(net.resolve("example.test"), Err(Errno::ENETUNREACH));
    net.seconds(15);
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let both = vec![ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1")];
    net.names = Some(both.clone());
    assert_eq!(net.resolve("example.test"), Ok(both));
    net.names = Some(vec![ip("2001:db8::2")]);
    assert_eq!(net.resolve("six.test"), Ok(vec![ip("2001:db8::2")]));
    for number in ["10.1.2.3", "fd00::1"] {
        assert_eq!(net.resolve(number), Ok(vec![ip(number)]));
    }
    assert_eq!(net.resolve("localhost"), Ok(vec![ip("127.0.0.1")]));
    net.names = None;
    assert_eq!(net.resolve("nobody.test"), Err(Errno::ENOENT));
    net.alive = false;
    assert!(matches!(
        net.resolve("late.test"),
        Err(Errno::ENOENT | Errno::ETIMEDOUT)
    ));
}

#[test]
fn however_many_routers_there_are_ipv4_has_its_route() {
    let mut net = Net::with(Address::Dhcp, Address6::Router);
    for number in 1..=6 {
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 9, number);
        let frame = icmpv6_frame(router, ALL_NODES, &advertised(PREFIX, 64, 600));
        net.input.borrow_mut().push_back(frame);
    }
    net.seconds(15);
    assert!(net.changes.contains(&UP), "{:?}", net.changes);
    net.alive = false;
    let client = socket(&mut net.host, Kind::Stream, Family::V4);
    let connected = net.host.connect(client, at([192, 0, 2, 1], 80));
    assert_eq!(connected, Err(Errno::EINPROGRESS));
    net.host.poll(Moment(net.now));
    let sent = net.out.borrow_mut().pop_back().expect("a frame");
    assert_eq!((&sent[12..14], &sent[38..42]), (&[8, 6][..], &SERVER[..]));
}

#[test]
fn nobody_on_the_wire_has_our_addresses() {
    let mut net = Net::new(Address::Dhcp);
    net.seconds(15);
    for own in [GIVEN, [127, 0, 0, 1]] {
        // A question for us whose sender says to have our address, or localhost's.
        let mut request = [[0xff; 6], SERVER_MAC].concat();
        request.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        request.extend_from_slice(&SERVER_MAC);
        request.extend_from_slice(&own);
        request.extend_from_slice(&[0; 6]);
        request.extend_from_slice(&GIVEN);
        net.out.borrow_mut().clear();
        net.input.borrow_mut().push_back(request);
        net.host.poll(Moment(net.now));
        assert_eq!(net.out.borrow().len(), 0, "{own:?}");
    }
}

#[test]
fn a_static_address_asks_nobody() {
    let mut net = Net::new(Address::Static(StaticAddress {
        address: GIVEN,
        prefix_len: 24,
        gateway: Some(SERVER),
        dns: Some(SERVER),
    }));
    net.seconds(30);
    assert_eq!(net.changes, [UP]);
    assert_eq!((net.asked.len(), net.lease_left()), (0, 0));
    let named = IpAddr::from([192, 0, 2, 7]);
    net.names = Some(vec![named]);
    assert_eq!(net.resolve("example.test"), Ok(vec![named]));
    // And it answers on the wire as that address.
    let mut request = [[0xff; 6], SERVER_MAC].concat();
    request.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend_from_slice(&SERVER_MAC);
    request.extend_from_slice(&SERVER);
    request.extend_from_slice(&[0; 6]);
    request.extend_from_slice(&GIVEN);
    net.input.borrow_mut().push_back(request);
    net.host.poll(Moment(net.now));
    let answer = net.out.borrow_mut().pop_front().expect("an answer to ARP");
    assert_eq!(answer[20..22], [0, 2]);
    assert_eq!((&answer[22..28], &answer[28..32]), (&MAC[..], &GIVEN[..]));
}
