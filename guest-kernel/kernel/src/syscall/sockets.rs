//! Calls on sockets: addresses in and out, the rest is `net`'s.

use super::files::{file, install};
use super::{Call, CallResult};
use crate::file::Peer;
use crate::mm::raw::Plain;
use crate::mm::user;
use crate::net;
use abi::Errno;
use abi::net::Interface;

/// Largest datagram or piece of a stream taken at once.
const CHUNK: usize = 64 * 1024;

fn port(value: i32) -> Result<u16, Errno> {
    u16::try_from(value).map_err(|_| Errno::EINVAL)
}

/// Reads the address in the arguments from `index` on: pointer, port, length.
fn peer_argument(call: &Call<'_>, index: usize, len: i32) -> Result<Peer, Errno> {
    let mut address = [0; 16];
    let len = usize::try_from(len)
        .ok()
        .filter(|len| matches!(len, 4 | 16))
        .ok_or(Errno::EINVAL)?;
    user::copy_in(call.argument(index), &mut address[..len])?;
    Ok(Peer {
        address,
        address_len: len as u8,
        port: port(call.int(index + 1))?,
    })
}

/// Writes an address where pointers for it are given.
fn write_peer(address_at: u64, port_at: u64, room: usize, peer: &Peer) -> Result<(), Errno> {
    let len = usize::from(peer.address_len);
    if address_at != 0 {
        user::copy_out(address_at, &peer.address[..len.min(room)])?;
    }
    if port_at != 0 {
        user::write(port_at, &i32::from(peer.port))?;
    }
    Ok(())
}

pub(super) fn socket(call: &mut Call<'_>) -> CallResult {
    let socket = net::socket(call.int(0), call.int(1), call.int(2))?;
    install(socket).map(|fd| fd as usize)
}

pub(super) fn bind(call: &mut Call<'_>) -> CallResult {
    let file = file(call, 0)?;
    let peer = peer_argument(call, 1, call.int(3))?;
    file.as_socket()
        .ok_or(Errno::ENOTSOCK)?
        .bind(&peer.address[..usize::from(peer.address_len)], peer.port)
        .map(|()| 0)
}

pub(super) fn listen(call: &mut Call<'_>) -> CallResult {
    file(call, 0)?
        .as_socket()
        .ok_or(Errno::ENOTSOCK)?
        .listen()
        .map(|()| 0)
}

pub(super) fn connect(call: &mut Call<'_>) -> CallResult {
    let file = file(call, 0)?;
    let peer = peer_argument(call, 1, call.int(3))?;
    let socket = file.as_socket().ok_or(Errno::ENOTSOCK)?;
    socket
        .connect(
            &peer.address[..usize::from(peer.address_len)],
            peer.port,
            false,
        )
        .map(|()| 0)
}

pub(super) fn accept(call: &mut Call<'_>) -> CallResult {
    let file = file(call, 0)?;
    let room = call.length(3)?;
    let socket = file.as_socket().ok_or(Errno::ENOTSOCK)?;
    let (address_at, port_at) = (call.argument(1), call.argument(2));
    if address_at != 0 {
        user::check_writable(address_at, room.min(16))?;
    }
    if port_at != 0 {
        user::check_writable(port_at, size_of::<i32>())?;
    }
    let (connection, peer) = socket.accept(false)?;
    let fd = install(connection)?;
    write_peer(address_at, port_at, room, &peer)?;
    Ok(fd as usize)
}

fn send_with(call: &Call<'_>, to: Option<Peer>) -> CallResult {
    let file = file(call, 0)?;
    let socket = file.as_socket().ok_or(Errno::ENOTSOCK)?;
    let len = call.length(2)?;
    let mut done = 0;
    let mut bytes = user::buffer(len.min(CHUNK))?;
    loop {
        let piece = (len - done).min(CHUNK);
        user::copy_in(call.argument(1) + done as u64, &mut bytes[..piece])?;
        let sent = match socket.send(&bytes[..piece], call.int(3), to) {
            Ok(sent) => sent,
            Err(_) if done > 0 => return Ok(done),
            Err(error) => return Err(error),
        };
        done += sent;
        if sent < piece || done == len {
            return Ok(done);
        }
    }
}

pub(super) fn send(call: &mut Call<'_>) -> CallResult {
    send_with(call, None)
}

pub(super) fn sendto(call: &mut Call<'_>) -> CallResult {
    let to = if call.argument(4) == 0 {
        None
    } else {
        // No argument is left for the length: it is that of the socket's family.
        let len = file(call, 0)?
            .as_socket()
            .ok_or(Errno::ENOTSOCK)?
            .address_len();
        Some(peer_argument(call, 4, len as i32)?)
    };
    send_with(call, to)
}

fn receive(call: &Call<'_>) -> Result<(usize, Option<Peer>), Errno> {
    let file = file(call, 0)?;
    let socket = file.as_socket().ok_or(Errno::ENOTSOCK)?;
    let len = call.length(2)?.min(CHUNK);
    user::check_writable(call.argument(1), len)?;
    let mut bytes = user::buffer(len)?;
    let (got, from) = socket.recv(&mut bytes, call.int(3))?;
    user::copy_out(call.argument(1), &bytes[..got])?;
    Ok((got, from))
}

pub(super) fn recv(call: &mut Call<'_>) -> CallResult {
    receive(call).map(|(len, _)| len)
}

pub(super) fn recvfrom(call: &mut Call<'_>) -> CallResult {
    let (len, from) = receive(call)?;
    if let Some(from) = from {
        write_peer(call.argument(4), call.argument(5), 16, &from)?;
    }
    Ok(len)
}

pub(super) fn getsockname(call: &mut Call<'_>) -> CallResult {
    let peer = file(call, 0)?.as_socket().ok_or(Errno::ENOTSOCK)?.local()?;
    write_peer(call.argument(1), call.argument(2), call.length(3)?, &peer).map(|()| 0)
}

pub(super) fn getpeername(call: &mut Call<'_>) -> CallResult {
    let peer = file(call, 0)?.as_socket().ok_or(Errno::ENOTSOCK)?.peer()?;
    write_peer(call.argument(1), call.argument(2), call.length(3)?, &peer).map(|()| 0)
}

pub(super) fn shutdown(call: &mut Call<'_>) -> CallResult {
    file(call, 0)?
        .as_socket()
        .ok_or(Errno::ENOTSOCK)?
        .shutdown(call.int(1))
        .map(|()| 0)
}

pub(super) fn setsockopt(call: &mut Call<'_>) -> CallResult {
    let value = call.argument(2) as i64;
    file(call, 0)?
        .as_socket()
        .ok_or(Errno::ENOTSOCK)?
        .set_option(call.int(1), value)
        .map(|()| 0)
}

/// Fills in one interface, or as many sockets as fit; returns how many.
pub(super) fn netinfo(call: &mut Call<'_>) -> CallResult {
    let (at, room) = (call.argument(1), call.length(2)?);
    match net::netinfo(call.int(0))? {
        net::Answer::Interface(_) if room < size_of::<Interface>() => Err(Errno::EINVAL),
        net::Answer::Interface(interface) => user::write(at, &interface).map(|()| 1),
        net::Answer::Sockets(sockets) => write_array(at, room, &sockets),
        net::Answer::Addresses(addresses) => write_array(at, room, &addresses),
    }
}

/// Writes as many as fit into `room` bytes; returns how many.
fn write_array<T: Plain>(at: u64, room: usize, list: &[T]) -> CallResult {
    let size = size_of::<T>();
    let count = list.len().min(room / size);
    for (index, item) in list[..count].iter().enumerate() {
        user::write(at + (index * size) as u64, item)?;
    }
    Ok(count)
}

/// Longest name of the domain name system (RFC 1035 section 2.3.4), with its NUL.
const NAME_LEN: usize = 256;
/// Addresses one call gives at most.
const ADDRESSES: usize = 16;

/// Writes the addresses of a name, 16 bytes each (IPv4 as ::ffff:a.b.c.d), as many as fit; returns
/// how many.
pub(super) fn resolve(call: &mut Call<'_>) -> CallResult {
    let name = user::string(call.argument(0), NAME_LEN)?;
    let name = core::str::from_utf8(&name).map_err(|_| Errno::EINVAL)?;
    let room = (call.length(2)? / 16).min(ADDRESSES);
    let mut addresses = net::resolve(name)?;
    addresses.truncate(room);
    user::copy_out(call.argument(1), addresses.as_flattened())?;
    Ok(addresses.len())
}
