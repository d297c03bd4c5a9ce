//! Two stacks on one wire: what POSIX promises of TCP, UDP and raw sockets.

use super::port::{NoCard, Port};
use super::settings::{Address, Address6};
use super::stack::{Endpoint, Family, Half, Kind, Moment, Owner, SocketId, Stack, Take};
use super::test_wire::{ADDRESS, BUDGET, Faults, Host, Net, Woken, socket};
use abi::Errno;
use alloc::vec;
use alloc::vec::Vec;

fn recv_some(host: &mut Host, id: SocketId, into: &mut Vec<u8>) -> Result<usize, Errno> {
    let mut buffer = [0; 4096];
    let (len, _) = host.recv(id, &mut buffer, Take::Consume)?;
    into.extend_from_slice(&buffer[..len]);
    Ok(len)
}

/// Sends a pattern one way, closes that half, answers a word back.
fn transfer(faults: Faults, bytes: usize, limit_ms: u32) {
    let mut net = Net::new(faults);
    let (client, server) = net.pair(80);
    let pattern: Vec<u8> = (0..bytes).map(|at| (at * 31 + at / 251) as u8).collect();
    let mut sent = 0;
    let mut got = Vec::new();
    net.until(limit_ms, |hosts| {
        if sent < bytes {
            match hosts[0].send(client, &pattern[sent..], None) {
                Ok(len) => sent += len,
                Err(error) => assert_eq!(error, Errno::EAGAIN),
            }
            if sent == bytes {
                hosts[0].shutdown(client, Half::Write).expect("connected");
            }
        }
        loop {
            match recv_some(&mut hosts[1], server, &mut got) {
                Ok(0) => return Some(()),
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error, Errno::EAGAIN);
                    return None;
                }
            }
        }
    });
    assert!(
        got == pattern,
        "{} of {bytes} bytes arrived, or others",
        got.len()
    );
    assert_eq!(net.hosts[0].send(client, b"more", None), Err(Errno::EPIPE));
    // The other half is still open.
    net.hosts[1]
        .send(server, b"thanks", None)
        .expect("half open");
    let mut answer = Vec::new();
    net.until(limit_ms, |hosts| {
        recv_some(&mut hosts[0], client, &mut answer).ok()
    });
    assert_eq!(answer, b"thanks");
    net.hosts[1].close(server);
    net.until(limit_ms, |hosts| {
        match recv_some(&mut hosts[0], client, &mut answer) {
            Ok(0) => Some(()),
            Ok(_) => panic!("nothing was sent"),
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                None
            }
        }
    });
    net.hosts[0].close(client);
    net.until(60_000, |hosts| {
        let alive = |host: &Host| host.socket_infos().iter().any(|info| info.state > 1);
        (!alive(&hosts[0]) && !alive(&hosts[1])).then_some(())
    });
}

#[test]
fn bytes_arrive_in_order() {
    transfer(Faults::default(), 600_000, 20_000);
}

#[test]
fn bytes_arrive_over_a_bad_wire() {
    let faults = Faults {
        lose: 3,
        double: 5,
        reorder: 10,
        damage: 2,
    };
    transfer(faults, 200_000, 600_000);
}

#[test]
fn nobody_listens() {
    let mut net = Net::new(Faults::default());
    let client = net.client();
    assert_eq!(net.connect(client, 81, 1000), Err(Errno::ECONNREFUSED));
    assert_eq!(net.hosts[0].send(client, b"x", None), Err(Errno::EPIPE));
}

#[test]
fn nobody_answers() {
    let mut net = Net::new(Faults {
        lose: 100,
        ..Faults::default()
    });
    let client = net.client();
    assert_eq!(net.connect(client, 80, 30_000), Err(Errno::ETIMEDOUT));
}

#[test]
fn no_way_there() {
    let mut net = Net::new(Faults::default());
    let client = net.client();
    let far = Endpoint {
        address: [192, 168, 1, 1].into(),
        port: 80,
    };
    assert_eq!(net.hosts[0].connect(client, far), Err(Errno::ENETUNREACH));
    let datagram = socket(&mut net.hosts[0], Kind::Datagram, Family::V4);
    assert_eq!(
        net.hosts[0].send(datagram, b"x", Some(far)),
        Err(Errno::ENETUNREACH)
    );
    assert_eq!(
        net.hosts[0].bind(
            client,
            Endpoint {
                address: far.address,
                port: 1
            }
        ),
        Err(Errno::EADDRNOTAVAIL)
    );
}

#[test]
fn a_reset_is_told_once_and_then_it_is_the_end() {
    let mut net = Net::new(Faults::default());
    let (client, server) = net.pair(80);
    net.hosts[0]
        .send(client, b"unread", None)
        .expect("connected");
    for _ in 0..5 {
        net.step();
    }
    // Closed with data nobody read: the peer hears a reset.
    net.hosts[1].close(server);
    let mut buffer = [0; 8];
    let error = net.until(1000, |hosts| {
        match hosts[0].recv(client, &mut buffer, Take::Consume) {
            Err(Errno::EAGAIN) => None,
            result => Some(result),
        }
    });
    assert_eq!(error, Err(Errno::ECONNRESET));
    assert_eq!(
        net.hosts[0]
            .recv(client, &mut buffer, Take::Consume)
            .map(|r| r.0),
        Ok(0)
    );
    assert_eq!(net.hosts[0].send(client, b"x", None), Err(Errno::EPIPE));
}

#[test]
fn a_silent_peer_times_out() {
    let mut net = Net::new(Faults::default());
    let (client, _server) = net.pair(80);
    net.faults.lose = 100;
    net.hosts[0]
        .send(client, b"hello?", None)
        .expect("connected");
    let mut buffer = [0; 8];
    let error = net.until(200_000, |hosts| {
        match hosts[0].recv(client, &mut buffer, Take::Consume) {
            Err(Errno::EAGAIN) => None,
            result => Some(result),
        }
    });
    assert_eq!(error, Err(Errno::ETIMEDOUT));
}

#[test]
fn keep_alive_notices_a_dead_peer() {
    let mut net = Net::new(Faults::default());
    let (client, _server) = net.pair(80);
    net.hosts[0].set_keep_alive(client, 5000).expect("a stream");
    net.faults.lose = 100;
    let mut buffer = [0; 8];
    let error = net.until(300_000, |hosts| {
        match hosts[0].recv(client, &mut buffer, Take::Consume) {
            Err(Errno::EAGAIN) => None,
            result => Some(result),
        }
    });
    assert_eq!(error, Err(Errno::ETIMEDOUT));
}

#[test]
fn many_at_once() {
    connect_at_once(64, 64);
}

#[test]
fn a_full_backlog_makes_peers_wait() {
    connect_at_once(24, 8);
}

fn connect_at_once(count: usize, backlog: usize) {
    let mut net = Net::new(Faults::default());
    let listener = net.listener(80, backlog);
    let clients: Vec<_> = (0..count).map(|_| net.client()).collect();
    let to = Endpoint {
        address: ADDRESS[1],
        port: 80,
    };
    for &client in &clients {
        assert_eq!(net.hosts[0].connect(client, to), Err(Errno::EINPROGRESS));
    }
    for _ in 0..300 {
        net.step();
    }
    let connected = clients
        .iter()
        .filter(|&&c| net.hosts[0].connect(c, to) == Ok(()))
        .count();
    assert_eq!(connected, backlog, "the others are not refused, they wait");
    let dropped = net.hosts[1].port().counters().rx_dropped;
    assert_eq!(dropped > 0, count > backlog);
    let mut servers = Vec::new();
    net.until(20_000, |hosts| {
        while let Ok((server, _)) = hosts[1].accept(listener, Woken::default()) {
            servers.push(server);
        }
        (servers.len() == count).then_some(())
    });
    for (index, &server) in servers.iter().enumerate() {
        net.hosts[1]
            .send(server, &[index as u8], None)
            .expect("connected");
    }
    let mut heard = Vec::new();
    for &client in &clients {
        net.until(1000, |hosts| {
            recv_some(&mut hosts[0], client, &mut heard).ok()
        });
    }
    heard.sort_unstable();
    assert_eq!(heard, (0..count as u8).collect::<Vec<u8>>());
}

#[test]
fn sixteen_listeners_and_no_port_twice() {
    let mut net = Net::new(Faults::default());
    for port in 1..=16 {
        net.listener(port, 4);
    }
    let host = &mut net.hosts[1];
    let again = socket(host, Kind::Stream, Family::V4);
    let taken = Endpoint {
        address: [0; 4].into(),
        port: 7,
    };
    assert_eq!(host.bind(again, taken), Err(Errno::EADDRINUSE));
    // UDP has ports of its own.
    let datagram = socket(host, Kind::Datagram, Family::V4);
    assert_eq!(host.bind(datagram, taken), Ok(()));
    let free = socket(host, Kind::Stream, Family::V4);
    host.bind(free, Endpoint::default()).expect("a free port");
    assert!(host.local(free).expect("bound").port >= 49152);
}

#[test]
fn datagrams_keep_their_borders() {
    let mut net = Net::new(Faults::default());
    let server = socket(&mut net.hosts[1], Kind::Datagram, Family::V4);
    net.hosts[1]
        .bind(
            server,
            Endpoint {
                address: [0; 4].into(),
                port: 53,
            },
        )
        .expect("free");
    let client = socket(&mut net.hosts[0], Kind::Datagram, Family::V4);
    let to = Endpoint {
        address: ADDRESS[1],
        port: 53,
    };
    assert_eq!(
        net.hosts[0].send(client, b"x", None),
        Err(Errno::EDESTADDRREQ)
    );
    assert_eq!(
        net.hosts[0].send(client, &[0; 1473], Some(to)),
        Err(Errno::EMSGSIZE)
    );
    net.hosts[0].connect(client, to).expect("no handshake");
    assert_eq!(net.hosts[0].send(client, b"first", None), Ok(5));
    assert_eq!(net.hosts[0].send(client, b"second", None), Ok(6));
    let mut buffer = [0; 3];
    let mut take = |net: &mut Net, take| {
        net.until(100, |hosts| {
            match hosts[1].recv(server, &mut buffer, take) {
                Err(Errno::EAGAIN) => None,
                result => Some((result.expect("data"), buffer)),
            }
        })
    };
    let ((len, from), data) = take(&mut net, Take::Peek);
    assert_eq!((len, &data), (3, b"fir"));
    assert_eq!(from.address, ADDRESS[0]);
    assert_eq!(take(&mut net, Take::Consume).1, *b"fir");
    assert_eq!(take(&mut net, Take::Consume).1, *b"sec");
    assert_eq!(
        net.hosts[1].recv(server, &mut [0; 8], Take::Consume),
        Err(Errno::EAGAIN)
    );
}

#[test]
fn ping_is_answered_and_seen() {
    let mut net = Net::new(Faults::default());
    let ping = socket(&mut net.hosts[0], Kind::Icmp, Family::V4);
    let to = Endpoint {
        address: ADDRESS[1],
        port: 0,
    };
    let request = [8, 0, 0, 0, 0x12, 0x34, 0, 1, b'h', b'i'];
    assert_eq!(net.hosts[0].send(ping, &request, Some(to)), Ok(10));
    let mut buffer = [0; 64];
    let (len, from) = net.until(1000, |hosts| {
        hosts[0].recv(ping, &mut buffer, Take::Consume).ok()
    });
    assert_eq!(from, to);
    assert_eq!(len, 30);
    assert_eq!(buffer[20], 0, "an echo reply");
    assert_eq!(buffer[24..30], [0x12, 0x34, 0, 1, b'h', b'i']);
}

#[test]
fn waiters_are_woken_for_every_byte_that_comes_after_they_looked() {
    let mut net = Net::new(Faults::default());
    let listener = net.listener(80, 4);
    let woken = Woken::default();
    let client = net.hosts[0]
        .socket(Kind::Stream, Family::V4, Owner::Program, woken.clone())
        .expect("room for a socket");
    net.connect(client, 80, 1000).expect("listening");
    let (server, _) = net.until(100, |hosts| {
        hosts[1].accept(listener, Woken::default()).ok()
    });
    let mut buffer = [0; 8];
    for round in 0..3 {
        assert_eq!(
            net.hosts[0].recv(client, &mut buffer, Take::Consume),
            Err(Errno::EAGAIN)
        );
        let before = woken.0.get();
        net.hosts[1].send(server, b"x", None).expect("connected");
        for _ in 0..5 {
            net.step();
        }
        assert!(woken.0.get() > before, "round {round}");
        assert_eq!(
            net.hosts[0]
                .recv(client, &mut buffer, Take::Consume)
                .map(|r| r.0),
            Ok(1)
        );
    }
}

#[test]
fn without_a_card_there_is_still_localhost() {
    let port = Port::new(NoCard, NoCard, (), [2, 0, 0, 0, 0, 9]);
    let mut host: Stack<NoCard, NoCard, (), Woken> =
        Stack::new(port, Address::Dhcp, Address6::Off, BUDGET, 1, Moment(0));
    let at = Endpoint {
        address: [127, 0, 0, 1].into(),
        port: 7,
    };
    let listener = host
        .socket(Kind::Stream, Family::V4, Owner::Program, Woken::default())
        .expect("room for a socket");
    host.bind(listener, at).expect("localhost is ours");
    host.listen(listener, 4).expect("bound");
    let client = host
        .socket(Kind::Stream, Family::V4, Owner::Program, Woken::default())
        .expect("room for a socket");
    let mut now = 0;
    let mut accepted = None;
    while accepted.is_none() {
        now += 1000;
        assert!(now < 3_000_000, "no connection to ourselves");
        host.poll(Moment(now));
        let _ = host.connect(client, at);
        accepted = host.accept(listener, Woken::default()).ok();
    }
    assert_eq!(
        host.resolve_start("nowhere.example").err(),
        Some(Errno::ENETUNREACH)
    );
    let mut query = host.resolve_start("localhost").expect("known");
    assert_eq!(
        host.resolve_finish(&mut query),
        Ok(vec![[127, 0, 0, 1].into()])
    );
}

#[test]
fn buffers_are_bounded_and_come_back() {
    let mut net = Net::new(Faults::default());
    let host = &mut net.hosts[0];
    let to = Endpoint {
        address: ADDRESS[1],
        port: 80,
    };
    for _ in 0..2 {
        let mut open = Vec::new();
        let refused = loop {
            let id = host
                .socket(Kind::Stream, Family::V4, Owner::Program, Woken::default())
                .expect("a fresh one has no buffers");
            open.push(id);
            match host.connect(id, to) {
                Err(Errno::EINPROGRESS) => {}
                result => break result,
            }
        };
        assert_eq!(refused, Err(Errno::ENOBUFS));
        assert_eq!(open.len(), 81);
        let mut datagrams = Vec::new();
        while let Ok(id) = host.socket(Kind::Datagram, Family::V4, Owner::Program, Woken::default())
        {
            datagrams.push(id);
        }
        assert!(datagrams.is_empty(), "the budget is one for all");
        for id in open {
            host.close(id);
        }
        for moment in 1..10 {
            host.poll(Moment(moment * 1000));
        }
    }
}

#[test]
fn connections_nobody_owns_end_although_the_peer_says_nothing() {
    let mut net = Net::new(Faults::default());
    let (client, _server) = net.pair(80);
    net.hosts[0].close(client);
    // The peer acknowledges but never closes its half.
    for _ in 0..50_000 {
        net.step();
    }
    let alive = |host: &Host| host.socket_infos().iter().any(|info| info.state > 1);
    assert!(alive(&net.hosts[0]), "half closed connections live a while");
    net.faults.lose = 100;
    for _ in 0..20_000 {
        net.step();
    }
    assert!(!alive(&net.hosts[0]));
}
