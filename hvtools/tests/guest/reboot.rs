//! The file server's machine is started again under a guest and has lost what was not fsynced: the guest sends it
//! again, what a program wrote and its own trace.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use harness::{Export, Hypervisor, MachineConfig, Mode, Server, ServerConfig};
use hvtools::build::Freshness;
use hvtools::{run, service};
use nfs_server::journal::Journal;
use rustix::process::{Pid, Signal, kill_process};
use trace_record::run::{TRACE, export};
use trace_record::{FileHeader, Payload, Reader};

use crate::support::{PROMPT, SOON, at_prompt, eventually, workspace};

fn start(folder: &Path) -> Server {
    let export = |name, access| Export {
        name,
        folder: folder.join(name),
        access,
    };
    let server = Server::start(ServerConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        mode: Mode::Plain,
        program: service::build_if_needed(&workspace(), Freshness::AsBuilt).unwrap(),
        exports: vec![export("rw", "rw"), export(export::RUNS, "append")],
        log: folder.join("server.log"),
    });
    server.unwrap()
}

/// kill -9, what `lose` does to files, and a new start that takes this for another boot of the machine.
fn reboot(server: &mut Server, lose: impl FnOnce(&Path)) {
    let pid = Pid::from_raw(server.process_id().cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    // Its state is free when it is gone.
    let state = server.secret_file().with_file_name("state");
    let journal = eventually("the server's end", SOON, || {
        Journal::open(&state, b"the boot before").ok()
    });
    drop(journal);
    lose(&state);
    let journal = Journal::open(&state, b"the boot before").unwrap();
    drop(journal);
    eventually("the server's start", SOON, || {
        server.restart_if_dead().unwrap()
    });
}

/// All records of a trace are there; how many.
fn records(bytes: &[u8]) -> usize {
    let (_, head) = FileHeader::decode(bytes).unwrap();
    let mut reader = Reader::new();
    reader.push(&bytes[head..]);
    let (mut count, mut next) = (0, BTreeMap::new());
    while let Some(record) = reader.next_record() {
        let record = record.unwrap();
        assert!(
            !matches!(record.payload, Payload::Dropped { .. }),
            "{record}"
        );
        let expected = next.entry(record.meta.cpu).or_insert(record.meta.sequence);
        assert_eq!(record.meta.sequence, *expected, "{record}");
        *expected += 1;
        count += 1;
    }
    count
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn what_was_not_fsynced_is_sent_again_when_the_servers_machine_rebooted() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    let boot = RefCell::new(PathBuf::new());
    let mut guest = at_prompt(Hypervisor::None, |config: &mut MachineConfig| {
        *boot.borrow_mut() = run::traced_boot(&folder.path().join("runs"), config).unwrap();
        config.settings = server.settings(config.settings.clone());
    });
    let (trace, written) = (boot.borrow().join(TRACE), folder.path().join("rw/file"));
    guest.console.type_line("ls server:/rw").unwrap();
    guest.console.wait_for(PROMPT, SOON).unwrap();
    // What was opened from here on the server forgets: that it is open is not safe yet.
    let journal = std::fs::read(server.secret_file().with_file_name("state/journal")).unwrap();
    guest.console.type_line("cat > server:/rw/file").unwrap();
    // Opened: what is typed now is the program's, no longer the shell's.
    eventually("the new file", SOON, || written.exists().then_some(()));
    guest.console.type_line("before").unwrap();
    let content = |path: &Path| std::fs::read(path).unwrap_or_default();
    eventually("the first line", SOON, || {
        (content(&written) == b"before\n").then_some(())
    });
    eventually("the trace's beginning", SOON, || {
        (content(&trace).len() > 256).then_some(())
    });
    let mut before = Vec::new();
    reboot(&mut server, |state| {
        std::fs::write(state.join("journal"), &journal).unwrap();
        before = content(&trace);
        // Of one file the beginning reached the disk, of the other not even the name.
        let cut = before.len() as u64 / 2 + 3;
        let file = std::fs::File::options().write(true).open(&trace).unwrap();
        file.set_len(cut).unwrap();
        std::fs::remove_file(&written).unwrap();
    });
    guest
        .console
        .wait_for("its machine was started again; what was not safe", SOON)
        .unwrap();
    guest.console.type_line("after").unwrap();
    guest.console.type_bytes(&[4]).unwrap();
    guest.console.wait_for(PROMPT, SOON).unwrap();
    eventually("both lines", SOON, || {
        (content(&written) == b"before\nafter\n").then_some(())
    });
    // A record a second, at least.
    eventually("the trace's growth", SOON, || {
        (content(&trace).len() > before.len()).then_some(())
    });
    let after = content(&trace);
    assert!(after.starts_with(&before), "the trace is not whole");
    assert!(records(&after) > records(&before));
    let told = guest.machine.console_text();
    let once = told.matches("its machine was started again").count();
    assert!(once == 1 && !told.contains("not written"), "{told}");
}
