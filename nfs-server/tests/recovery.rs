//! The moments that a random kill seldom meets: a server that died between the intent and the reply. The
//! state folder is written as such a server would leave it.

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path as HostPath;

use common::{Raw, Server, TOKEN};
use nfs_server::export::Identity;
use nfs_server::journal::{Effect, HandleInfo, Intent, Journal, Record, RequestId, SessionInfo};
use nfs_server::server::machine_boot_id;
use protocol::codec::{self, Rest};
use protocol::frame;
use protocol::message::{
    Append, Appended, Attach, Attached, Call, ClientId, Getattr, Handle, Mkdir, Open, OpenFlags,
    Opened, Removes, Rename, Resumed, Stat, Unlink,
};
use protocol::name::PathBuf;
use protocol::noise::KeyId;
use protocol::{Errno, Refusal};

const SESSION: u64 = 77;
const CLIENT: [u8; 16] = [5; 16];

fn path(text: &str) -> PathBuf {
    PathBuf::parse(text.as_bytes()).unwrap()
}

fn identity(path: &HostPath) -> Identity {
    let meta = std::fs::metadata(path).unwrap();
    Identity {
        device: meta.dev(),
        inode: meta.ino(),
    }
}

fn payload(call: &impl Call) -> Vec<u8> {
    let mut bytes = Vec::new();
    call.put_payload(&mut bytes);
    bytes
}

/// A killed server with a session: handle 1 is the root of `rw`, handle 2 the file `log` with "12345".
fn killed() -> Server {
    let mut server = Server::start_with(&["--state={}/state"]);
    server.kill();
    std::fs::remove_dir_all(server.path("state")).unwrap();
    std::fs::write(server.path("rw/log"), b"12345").unwrap();
    server
}

fn session(id: u64, client: [u8; 16]) -> Record {
    let info = SessionInfo {
        client: ClientId(client),
        key: KeyId::default(),
        slots: 8,
        max_frame: 65536,
        next_handle: 3,
        name: b"t".to_vec(),
    };
    Record::Session(id, info)
}

/// Writes the journal as the killed server left it.
fn write_journal(server: &Server, seen: Identity, call: &impl Call, machine: &[u8]) {
    let (journal, _) = open(&server.path("state"), machine);
    let write = |record| journal.write(record).unwrap();
    write(session(SESSION, CLIENT));
    let root = HandleInfo {
        export: "rw".into(),
        path: PathBuf::new(),
        identity: identity(&server.path("rw")),
        file: None,
    };
    write(Record::Handle(SESSION, 1, root));
    let log = HandleInfo {
        export: "rw".into(),
        path: path("log"),
        identity: identity(&server.path("rw/log")),
        file: Some(OpenFlags::READ | OpenFlags::WRITE),
    };
    write(Record::Handle(SESSION, 2, log));
    write(Record::Intent(intent(seen, call)));
}

/// Starts the server; the client comes back.
fn resume(server: &mut Server, expected: Resumed) -> Raw {
    server.restart();
    let mut raw = Raw::connect(server);
    let reply = raw.hello(CLIENT, TOKEN, SESSION).unwrap();
    assert_eq!(reply.resumed, expected);
    assert_eq!(raw.session, SESSION);
    raw
}

/// Both, on the same boot of the machine.
fn restart(server: &mut Server, seen: Identity, call: &impl Call) -> Raw {
    write_journal(server, seen, call, &machine_boot_id().unwrap());
    resume(server, Resumed::Restarted)
}

fn intent<C: Call>(seen: Identity, call: &C) -> Intent {
    let mut payload = payload(call);
    let asked = (C::OPERATION.number(), payload.len() as u32);
    if C::OPERATION == protocol::Operation::Append {
        payload.truncate(12);
    }
    Intent {
        id: RequestId {
            session: SESSION,
            slot: 0,
            sequence: 9,
            asked,
        },
        seen,
        payload,
    }
}

/// The client sends it again with the same numbers.
fn again(raw: &mut Raw, call: &impl Call) -> Result<Vec<u8>, (Option<Errno>, Refusal)> {
    raw.send(&frame::request(call, 0, 9, SESSION));
    let (header, payload) = raw.receive().unwrap();
    match header.error() {
        None => Ok(payload),
        errno => Err((errno, codec::decode(&payload).unwrap())),
    }
}

const NOTHING: Identity = Identity {
    device: 0,
    inode: 0,
};

#[test]
fn an_append_done_half_done_or_not_done() {
    let append = Append {
        handle: Handle(2),
        expected: 5,
        data: Rest(b"678"),
    };
    for found in ["12345", "1234567", "12345678"] {
        let mut server = killed();
        std::fs::write(server.path("rw/log"), found).unwrap();
        let seen = identity(&server.path("rw/log"));
        let mut raw = restart(&mut server, seen, &append);
        let reply = again(&mut raw, &append).unwrap();
        assert_eq!(
            codec::decode::<Appended>(&reply),
            Ok(Appended { size: 8 }),
            "{found}"
        );
        assert_eq!(
            std::fs::read(server.path("rw/log")).unwrap(),
            b"12345678",
            "{found}"
        );
    }
}

#[test]
fn a_mkdir_done_or_not_done() {
    let name = path("d");
    let mkdir = Mkdir {
        dir: Handle(1),
        mode: 0o755,
        path: name.as_path(),
    };
    for done in [false, true] {
        let mut server = killed();
        if done {
            std::fs::create_dir(server.path("rw/d")).unwrap();
        }
        let mut raw = restart(&mut server, NOTHING, &mkdir);
        let reply = again(&mut raw, &mkdir).unwrap();
        assert_eq!(
            codec::decode::<Stat>(&reply).unwrap().inode,
            identity(&server.path("rw/d")).inode
        );
    }
}

#[test]
fn a_creation_done_or_not_done() {
    let name = path("new");
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let open = Open {
        dir: Handle(1),
        flags,
        mode: 0o644,
        path: name.as_path(),
    };
    for done in [false, true] {
        let mut server = killed();
        if done {
            std::fs::write(server.path("rw/new"), b"").unwrap();
        }
        let mut raw = restart(&mut server, NOTHING, &open);
        let reply = again(&mut raw, &open).unwrap();
        let opened: Opened = codec::decode(&reply).unwrap();
        assert!(opened.created && opened.handle == Handle(3));
        // The handle works, also after one more kill.
        server.kill();
        let mut raw = resume(&mut server, Resumed::Restarted);
        raw.sequence[0] = 9;
        raw.call(&Append {
            handle: Handle(3),
            expected: 0,
            data: Rest(b"x"),
        })
        .unwrap();
        assert_eq!(std::fs::read(server.path("rw/new")).unwrap(), b"x");
    }
}

#[test]
fn an_unlink_done_or_not_done() {
    let name = path("victim");
    let unlink = Unlink {
        dir: Handle(1),
        removes: Removes::Either,
        path: name.as_path(),
    };
    for done in [false, true] {
        let mut server = killed();
        std::fs::write(server.path("rw/victim"), b"").unwrap();
        let seen = identity(&server.path("rw/victim"));
        if done {
            std::fs::remove_file(server.path("rw/victim")).unwrap();
        }
        let mut raw = restart(&mut server, seen, &unlink);
        again(&mut raw, &unlink).unwrap();
        assert!(!server.path("rw/victim").exists());
    }
}

#[test]
fn a_rename_done_or_not_done() {
    let (from, to) = (path("log"), path("moved"));
    let rename = Rename {
        from_dir: Handle(1),
        to_dir: Handle(1),
        replace: true,
        from: from.as_path(),
        to: to.as_path(),
    };
    for done in [false, true] {
        let mut server = killed();
        let seen = identity(&server.path("rw/log"));
        write_journal(&server, seen, &rename, &machine_boot_id().unwrap());
        if done {
            std::fs::rename(server.path("rw/log"), server.path("rw/moved")).unwrap();
        }
        let mut raw = resume(&mut server, Resumed::Restarted);
        again(&mut raw, &rename).unwrap();
        assert!(!server.path("rw/log").exists());
        assert_eq!(std::fs::read(server.path("rw/moved")).unwrap(), b"12345");
        // The handle of the file is the same file as before, under its new name.
        raw.sequence[0] = 9;
        raw.call(&Append {
            handle: Handle(2),
            expected: 5,
            data: Rest(b"6"),
        })
        .unwrap();
        assert_eq!(std::fs::read(server.path("rw/moved")).unwrap(), b"123456");
    }
}

#[test]
fn what_was_not_done_is_not_taken_for_done_by_a_later_restart() {
    let mut server = killed();
    let append = Append {
        handle: Handle(2),
        expected: 5,
        data: Rest(b"678"),
    };
    let seen = identity(&server.path("rw/log"));
    drop(restart(&mut server, seen, &append));
    // Before the client sends it again, somebody else appends more than it would.
    let mut other = server.files();
    let flags = OpenFlags::APPEND;
    let log = other.open("rw/log", flags, 0).unwrap().handle;
    other.append(log, 5, b"another").unwrap();
    server.kill();
    let mut raw = resume(&mut server, Resumed::Restarted);
    let (errno, refusal) = again(&mut raw, &append).unwrap_err();
    assert_eq!((errno, refusal.value), (Some(Errno::ERANGE), 12));
    let content = std::fs::read(server.path("rw/log")).unwrap();
    assert_eq!(content, b"12345another");
}

#[test]
fn a_handle_whose_file_was_replaced_is_stale_and_no_other_file() {
    let mut server = killed();
    let call = Getattr { handle: Handle(2) };
    // Written while the old file was there; then another takes its name.
    let mut raw = restart(
        &mut server,
        NOTHING,
        &Append {
            handle: Handle(2),
            expected: 9,
            data: Rest(b""),
        },
    );
    raw.sequence[0] = 9;
    raw.call(&call).unwrap();
    server.kill();
    std::fs::rename(server.path("rw/log"), server.path("rw/old")).unwrap();
    std::fs::write(server.path("rw/log"), b"another").unwrap();
    let mut raw = resume(&mut server, Resumed::Restarted);
    raw.sequence[0] = 20;
    assert_eq!(raw.call(&call).unwrap_err().0, Errno::ESTALE.status());
}

#[test]
fn handles_below_a_renamed_directory_are_found_again() {
    let mut server = Server::start_with(&["--state={}/state"]);
    let mut files = protocol::host::Files::connect(server.options().patient(None)).unwrap();
    files.mkdir("rw/a").unwrap();
    files.mkdir("rw/b").unwrap();
    let file = files
        .open("rw/a/f", OpenFlags::WRITE | OpenFlags::CREATE, 0o644)
        .unwrap()
        .handle;
    let mut other = server.files();
    other.rename("rw/a", "rw/b/c").unwrap();
    server.kill();
    server.restart();
    assert_eq!(files.append(file, 0, b"found").unwrap(), 5);
    assert_eq!(std::fs::read(server.path("rw/b/c/f")).unwrap(), b"found");
}

#[test]
fn another_boot_of_the_machine_is_told() {
    let mut server = killed();
    let ping = Append {
        handle: Handle(2),
        expected: 5,
        data: Rest(b"6"),
    };
    let seen = identity(&server.path("rw/log"));
    write_journal(&server, seen, &ping, b"some other boot");
    drop(resume(&mut server, Resumed::Rebooted));
    // Not told until a frame shows that the client heard it, whatever happens to the server.
    server.kill();
    let mut raw = resume(&mut server, Resumed::Rebooted);
    again(&mut raw, &ping).unwrap();
    server.kill();
    resume(&mut server, Resumed::Restarted);
}

/// Puts 20 MiB; when `lose_at` bytes were answered the server's machine starts again and has of the file only
/// what was fsynced, `kept` bytes, or not even its name.
fn put_over_a_reboot(export: &str, lose_at: u64, kept: Option<u64>) {
    let mut server = Server::start_with(&["--state={}/state"]);
    let file = server.path(export).join("result");
    let mut files = protocol::host::Files::connect(server.options().patient(None)).unwrap();
    let content: Vec<u8> = (0..20u32 << 20).map(|i| (i / 3) as u8).collect();
    let mut lost = false;
    let put = files.put(
        &format!("{export}/result"),
        &mut &content[..],
        &mut |done| {
            if lost || done < lose_at {
                return;
            }
            lost = true;
            reboot(&mut server, || leave(&file, kept));
        },
    );
    assert_eq!(put.unwrap(), content.len() as u64);
    assert!(lost && std::fs::read(&file).unwrap() == content, "{export}");
}

#[test]
fn what_was_not_fsynced_is_sent_again_after_a_reboot() {
    for export in ["rw", "append"] {
        // Before anything was fsynced: the name is gone. Later: the file is as long as the last fsync left it.
        put_over_a_reboot(export, 1 << 20, None);
        put_over_a_reboot(export, 10 << 20, Some(8 << 20));
    }
}

/// The server's machine starts again; `lose` is what that does to files.
fn reboot(server: &mut Server, lose: impl FnOnce()) {
    server.kill();
    lose();
    drop(open(&server.path("state"), b"the boot before"));
    server.restart();
}

/// Leaves so many bytes of a file, or not even its name.
fn leave(file: &HostPath, bytes: Option<u64>) {
    match bytes {
        None => std::fs::remove_file(file).unwrap(),
        Some(bytes) => {
            let opened = std::fs::File::options().write(true).open(file).unwrap();
            opened.set_len(bytes).unwrap();
        }
    }
}

#[test]
fn appends_that_were_not_fsynced_survive_a_reboot() {
    for (export, left) in [
        ("rw", None),
        ("append", None),
        ("rw", Some(0)),
        ("append", Some(4)),
    ] {
        let mut server = Server::start_with(&["--state={}/state"]);
        let file = server.path(export).join("log");
        let mut files = protocol::host::Files::connect(server.options().patient(None)).unwrap();
        let flags = OpenFlags::APPEND | OpenFlags::CREATE;
        let log = files.open(&format!("{export}/log"), flags, 0o644).unwrap();
        let log = log.handle;
        files.append(log, 0, b"one").unwrap();
        files.append(log, 3, b"two").unwrap();
        reboot(&mut server, || leave(&file, left));
        assert_eq!(files.append(log, 6, b"three").unwrap(), 11);
        assert_eq!(std::fs::read(&file).unwrap(), b"onetwothree");
        reboot(&mut server, || leave(&file, Some(1)));
        files.fsync(log).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"onetwothree");
        assert_eq!(files.session().unsynced_bytes(), 0);
        // What was safe is not sent again: here it is gone, and the next append says so.
        files.append(log, 11, b"four").unwrap();
        reboot(&mut server, || leave(&file, Some(5)));
        let failed = files.append(log, 15, b"five").unwrap_err();
        assert_eq!(failed.errno(), Some(Errno::EIO), "{failed}");
        assert_eq!(std::fs::read(&file).unwrap(), b"onetw");
    }
}

#[test]
fn writes_that_were_not_fsynced_survive_a_reboot() {
    let mut server = Server::start_with(&["--state={}/state"]);
    let file = server.path("rw/file");
    std::fs::write(&file, b"what it was before, and longer").unwrap();
    let mut files = protocol::host::Files::connect(server.options().patient(None)).unwrap();
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let handle = files.open("rw/file", flags, 0o644).unwrap().handle;
    files.write_at(handle, 0, b"first").unwrap();
    files.write_at(handle, 3, b"second").unwrap();
    files.truncate(handle, 8).unwrap();
    reboot(&mut server, || {
        std::fs::write(&file, b"what it was before, and longer").unwrap();
    });
    files.fsync(handle).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"firsecon");
    // Made and lost whole: the same handle goes on.
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE;
    let handle = files.open("rw/new", flags, 0o644).unwrap().handle;
    files.write_at(handle, 0, b"content").unwrap();
    reboot(&mut server, || leave(&file.with_file_name("new"), None));
    files.write_at(handle, 7, b" and more").unwrap();
    assert_eq!(files.read_at(handle, 0, 100).unwrap(), b"content and more");
    files.close(handle).unwrap();
    // What was closed is nobody's any more.
    assert_eq!(files.session().unsynced_bytes(), 0);
    files.goodbye();
}

#[test]
fn no_handle_number_comes_again_when_the_journal_lost_its_end() {
    let mut server = Server::start_with(&["--state={}/state"]);
    let mut raw = Raw::connect(&server);
    raw.hello(CLIENT, TOKEN, 0).unwrap();
    let session = raw.session;
    let attach = Attach { export: b"rw" };
    let attached: Attached = codec::decode(&raw.call(&attach).unwrap()).unwrap();
    let journal = server.path("state/journal");
    let mut given = vec![attached.root];
    for boot in 0..3 {
        let safe = std::fs::read(&journal).unwrap();
        for nth in 0..3 {
            let name = path(&format!("f{boot}{nth}"));
            let open = Open {
                dir: attached.root,
                flags: OpenFlags::WRITE | OpenFlags::CREATE,
                mode: 0o644,
                path: name.as_path(),
            };
            let opened: Opened = codec::decode(&raw.call(&open).unwrap()).unwrap();
            let handle = opened.handle;
            assert!(!given.contains(&handle), "{handle:?} of {given:?}");
            given.push(handle);
        }
        reboot(&mut server, || std::fs::write(&journal, &safe).unwrap());
        raw = Raw::connect(&server);
        let reply = raw.hello(CLIENT, TOKEN, session).unwrap();
        assert_eq!(reply.resumed, Resumed::Rebooted);
        raw.sequence[0] = 100 * (boot + 1);
        for &handle in &given[1..] {
            let stale = raw.call(&Getattr { handle }).unwrap_err();
            assert_eq!(stale.0, Errno::EBADF.status());
        }
    }
}

#[test]
fn what_was_open_is_opened_again_when_the_journal_lost_its_end() {
    let mut server = Server::start_with(&["--state={}/state"]);
    std::fs::create_dir(server.path("rw/dir")).unwrap();
    let large: Vec<u8> = (0..4u32 << 20).map(|i| (i / 7) as u8).collect();
    std::fs::write(server.path("rw/dir/large"), &large).unwrap();
    std::fs::write(server.path("rw/dir/small"), b"12345").unwrap();
    let mut files = protocol::host::Files::connect(server.options().patient(None)).unwrap();
    // The root is safe when it was told.
    files.stat("rw/dir").unwrap();
    let journal = server.path("state/journal");
    let safe = std::fs::read(&journal).unwrap();
    let read = files.open("rw/dir/small", OpenFlags::READ, 0).unwrap();
    let write = files.open("rw/dir/small", OpenFlags::WRITE, 0).unwrap();
    let other = files.open("rw/dir/small", OpenFlags::WRITE, 0).unwrap();
    let lose = || std::fs::write(&journal, &safe).unwrap();
    reboot(&mut server, lose);
    // Nothing of these three was kept; each finds its file again.
    files.write_at(write.handle, 0, b"abc").unwrap();
    assert_eq!(files.read_at(read.handle, 0, 9).unwrap(), b"abc45");
    assert_eq!(files.size(other.handle).unwrap(), 5);
    files.truncate(other.handle, 4).unwrap();
    for opened in [read, write, other] {
        files.close(opened.handle).unwrap();
    }
    assert_eq!(std::fs::read(server.path("rw/dir/small")).unwrap(), b"abc4");
    // In the middle of a transfer, too.
    let (mut copy, mut lost) = (Vec::new(), false);
    files
        .get("rw/dir/large", &mut copy, &mut |_, _| {
            if !std::mem::replace(&mut lost, true) {
                reboot(&mut server, lose);
            }
        })
        .unwrap();
    assert!(copy == large);
    assert_eq!(files.list("rw/dir").unwrap().len(), 2);
    files.goodbye();
}

/// Opens a journal. Another test that starts a program holds our lock between its fork and exec.
fn open(folder: &HostPath, machine: &[u8]) -> (Journal, nfs_server::journal::Mirror) {
    for _ in 0..200 {
        match Journal::open(folder, machine) {
            Err(error) if error.to_string().contains("another server") => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            other => return other.unwrap(),
        }
    }
    panic!("the lock of {} stays taken", folder.display());
}

#[test]
fn a_torn_journal_is_read_up_to_the_tear() {
    let folder = tempfile::tempdir().unwrap();
    let whole = {
        let (journal, _) = open(folder.path(), b"m");
        journal.write(session(1, [1; 16])).unwrap();
        let before = std::fs::metadata(folder.path().join("journal"))
            .unwrap()
            .len();
        journal.write(session(2, [2; 16])).unwrap();
        let id = RequestId {
            session: 2,
            slot: 0,
            sequence: 1,
            asked: (7, 12),
        };
        journal
            .write(Record::Reply(id, Effect::Closed(1), vec![1; 24]))
            .unwrap();
        before
    };
    let bytes = std::fs::read(folder.path().join("journal")).unwrap();
    for cut in 0..bytes.len() {
        std::fs::write(folder.path().join("journal"), &bytes[..cut]).unwrap();
        let (journal, remembered) = open(folder.path(), b"m");
        drop(journal);
        let sessions = remembered.sessions.len() as u64;
        assert!(sessions >= u64::from(cut as u64 >= whole), "cut at {cut}");
    }
    for flip in 8..bytes.len() {
        let mut changed = bytes.clone();
        changed[flip] ^= 0x10;
        std::fs::write(folder.path().join("journal"), &changed).unwrap();
        let (_, remembered) = open(folder.path(), b"m");
        assert!(remembered.sessions.len() <= 2);
        assert_ne!(
            std::fs::read(folder.path().join("journal")).unwrap(),
            changed
        );
    }
}

#[test]
fn one_state_folder_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let (_journal, _) = open(folder.path(), b"m");
    let error = Journal::open(folder.path(), b"m").unwrap_err();
    assert!(error.to_string().contains("another server"));
}
