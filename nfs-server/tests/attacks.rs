//! The attack table: each row against the real server over a real socket.

mod common;

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use common::{Raw, Server, TOKEN, raw_frame, raw_path};
use protocol::codec::{self, Field, Rest};
use protocol::frame::{self, Header};
use protocol::message::{
    Append, Attach, Attached, Close, Counters, Fsync, Getattr, Handle, Lookup, Open, OpenFlags,
    Opened, Operation, Ping, Read, Readdir, Stat, SyncLevel, Truncate, Write,
};
use protocol::name::{Path, PathBuf};
use protocol::{Errno, NO_SLOT, Reason, Refusal};

fn refused<T: std::fmt::Debug>(result: Result<T, (i32, Refusal)>) -> (Errno, Reason) {
    let (status, refusal) = result.expect_err("it should be refused");
    (Errno::from_status(status).unwrap(), refusal.reason)
}

fn attach(raw: &mut Raw, export: &[u8]) -> Handle {
    codec::decode::<Attached>(&raw.call(&Attach { export }).unwrap())
        .unwrap()
        .root
}

fn open(
    raw: &mut Raw,
    dir: Handle,
    path: &str,
    flags: OpenFlags,
) -> Result<Opened, (i32, Refusal)> {
    let path = PathBuf::parse(path.as_bytes()).unwrap();
    let reply = raw.call(&Open {
        dir,
        flags,
        mode: 0o644,
        path: path.as_path(),
    })?;
    Ok(codec::decode(&reply).unwrap())
}

/// The server lives and the connection answers.
fn answers(raw: &mut Raw) {
    raw.call(&Ping {}).expect("the connection lives");
}

/// A new client is served.
fn serves(server: &Server) {
    let mut raw = Raw::connect(server);
    raw.hello([99; 16], TOKEN, 0)
        .expect("a new client is welcome");
    answers(&mut raw);
}

#[test]
fn attach_to_anything_but_an_export_is_refused() {
    let server = Server::start();
    let mut raw = Raw::greeted(&server);
    for export in [
        &b"rw/.."[..],
        b"/etc",
        b"..",
        b"",
        b".",
        b"nosuch",
        b"rw/",
        b"rw\0",
        &[b'x'; 4000],
    ] {
        assert_eq!(
            refused(raw.call(&Attach { export })),
            (Errno::ENOENT, Reason::NoExport)
        );
    }
    answers(&mut raw);
}

/// Payloads of every operation that takes a path, with that path in every place.
fn with_path(dir: Handle, path: &[u8]) -> Vec<(Operation, Vec<u8>)> {
    let good = raw_path(&[b"fine"]);
    let start = |build: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        build(&mut bytes);
        bytes
    };
    let open = |flags: OpenFlags| {
        start(&|out| {
            dir.put(out);
            flags.put(out);
            0o644u16.put(out);
            out.extend_from_slice(path);
        })
    };
    let rename = |from: &[u8], to: &[u8]| {
        start(&|out| {
            dir.put(out);
            dir.put(out);
            true.put(out);
            out.extend_from_slice(from);
            out.extend_from_slice(to);
        })
    };
    vec![
        (
            Operation::Lookup,
            start(&|out| {
                dir.put(out);
                out.extend_from_slice(path)
            }),
        ),
        (Operation::Open, open(OpenFlags::READ)),
        (Operation::Open, open(OpenFlags::WRITE | OpenFlags::CREATE)),
        (
            Operation::Mkdir,
            start(&|out| {
                dir.put(out);
                0o755u16.put(out);
                out.extend_from_slice(path)
            }),
        ),
        (
            Operation::Unlink,
            start(&|out| {
                dir.put(out);
                3u8.put(out);
                out.extend_from_slice(path)
            }),
        ),
        (Operation::Rename, rename(path, &good)),
        (Operation::Rename, rename(&good, path)),
    ]
}

#[test]
fn names_against_the_rule_are_refused_each_with_its_own_error() {
    let server = Server::start();
    std::fs::create_dir(server.path("outside")).unwrap();
    std::fs::write(server.path("outside/secret"), b"secret").unwrap();
    std::fs::write(server.path("rw/fine"), b"fine").unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"rw");
    let long = [b'n'; 256];
    let longer = [b'n'; 60_000];
    let rule: [(&[u8], Errno, Reason); 7] = [
        (b"..", Errno::EXDEV, Reason::NameDotDot),
        (b".", Errno::EINVAL, Reason::NameDot),
        (b"", Errno::ENOENT, Reason::NameEmpty),
        (b"../outside/secret", Errno::EACCES, Reason::NameSlash),
        (b"sec\0ret", Errno::EILSEQ, Reason::NameNul),
        (&long, Errno::ENAMETOOLONG, Reason::NameLong),
        (&longer, Errno::ENAMETOOLONG, Reason::NameLong),
    ];
    for (name, errno, reason) in rule {
        for (operation, payload) in with_path(dir, &raw_path(&[name])) {
            let answer = refused(raw.call_bytes(operation.number(), &payload));
            assert_eq!(
                answer,
                (errno, reason),
                "{operation:?} {}",
                name[..name.len().min(20)].escape_ascii()
            );
        }
    }
    // The same in the middle and at the end of a path.
    for names in [
        &[&b".."[..], b"outside", b"secret"][..],
        &[b"fine", b"..", b"..", b"outside", b"secret"],
    ] {
        for (operation, payload) in with_path(dir, &raw_path(names)) {
            assert_eq!(
                refused(raw.call_bytes(operation.number(), &payload)),
                (Errno::EXDEV, Reason::NameDotDot)
            );
        }
    }
    let deep: Vec<&[u8]> = vec![b"d"; 33];
    for (operation, payload) in with_path(dir, &raw_path(&deep)) {
        assert_eq!(
            refused(raw.call_bytes(operation.number(), &payload)),
            (Errno::ENAMETOOLONG, Reason::PathDeep)
        );
    }
    assert_eq!(
        std::fs::read(server.path("outside/secret")).unwrap(),
        b"secret"
    );
    assert_eq!(std::fs::read_dir(server.path("rw")).unwrap().count(), 1);
    answers(&mut raw);
}

#[test]
fn symbolic_links_are_never_followed() {
    let server = Server::start();
    std::fs::create_dir(server.path("outside")).unwrap();
    std::fs::write(server.path("outside/secret"), b"secret").unwrap();
    symlink(server.path("outside/secret"), server.path("rw/last")).unwrap();
    symlink(server.path("outside"), server.path("rw/middle")).unwrap();
    symlink("../outside/secret", server.path("rw/relative")).unwrap();
    std::fs::write(server.path("rw/fine"), b"fine").unwrap();
    symlink("fine", server.path("rw/harmless")).unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"rw");
    for names in [
        &[&b"last"[..]][..],
        &[b"relative"],
        &[b"harmless"],
        &[b"middle", b"secret"],
    ] {
        for (operation, payload) in with_path(dir, &raw_path(names)) {
            let answer = refused(raw.call_bytes(operation.number(), &payload));
            // mkdir sees that the name is taken or that the link is no directory; the others see the link.
            assert_eq!(answer, (Errno::ELOOP, Reason::Symlink), "{operation:?}");
        }
    }
    // They are not shown either.
    let Opened { handle, .. } = open(&mut raw, dir, "", OpenFlags::READ).unwrap();
    let listed = raw
        .call(&Readdir {
            handle,
            cookie: 0,
            count: 4096,
        })
        .unwrap();
    let listed: protocol::message::Entries<'_> = codec::decode(&listed).unwrap();
    assert_eq!(
        listed
            .entries
            .iter()
            .map(|entry| entry.name)
            .collect::<Vec<_>>(),
        [b"fine"]
    );
    assert_eq!(
        std::fs::read(server.path("outside/secret")).unwrap(),
        b"secret"
    );
}

#[test]
fn a_link_swapped_in_between_lookup_and_open_is_never_followed() {
    let server = Server::start();
    std::fs::create_dir(server.path("outside")).unwrap();
    std::fs::write(server.path("outside/secret"), b"secret").unwrap();
    std::fs::create_dir(server.path("rw/real")).unwrap();
    std::fs::write(server.path("rw/real/secret"), b"harmless").unwrap();
    symlink(server.path("outside"), server.path("rw/link")).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = {
        let (stop, folder) = (stop.clone(), server.path("rw"));
        std::thread::spawn(move || {
            let mut swaps = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // `d` is the directory and the link in turn.
                for from in ["real", "link"] {
                    std::fs::rename(folder.join(from), folder.join("d")).unwrap();
                    std::fs::rename(folder.join("d"), folder.join(from)).unwrap();
                    swaps += 1;
                }
            }
            swaps
        })
    };
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"rw");
    let (mut opened, mut links) = (0, 0);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        match open(&mut raw, dir, "d/secret", OpenFlags::READ) {
            Ok(Opened { handle, .. }) => {
                opened += 1;
                let content = raw
                    .call(&Read {
                        handle,
                        offset: 0,
                        count: 100,
                    })
                    .unwrap();
                assert_eq!(content, b"harmless");
                raw.call(&Close { handle }).unwrap();
            }
            Err((_, refusal)) if refusal.reason == Reason::Symlink => links += 1,
            Err(_) => {}
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(swapper.join().unwrap() > 100);
    assert!(
        opened > 0 && links > 0,
        "the race was not there: {opened} opened, {links} links seen"
    );
}

#[test]
fn special_files_are_refused_and_block_nothing() {
    let server = Server::start();
    let fifo = server.path("rw/fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(server.path("rw/socket")).unwrap();
    let device = rustix::fs::mknodat(
        rustix::fs::CWD,
        server.path("rw/device"),
        rustix::fs::FileType::CharacterDevice,
        0o600.into(),
        rustix::fs::makedev(1, 3),
    );
    let mut names = vec!["fifo", "socket"];
    match device {
        Ok(()) => names.push("device"),
        Err(error) => eprintln!("no device node was tested: {error}"),
    }
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"rw");
    // A server that blocked on one of them would run into the read time-out of `Raw`.
    for name in names {
        for flags in [
            OpenFlags::READ,
            OpenFlags::WRITE,
            OpenFlags::READ | OpenFlags::WRITE,
        ] {
            assert_eq!(
                refused(open(&mut raw, dir, name, flags)),
                (Errno::EACCES, Reason::Special),
                "{name}"
            );
        }
        let path = PathBuf::parse(name.as_bytes()).unwrap();
        let looked = raw.call(&Lookup {
            dir,
            path: path.as_path(),
        });
        assert_eq!(refused(looked), (Errno::EACCES, Reason::Special));
    }
}

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

fn header(operation: u8) -> Header {
    Header {
        operation,
        sequence: 1,
        ..Header::default()
    }
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

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
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

#[test]
fn numbers_out_of_range_are_refused_cleanly() {
    let server = Server::start();
    std::fs::write(server.path("rw/f"), b"0123456789").unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"rw");
    let both = open(&mut raw, dir, "f", OpenFlags::READ | OpenFlags::WRITE)
        .unwrap()
        .handle;
    let read_only = open(&mut raw, dir, "f", OpenFlags::READ).unwrap().handle;
    let limit = protocol::MAX_FRAME;
    for count in [limit + 1, u32::MAX] {
        let read = raw.call(&Read {
            handle: both,
            offset: 0,
            count,
        });
        assert_eq!(refused(read), (Errno::EINVAL, Reason::CountLimit));
        let list = raw.call(&Readdir {
            handle: dir,
            cookie: 0,
            count,
        });
        assert_eq!(refused(list), (Errno::EINVAL, Reason::CountLimit));
    }
    for offset in [u64::MAX, i64::MAX as u64, (i64::MAX as u64) + 1] {
        let read = raw.call(&Read {
            handle: both,
            offset,
            count: 10,
        });
        assert_eq!(refused(read), (Errno::EINVAL, Reason::Offset));
        let write = raw.call(&Write {
            handle: both,
            offset,
            data: Rest(b"0123456789"),
        });
        assert_eq!(refused(write), (Errno::EINVAL, Reason::Offset));
    }
    assert_eq!(
        refused(raw.call(&Truncate {
            handle: both,
            size: u64::MAX
        })),
        (Errno::EINVAL, Reason::Offset)
    );
    for handle in [Handle(0), Handle(77), Handle(u32::MAX)] {
        assert_eq!(refused(raw.call(&Getattr { handle })).0, Errno::EBADF);
        assert_eq!(
            refused(raw.call(&Read {
                handle,
                offset: 0,
                count: 1
            }))
            .0,
            Errno::EBADF
        );
        assert_eq!(
            refused(raw.call(&Write {
                handle,
                offset: 0,
                data: Rest(b"x")
            }))
            .0,
            Errno::EBADF
        );
        assert_eq!(
            refused(raw.call(&Append {
                handle,
                expected: 0,
                data: Rest(b"x")
            }))
            .0,
            Errno::EBADF
        );
        assert_eq!(
            refused(raw.call(&Fsync {
                handle,
                level: SyncLevel::Data
            }))
            .0,
            Errno::EBADF
        );
        assert_eq!(refused(raw.call(&Close { handle })).0, Errno::EBADF);
        assert_eq!(
            refused(open(&mut raw, handle, "f", OpenFlags::READ)).0,
            Errno::EBADF
        );
    }
    let write = raw.call(&Write {
        handle: read_only,
        offset: 0,
        data: Rest(b"x"),
    });
    assert_eq!(refused(write), (Errno::EBADF, Reason::HandleMode));
    let append = raw.call(&Append {
        handle: read_only,
        expected: 10,
        data: Rest(b"x"),
    });
    assert_eq!(refused(append), (Errno::EBADF, Reason::HandleMode));
    assert_eq!(
        refused(raw.call(&Truncate {
            handle: read_only,
            size: 0
        })),
        (Errno::EBADF, Reason::HandleMode)
    );
    let through = raw.call(&Lookup {
        dir: both,
        path: Path::HERE,
    });
    assert_eq!(refused(through).0, Errno::ENOTDIR);
    assert_eq!(
        refused(raw.call(&Read {
            handle: dir,
            offset: 0,
            count: 1
        }))
        .0,
        Errno::EISDIR
    );
    assert_eq!(std::fs::read(server.path("rw/f")).unwrap(), b"0123456789");
    answers(&mut raw);
}

#[test]
fn changes_on_a_read_only_export_are_refused_even_truncate_on_open() {
    let server = Server::start();
    std::fs::write(server.path("ro/f"), b"kept").unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"ro");
    let write = OpenFlags::WRITE;
    for flags in [
        write,
        write | OpenFlags::TRUNCATE,
        write | OpenFlags::CREATE,
        OpenFlags::APPEND,
    ] {
        assert_eq!(
            refused(open(&mut raw, dir, "f", flags)),
            (Errno::EROFS, Reason::ReadOnlyExport)
        );
    }
    let sly = refused(open(
        &mut raw,
        dir,
        "f",
        OpenFlags::READ | OpenFlags::TRUNCATE,
    ));
    assert_eq!(sly.0, Errno::EINVAL);
    assert_eq!(std::fs::read(server.path("ro/f")).unwrap(), b"kept");
}

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
fn an_append_behind_or_beyond_the_end_leaves_the_file_alone() {
    let server = Server::start();
    std::fs::write(server.path("append/log"), b"12345").unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"append");
    let handle = open(&mut raw, dir, "log", OpenFlags::APPEND)
        .unwrap()
        .handle;
    for expected in [0, 4, 6, u64::MAX] {
        let append = raw.call(&Append {
            handle,
            expected,
            data: Rest(b"x"),
        });
        assert_eq!(refused(append), (Errno::ERANGE, Reason::NotTheEnd));
    }
    let stat = codec::decode::<Stat>(&raw.call(&Getattr { handle }).unwrap()).unwrap();
    assert_eq!(stat.size, 5);
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
