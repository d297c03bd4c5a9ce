//! Frames that mean nothing, or too much.

use protocol::Reason;
use protocol::frame::{self, Header};
use protocol::message::Operation;

use crate::common::{Raw, Server, TOKEN, raw_frame};
use crate::{answers, header, resident_kib, serves};

/// Sends bytes on a greeted connection and expects the connection to end with this reason, and only it.
fn drops(bytes: &[u8], reason: Reason) {
    let server = Server::start();
    let mut other = Raw::connect(&server);
    other.hello([1; 16], TOKEN, 0).unwrap();
    let mut raw = Raw::greeted(&server);
    let mut bytes = bytes.to_vec();
    // The session number is known only now.
    if bytes.len() >= 24 {
        bytes[16..24].copy_from_slice(&raw.session.to_le_bytes());
    }
    raw.send(&bytes);
    assert_eq!(raw.expect_goodbye().1.reason, reason);
    answers(&mut other);
    serves(&server);
}

#[test]
fn a_frame_of_4_gib_ends_the_connection_before_anything_is_allocated() {
    let server = Server::start();
    let mut raw = Raw::greeted(&server);
    let before = resident_kib(server.pid());
    let mut bytes = raw_frame(
        Header {
            session: raw.session,
            ..header(Operation::Write.number())
        },
        b"",
    );
    bytes[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    raw.send(&bytes);
    let (_, refusal) = raw.expect_goodbye();
    assert_eq!(
        (refusal.reason, refusal.value),
        (Reason::FrameSize, u64::from(protocol::MAX_FRAME))
    );
    assert!(resident_kib(server.pid()) < before + 4096);
    serves(&server);
}

#[test]
fn frames_that_mean_nothing_end_the_connection_with_a_reason() {
    let unknown = raw_frame(header(200), b"");
    drops(&unknown, Reason::BadMessage);
    let short = raw_frame(header(Operation::Read.number()), &[0; 15]);
    drops(&short, Reason::BadMessage);
    let trailing = raw_frame(header(Operation::Getattr.number()), &[0; 5]);
    drops(&trailing, Reason::BadMessage);
    let mut reply = raw_frame(header(Operation::Ping.number()), b"");
    reply[5] = frame::REPLY;
    drops(&reply, Reason::BadMessage);
    let mut status = raw_frame(header(Operation::Ping.number()), b"");
    status[12] = 1;
    drops(&status, Reason::BadMessage);
}

#[test]
fn three_bytes_and_the_end_do_no_harm() {
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    raw.send(&[1, 2, 3]);
    raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(raw.receive().is_none());
    serves(&server);
}
