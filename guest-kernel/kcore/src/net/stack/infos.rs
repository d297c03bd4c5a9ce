//! What `netstat` shows of TCP sockets.

use super::Endpoint;
use abi::net::{SOCK_STREAM, SocketInfo};
use smoltcp::socket::tcp::{self, State};

pub(super) fn endpoint_info(at: Endpoint, kernel: u32) -> SocketInfo {
    SocketInfo {
        kind: SOCK_STREAM as u8,
        address_len: 4,
        local_port: at.port,
        local: padded(at.address),
        kernel,
        ..SocketInfo::default()
    }
}

pub(super) fn padded(address: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address);
    bytes
}

pub(super) fn connection_info(socket: &tcp::Socket<'static>, kernel: u32) -> SocketInfo {
    let local = socket
        .local_endpoint()
        .map(Endpoint::from_smoltcp)
        .unwrap_or_default();
    let remote = socket
        .remote_endpoint()
        .map(Endpoint::from_smoltcp)
        .unwrap_or_default();
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
        remote_port: remote.port,
        remote: padded(remote.address),
        receive_queue: socket.recv_queue() as u32,
        send_queue: socket.send_queue() as u32,
        ..endpoint_info(local, kernel)
    }
}
