//! The source against the real nfs-server, built and started here, over loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use monitor_ui::feed::{Feed, Link};
use monitor_ui::model::experiments::Stage;
use monitor_ui::model::status::{State, status};
use monitor_ui::model::{Model, Msg, update};
use monitor_ui::source::{Source, server};
use monitor_ui::{Runs, Secret};
use trace_record::verdict::{Progress, Verdict, VerdictRecord};
use trace_record::{FileHeader, Payload, RecordMeta, encode_record};

/// Long enough for a machine under load, short enough to notice a hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn server_program() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_monitor-ui")).with_file_name("nfs-server")
}

/// A server that ends with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(base: &Path, listen: &str) -> Self {
        let mut child = Command::new(server_program())
            .args(["--listen", listen, "--token-file"])
            .arg(base.join("token"))
            .arg("--export")
            .arg(format!("runs={}:append", base.join("runs").display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("nfs-server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is a pipe");
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().parse();
        Self {
            child,
            address: address.unwrap_or_else(|_| panic!("no address in {line:?}")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // As hard as it gets: nothing may depend on a goodbye.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Drives a model by a source until something holds.
struct Watcher {
    model: Model,
    source: Source,
    started: Instant,
}

impl Watcher {
    fn start(address: SocketAddr, token: &str) -> Self {
        let secret = Secret::Token(token.as_bytes().to_vec());
        let source =
            Source::spawn(move |sink| server::follow(sink, address, secret, &Runs::Latest));
        Self {
            model: Model::new("test"),
            source: source.unwrap(),
            started: Instant::now(),
        }
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Model) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.model) {
            let run = self.model.run();
            assert!(
                Instant::now() < deadline,
                "{what}: {:?} {run:#?}",
                self.model.link
            );
            let now_ms = self.started.elapsed().as_millis() as u64;
            update(&mut self.model, Msg::Tick(now_ms));
            if let Some(feed) = self.source.next(Duration::from_millis(50)) {
                update(&mut self.model, Msg::Feed(feed));
            }
        }
    }
}

fn base() -> tempfile::TempDir {
    // Whoever tests everything has it already; whoever tests this crate alone may not.
    if !server_program().exists() {
        let built = Command::new(env!("CARGO"))
            .current_dir(workspace())
            .args([
                "build",
                "--quiet",
                "--package",
                "nfs-server",
                "--bin",
                "nfs-server",
            ])
            .status()
            .expect("cargo runs");
        assert!(built.success(), "nfs-server builds");
    }
    let base = tempfile::tempdir().unwrap();
    let mut options = std::fs::OpenOptions::new();
    let token = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(base.path().join("token"));
    token.unwrap().write_all(b"secret-of-the-test").unwrap();
    std::fs::create_dir(base.path().join("runs")).unwrap();
    base
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
}

fn records(from: u32, count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sequence in from..from + count {
        let meta = RecordMeta {
            sequence,
            ..RecordMeta::default()
        };
        encode_record(&meta, &Payload::Interrupt { vector: 32 }, &mut bytes);
    }
    bytes
}

fn total(model: &Model) -> u64 {
    model.run().map_or(0, |run| run.trace.total())
}

#[test]
fn a_growing_run_is_followed_over_a_killed_server() {
    let base = base();
    let server = Server::start(base.path(), "127.0.0.1:0");
    let address = server.address;
    let mut watcher = Watcher::start(address, "secret-of-the-test");
    watcher.until("no run yet", |model| status(model).state == State::NoRun);

    let run = base.path().join("runs/20261123-120000");
    let boot = run.join("m00");
    std::fs::create_dir_all(&boot).unwrap();
    append(
        &boot.join("plan.jsonl"),
        b"{\"id\":\"a\",\"file\":\"a.rhai\",\"seed\":1,\"time_limit_s\":9}\n",
    );
    let mut head = Vec::new();
    FileHeader::default().encode(&mut head);
    append(&boot.join("trace.hvt"), &head);
    append(&boot.join("trace.hvt"), &records(0, 1000));
    watcher.until("the first records", |model| total(model) == 1000);
    watcher.until("live", |model| status(model).state == State::Live);

    drop(server);
    watcher.until("reconnecting", |model| {
        matches!(status(model).state, State::Reconnecting { .. })
    });
    append(&boot.join("trace.hvt"), &records(1000, 1000));
    // Without --state the server forgot the session: everything is followed anew, from where it was.
    let _server = Server::start(base.path(), &address.to_string());
    watcher.until("the records since", |model| total(model) == 2000);
    assert_eq!(
        watcher.model.run().unwrap().loss.total(),
        0,
        "none lost, none twice"
    );

    let mut verdicts = Vec::new();
    let progress = Progress::Finished {
        verdict: Verdict::Pass,
        reason: "held".to_owned(),
        detail: String::new(),
        measurements: Vec::new(),
    };
    for (sequence, progress) in [(0, Progress::Started), (1, progress)] {
        let experiment = "a".to_owned();
        VerdictRecord {
            sequence,
            experiment,
            progress,
        }
        .encode(&mut verdicts);
    }
    append(&boot.join("verdicts.hvv"), &verdicts);
    watcher.until("the verdict", |model| {
        let all = model.run().unwrap().experiments.list();
        all.len() == 1 && all[0].stage == Stage::Finished(Verdict::Pass)
    });
    std::fs::create_dir(run.join("m01")).unwrap();
    append(&run.join("m01/vmm.log"), b"second boot\n");
    watcher.until("the second boot", |model| {
        model.run().unwrap().logs.total() == 1
    });
    append(&run.join("run.json"), b"{\"took_ms\":1}");
    watcher.until("the end", |model| status(model).state == State::Ended);
    watcher.until("the counters", |model| model.live().server.is_some());
}

#[test]
fn a_wrong_token_is_an_error_and_the_end() {
    let base = base();
    let server = Server::start(base.path(), "127.0.0.1:0");
    let mut watcher = Watcher::start(server.address, "wrong");
    watcher.until(
        "refused",
        |model| matches!(&model.link, Link::Failed(why) if why.contains("token")),
    );
    let deadline = Instant::now() + PATIENCE;
    while !watcher.source.is_over() {
        assert!(Instant::now() < deadline, "the source goes on");
        assert!(!matches!(
            watcher.source.next(Duration::from_millis(20)),
            Some(Feed::Link(Link::Up))
        ));
    }
}

#[test]
fn without_a_terminal_the_end_of_the_run_is_the_end() {
    let base = base();
    let run = base.path().join("runs/20261123-120000");
    std::fs::create_dir_all(run.join("m00")).unwrap();
    append(&run.join("run.json"), b"{\"took_ms\":1}");
    append(&run.join("m00/vmm.log"), b"hello\n");
    let server = Server::start(base.path(), "127.0.0.1:0");
    let monitor = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monitor-ui"));
        command.args(["--server", &server.address.to_string(), "--token-file"]);
        command
            .arg(base.path().join("token"))
            .args(extra)
            .stdin(Stdio::null());
        command.output().unwrap()
    };
    let text = monitor(&["--text"]);
    assert!(text.status.success());
    let out = String::from_utf8(text.stdout).unwrap();
    assert!(
        out.contains("20261123-120000 m00 vmm: hello") && out.ends_with("-- ended\n"),
        "{out}"
    );
    let screen = monitor(&[]);
    assert!(!screen.status.success());
    let error = String::from_utf8(screen.stderr).unwrap();
    assert!(
        error.contains("no terminal") && error.contains("--text"),
        "{error}"
    );
}
