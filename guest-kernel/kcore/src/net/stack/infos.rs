//! What `netstat` shows.

use super::Endpoint;
use abi::net::{SOCK_STREAM, SocketInfo};
use core::net::IpAddr;
use smoltcp::socket::tcp::{self, State};

/// Both ends of a socket; a peer it does not have is zero.
pub(super) fn endpoints_info(kind: i32, local: Endpoint, remote: Option<Endpoint>) -> SocketInfo {
    // Of a socket for both families the peer says which one it is.
    let address_len = |address: IpAddr| if address.is_ipv4() { 4 } else { 16 };
    SocketInfo {
        kind: kind as u8,
        address_len: address_len(remote.unwrap_or(local).address),
        local_port: local.port,
        remote_port: remote.map_or(0, |remote| remote.port),
        local: padded(local.address),
        remote: remote.map_or([0; 16], |remote| padded(remote.address)),
        ..SocketInfo::default()
    }
}

/// A TCP socket without a connection.
pub(super) fn endpoint_info(at: Endpoint, kernel: u32) -> SocketInfo {
    SocketInfo {
        kernel,
        ..endpoints_info(SOCK_STREAM, at, None)
    }
}

fn padded(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
    }
}

pub(super) fn connection_info(socket: &tcp::Socket<'static>, kernel: u32) -> SocketInfo {
    let local = socket
        .local_endpoint()
        .map(Endpoint::from_smoltcp)
        .unwrap_or_default();
    let remote = socket.remote_endpoint().map(Endpoint::from_smoltcp);
    SocketInfo {
        state: match socket.state() {
            State::Closed => 0,
            State::Listen => 1,
            State::SynSent => 2,
            State::SynReceived => 3,
            State::Established => 4,
            State::FinWait1 => 5,
            State::FinWait2 => 6,
            State::CloseWait => 7,
            State::Closing => 8,
            State::LastAck => 9,
            State::TimeWait => 10,
        },
        kernel,
        receive_queue: socket.recv_queue() as u32,
        send_queue: socket.send_queue() as u32,
        ..endpoints_info(SOCK_STREAM, local, remote)
    }
}
