//! Every number on the wire, written down twice on purpose: changing one changes a test.

use protocol::codec::{self, Field, Rest};
use protocol::errno::Reason;
use protocol::frame::{self, Header};
use protocol::message::*;
use protocol::name::PathBuf;
use protocol::{Errno, Refusal};

#[test]
fn constants() {
    assert_eq!(protocol::MAGIC.to_le_bytes(), *b"SNFS");
    assert_eq!(protocol::VERSION, 1);
    assert_eq!(protocol::DEFAULT_PORT, 7049);
    assert_eq!(
        (
            protocol::MIN_FRAME,
            protocol::MAX_FRAME,
            protocol::MAX_HELLO
        ),
        (4096, 1_048_576, 512)
    );
    assert_eq!((protocol::MAX_SLOTS, protocol::NO_SLOT), (64, 0xffff));
    assert_eq!(protocol::FOLLOW_CREDIT, 262_144);
    assert_eq!((frame::HEADER, frame::REPLY, frame::PUSH), (24, 1, 2));
    assert_eq!(
        (protocol::name::MAX_NAME, protocol::name::MAX_DEPTH),
        (255, 32)
    );
}

#[test]
fn operations() {
    let names = [
        "Hello", "Attach", "Lookup", "Getattr", "Open", "Read", "Write", "Append", "Close",
        "Mkdir", "Unlink", "Rename", "Readdir", "Truncate", "Fsync", "Statfs", "Follow", "Credit",
        "Unfollow", "Ping", "Exports", "Counters", "Goodbye",
    ];
    let table: Vec<(u8, &str)> = Operation::ALL
        .iter()
        .map(|op| (op.number(), op.name()))
        .collect();
    let expected: Vec<(u8, &str)> = (1..).zip(names).collect();
    assert_eq!(table, expected);
    let once: Vec<u8> = Operation::ALL
        .iter()
        .filter(|op| op.is_once())
        .map(|op| op.number())
        .collect();
    assert_eq!(once, [2, 5, 7, 8, 9, 10, 11, 12, 14]);
    let one_way: Vec<u8> = Operation::ALL
        .iter()
        .filter(|op| op.is_one_way())
        .map(|op| op.number())
        .collect();
    assert_eq!(one_way, [17, 18, 19]);
}

#[test]
fn enumerations() {
    let numbers = |all: &[u8]| all.to_vec();
    assert_eq!(
        numbers(&Resumed::ALL.iter().map(|v| v.number()).collect::<Vec<_>>()),
        [0, 1, 2, 3]
    );
    assert_eq!(
        [
            Resumed::New as u8,
            Resumed::Same as u8,
            Resumed::Restarted as u8,
            Resumed::Rebooted as u8
        ],
        [0, 1, 2, 3]
    );
    assert_eq!(
        [
            Access::ReadOnly as u8,
            Access::AppendOnly as u8,
            Access::ReadWrite as u8
        ],
        [0, 1, 2]
    );
    assert_eq!([Kind::File as u8, Kind::Directory as u8], [1, 2]);
    assert_eq!(
        [
            Removes::File as u8,
            Removes::Directory as u8,
            Removes::Either as u8
        ],
        [1, 2, 3]
    );
    assert_eq!([SyncLevel::Data as u8, SyncLevel::All as u8], [1, 2]);
    assert_eq!(
        [
            FollowEvent::Data as u8,
            FollowEvent::Truncated as u8,
            FollowEvent::Gone as u8,
            FollowEvent::End as u8
        ],
        [0, 1, 2, 3]
    );
    assert_eq!(FollowEvent::Refused as u8, 4);
    let flags = [
        OpenFlags::READ,
        OpenFlags::WRITE,
        OpenFlags::APPEND,
        OpenFlags::CREATE,
        OpenFlags::EXCLUSIVE,
        OpenFlags::TRUNCATE,
        OpenFlags::DIRECTORY,
        OpenFlags::ALL,
    ];
    assert_eq!(flags.map(|flag| flag.0), [1, 2, 4, 8, 16, 32, 64, 127]);
}

#[test]
fn reasons() {
    let table: Vec<(u16, &str)> = Reason::ALL
        .iter()
        .map(|reason| (reason.number(), reason.name()))
        .collect();
    let expected = [
        (0, "System"),
        (1, "NameEmpty"),
        (2, "NameDot"),
        (3, "NameDotDot"),
        (4, "NameSlash"),
        (5, "NameNul"),
        (6, "NameLong"),
        (7, "PathDeep"),
        (8, "Symlink"),
        (9, "Special"),
        (10, "ReadOnlyExport"),
        (11, "AppendOnlyExport"),
        (12, "HandleMode"),
        (13, "NotTheEnd"),
        (14, "NoExport"),
        (15, "ExportRoot"),
        (20, "BadToken"),
        (21, "BadVersion"),
        (22, "BadMagic"),
        (23, "HelloFirst"),
        (24, "HelloTwice"),
        (25, "BadSession"),
        (26, "SessionLost"),
        (27, "OldSequence"),
        (28, "FarSequence"),
        (29, "FalseRetry"),
        (30, "FrameSize"),
        (31, "BadMessage"),
        (32, "SlotLimit"),
        (33, "HandleLimit"),
        (34, "SessionLimit"),
        (35, "ByteLimit"),
        (36, "CountLimit"),
        (37, "FollowLimit"),
        (38, "Idle"),
        (39, "Offset"),
        (40, "SlowReader"),
        (41, "TakenOver"),
        (42, "Shutdown"),
    ];
    assert_eq!(table, expected);
    assert_eq!(Reason::NameDotDot.to_string(), "name dot dot");
}

#[test]
fn errors_are_linux_numbers() {
    let table = [
        (Errno::EPERM, 1),
        (Errno::ENOENT, 2),
        (Errno::EIO, 5),
        (Errno::EBADF, 9),
        (Errno::EAGAIN, 11),
        (Errno::EACCES, 13),
        (Errno::EEXIST, 17),
        (Errno::EXDEV, 18),
        (Errno::ENOTDIR, 20),
        (Errno::EISDIR, 21),
        (Errno::EINVAL, 22),
        (Errno::EMFILE, 24),
        (Errno::EFBIG, 27),
        (Errno::ENOSPC, 28),
        (Errno::EROFS, 30),
        (Errno::ERANGE, 34),
        (Errno::ENAMETOOLONG, 36),
        (Errno::ENOTEMPTY, 39),
        (Errno::ELOOP, 40),
        (Errno::EPROTO, 71),
        (Errno::EILSEQ, 84),
        (Errno::EMSGSIZE, 90),
        (Errno::EPROTONOSUPPORT, 93),
        (Errno::ESHUTDOWN, 108),
        (Errno::ETIMEDOUT, 110),
        (Errno::ESTALE, 116),
        (Errno::EDQUOT, 122),
    ];
    for (errno, number) in table {
        assert_eq!(errno.status(), -number);
        assert_eq!(Errno::from_status(-number), Some(errno));
    }
    assert_eq!(Errno::from_status(0), None);
    for nonsense in [1, i32::MAX, -4096, i32::MIN] {
        assert_eq!(Errno::from_status(nonsense), Some(Errno::EIO));
    }
}

#[test]
fn the_header() {
    let header = Header {
        length: 0x0403_0201,
        operation: 5,
        flags: 6,
        slot: 0x0807,
        sequence: 0x0c0b_0a09,
        status: 0x100f_0e0d,
        session: 0x1817_1615_1413_1211,
    };
    let mut bytes = Vec::new();
    header.put(&mut bytes);
    assert_eq!(bytes, (1..=24).collect::<Vec<u8>>());
    assert_eq!(codec::decode::<Header>(&bytes), Ok(header));
}

/// Where clients look for handles is where they stand: [`layouts`] shows every request's bytes.
#[test]
fn places_of_handles() {
    for number in 1..=23 {
        let operation = Operation::from_number(number).unwrap();
        let mut payload = [0u8; 64];
        let places = operation.handles();
        for (nth, place) in places.iter().enumerate() {
            payload[*place] = 200 + nth as u8;
        }
        // The shortest payload: paths without names, no data.
        let len = match operation {
            Operation::Getattr | Operation::Close | Operation::Statfs => 4,
            Operation::Lookup => 5,
            Operation::Open => 11,
            Operation::Write | Operation::Append | Operation::Truncate => 12,
            Operation::Read | Operation::Readdir => 16,
            Operation::Mkdir => 7,
            Operation::Unlink => 6,
            Operation::Rename => 11,
            Operation::Fsync => 5,
            Operation::Follow => 21,
            _ => {
                assert!(places.is_empty(), "{operation:?}");
                continue;
            }
        };
        if matches!(operation, Operation::Unlink | Operation::Fsync) {
            payload[4] = 1;
        }
        let request = Request::decode(number, &payload[..len]).unwrap();
        let text = format!("{request:?}");
        assert!(text.contains("Handle(200)"), "{text}");
        assert_eq!(text.contains("Handle(201)"), places.len() == 2, "{text}");
        assert_eq!(text.matches("Handle(").count(), places.len(), "{text}");
    }
}

/// One value of every request and reply beside its bytes.
#[test]
fn layouts() {
    fn check<'a, T: Field<'a> + PartialEq + std::fmt::Debug>(value: &T, bytes: &'a [u8]) {
        let mut out = Vec::new();
        value.put(&mut out);
        assert_eq!(out, bytes, "{value:?}");
        assert_eq!(codec::decode::<T>(bytes).as_ref(), Ok(value));
        for cut in 0..bytes.len() {
            // A cut rest or list is a shorter one; anything else is an error. Nothing panics.
            let _ = codec::decode::<T>(&bytes[..cut]);
        }
    }
    let owned = PathBuf::parse(b"a/bc").unwrap();
    let path = owned.as_path();
    let h = Handle(0x0102);
    check(
        &Hello {
            magic: protocol::MAGIC, min_version: 1, max_version: 2, max_frame: 3, slots: 4,
            client: ClientId([9; 16]), token: b"t", name: b"nm",
        },
        b"SNFS\x01\0\x02\0\x03\0\0\0\x04\0\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x01\0t\x02\0nm",
    );
    check(
        &HelloReply {
            version: 1,
            slots: 2,
            max_frame: 3,
            boot_id: 4,
            resumed: Resumed::Restarted,
            idle_ms: 5,
            time_ns: 6,
        },
        b"\x01\0\x02\0\x03\0\0\0\x04\0\0\0\0\0\0\0\x02\x05\0\0\0\x06\0\0\0\0\0\0\0",
    );
    let stat = Stat {
        kind: Kind::File,
        mode: 0o644,
        links: 1,
        inode: 2,
        size: 3,
        modified_ns: 4,
    };
    let stat_bytes =
        b"\x01\xa4\x01\x01\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0";
    check(&stat, stat_bytes);
    check(&Attach { export: b"runs" }, b"\x04\0runs");
    let attached = [b"\x02\x01\0\0\x01", &stat_bytes[..]].concat();
    check(
        &Attached {
            root: h,
            access: Access::AppendOnly,
            stat: stat.clone(),
        },
        &attached,
    );
    check(&Lookup { dir: h, path }, b"\x02\x01\0\0\x02\x01\0a\x02\0bc");
    check(&Getattr { handle: h }, b"\x02\x01\0\0");
    let open = Open {
        dir: h,
        flags: OpenFlags::READ | OpenFlags::CREATE,
        mode: 0o644,
        path,
    };
    check(&open, b"\x02\x01\0\0\x09\0\0\0\xa4\x01\x02\x01\0a\x02\0bc");
    let opened = [b"\x02\x01\0\0\x01", &stat_bytes[..]].concat();
    check(
        &Opened {
            handle: h,
            created: true,
            stat: stat.clone(),
        },
        &opened,
    );
    check(
        &Read {
            handle: h,
            offset: 1,
            count: 2,
        },
        b"\x02\x01\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0",
    );
    check(
        &Write {
            handle: h,
            offset: 1,
            data: Rest(b"xy"),
        },
        b"\x02\x01\0\0\x01\0\0\0\0\0\0\0xy",
    );
    check(&Written { size: 7 }, b"\x07\0\0\0\0\0\0\0");
    check(
        &Append {
            handle: h,
            expected: 1,
            data: Rest(b"xy"),
        },
        b"\x02\x01\0\0\x01\0\0\0\0\0\0\0xy",
    );
    check(&Appended { size: 7 }, b"\x07\0\0\0\0\0\0\0");
    check(&Close { handle: h }, b"\x02\x01\0\0");
    check(
        &Mkdir {
            dir: h,
            mode: 0o755,
            path,
        },
        b"\x02\x01\0\0\xed\x01\x02\x01\0a\x02\0bc",
    );
    check(
        &Unlink {
            dir: h,
            removes: Removes::Either,
            path,
        },
        b"\x02\x01\0\0\x03\x02\x01\0a\x02\0bc",
    );
    let rename = Rename {
        from_dir: h,
        to_dir: Handle(3),
        replace: true,
        from: path,
        to: path,
    };
    check(
        &rename,
        b"\x02\x01\0\0\x03\0\0\0\x01\x02\x01\0a\x02\0bc\x02\x01\0a\x02\0bc",
    );
    check(
        &Readdir {
            handle: h,
            cookie: 1,
            count: 2,
        },
        b"\x02\x01\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0",
    );
    let entries = vec![Entry {
        cookie: 1,
        inode: 2,
        kind: Kind::Directory,
        name: b"d",
    }];
    check(
        &Entries { end: true, entries },
        b"\x01\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x02\x01\0d",
    );
    check(
        &Truncate { handle: h, size: 1 },
        b"\x02\x01\0\0\x01\0\0\0\0\0\0\0",
    );
    check(
        &Fsync {
            handle: h,
            level: SyncLevel::All,
        },
        b"\x02\x01\0\0\x02",
    );
    check(&Statfs { handle: h }, b"\x02\x01\0\0");
    check(
        &StatfsReply {
            total_bytes: 1,
            free_bytes: 2,
            total_files: 3,
            free_files: 4,
            access: Access::ReadWrite,
        },
        b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x02",
    );
    let follow = Follow {
        id: 1,
        dir: h,
        offset: 2,
        credit: 3,
        path,
    };
    check(
        &follow,
        b"\x01\0\0\0\x02\x01\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x02\x01\0a\x02\0bc",
    );
    let followed = Followed {
        id: 1,
        event: FollowEvent::Data,
        offset: 2,
        data: Rest(b"xy"),
    };
    check(&followed, b"\x01\0\0\0\0\x02\0\0\0\0\0\0\0xy");
    check(&Credit { id: 1, bytes: 2 }, b"\x01\0\0\0\x02\0\0\0");
    check(&Unfollow { id: 1 }, b"\x01\0\0\0");
    check(&Ping {}, b"");
    check(&Pong { time_ns: 1 }, b"\x01\0\0\0\0\0\0\0");
    check(&Exports {}, b"");
    let exports = vec![Export {
        access: Access::ReadOnly,
        name: b"bin",
    }];
    check(&ExportList { exports }, b"\0\x03\0bin");
    check(&Counters {}, b"");
    let counts = vec![Count {
        session: 1,
        name: b"n",
        ago_ms: 2,
        operation: Operation::Ping,
        calls: 3,
        errors: 4,
        bytes: 5,
    }];
    check(
        &CounterList { uptime_ns: 1, connections: 2, refused: 3, counts },
        b"\x01\0\0\0\0\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0n\x02\0\0\0\0\0\0\0\x14\
          \x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
    );
    check(&Goodbye {}, b"");
    check(
        &Refusal {
            reason: Reason::NotTheEnd,
            value: 5,
        },
        b"\x0d\0\x05\0\0\0\0\0\0\0",
    );
}

/// The specification names every operation and every reason with its number.
#[test]
fn the_specification_has_them_all() {
    let text = include_str!("../README.md");
    for operation in Operation::ALL {
        let row = format!(
            "| {} {}",
            operation.number(),
            operation.name().to_lowercase()
        );
        assert!(text.contains(&row), "the README has no row {row:?}");
        let line = text.lines().find(|line| line.starts_with(&row)).unwrap();
        assert_eq!(line.ends_with("✓ |"), operation.is_once(), "{line}");
    }
    let numbers = text.split("Reasons:").nth(1).unwrap();
    for reason in Reason::ALL {
        let number = format!(" {} ", reason.number());
        assert!(
            numbers.replace('\n', " ").contains(&number),
            "the README does not explain reason {}",
            reason.number()
        );
    }
}
