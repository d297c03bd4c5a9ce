//! Two stacks on one wire, speaking IPv6; and what a router on it may say.

use super::port::Port;
use super::settings::{Address, Address6, StaticAddress6};
use super::stack::{Change, Endpoint, Family, Half, Kind, Moment, Stack, Take};
use super::test_wire::{ADDRESS, ADDRESS6, CardRx, CardTx, Faults, Frames, Net, Woken, at, socket};
use abi::Errno;
use abi::net::{ADDRESS_OWN, ADDRESS_ROUTER};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// ICMPv6 types (RFC 4443 section 4).
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

#[test]
fn bytes_arrive_over_a_bad_wire() {
    let mut net = Net::new(Faults {
        lose: 3,
        double: 5,
        reorder: 10,
        damage: 2,
    });
    let listener = net.listener_of(Family::V6, 80, 4);
    let client = socket(&mut net.hosts[0], Kind::Stream, Family::V6);
    assert_eq!(net.connect_to(client, at(ADDRESS6[1], 80), 60_000), Ok(()));
    let (server, peer) = net.until(60_000, |hosts| {
        hosts[1].accept(listener, Woken::default()).ok()
    });
    assert_eq!(peer.address, ADDRESS6[0]);
    let pattern: Vec<u8> = (0..100_000u32)
        .map(|at| (at * 31 + at / 251) as u8)
        .collect();
    let (mut sent, mut got) = (0, Vec::new());
    net.until(600_000, |hosts| {
        if let Ok(len) = hosts[0].send(client, &pattern[sent..], None) {
            sent += len;
            if sent == pattern.len() {
                let _ = hosts[0].shutdown(client, Half::Write);
            }
        }
        let mut buffer = [0; 4096];
        loop {
            match hosts[1].recv(server, &mut buffer, Take::Consume) {
                Ok((0, _)) => return Some(()),
                Ok((len, from)) => {
                    assert_eq!(from, peer);
                    got.extend_from_slice(&buffer[..len]);
                }
                Err(_) => return None,
            }
        }
    });
    assert!(got == pattern, "{} bytes arrived, or others", got.len());
}

#[test]
fn a_listener_of_ipv6_hears_both_families_one_of_ipv4_only_its_own() {
    let mut net = Net::new(Faults::default());
    let both = net.listener_of(Family::V6, 80, 4);
    for (family, address) in [(Family::V4, ADDRESS), (Family::V6, ADDRESS6)] {
        let client = socket(&mut net.hosts[0], Kind::Stream, family);
        assert_eq!(net.connect_to(client, at(address[1], 80), 5000), Ok(()));
        let (_, peer) = net.until(5000, |hosts| hosts[1].accept(both, Woken::default()).ok());
        assert_eq!(peer.address, address[0]);
    }
    let four = net.listener_of(Family::V4, 81, 4);
    let client = socket(&mut net.hosts[0], Kind::Stream, Family::V6);
    assert_eq!(
        net.connect_to(client, at(ADDRESS6[1], 81), 5000),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(
        net.hosts[1].accept(four, Woken::default()).err(),
        Some(Errno::EAGAIN)
    );
    // The port is one for both families, and the refused call did not use the listener up.
    let second = socket(&mut net.hosts[1], Kind::Stream, Family::V6);
    let taken = net.hosts[1].bind(second, at(Ipv6Addr::UNSPECIFIED, 81));
    assert_eq!(taken, Err(Errno::EADDRINUSE));
    let client = net.client();
    assert_eq!(net.connect(client, 81, 5000), Ok(()));
}

#[test]
fn a_socket_bound_to_one_family_does_not_call_the_other() {
    let mut net = Net::new(Faults::default());
    let host = &mut net.hosts[0];
    for (kind, own, peer) in [
        (Kind::Stream, ADDRESS6[0], ADDRESS[1]),
        (Kind::Stream, ADDRESS[0], ADDRESS6[1]),
        (Kind::Datagram, ADDRESS6[0], ADDRESS[1]),
        (Kind::Datagram, IpAddr::from([0; 4]), ADDRESS6[1]),
    ] {
        let id = socket(host, kind, Family::V6);
        assert_eq!(host.bind(id, at(own, 0)), Ok(()));
        assert_eq!(host.connect(id, at(peer, 80)), Err(Errno::ENETUNREACH));
    }
    let far = at(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 80);
    let id = socket(host, Kind::Stream, Family::V6);
    assert_eq!(host.connect(id, far), Err(Errno::ENETUNREACH));
    assert_eq!(host.bind(id, far), Err(Errno::EADDRNOTAVAIL));
    let any = at(Ipv6Addr::UNSPECIFIED, 80);
    assert_eq!(host.connect(id, any), Err(Errno::EADDRNOTAVAIL));
}

#[test]
fn datagrams_find_the_sockets_that_hear_them() {
    let mut net = Net::new(Faults::default());
    let four = socket(&mut net.hosts[1], Kind::Datagram, Family::V4);
    let both = socket(&mut net.hosts[1], Kind::Datagram, Family::V6);
    let any = Endpoint::any;
    let bind = |net: &mut Net, id, family, port| {
        let own = Endpoint {
            port,
            ..any(family)
        };
        assert_eq!(net.hosts[1].bind(id, own), Ok(()));
    };
    bind(&mut net, four, Family::V4, 70);
    bind(&mut net, both, Family::V6, 71);
    let sender = socket(&mut net.hosts[0], Kind::Datagram, Family::V6);
    let mut buffer = [0; 64];
    for (address, port, heard) in [
        (ADDRESS6, 70, None),
        (ADDRESS, 70, Some(four)),
        (ADDRESS6, 71, Some(both)),
        (ADDRESS, 71, Some(both)),
    ] {
        let to = at(address[1], port);
        assert_eq!(net.hosts[0].send(sender, b"hello", Some(to)), Ok(5));
        // smoltcp asks for one neighbor a second.
        for _ in 0..2000 {
            net.step();
        }
        for id in [four, both] {
            let wanted = heard == Some(id);
            assert_eq!(net.hosts[1].readiness(id).readable, wanted, "{to}");
            let got = net.hosts[1].recv(id, &mut buffer, Take::Consume);
            match got {
                Ok((len, from)) => {
                    assert_eq!((&buffer[..len], from.address), (&b"hello"[..], address[0]));
                }
                Err(error) => assert_eq!((error, wanted), (Errno::EAGAIN, false), "{to}"),
            }
        }
    }
}

#[test]
fn an_echo_is_answered() {
    let mut net = Net::new(Faults::default());
    let raw = socket(&mut net.hosts[0], Kind::Icmp, Family::V6);
    let request = [ECHO_REQUEST, 0, 0, 0, 1, 2, 0, 7, b'd', b'a', b't', b'a'];
    let to = at(ADDRESS6[1], 0);
    assert_eq!(
        net.hosts[0].send(raw, &request, Some(to)),
        Ok(request.len())
    );
    let mut buffer = [0; 128];
    // Neighbor advertisements are ICMPv6, too, and a raw socket hears them.
    let (len, from) = net.until(20, |hosts| {
        let got = hosts[0].recv(raw, &mut buffer, Take::Consume).ok();
        got.filter(|_| buffer[0] == ECHO_REPLY)
    });
    assert_eq!(from, to);
    assert_eq!(buffer[..2], [ECHO_REPLY, 0]);
    assert_eq!(buffer[4..len], request[4..]);
    let (four, refused) = (at(ADDRESS[1], 0), Err(Errno::EINVAL));
    assert_eq!(
        net.hosts[0].send(raw, &request, Some(four)),
        Err(Errno::EINVAL)
    );
    assert_eq!(net.hosts[0].connect(raw, four), refused);
    assert_eq!(net.hosts[0].bind(raw, at(ADDRESS[0], 0)), refused);
}

#[test]
fn our_own_addresses_are_reached_without_a_wire() {
    let mut net = Net::new(Faults {
        lose: 100,
        ..Faults::default()
    });
    let listener = net.listener_of(Family::V6, 80, 8);
    for address in [
        IpAddr::from(Ipv6Addr::LOCALHOST),
        ADDRESS6[1],
        [127, 0, 0, 1].into(),
    ] {
        let client = socket(&mut net.hosts[1], Kind::Stream, Family::V6);
        net.until(3000, |hosts| hosts[1].connect(client, at(address, 80)).ok());
        let (_, peer) = net.until(1000, |hosts| {
            hosts[1].accept(listener, Woken::default()).ok()
        });
        assert_eq!(peer.address, address);
    }
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(super) const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, 0);
/// What RFC 4291 appendix A makes of `MAC` and `PREFIX`.
const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0x00ff, 0xfe00, 1);

/// An IPv6 packet in a frame to everybody, its ICMPv6 checksum right.
pub(super) fn icmpv6_frame(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut sum = 58 + message.len() as u32;
    let words = from.octets().into_iter().chain(to.octets());
    let bytes: Vec<u8> = words.chain(message.iter().copied()).collect();
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let mut frame = [[0x33, 0x33, 0, 0, 0, 1], ROUTER_MAC].concat();
    frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend_from_slice(&(message.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[58, 255]);
    frame.extend_from_slice(&from.octets());
    frame.extend_from_slice(&to.octets());
    let at = frame.len();
    frame.extend_from_slice(message);
    frame[at + 2..at + 4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}

/// A router advertisement (RFC 4861 section 4.2) with one prefix for everybody to take an address of.
fn advertisement(prefix: Ipv6Addr, seconds: u32) -> Vec<u8> {
    icmpv6_frame(ROUTER, ALL_NODES, &advertised(prefix, 64, seconds))
}

pub(super) fn advertised(prefix: Ipv6Addr, prefix_len: u8, seconds: u32) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend_from_slice(&(seconds as u16).to_be_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[3, 4, prefix_len, 0xc0]);
    message.extend_from_slice(&seconds.to_be_bytes());
    message.extend_from_slice(&seconds.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&prefix.octets());
    message
}

/// The same packet with hop-by-hop options in front that say nothing (RFC 8200 section 4.3).
fn behind_options(mut frame: Vec<u8>) -> Vec<u8> {
    frame[19] += 8;
    frame[20] = 0;
    frame.splice(54..54, [58, 0, 1, 4, 0, 0, 0, 0]);
    frame
}

struct Advertised {
    host: super::test_wire::Host,
    input: Frames,
    out: Frames,
    now: u64,
    changes: Vec<Change>,
}

impl Advertised {
    fn new(address6: Address6) -> Self {
        let (out, input) = (Frames::default(), Frames::default());
        let port = Port::new(CardRx(input.clone()), CardTx(out.clone()), (), MAC);
        Self {
            host: Stack::new(port, Address::Dhcp, address6, 1 << 20, 7, Moment(0)),
            out,
            input,
            now: 0,
            changes: Vec::new(),
        }
    }

    fn hear(&mut self, frame: Vec<u8>) {
        self.input.borrow_mut().push_back(frame);
        self.pass(1);
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.now += 100_000;
            self.changes.extend(self.host.poll(Moment(self.now)).change);
        }
    }

    fn routers(&self) -> usize {
        let addresses = self.host.addresses();
        addresses
            .iter()
            .filter(|a| a.role == ADDRESS_ROUTER)
            .count()
    }
}

#[test]
fn a_router_gives_an_address_until_it_runs_out() {
    let mut net = Advertised::new(Address6::Router);
    net.pass(1);
    let asked = net
        .out
        .borrow()
        .iter()
        .any(|frame| frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame[54] == 133);
    assert!(asked, "no router solicitation");
    assert_eq!(net.changes, []);
    net.hear(advertisement(PREFIX, 60));
    let up = Change::Up6 {
        address: OWN,
        prefix_len: 64,
    };
    assert_eq!(net.changes, [up]);
    let own = |net: &Advertised| {
        let addresses = net.host.addresses();
        addresses
            .iter()
            .any(|a| a.role == ADDRESS_OWN && a.address == OWN.octets())
    };
    assert!(own(&net));
    assert_eq!(net.routers(), 1);
    let client = socket(&mut net.host, Kind::Stream, Family::V6);
    let far = at(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1), 80);
    assert_eq!(net.host.connect(client, far), Err(Errno::EINPROGRESS));
    // DHCP's coming and going leaves IPv6 alone; the end of the prefix's time does not.
    net.pass(70);
    assert_eq!(net.changes, [up, Change::Down6 { address: OWN }]);
    assert!(!own(&net));
    assert_eq!(net.routers(), 0);
}

/// smoltcp asks for a router three times; after that its next look stays due for ever.
#[test]
fn without_a_router_the_stack_sleeps() {
    let mut net = Advertised::new(Address6::Router);
    net.pass(30);
    let polled = net.host.poll(Moment(net.now));
    assert!(!polled.more);
    let due = polled.deadline.expect("DHCP asks on");
    assert!(due.0 > net.now, "due at {}, now {}", due.0, net.now);
}

#[test]
fn a_router_is_not_heard_when_it_is_not_asked_for() {
    let mut net = Advertised::new(Address6::Off);
    net.hear(advertisement(PREFIX, 60));
    assert_eq!(net.changes, []);
    assert_eq!(net.routers(), 0);
}

#[test]
fn a_router_that_advertises_nonsense_is_not_believed() {
    let mut net = Advertised::new(Address6::Router);
    let hostile = advertisement(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0), 60);
    net.hear(hostile.clone());
    net.hear(behind_options(hostile));
    net.hear(icmpv6_frame(
        ROUTER,
        ALL_NODES,
        &advertised(PREFIX, 129, 60),
    ));
    assert_eq!(net.changes, []);
    net.hear(advertisement(PREFIX, 60));
    assert_eq!(net.changes.len(), 1);
}

#[test]
fn loopback_addresses_do_not_come_over_a_wire() {
    let mut net = Advertised::new(Address6::Router);
    net.hear(advertisement(PREFIX, 60));
    net.out.borrow_mut().clear();
    let echo = [ECHO_REQUEST, 0, 0, 0, 0, 1, 0, 1];
    net.hear(icmpv6_frame(ROUTER, Ipv6Addr::LOCALHOST, &echo));
    net.hear(icmpv6_frame(Ipv6Addr::LOCALHOST, OWN, &echo));
    net.hear(icmpv6_frame(OWN, OWN, &echo));
    net.hear(icmpv6_frame(
        Ipv4Addr::new(10, 0, 2, 2).to_ipv6_mapped(),
        OWN,
        &echo,
    ));
    let spoken = |net: &Advertised| {
        // Other than a question for routers.
        let out = net.out.borrow();
        out.iter()
            .any(|frame| frame[12..14] == [0x86, 0xdd] && frame[54] != 133)
    };
    assert!(!spoken(&net));
    net.hear(icmpv6_frame(ROUTER, OWN, &echo));
    assert!(spoken(&net), "an honest echo is answered");
}

#[test]
fn no_frame_makes_it_panic() {
    let mut net = Advertised::new(Address6::Router);
    let mut random = 88_172_645_463_325_252u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x00ff, 0xfe00, 1);
    const TYPES: [u8; 13] = [1, 2, 3, 4, 128, 129, 130, 133, 134, 135, 136, 137, 143];
    for round in 0..40_000 {
        let mut message = if next() % 2 == 0 {
            let prefix = [PREFIX, ALL_NODES, Ipv6Addr::UNSPECIFIED][round % 3];
            advertised(prefix, 64, next() as u32)
        } else {
            let mut any: Vec<u8> = (0..4 + next() % 60).map(|_| next() as u8).collect();
            any[0] = TYPES[next() as usize % TYPES.len()];
            any
        };
        // Damaged before its checksum is made, so that it is not the checksum that saves us.
        for _ in 0..next() % 4 {
            let at = 1 + next() as usize % (message.len() - 1);
            message[at] = next() as u8;
        }
        message[2..4].fill(0);
        let mut frame = icmpv6_frame(ROUTER, [own, OWN, ALL_NODES][round % 3], &message);
        if next() % 4 == 0 {
            frame = behind_options(frame);
        }
        if next() % 8 == 0 {
            frame.truncate(next() as usize % frame.len());
        } else if next() % 8 == 0 {
            let at = next() as usize % frame.len();
            frame[at] = next() as u8;
        }
        net.input.borrow_mut().push_back(frame);
        net.out.borrow_mut().clear();
        net.now += 1000;
        net.host.poll(Moment(net.now));
    }
}

#[test]
fn an_address_far_away_is_called_from_one_that_it_can_answer() {
    let far = at(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1), 80);
    let own = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);
    let mut net = Advertised::new(Address6::Static(StaticAddress6 {
        address: own,
        prefix_len: 64,
        gateway: Some(ROUTER),
    }));
    let client = socket(&mut net.host, Kind::Stream, Family::V6);
    assert_eq!(net.host.connect(client, far), Err(Errno::EINPROGRESS));
    let local = net.host.local(client).map(|own| own.address);
    assert_eq!(local, Ok(own.into()));
    // A router without a prefix leaves us with the link's own address, which is of no use there.
    let mut net = Advertised::new(Address6::Router);
    let message = &advertised(PREFIX, 64, 60)[..16];
    net.hear(icmpv6_frame(ROUTER, ALL_NODES, message));
    assert_eq!(net.routers(), 1);
    let echo = [ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 0];
    for kind in [Kind::Stream, Kind::Datagram, Kind::Icmp] {
        let id = socket(&mut net.host, kind, Family::V6);
        let result = match kind {
            Kind::Icmp => net.host.send(id, &echo, Some(far)),
            _ => net.host.connect(id, far).map(|()| 0),
        };
        assert_eq!(result, Err(Errno::ENETUNREACH), "{kind:?}");
    }
    // What is on the link needs no router.
    let mut net = Advertised::new(Address6::Router);
    let ping = socket(&mut net.host, Kind::Icmp, Family::V6);
    let everybody = Some(at(ALL_NODES, 0));
    assert_eq!(net.host.send(ping, &echo, everybody), Ok(echo.len()));
}

#[test]
fn a_datagram_is_as_long_as_a_packet_has_room_for() {
    let mut net = Net::new(Faults::default());
    let host = &mut net.hosts[0];
    let id = socket(host, Kind::Datagram, Family::V6);
    for (address, room) in [(ADDRESS[1], 1472), (ADDRESS6[1], 1452)] {
        let to = Some(at(address, 70));
        assert_eq!(host.send(id, &vec![0; room], to), Ok(room));
        let refused = host.send(id, &vec![0; room + 1], to);
        assert_eq!(refused, Err(Errno::EMSGSIZE), "{address}");
    }
}
