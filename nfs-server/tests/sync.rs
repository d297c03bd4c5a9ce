//! What an answered fsync promises, seen in the server's system calls.

mod common;

use std::path::Path;

use common::{Raw, Server};
use protocol::codec;
use protocol::message::{Attach, Attached, Fsync, Open, OpenFlags, Opened, SyncLevel};
use protocol::name::PathBuf;

/// The files that were synced so far, and by which call: `fsync(7</srv/f>) = 0`.
fn synced(trace: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(trace).unwrap();
    let done = text.lines().filter(|line| line.ends_with("= 0"));
    let calls = done.filter_map(|line| {
        // The process id comes first.
        let (call, file) = line.split_once('(')?;
        let (_, path) = file.rsplit_once(')')?.0.split_once('<')?;
        let call = call.split_whitespace().last()?;
        Some((call.to_owned(), path.strip_suffix('>')?.to_owned()))
    });
    calls.collect()
}

#[test]
#[ignore = "looks at system calls: `hv test` runs it where strace may do so"]
fn strace_sees_file_name_and_journal_synced_before_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    // With -D the server is our child and strace its own: the server's end is strace's, too. What a call returned is
    // written before the server goes on.
    let under = [
        "strace",
        "-D",
        "-f",
        "-y",
        "-qq",
        "-e",
        "trace=fsync,fdatasync,syncfs",
        "-o",
        trace.to_str().unwrap(),
    ];
    let server = Server::start_under(&under, "127.0.0.1:0", &["--state={}/state"]);
    std::fs::create_dir(server.path("rw/dir")).unwrap();
    let mut raw = Raw::greeted(&server);
    let before = synced(&trace).len();
    let reply = raw.call(&Attach { export: b"rw" }).unwrap();
    // The root is kept for as long as the session lasts.
    let journal = server.path("state/journal").display().to_string();
    assert_eq!(
        synced(&trace)[before..],
        [("fdatasync".to_owned(), journal)]
    );
    let dir = codec::decode::<Attached>(&reply).unwrap().root;
    let path = PathBuf::parse(b"dir/file").unwrap();
    let open = Open {
        dir,
        flags: OpenFlags::WRITE | OpenFlags::CREATE,
        mode: 0o644,
        path: path.as_path(),
    };
    let handle = codec::decode::<Opened>(&raw.call(&open).unwrap())
        .unwrap()
        .handle;
    let mut seen = synced(&trace).len();
    let mut calls = |handle, level| {
        raw.call(&Fsync { handle, level }).unwrap();
        let all = synced(&trace);
        let new = all[seen..].to_vec();
        seen = all.len();
        new
    };
    let call =
        |name: &str, below: &str| (name.to_owned(), server.path(below).display().to_string());
    let journal = call("fdatasync", "state/journal");
    let file = call("fdatasync", "rw/dir/file");
    assert_eq!(calls(handle, SyncLevel::Data), [file, journal.clone()]);
    let (file, name) = (call("fsync", "rw/dir/file"), call("fsync", "rw/dir"));
    assert_eq!(calls(handle, SyncLevel::All), [file, name, journal.clone()]);
    assert_eq!(calls(dir, SyncLevel::All), [call("fsync", "rw"), journal]);
}
