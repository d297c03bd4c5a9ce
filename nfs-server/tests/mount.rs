//! Exports mounted through the real /dev/fuse, used by ordinary programs. `hv test` runs these where there is one.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::Server;
use nfs_server::journal::Journal;

/// A mounted export; unmounted when dropped.
struct Mount {
    child: Child,
    folder: tempfile::TempDir,
}

impl Mount {
    fn new(server: &Server, export: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_snfs-mount"))
            .arg(format!("snfs://{}/{export}", server.address))
            .arg(folder.path())
            .arg(format!("--token-file={}", server.path("token").display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert!(line.contains(" is on "), "{line:?}");
        Self { child, folder }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        mounts.contains(&format!(" {} fuse", self.folder.path().display()))
    }

    /// Ctrl-C; the program's end within ten seconds.
    fn interrupt(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        for _ in 0..1000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.interrupt();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a shell line in a folder; its standard output, or its standard error if it failed.
fn shell(folder: &Path, line: &str) -> Result<String, String> {
    let done = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if done.status.success() {
        Ok(text(done.stdout))
    } else {
        Err(text(done.stderr))
    }
}

fn ok(folder: &Path, line: &str) -> String {
    shell(folder, line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[track_caller]
fn fails(folder: &Path, line: &str, with: &str) {
    let error = shell(folder, line).expect_err(line);
    assert!(error.contains(with), "{line}: {error}");
}

#[test]
fn ordinary_programs_use_an_export() {
    let server = Server::start();
    let mount = Mount::new(&server, "rw");
    let (here, there) = (mount.folder.path(), server.path("rw"));
    ok(
        here,
        "mkdir -p src/deep && seq 1 100000 > src/numbers && echo needle > src/deep/hay",
    );
    assert_eq!(
        std::fs::read_to_string(there.join("src/deep/hay")).unwrap(),
        "needle\n"
    );
    assert_eq!(ok(here, "grep -rl needle ."), "./src/deep/hay\n");
    assert_eq!(ok(here, "wc -l < src/numbers").trim(), "100000");
    ok(
        here,
        "cp -r src copy && cmp src/numbers copy/numbers && diff -r src copy",
    );
    // Written by somebody else, seen here.
    std::fs::write(there.join("theirs"), "one\n").unwrap();
    assert_eq!(ok(here, "cat theirs"), "one\n");
    std::fs::write(there.join("theirs"), "three\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ok(here, "cat theirs"), "three\n");
    let listed = ok(here, "ls -l");
    assert!(listed.contains(" theirs"), "{listed}");
    assert!(listed.starts_with("total "), "{listed}");
    // 10 MiB at once, in odd pieces, and one byte in the middle.
    ok(
        here,
        "dd if=/dev/urandom of=big bs=1M count=10 conv=fsync 2>&1",
    );
    ok(here, "dd if=big of=again bs=77777 2>&1 && cmp big again");
    ok(
        here,
        "printf X | dd of=again bs=1 seek=5000000 conv=notrunc 2>&1",
    );
    assert_eq!(std::fs::read(there.join("again")).unwrap()[5_000_000], b'X');
    assert_eq!(ok(here, "stat -c %s again"), "10485760\n");
    ok(here, "truncate -s 3 again && test $(stat -c %s again) = 3");
    // An archive, made there and unpacked there.
    ok(
        here,
        "tar cf a.tar src && mkdir un && tar xf a.tar -C un --no-same-owner --no-same-permissions",
    );
    ok(here, "diff -r src un/src");
    ok(
        here,
        "mv src/deep un/moved && test ! -e src/deep && cat un/moved/hay",
    );
    ok(
        here,
        "mv un/moved/hay theirs && test \"$(cat theirs)\" = needle",
    );
    ok(here, "echo 1 > log; echo 2 >> log; echo 3 >> log");
    assert_eq!(std::fs::read(there.join("log")).unwrap(), b"1\n2\n3\n");
    ok(here, "rm -r copy un a.tar && test ! -e copy");
    assert!(ok(here, "df .").contains("snfs://"));
    for number in 0..300 {
        std::fs::write(there.join(format!("many-{number:04}")), "").unwrap();
    }
    assert_eq!(ok(here, "ls | grep -c many-").trim(), "300");
}

#[test]
fn errors_are_the_ones_that_programs_know() {
    let server = Server::start();
    let mount = Mount::new(&server, "rw");
    let here = mount.folder.path();
    ok(here, "mkdir d && echo x > d/f");
    fails(here, "cat none", "No such file or directory");
    fails(here, "rmdir d", "Directory not empty");
    fails(here, "mkdir d", "File exists");
    fails(here, "cat d/f/g", "Not a directory");
    fails(here, "ln -s d link", "Operation not permitted");
    fails(here, "ln d/f hard", "Operation not permitted");
    fails(here, "mkfifo pipe", "Operation not permitted");
    fails(here, "chmod 777 d/f", "Operation not permitted");
    fails(here, "chown 12345 d/f", "Operation not permitted");
    fails(
        here,
        &format!("echo x > {}", "n".repeat(256)),
        "File name too long",
    );
    // What the server does not show is not there for programs either.
    std::os::unix::fs::symlink("/etc/passwd", server.path("rw/out")).unwrap();
    fails(here, "cat out", "Too many levels of symbolic links");
    // An open file without a name goes on.
    ok(
        here,
        "exec 3<> open; rm open; echo still >&3; test ! -e open",
    );
}

#[test]
fn read_only_and_append_only_exports_stay_so() {
    let server = Server::start();
    std::fs::write(server.path("ro/f"), "text").unwrap();
    let read_only = Mount::new(&server, "ro");
    let here = read_only.folder.path();
    assert_eq!(ok(here, "cat f"), "text");
    fails(here, "echo x > f", "Read-only file system");
    fails(here, "mkdir d", "Read-only file system");
    let append_only = Mount::new(&server, "append");
    let here = append_only.folder.path();
    ok(
        here,
        "mkdir run && seq 1 1000 > run/log && echo end >> run/log",
    );
    ok(here, "cp run/log run/copy && cmp run/log run/copy");
    fails(here, "rm run/log", "Operation not permitted");
    fails(here, "mv run/log run/other", "Operation not permitted");
    fails(here, "echo over > run/log", "Operation not permitted");
    fails(
        here,
        "printf X | dd of=run/log bs=1 seek=3 conv=notrunc",
        "Operation not permitted",
    );
    let log = std::fs::read_to_string(server.path("append/run/log")).unwrap();
    assert!(log.starts_with("1\n2\n3\n") && log.ends_with("1000\nend\n"));
}

#[test]
fn a_folder_below_an_export_a_killed_server_and_ctrl_c() {
    let mut server = Server::start_with(&["--state={}/state"]);
    std::fs::create_dir(server.path("rw/below")).unwrap();
    let mut mount = Mount::new(&server, "rw/below");
    let here = mount.folder.path().to_owned();
    // The server dies while a program writes; the program notices nothing.
    let mut writer = Command::new("sh")
        .args([
            "-c",
            "for i in $(seq 1 400); do echo $i >> log || exit 1; done",
        ])
        .current_dir(&here)
        .spawn()
        .unwrap();
    for lines in [50, 150, 250] {
        let log = server.path("rw/below/log");
        while std::fs::metadata(&log).map_or(0, |meta| meta.size()) < lines * 3
            && writer.try_wait().unwrap().is_none()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        server.kill();
        server.restart();
    }
    assert!(writer.wait().unwrap().success());
    let expected: String = (1..=400).map(|i| format!("{i}\n")).collect();
    let log = std::fs::read_to_string(server.path("rw/below/log")).unwrap();
    assert_eq!(log, expected);
    assert!(mount.is_mounted());
    assert_eq!(mount.interrupt(), Some(0));
    assert!(!mount.is_mounted());
    assert_eq!(std::fs::read_dir(&here).unwrap().count(), 0);
}

#[test]
fn what_a_program_wrote_survives_a_reboot_of_the_server() {
    let mut server = Server::start_with(&["--state={}/state"]);
    let mount = Mount::new(&server, "rw");
    let mut file = std::fs::File::create(mount.path("result")).unwrap();
    file.write_all(b"the only copy").unwrap();
    // The machine lost the file before it was on its disk.
    server.kill();
    std::fs::remove_file(server.path("rw/result")).unwrap();
    let other_boot = Journal::open(&server.path("state"), b"the boot before");
    drop(other_boot.unwrap());
    server.restart();
    file.sync_all().unwrap();
    assert_eq!(
        std::fs::read(server.path("rw/result")).unwrap(),
        b"the only copy"
    );
}

#[test]
fn ctrl_c_ends_a_mount_that_is_in_use() {
    let server = Server::start();
    let mut mount = Mount::new(&server, "rw");
    std::fs::write(mount.path("f"), "x").unwrap();
    let open = std::fs::File::open(mount.path("f")).unwrap();
    let pid = rustix::process::Pid::from_child(&mount.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    while mount.is_mounted() {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(open);
    assert_eq!(mount.child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_mounted_says_why() {
    let server = Server::start();
    std::fs::write(server.path("rw/file"), "").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let try_it = |url: &str, folder: &Path, token: &Path| {
        let done = Command::new(env!("CARGO_BIN_EXE_snfs-mount"))
            .arg(format!("snfs://{}/{url}", server.address))
            .arg(folder)
            .arg(format!("--token-file={}", token.display()))
            .output()
            .unwrap();
        assert!(!done.status.success(), "{url}");
        String::from_utf8(done.stderr).unwrap()
    };
    let token = server.path("token");
    assert!(try_it("none", folder.path(), &token).contains("no export"));
    assert!(try_it("", folder.path(), &token).contains("names no export"));
    assert!(try_it("rw/file", folder.path(), &token).contains("only folders"));
    assert!(try_it("rw", &token, &token).contains("is no folder"));
    let open = server.path("open-token");
    std::fs::write(&open, "0123456789").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(try_it("rw", folder.path(), &open).contains("chmod 600"));
}
