//! Hello, tokens, replays, sequence numbers.

use protocol::codec::{self, Rest};
use protocol::frame::{self, Header};
use protocol::message::{Append, Counters, Handle, Lookup, Open, OpenFlags, Operation};
use protocol::name::{Path, PathBuf};
use protocol::{Errno, NO_SLOT, Reason, Refusal};

use crate::common::{Raw, Server, TOKEN, raw_frame};
use crate::{answers, attach, header, open, refused};

#[test]
fn nothing_goes_before_hello_and_hello_goes_once() {
    let server = Server::start();
    for operation in Operation::ALL
        .iter()
        .filter(|operation| **operation != Operation::Hello)
    {
        let mut raw = Raw::connect(&server);
        raw.send(&raw_frame(header(operation.number()), &[0; 8]));
        assert_eq!(
            raw.expect_goodbye().1.reason,
            Reason::HelloFirst,
            "{operation:?}"
        );
    }
    let mut raw = Raw::greeted(&server);
    let hello = protocol::message::Hello {
        magic: protocol::MAGIC,
        min_version: 1,
        max_version: 1,
        max_frame: 4096,
        slots: 1,
        client: protocol::message::ClientId([3; 16]),
        token: TOKEN,
        name: b"again",
    };
    raw.send(&frame::request(&hello, NO_SLOT, 0, raw.session));
    assert_eq!(raw.expect_goodbye().1.reason, Reason::HelloTwice);
    // Without an attach there is no handle to start from.
    let mut raw = Raw::greeted(&server);
    let path = PathBuf::parse(b"f").unwrap();
    assert_eq!(
        refused(raw.call(&Lookup {
            dir: Handle(1),
            path: path.as_path()
        }))
        .0,
        Errno::EBADF
    );
}

#[test]
fn wrong_tokens_sessions_and_versions_are_refused_and_counted() {
    let server = Server::start();
    let mut greeted = Raw::greeted(&server);
    let stolen = greeted.session;
    for token in [&b""[..], b"0", &TOKEN[..31], &[TOKEN, b"x"].concat()] {
        let mut raw = Raw::connect(&server);
        let answer = refused(raw.hello([8; 16], token, 0));
        assert_eq!(answer, (Errno::EACCES, Reason::BadToken));
        raw.expect_goodbye();
    }
    // Somebody else's session number without its client id is a new session, not the other's.
    let mut thief = Raw::connect(&server);
    thief.hello([8; 16], TOKEN, stolen).unwrap();
    assert_ne!(thief.session, stolen);
    // A frame with another session's number.
    let ping = Header {
        session: stolen,
        ..header(Operation::Ping.number())
    };
    thief.send(&raw_frame(ping, b""));
    assert_eq!(thief.expect_goodbye().1.reason, Reason::BadSession);
    let mut future = Raw::connect(&server);
    let hello = protocol::message::Hello {
        magic: protocol::MAGIC,
        min_version: 2,
        max_version: 9,
        max_frame: 4096,
        slots: 1,
        client: protocol::message::ClientId([9; 16]),
        token: TOKEN,
        name: b"future",
    };
    future.send(&frame::request(&hello, NO_SLOT, 0, 0));
    let (head, payload) = future.receive().unwrap();
    assert_eq!(head.error(), Some(Errno::EPROTONOSUPPORT));
    assert_eq!(
        codec::decode::<Refusal>(&payload).unwrap().reason,
        Reason::BadVersion
    );
    let mut other = Raw::connect(&server);
    let hello = protocol::message::Hello {
        magic: 0x1234_5678,
        min_version: 1,
        ..hello
    };
    other.send(&frame::request(&hello, NO_SLOT, 0, 0));
    assert_eq!(
        codec::decode::<Refusal>(&other.receive().unwrap().1)
            .unwrap()
            .reason,
        Reason::BadMagic
    );
    let counters = greeted.call(&Counters {}).unwrap();
    let counters: protocol::message::CounterList<'_> = codec::decode(&counters).unwrap();
    assert_eq!(counters.refused, 6);
}

#[test]
fn a_recorded_session_replayed_does_nothing_twice() {
    let server = Server::start();
    std::fs::write(server.path("rw/f"), b"").unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"rw");
    let handle = open(&mut raw, dir, "f", OpenFlags::WRITE).unwrap().handle;
    raw.call(&Append {
        handle,
        expected: 0,
        data: Rest(b"once"),
    })
    .unwrap();
    // Everything again on another connection, as somebody who recorded the bytes would: the hello resumes
    // the session, and every request is an old one.
    let mut replay = Raw::connect(&server);
    replay.hello([7; 16], TOKEN, raw.session).unwrap();
    let append = Append {
        handle,
        expected: 0,
        data: Rest(b"once"),
    };
    replay.send(&frame::request(&append, 0, 3, raw.session));
    assert_eq!(replay.receive().unwrap().0.status, 0);
    let old = Open {
        dir,
        flags: OpenFlags::WRITE,
        mode: 0,
        path: Path::HERE,
    };
    replay.send(&frame::request(&old, 0, 2, raw.session));
    let (head, payload) = replay.receive().unwrap();
    assert_eq!(head.error(), Some(Errno::EINVAL));
    assert_eq!(
        codec::decode::<Refusal>(&payload).unwrap().reason,
        Reason::OldSequence
    );
    assert_eq!(std::fs::read(server.path("rw/f")).unwrap(), b"once");
    // The first connection learns that it lost its session.
    assert_eq!(raw.expect_goodbye().1.reason, Reason::TakenOver);
}

#[test]
fn sequence_numbers_repeat_refuse_and_refuse() {
    let server = Server::start();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"rw");
    let path = PathBuf::parse(b"d").unwrap();
    let mkdir = protocol::message::Mkdir {
        dir,
        mode: 0o755,
        path: path.as_path(),
    };
    let first = raw.call(&mkdir).unwrap();
    assert_eq!(raw.sequence[0], 2);
    // The same again: the stored reply, and no EEXIST.
    raw.send(&frame::request(&mkdir, 0, 2, raw.session));
    let (head, payload) = raw.receive().unwrap();
    assert_eq!((head.status, head.sequence, payload), (0, 2, first));
    // The same number for something else.
    let other = protocol::message::Unlink {
        dir,
        removes: protocol::message::Removes::Either,
        path: path.as_path(),
    };
    let mut refusal = |slot, sequence| {
        raw.send(&frame::request(&other, slot, sequence, raw.session));
        let (head, payload) = raw.receive().unwrap();
        assert_eq!(head.error(), Some(Errno::EINVAL));
        let refusal: Refusal = codec::decode(&payload).unwrap();
        (refusal.reason, refusal.value)
    };
    assert_eq!(refusal(0, 2), (Reason::FalseRetry, 0));
    assert_eq!(refusal(0, 1), (Reason::OldSequence, 2));
    assert_eq!(refusal(0, 9), (Reason::FarSequence, 2));
    assert_eq!(refusal(8, 1), (Reason::SlotLimit, 8));
    assert!(server.path("rw/d").is_dir());
    answers(&mut raw);
}
