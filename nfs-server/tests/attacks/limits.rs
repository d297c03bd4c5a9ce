//! More of something than is allowed, silence, and slowness.

use std::time::{Duration, Instant};

use protocol::codec::{self, Rest};
use protocol::frame::{self, Header};
use protocol::message::{
    CounterList, Counters, Getattr, Goodbye, Handle, OpenFlags, Operation, Read, Resumed, Truncate,
    Write,
};
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

/// A session with a handle on `rw` that lost its connection: its number and the handle.
fn orphan(server: &Server, watcher: &mut Raw, client: u8) -> (u64, Handle) {
    let mut raw = Raw::connect(server);
    raw.hello([client; 16], TOKEN, 0).unwrap();
    let dir = attach(&mut raw, b"rw");
    let connections = |watcher: &mut Raw| counters(watcher, |list| list.connections);
    let before = connections(watcher);
    let session = raw.session;
    drop(raw);
    while connections(watcher) >= before {
        std::thread::sleep(Duration::from_millis(5));
    }
    (session, dir)
}

fn counters<T>(raw: &mut Raw, of: impl FnOnce(&CounterList<'_>) -> T) -> T {
    let reply = raw.call(&Counters {}).unwrap();
    of(&codec::decode(&reply).unwrap())
}

#[test]
fn a_full_table_of_sessions_loses_the_oldest_orphan_and_never_a_connected_one() {
    let server = Server::start_with_config("[limits]\nsessions = 3\n");
    let mut watcher = Raw::greeted(&server);
    let (oldest, old_dir) = orphan(&server, &mut watcher, 1);
    let (younger, dir) = orphan(&server, &mut watcher, 2);
    let mut new = Raw::connect(&server);
    assert_eq!(new.hello([3; 16], TOKEN, 0).unwrap().resumed, Resumed::New);
    let mut resumed = Raw::connect(&server);
    let reply = resumed.hello([2; 16], TOKEN, younger).unwrap();
    assert_eq!(reply.resumed, Resumed::Same);
    // The request after the attach.
    resumed.sequence[0] = 1;
    resumed.call(&Getattr { handle: dir }).unwrap();
    // Three are connected.
    let mut late = Raw::connect(&server);
    assert_eq!(
        refused(late.hello([1; 16], TOKEN, oldest)),
        (Errno::EAGAIN, Reason::SessionLimit)
    );
    late.expect_goodbye();
    for raw in [&mut watcher, &mut new, &mut resumed] {
        answers(raw);
    }
    assert_eq!(counters(&mut watcher, |list| list.refused), 1);
    // Once there is room again, the oldest is told that it lost everything.
    new.call(&Goodbye {}).unwrap();
    let mut back = Raw::connect(&server);
    let reply = back.hello([1; 16], TOKEN, oldest).unwrap();
    assert_eq!(reply.resumed, Resumed::New);
    assert_ne!(back.session, oldest);
    let stale = back.call(&Getattr { handle: old_dir });
    assert_eq!(refused(stale), (Errno::EBADF, Reason::System));
    back.session = oldest;
    let ping = Header {
        session: oldest,
        ..header(Operation::Ping.number())
    };
    back.send(&raw_frame(ping, b""));
    assert_eq!(back.expect_goodbye().1.reason, Reason::BadSession);
    answers(&mut watcher);
}

#[test]
fn an_orphan_is_kept_for_its_time_and_no_longer() {
    let server = Server::start_with_config("[limits]\nsession_ms = 200\n");
    let mut watcher = Raw::greeted(&server);
    let (first, _) = orphan(&server, &mut watcher, 1);
    let (second, _) = orphan(&server, &mut watcher, 2);
    let is_known = |watcher: &mut Raw, session| {
        counters(watcher, |list| {
            list.counts.iter().any(|count| count.session == session)
        })
    };
    std::thread::sleep(Duration::from_millis(300));
    // The one that comes back is a new one, and whoever comes sweeps the others away.
    let mut back = Raw::connect(&server);
    let reply = back.hello([1; 16], TOKEN, first).unwrap();
    assert_eq!(reply.resumed, Resumed::New);
    assert_ne!(back.session, first);
    for gone in [first, second] {
        assert!(!is_known(&mut watcher, gone), "{gone:x}");
    }
    // With a connection a session grows as old as it likes.
    answers(&mut watcher);
    assert!(is_known(&mut back, watcher.session));
}

#[test]
fn a_client_has_one_session_and_the_older_one_is_told() {
    let server = Server::start();
    let mut older = Raw::greeted(&server);
    let mut newer = Raw::greeted(&server);
    assert_ne!(older.session, newer.session);
    assert_eq!(older.expect_goodbye().1.reason, Reason::TakenOver);
    answers(&mut newer);
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

/// The kernel's timer on the server's end of a connection, from /proc/net/tcp (proc(5)): its kind and when it fires.
fn socket_timer(server: &Server, client: &Raw) -> (u8, Duration) {
    let port = client.stream.local_addr().unwrap().port();
    let ends = [
        format!(":{:04X}", server.address.port()),
        format!(":{port:04X}"),
    ];
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().map(|line| line.split_whitespace().collect());
    let of_server = line
        .into_iter()
        .find(|fields: &Vec<&str>| fields[1].ends_with(&ends[0]) && fields[2].ends_with(&ends[1]));
    let (kind, when) = of_server.unwrap()[5].split_once(':').unwrap();
    // In hundredths of a second.
    let when = u64::from_str_radix(when, 16).unwrap();
    let kind = u8::from_str_radix(kind, 16).unwrap();
    (kind, Duration::from_millis(when * 10))
}

#[test]
fn a_silent_follower_is_asked_whether_it_is_there() {
    const KEEP_ALIVE: u8 = 2;
    let server = Server::start();
    std::fs::write(server.path("ro/log"), b"x").unwrap();
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
    // The data and the end.
    raw.receive().unwrap();
    raw.receive().unwrap();
    // What was sent last is acknowledged within a moment; until then another timer runs.
    let asks = loop {
        match socket_timer(&server, &raw) {
            (1, _) => std::thread::sleep(Duration::from_millis(5)),
            (kind, when) => break (kind, when <= Duration::from_secs(60)),
        }
    };
    assert_eq!(asks, (KEEP_ALIVE, true));
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
    let connections = counters(&mut other, |list| list.connections);
    assert_eq!(connections, 1, "the one that never reads is gone");
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
