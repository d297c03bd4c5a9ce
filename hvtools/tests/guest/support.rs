//! What the tests share: machines at a prompt, and `hv` as a child.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use experiments::Run;
use harness::{Console, Hypervisor, Machine, MachineConfig};
use hvtools::image;
use hvtools::workspace::Workspace;
use tempfile::TempDir;

/// What the shell prints before it reads.
pub const PROMPT: &str = "$ ";
/// For everything that should take a second.
pub const SOON: Duration = Duration::from_secs(20);
/// For boots, BitVisor's included.
pub const BOOT: Duration = Duration::from_secs(90);

pub fn workspace() -> Workspace {
    Workspace::find().expect("tests run in the workspace")
}

/// The BitVisor that the environment names.
pub fn bitvisor() -> Hypervisor {
    let elf = std::env::var_os("HV_BITVISOR_ELF").expect("HV_BITVISOR_ELF names a bitvisor.elf");
    Hypervisor::BitVisor(elf.into())
}

/// The boot disk.
pub fn boot_disk() -> PathBuf {
    let disk = workspace().image("disk.img");
    assert!(disk.is_file(), "no boot disk: run `cargo hv build` first");
    disk
}

/// The usual machine; its logs lie in the folder that comes with it. Without a hypervisor it boots directly.
pub fn config(hypervisor: Hypervisor) -> (MachineConfig, TempDir) {
    let logs = tempfile::tempdir().expect("a temporary folder");
    let direct = hypervisor == Hypervisor::None;
    let mut config = MachineConfig::new(hypervisor, boot_disk(), logs.path().to_owned());
    if direct {
        config.boot = image::direct(&workspace());
    }
    (config, logs)
}

/// A machine whose shell has prompted. Of BitVisor's boot, "Loading MBR." may be tried again, and that is said.
pub struct AtPrompt {
    pub machine: Machine,
    pub console: Console,
    _logs: TempDir,
}

pub fn at_prompt(hypervisor: Hypervisor, adjust: impl Fn(&mut MachineConfig)) -> AtPrompt {
    for attempt in 1..=3 {
        let (mut config, logs) = config(hypervisor.clone());
        adjust(&mut config);
        let machine = Machine::start(config).expect("the machine starts");
        let mut console = machine.console().expect("the console answers");
        match console.wait_for(PROMPT, BOOT) {
            Ok(text) => {
                // The address comes when DHCP's server likes; not in the middle of what a test types.
                if text.contains("net: 0") && !text.contains("net: address") {
                    let _ = console.wait_for("net: address", SOON);
                    let _ = console.wait_for("\n", SOON);
                }
                return AtPrompt {
                    machine,
                    console,
                    _logs: logs,
                };
            }
            Err(silence) if is_loading(&machine.vmm_text()) => {
                println!("attempt {attempt}: BitVisor stopped at \"Loading MBR.\" ({silence})");
            }
            Err(silence) => panic!(
                "{silence}\nhypervisor:\n{}",
                harness::last_lines(&machine.vmm_text(), 20)
            ),
        }
    }
    panic!("BitVisor stopped at \"Loading MBR.\" three times");
}

/// BitVisor's last words are that it loads a boot record.
fn is_loading(vmm: &str) -> bool {
    let last = vmm.trim_end();
    last.ends_with("Loading MBR.") || last.ends_with("Loading VBR.")
}

impl AtPrompt {
    /// What a command printed, without what the kernel says of its own accord.
    pub fn run(&mut self, command: &str) -> String {
        let text = self
            .console
            .run(command, PROMPT, SOON)
            .unwrap_or_else(|error| panic!("`{command}`: {error:#}"));
        let own = |line: &&str| !line.starts_with("net: ") && !line.starts_with("remote: ");
        text.split_inclusive('\n').filter(own).collect()
    }
}

/// The experiments that break what runs them.
pub fn faulty_catalogue() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/catalogue")
}

/// `hv` with a folder for its runs.
pub struct Hv {
    pub command: Command,
    runs: TempDir,
}

/// `hv run`, without building anything, into a folder of its own.
pub fn hv_run(arguments: &[&str]) -> Hv {
    let runs = tempfile::tempdir().expect("a temporary folder");
    let mut command = hv(&["run", "--no-build", "--runs"]);
    command.arg(runs.path()).args(arguments);
    Hv { command, runs }
}

/// `hv` in the workspace, in a process group of its own.
pub fn hv(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hv"));
    command
        .current_dir(workspace().root())
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0);
    command
}

/// What `hv run` did.
pub struct Done {
    pub status: i32,
    pub text: String,
    pub run: Run,
    pub folder: PathBuf,
    _runs: TempDir,
}

impl Hv {
    pub fn finish(mut self) -> Done {
        let output = self.command.output().expect("hv runs");
        self.read_back(&output)
    }

    pub fn spawn(&mut self) -> Child {
        self.command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hv starts")
    }

    pub fn read_back(self, output: &Output) -> Done {
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
        let folder = self
            .only_run()
            .unwrap_or_else(|| panic!("no run folder:\n{text}"));
        let run = Run::load(&folder).unwrap_or_else(|error| panic!("{error}\n{text}"));
        Done {
            status: output.status.code().unwrap_or(-1),
            text,
            run,
            folder,
            _runs: self.runs,
        }
    }

    /// The run folder, once it is there.
    pub fn only_run(&self) -> Option<PathBuf> {
        let mut folders = std::fs::read_dir(self.runs.path())
            .ok()?
            .flatten()
            .map(|entry| entry.path());
        folders.find(|path| path.is_dir())
    }
}

impl Done {
    /// Verdict and reason of an experiment.
    pub fn of(&self, id: &str) -> (&'static str, &str) {
        let line = self.run.results.iter().find(|line| line.id == id);
        let line = line.unwrap_or_else(|| panic!("no result of {id}:\n{}", self.text));
        (line.verdict.word(), &line.reason)
    }
}

/// A TCP port of the loopback that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Waits until `condition` holds.
pub fn eventually<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not happen within {} s",
            limit.as_secs()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes below `parent` by name, from /proc.
pub fn children(parent: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")
        .expect("/proc is there")
        .flatten()
    {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // "pid (name) state parent ...": the name may hold anything, but it ends at the last parenthesis.
        let Some((head, tail)) = stat.rsplit_once(')') else {
            continue;
        };
        let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
        if tail.split_whitespace().nth(1) == Some(&parent.to_string()) {
            found.push((pid, name));
        }
    }
    found
}

/// The process exists and is no zombie.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, tail)| !tail.trim_start().starts_with('Z'))
}
