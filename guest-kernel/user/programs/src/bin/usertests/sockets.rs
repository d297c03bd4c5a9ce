//! Sockets: what the calls refuse, and connections of the machine with itself.

use crate::check::{Check, Named, Needs, Test, child, quick, refused, same, with};
use crate::ensure;
use crate::pointers::bad_addresses;
use core::time::Duration;
use ulib::abi::net::{
    AF_INET, AF_INET6, MSG_DONTWAIT, MSG_PEEK, NETINFO_INTERFACE, SOCK_DGRAM, SOCK_STREAM,
    SocketInfo,
};
use ulib::abi::syscall::number as nr;
use ulib::io::AsFd;
use ulib::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use ulib::prelude::*;
use ulib::sys::wild;

pub const TESTS: &[Test] = &[
    quick("socketargs", bad_arguments),
    quick("notsocket", socket_calls_on_files),
    quick("socketpointers", bad_pointers_to_socket_calls),
    with(Needs::Network, "netinfo", netinfo_lists_sockets),
    with(
        Needs::Network,
        "resolve",
        resolve_knows_numbers_and_refuses_bad_names,
    ),
    with(Needs::Network, "udp", datagrams),
    with(Needs::Network, "tcp", streams),
    with(Needs::Network, "tcprefused", nobody_listens),
    with(Needs::Network, "ipv6", both_families),
    with(Needs::Network, "tcpfork", server_with_children),
    with(Needs::Network, "selectsocket", select_on_sockets),
];

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

fn bad_arguments() -> Check {
    refused(
        "family 77",
        sys::socket(77, SOCK_STREAM, 0),
        &[Errno::EAFNOSUPPORT],
    )?;
    let wanted = [
        Errno::EINVAL,
        Errno::EPROTOTYPE,
        Errno::EPROTONOSUPPORT,
        Errno::EOPNOTSUPP,
    ];
    refused("type 77", sys::socket(AF_INET, 77, 0), &wanted)?;
    refused(
        "protocol 200",
        sys::socket(AF_INET, SOCK_STREAM, 200),
        &wanted,
    )?;
    let fd = io::OwnedFd::new(sys::socket(AF_INET, SOCK_STREAM, 0)?);
    let not_connected = [Errno::ENOTCONN, Errno::EPIPE, Errno::EINVAL];
    refused(
        "send unconnected",
        sys::send(fd.fd(), b"x", 0),
        &not_connected,
    )?;
    refused(
        "recv unconnected",
        sys::recv(fd.fd(), &mut [0], 0),
        &not_connected,
    )?;
    refused(
        "accept without listen",
        sys::accept(fd.fd(), &mut [0; 4]),
        &[Errno::EINVAL],
    )?;
    refused(
        "bind to 3 bytes",
        sys::bind(fd.fd(), &[0; 3], 1),
        &[Errno::EINVAL],
    )?;
    refused(
        "peer of nobody",
        sys::getpeername(fd.fd(), &mut [0; 4]),
        &[Errno::ENOTCONN],
    )?;
    refused(
        "shutdown 9",
        sys::shutdown(fd.fd(), 9),
        &[Errno::EINVAL, Errno::ENOTCONN],
    )?;
    refused(
        "option 99",
        sys::setsockopt(fd.fd(), 99, 1),
        &[Errno::ENOPROTOOPT, Errno::EINVAL],
    )?;
    refused("seek", sys::seek(fd.fd(), 0), &[Errno::ESPIPE])?;
    let datagram = io::OwnedFd::new(sys::socket(AF_INET, SOCK_DGRAM, 0)?);
    refused(
        "listen on UDP",
        sys::listen(datagram.fd()),
        &[Errno::EOPNOTSUPP],
    )
}

fn socket_calls_on_files() -> Check {
    let file = fs::File::open("/echo")?;
    let wanted = [Errno::ENOTSOCK];
    refused("bind", sys::bind(file.fd(), &[0; 4], 1), &wanted)?;
    refused("listen", sys::listen(file.fd()), &wanted)?;
    refused("connect", sys::connect(file.fd(), &[0; 4], 1), &wanted)?;
    refused("accept", sys::accept(file.fd(), &mut [0; 4]), &wanted)?;
    refused("send", sys::send(file.fd(), b"x", 0), &wanted)?;
    refused("recv", sys::recv(file.fd(), &mut [0], 0), &wanted)?;
    refused("shutdown", sys::shutdown(file.fd(), 2), &wanted)?;
    refused(
        "bind of nothing",
        sys::bind(99, &[0; 4], 1),
        &[Errno::EBADF],
    )
}

fn bad_pointers_to_socket_calls() -> Check {
    let stream = io::OwnedFd::new(sys::socket(AF_INET, SOCK_STREAM, 0)?);
    let datagram = io::OwnedFd::new(sys::socket(AF_INET, SOCK_DGRAM, 0)?);
    sys::bind(datagram.fd(), &[0; 4], 0)?;
    let (stream, datagram) = (stream.fd() as usize, datagram.fd() as usize);
    let (good, at_once) = (b"x".as_ptr() as usize, MSG_DONTWAIT as usize);
    for bad in bad_addresses() {
        let calls: &[(&str, usize, &[usize])] = &[
            ("bind", nr::bind, &[stream, bad, 7000, 4]),
            ("connect", nr::connect, &[stream, bad, 7000, 4]),
            ("accept", nr::accept, &[stream, bad, 0, 4]),
            ("accept's port", nr::accept, &[stream, 0, bad, 4]),
            ("send", nr::send, &[datagram, bad, 8, 0]),
            ("sendto", nr::sendto, &[datagram, good, 1, 0, bad, 7000]),
            ("recv", nr::recv, &[datagram, bad, 8, at_once]),
            ("recvfrom", nr::recvfrom, &[datagram, bad, 8, at_once, 0, 0]),
            ("getsockname", nr::getsockname, &[datagram, bad, 0, 4]),
            (
                "getsockname's port",
                nr::getsockname,
                &[datagram, 0, bad, 4],
            ),
            (
                "netinfo",
                nr::netinfo,
                &[NETINFO_INTERFACE as usize, bad, 4096],
            ),
            ("resolve", nr::resolve, &[bad, 0, 0]),
        ];
        for (what, number, arguments) in calls {
            let what = format!("{what} with {bad:#x}");
            refused(&what, wild::call(*number, arguments), &[Errno::EFAULT])?;
        }
    }
    Ok(())
}

fn netinfo_lists_sockets() -> Check {
    let mut list = [SocketInfo::default(); 64];
    let before = sys::sockets(&mut list)?;
    let listener = TcpListener::bind(loopback(0))?;
    let port = listener.local_addr()?.port();
    let count = sys::sockets(&mut list)?;
    same("one socket more", count, before + 1)?;
    let listed = list[..count].iter().any(|socket| socket.local_port == port);
    ensure!(listed, "port {port} is not listed");
    same("room for none", sys::sockets(&mut []), Ok(0))?;
    let unknown = wild::call(nr::netinfo, &[99, 0, 0]);
    refused("netinfo 99", unknown, &[Errno::EINVAL])
}

fn resolve_knows_numbers_and_refuses_bad_names() -> Check {
    let mut found = [[0; 16]; 4];
    for (name, wanted) in [
        ("10.1.2.3", IpAddr::from([10, 1, 2, 3])),
        ("localhost", [127, 0, 0, 1].into()),
        ("fd00::1", Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into()),
    ] {
        same(name, sys::resolve(name, &mut found), Ok(1))?;
        same(name, ulib::net::canonical(found[0]), wanted)?;
    }
    for name in ["", "a..b", ".", &"x".repeat(64), &"a.".repeat(130)] {
        let result = sys::resolve(name, &mut [[0; 16]; 4]);
        let wanted = [Errno::EINVAL, Errno::ENAMETOOLONG];
        refused(&format!("the name {name:?}"), result, &wanted)?;
    }
    Ok(())
}

/// A socket of IPv6 hears and calls both families, one of IPv4 only its own.
fn both_families() -> Check {
    let both = TcpListener::bind(ulib::net::any(0))?;
    let port = both.local_addr()?.port();
    for address in [
        IpAddr::from(Ipv6Addr::LOCALHOST),
        Ipv4Addr::LOCALHOST.into(),
    ] {
        let mut client = TcpStream::connect(SocketAddr::new(address, port))?;
        let (mut server, peer) = both.accept()?;
        same("the peer", peer, client.local_addr()?)?;
        same("its address", peer.ip(), address)?;
        client.write_all(b"hello")?;
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer)?;
        same("received", &buffer, b"hello")?;
        let mut raw = [0; 16];
        sys::getpeername(client.fd(), &mut raw)?;
        let mapped = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        same("as the call writes it", Ipv6Addr::from(raw), mapped)?;
    }
    let four = TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))?;
    let there = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), four.local_addr()?.port());
    let result = TcpStream::connect(there);
    refused("IPv6 to IPv4's listener", result, &[Errno::ECONNREFUSED])?;
    for (family, len) in [(AF_INET, 16), (AF_INET6, 4)] {
        let fd = io::OwnedFd::new(sys::socket(family, SOCK_STREAM, 0)?);
        let result = sys::bind(fd.fd(), &[0; 16][..len], 0);
        refused(
            "an address of the other length",
            result,
            &[Errno::EAFNOSUPPORT],
        )?;
    }
    let first = UdpSocket::bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0))?;
    let second = UdpSocket::bind(ulib::net::any(0))?;
    let to = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), second.local_addr()?.port());
    same("sent", first.send_to(b"hello", to)?, 5)?;
    let mut buffer = [0; 16];
    let (len, from) = second.recv_from(&mut buffer)?;
    same("received", &buffer[..len], b"hello")?;
    same("the sender", from, first.local_addr()?)
}

fn datagrams() -> Check {
    let first = UdpSocket::bind(loopback(0))?;
    let second = UdpSocket::bind(loopback(0))?;
    let (to_first, to_second) = (first.local_addr()?, second.local_addr()?);
    same("sent", first.send_to(b"hello", to_second)?, 5)?;
    let mut buffer = [0; 16];
    let (len, from) = second.recv_from(&mut buffer)?;
    same("received", &buffer[..len], b"hello")?;
    same("sender's port", from.port(), to_first.port())?;
    let nothing = sys::recv(second.fd(), &mut buffer, MSG_DONTWAIT);
    refused("receiving without waiting", nothing, &[Errno::EAGAIN])?;
    let taken = UdpSocket::bind(to_first);
    refused("binding to a port in use", taken, &[Errno::EADDRINUSE])
}

fn streams() -> Check {
    const BYTES: usize = 100_000;
    let listener = TcpListener::bind(loopback(0))?;
    let address = listener.local_addr()?;
    let other = child(|| {
        let mut stream = TcpStream::connect(loopback(address.port())).named("connect")?;
        let bytes: Vec<u8> = (0..BYTES).map(|index| (index % 253) as u8).collect();
        stream.write_all(&bytes)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        same("answer", answer.as_slice(), b"thanks")
    })?;
    let (mut stream, peer) = listener.accept()?;
    same("peer", stream.peer_addr()?, peer)?;
    let mut first = [0; 1];
    same(
        "peeked",
        sys::recv(stream.fd(), &mut first, MSG_PEEK),
        Ok(1),
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    same("bytes", bytes.len(), BYTES)?;
    let ordered = bytes
        .iter()
        .enumerate()
        .all(|(index, &byte)| byte == (index % 253) as u8);
    ensure!(ordered, "bytes are out of order");
    stream.write_all(b"thanks")?;
    drop(stream);
    same("the other side", other.wait()?, 0)
}

fn nobody_listens() -> Check {
    let result = TcpStream::connect(loopback(9));
    refused(
        "connecting to a closed port",
        result,
        &[Errno::ECONNREFUSED],
    )
}

fn server_with_children() -> Check {
    let listener = TcpListener::bind(loopback(0))?;
    let port = listener.local_addr()?.port();
    for number in 0..4u8 {
        child(|| {
            let mut stream = TcpStream::connect(loopback(port))?;
            stream.write_all(&[number])?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            same("answer", answer[0], number + 100)
        })?;
    }
    for _ in 0..4 {
        let (mut stream, _) = listener.accept()?;
        child(|| {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            stream.write_all(&[byte[0] + 100])
        })?;
    }
    for _ in 0..8 {
        same("status", sys::wait()?.1, 0)?;
    }
    Ok(())
}

fn select_on_sockets() -> Check {
    let socket = UdpSocket::bind(loopback(0))?;
    let address = socket.local_addr()?;
    let short = Some(Duration::from_millis(100));
    let ready = ulib::net::wait_readable(&[socket.fd()], short)?;
    same("before", ready.len(), 0)?;
    let other = child(|| {
        sys::sleep(1)?;
        UdpSocket::bind(loopback(0))?.send_to(b"x", address)?;
        Ok(())
    })?;
    let ready = ulib::net::wait_readable(&[socket.fd()], Some(Duration::from_secs(10)))?;
    same("after", ready, vec![socket.fd()])?;
    same("the sender", other.wait()?, 0)
}
