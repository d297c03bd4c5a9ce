//! Names, symbolic links, special files.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use protocol::codec::{self, Field};
use protocol::message::{
    Attach, Close, Handle, Lookup, OpenFlags, Opened, Operation, Read, Readdir,
};
use protocol::name::PathBuf;
use protocol::{Errno, Reason};

use crate::common::{Raw, Server, raw_path};
use crate::{answers, attach, open, refused};

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
