//! More of something than is allowed, silence, and slowness.

use std::time::{Duration, Instant};

use protocol::codec::{self, Rest};
use protocol::frame::{self, Header};
use protocol::message::{Counters, OpenFlags, Operation, Read, Truncate, Write};
use protocol::name::PathBuf;
use protocol::{Errno, NO_SLOT, Reason};

use crate::common::{Raw, Server, TOKEN, raw_frame};
use crate::{answers, attach, header, open, refused, resident_kib, serves};

#[test]
fn limits_refuse_with_a_limit_error_and_leave_others_alone() {
    let config = "
        [limits]
        handles = 5
        connections = 4
        file_bytes = 1000
        session_bytes = 3000
        follows = 2
    ";
    let server = Server::start_with_config(config);
    let mut other = Raw::connect(&server);
    other.hello([1; 16], TOKEN, 0).unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"rw");
    let create = OpenFlags::WRITE | OpenFlags::CREATE;
    let file = open(&mut raw, dir, "f", create).unwrap().handle;
    for i in 0..3 {
        open(&mut raw, dir, &format!("f{i}"), create).unwrap();
    }
    assert_eq!(
        refused(open(&mut raw, dir, "more", create)),
        (Errno::EMFILE, Reason::HandleLimit)
    );
    assert!(!server.path("rw/more").exists());
    let large = raw.call(&Write {
        handle: file,
        offset: 999,
        data: Rest(b"xx"),
    });
    assert_eq!(refused(large), (Errno::EFBIG, Reason::ByteLimit));
    assert_eq!(
        refused(raw.call(&Truncate {
            handle: file,
            size: 1001
        })),
        (Errno::EFBIG, Reason::ByteLimit)
    );
    for _ in 0..3 {
        raw.call(&Write {
            handle: file,
            offset: 0,
            data: Rest(&[0; 1000]),
        })
        .unwrap();
    }
    let beyond = raw.call(&Write {
        handle: file,
        offset: 0,
        data: Rest(b"x"),
    });
    assert_eq!(refused(beyond), (Errno::EDQUOT, Reason::ByteLimit));
    for id in 0..3u32 {
        let path = PathBuf::parse(b"f").unwrap();
        let follow = protocol::message::Follow {
            id,
            dir,
            offset: 0,
            credit: 1,
            path: path.as_path(),
        };
        raw.send(&frame::request(&follow, NO_SLOT, 0, raw.session));
    }
    let over = loop {
        let (head, payload) = raw.receive().unwrap();
        let pushed: protocol::message::Followed<'_> = codec::decode(&payload).unwrap();
        if pushed.event == protocol::message::FollowEvent::Refused {
            break (pushed.id, head.error());
        }
    };
    assert_eq!(over, (2, Some(Errno::EMFILE)));
    let _third = Raw::connect(&server);
    let _fourth = Raw::connect(&server);
    // The limit counts accepted connections, so the fifth is told.
    let mut fifth = Raw::connect(&server);
    let (_, refusal) = fifth.expect_goodbye();
    assert_eq!((refusal.reason, refusal.value), (Reason::SessionLimit, 4));
    answers(&mut other);
}

#[test]
fn half_a_frame_and_then_silence_is_closed_in_time() {
    let server = Server::start_with_config("[limits]\nidle_ms = 4000\n");
    let started = Instant::now();
    let early = |idle: u64| started.elapsed() < Duration::from_millis(idle);
    // Before the hello: the idle time. Within a frame: half of it. Between frames: the idle time.
    let mut silent = Raw::connect(&server);
    silent.send(&[0; 12]);
    let mut half = Raw::greeted(&server);
    let ping = raw_frame(
        Header {
            session: half.session,
            ..header(Operation::Ping.number())
        },
        b"",
    );
    half.send(&ping[..12]);
    let mut idle = Raw::connect(&server);
    idle.hello([2; 16], TOKEN, 0).unwrap();
    assert_eq!(half.expect_goodbye().1.reason, Reason::Idle);
    assert!(!early(2000), "half a frame was closed too early");
    // The other one is still served: half a frame gets half the time.
    answers(&mut idle);
    assert_eq!(silent.expect_goodbye().1.reason, Reason::Idle);
    assert_eq!(idle.expect_goodbye().1.reason, Reason::Idle);
    assert!(!early(4000), "the idle ones were closed too early");
    serves(&server);
}

#[test]
fn a_reader_that_never_reads_costs_bounded_memory_and_is_dropped() {
    let server = Server::start_with_config("[limits]\nstall_ms = 1000\n");
    std::fs::write(server.path("ro/big"), vec![7; 1 << 20]).unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"ro");
    let handle = open(&mut raw, dir, "big", OpenFlags::READ).unwrap().handle;
    let before = resident_kib(server.pid());
    raw.stream.set_nonblocking(true).unwrap();
    let mut sequence = raw.sequence[0];
    let mut asked = 0u64;
    let until = Instant::now() + Duration::from_millis(800);
    while Instant::now() < until {
        sequence += 1;
        let read = frame::request(
            &Read {
                handle,
                offset: 0,
                count: 1 << 20,
            },
            0,
            sequence,
            raw.session,
        );
        if std::io::Write::write_all(&mut raw.stream, &read).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        } else {
            asked += 1;
        }
    }
    assert!(asked > 1000, "only {asked} requests were sent");
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(
        grown < 16 * 1024,
        "the server grew by {grown} KiB for {asked} MiB that nobody reads"
    );
    std::thread::sleep(Duration::from_millis(1500));
    let mut other = Raw::connect(&server);
    other.hello([2; 16], TOKEN, 0).unwrap();
    let counters = other.call(&Counters {}).unwrap();
    let counters: protocol::message::CounterList<'_> = codec::decode(&counters).unwrap();
    assert_eq!(counters.connections, 1, "the one that never reads is gone");
}

#[test]
fn a_follower_gets_what_its_credit_allows_and_no_byte_more() {
    let server = Server::start();
    std::fs::write(server.path("ro/log"), [b'x'; 1000]).unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"ro");
    let path = PathBuf::parse(b"log").unwrap();
    let follow = protocol::message::Follow {
        id: 1,
        dir,
        offset: 0,
        credit: 10,
        path: path.as_path(),
    };
    raw.send(&frame::request(&follow, NO_SLOT, 0, raw.session));
    let expect = |raw: &mut Raw, offset: u64, bytes: usize| {
        let (_, payload) = raw.receive().unwrap();
        let pushed: protocol::message::Followed<'_> = codec::decode(&payload).unwrap();
        assert_eq!((pushed.offset, pushed.data.0.len()), (offset, bytes));
    };
    expect(&mut raw, 0, 10);
    raw.stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(raw.receive().is_none(), "the credit is used up");
    raw.stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let credit = protocol::message::Credit { id: 1, bytes: 5 };
    raw.send(&frame::request(&credit, NO_SLOT, 0, raw.session));
    expect(&mut raw, 10, 5);
    let unfollow = protocol::message::Unfollow { id: 1 };
    raw.send(&frame::request(&unfollow, NO_SLOT, 0, raw.session));
    answers(&mut raw);
}
