//! What a client can rely on: files, follows, sessions, restarts.

mod common;

use std::time::Duration;

use common::{Server, TOKEN};
use protocol::Errno;
use protocol::host::{Error, Files, Options};
use protocol::message::{FollowEvent, Kind, OpenFlags};

fn errno<T: std::fmt::Debug>(result: Result<T, Error>) -> Errno {
    result.unwrap_err().errno().expect("an error of the server")
}

#[test]
fn a_file_goes_there_and_back() {
    let server = Server::start();
    let mut files = server.files();
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    files.put("rw/big", &mut &content[..], &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(server.path("rw/big")).unwrap(), content);
    let mut last = (0, 0);
    let mut back = Vec::new();
    files
        .get("rw/big", &mut back, &mut |done, all| last = (done, all))
        .unwrap();
    assert!(back == content);
    assert_eq!(last, (3_000_000, 3_000_000));
    assert_eq!(files.stat("rw/big").unwrap().size, 3_000_000);
}

#[test]
fn names_are_made_listed_moved_and_removed() {
    let server = Server::start();
    let mut files = server.files();
    files.mkdir("rw/a").unwrap();
    files.mkdir("rw/a/b").unwrap();
    files.put("rw/a/one", &mut &b"1"[..], &mut |_| {}).unwrap();
    files.rename("rw/a/one", "rw/a/b/two").unwrap();
    let names: Vec<_> = files
        .list("rw/a")
        .unwrap()
        .into_iter()
        .map(|item| (item.name, item.kind))
        .collect();
    assert_eq!(names, [("b".to_owned(), Kind::Directory)]);
    assert_eq!(errno(files.mkdir("rw/a")), Errno::EEXIST);
    assert_eq!(errno(files.remove("rw/a/b")), Errno::ENOTEMPTY);
    files.remove("rw/a/b/two").unwrap();
    files.remove("rw/a/b").unwrap();
    assert_eq!(errno(files.stat("rw/a/b")), Errno::ENOENT);
    let exports: Vec<_> = files
        .list("")
        .unwrap()
        .into_iter()
        .map(|item| item.name)
        .collect();
    assert_eq!(exports, ["ro", "rw", "append"]);
    assert!(files.statfs("rw").unwrap().total_bytes > 0);
}

#[test]
fn a_long_directory_comes_in_parts_and_whole() {
    let server = Server::start();
    for i in 0..3000 {
        std::fs::write(
            server.path(&format!("ro/a-name-of-some-length-{i:05}")),
            b"",
        )
        .unwrap();
    }
    let names: Vec<_> = server
        .files()
        .list("ro")
        .unwrap()
        .into_iter()
        .map(|item| item.name)
        .collect();
    let expected: Vec<_> = (0..3000)
        .map(|i| format!("a-name-of-some-length-{i:05}"))
        .collect();
    assert_eq!(names, expected);
}

#[test]
fn exports_allow_what_they_say() {
    let server = Server::start();
    std::fs::write(server.path("ro/there"), b"old").unwrap();
    std::fs::write(server.path("append/there"), b"old").unwrap();
    let mut files = server.files();
    let write = OpenFlags::WRITE;
    assert_eq!(errno(files.open("ro/there", write, 0)), Errno::EROFS);
    assert_eq!(
        errno(files.open("ro/new", write | OpenFlags::CREATE, 0o644)),
        Errno::EROFS
    );
    assert_eq!(errno(files.mkdir("ro/new")), Errno::EROFS);
    assert_eq!(errno(files.remove("ro/there")), Errno::EROFS);
    assert_eq!(errno(files.rename("ro/there", "ro/other")), Errno::EROFS);
    assert_eq!(files.read("ro/there").unwrap(), b"old");

    files.mkdir("append/run").unwrap();
    files
        .put("append/run/log", &mut &b"first"[..], &mut |_| {})
        .unwrap();
    let log = files
        .open("append/run/log", OpenFlags::READ | OpenFlags::APPEND, 0)
        .unwrap();
    assert_eq!(files.append(log.handle, 5, b" second").unwrap(), 12);
    assert_eq!(files.read("append/run/log").unwrap(), b"first second");
    assert_eq!(
        errno(files.open("append/there", write | OpenFlags::TRUNCATE, 0)),
        Errno::EPERM
    );
    let there = files.open("append/there", write, 0).unwrap();
    assert_eq!(errno(files.write_at(there.handle, 0, b"new")), Errno::EPERM);
    assert_eq!(errno(files.truncate(there.handle, 0)), Errno::EPERM);
    assert_eq!(errno(files.remove("append/there")), Errno::EPERM);
    assert_eq!(
        errno(files.rename("append/there", "append/other")),
        Errno::EPERM
    );
    assert_eq!(std::fs::read(server.path("append/there")).unwrap(), b"old");
}

#[test]
fn an_append_that_missed_the_end_changes_nothing_and_says_where_the_end_is() {
    let server = Server::start();
    let mut files = server.files();
    files
        .put("append/log", &mut &b"12345"[..], &mut |_| {})
        .unwrap();
    let log = files
        .open("append/log", OpenFlags::APPEND, 0)
        .unwrap()
        .handle;
    for wrong in [4, 6, 0, u64::MAX] {
        match files.append(log, wrong, b"x") {
            Err(Error::Refused(failure)) => {
                assert_eq!(failure.errno, Errno::ERANGE);
                assert_eq!(failure.refusal.value, 5);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(std::fs::read(server.path("append/log")).unwrap(), b"12345");
}

#[test]
fn an_unlinked_file_stays_open() {
    let server = Server::start();
    let mut files = server.files();
    files
        .put("rw/f", &mut &b"still here"[..], &mut |_| {})
        .unwrap();
    let open = files.open("rw/f", OpenFlags::READ, 0).unwrap().handle;
    files.remove("rw/f").unwrap();
    assert_eq!(files.read_at(open, 6, 100).unwrap(), b"here");
    files.close(open).unwrap();
    assert_eq!(errno(files.read_at(open, 0, 1)), Errno::EBADF);
}

fn next(files: &mut Files) -> (FollowEvent, u64, Vec<u8>) {
    let followed = files
        .next_followed(Duration::from_secs(5))
        .unwrap()
        .expect("something within five seconds");
    (followed.event, followed.offset, followed.data)
}

#[test]
fn follow_brings_what_is_there_and_what_comes() {
    let server = Server::start();
    let mut writer = server.files();
    let mut reader = server.files();
    // Before it exists.
    let id = reader.follow("append/run/trace", 0).unwrap();
    assert_eq!(next(&mut reader), (FollowEvent::Gone, 0, vec![]));
    writer.mkdir("append/run").unwrap();
    let opened = writer
        .open(
            "append/run/trace",
            OpenFlags::APPEND | OpenFlags::CREATE,
            0o644,
        )
        .unwrap();
    assert_eq!(next(&mut reader), (FollowEvent::End, 0, vec![]));
    writer.append(opened.handle, 0, b"one").unwrap();
    assert_eq!(next(&mut reader), (FollowEvent::Data, 0, b"one".to_vec()));
    writer.append(opened.handle, 3, b"two").unwrap();
    assert_eq!(next(&mut reader), (FollowEvent::Data, 3, b"two".to_vec()));
    reader.unfollow(id);
    // From the middle, of a file that another program of the host writes.
    reader.follow("append/run/trace", 4).unwrap();
    assert_eq!(next(&mut reader), (FollowEvent::Data, 4, b"wo".to_vec()));
    assert_eq!(next(&mut reader).0, FollowEvent::End);
    let path = server.path("append/run/trace");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(3)
        .unwrap();
    let (event, offset, _) = next(&mut reader);
    assert_eq!((event, offset), (FollowEvent::Truncated, 6));
    assert_eq!(next(&mut reader), (FollowEvent::Data, 0, b"one".to_vec()));
    assert_eq!(next(&mut reader).0, FollowEvent::End);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(next(&mut reader).0, FollowEvent::Gone);
    std::fs::write(server.path("append/other"), b"again").unwrap();
    std::fs::rename(server.path("append/other"), &path).unwrap();
    assert_eq!(next(&mut reader), (FollowEvent::Data, 0, b"again".to_vec()));
}

#[test]
fn a_slow_follower_neither_loses_nor_slows() {
    let server = Server::start();
    let mut writer = server.files();
    let mut reader = server.files();
    reader.follow("append/log", 0).unwrap();
    let log = writer
        .open("append/log", OpenFlags::APPEND | OpenFlags::CREATE, 0o644)
        .unwrap()
        .handle;
    let line = [b'x'; 4096];
    let mut size = 0;
    for _ in 0..1000 {
        size = writer.append(log, size, &line).unwrap();
    }
    // Only now it reads: the credit bounded what was on the way, the cursor kept the rest.
    let mut seen = 0;
    while seen < size {
        let (event, offset, data) = next(&mut reader);
        if event == FollowEvent::Data {
            assert_eq!(offset, seen);
            seen += data.len() as u64;
        }
    }
    assert_eq!(seen, 4_096_000);
}

#[test]
fn a_killed_server_is_not_noticed_by_its_clients() {
    let mut server = Server::start_with(&["--state={}/state"]);
    let mut files = Files::connect(server.options().patient(None)).unwrap();
    let log = files
        .open("append/log", OpenFlags::APPEND | OpenFlags::CREATE, 0o644)
        .unwrap()
        .handle;
    let mut follower = Files::connect(server.options().patient(None)).unwrap();
    follower.follow("append/log", 0).unwrap();
    assert_eq!(files.append(log, 0, b"before ").unwrap(), 7);
    let before = files.session().agreed().unwrap().boot_id;
    server.kill();
    server.restart();
    assert_eq!(files.append(log, 7, b"after").unwrap(), 12);
    let agreed = files.session().agreed().unwrap();
    assert_ne!(agreed.boot_id, before);
    assert_eq!(agreed.resumed, protocol::message::Resumed::Restarted);
    assert_eq!(
        std::fs::read(server.path("append/log")).unwrap(),
        b"before after"
    );
    let mut seen = Vec::new();
    while seen.len() < 12 {
        let (event, offset, data) = next(&mut follower);
        if event == FollowEvent::Data {
            assert_eq!(offset as usize, seen.len());
            seen.extend(data);
        }
    }
    assert_eq!(seen, b"before after");
}

#[test]
fn without_state_a_restart_ends_the_session() {
    let mut server = Server::start();
    let mut files = server.files();
    let file = files
        .open("rw/f", OpenFlags::WRITE | OpenFlags::CREATE, 0o644)
        .unwrap()
        .handle;
    let generation = files.session().generation();
    server.kill();
    server.restart();
    // The request was on its way, so it fails; the next is of the new session.
    assert_eq!(errno(files.write_at(file, 0, b"x")), Errno::ESTALE);
    assert_eq!(files.session().generation(), generation + 1);
    assert_eq!(files.list("rw").unwrap().len(), 1);
}

#[test]
fn a_handle_of_a_lost_session_is_stale_and_no_newer_file() {
    let mut server = Server::start();
    let mut files = server.files();
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE;
    let old = files.open("rw/old", flags, 0o644).unwrap().handle;
    files.write_at(old, 0, b"old").unwrap();
    server.kill();
    server.restart();
    assert_eq!(errno(files.ping()), Errno::ESTALE);
    // The new session's first file; the server counts handles from the beginning.
    let new = files.open("rw/new", flags, 0o644).unwrap().handle;
    let failed = files.write_at(old, 0, b"astray").unwrap_err();
    assert!(
        failed.to_string().contains("open the file again"),
        "{failed}"
    );
    assert_eq!(errno(files.read_at(old, 0, 9)), Errno::ESTALE);
    assert_eq!(errno(files.fsync(old)), Errno::ESTALE);
    assert_eq!(errno(files.close(old)), Errno::ESTALE);
    files.write_at(new, 0, b"new").unwrap();
    assert_eq!(files.read_at(new, 0, 9).unwrap(), b"new");
    files.close(new).unwrap();
    assert_eq!(std::fs::read(server.path("rw/old")).unwrap(), b"old");
    assert_eq!(std::fs::read(server.path("rw/new")).unwrap(), b"new");
}

#[test]
fn the_server_stops_when_told_and_says_why() {
    let mut server = Server::start();
    let mut files =
        Files::connect(server.options().patient(Some(Duration::from_millis(500)))).unwrap();
    files.ping().unwrap();
    assert_eq!(server.terminate(), Some(0));
    match files.ping() {
        Err(Error::Away { address, .. }) => assert_eq!(address, server.address),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_token_is_final() {
    let server = Server::start();
    let mut wrong = TOKEN.to_vec();
    wrong[31] ^= 1;
    match Files::connect(Options::new(server.address, &wrong)) {
        Err(Error::Unwelcome(failure)) => assert_eq!(failure.errno, Errno::EACCES),
        other => panic!("{other:?}"),
    }
}
