//! One QEMU: how it is started, asked, and ended.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::boot::Boot;
use crate::console::Console;
use crate::effort::{Effort, starved};
use crate::hypervisor::Hypervisor;
use crate::network::{Forward, Network};
use crate::qmp::Qmp;
use crate::settings::Settings;
use crate::text::escape_commas;

/// What `isa-debug-exit` turns a guest's status into.
const STATUS_SHIFT: u32 = 1;
/// What the guest's kernel leaves with behind its panic text.
const PANIC_STATUS: u8 = 0x77;
/// What labvisor leaves with when its guest shut down.
const SHUTDOWN_STATUS: u8 = 0x76;

/// What executes the machine's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's software emulation: it offers SVM everywhere, and alike.
    #[default]
    Emulation,
    /// The processor itself, whose virtualisation KVM passes on to the guest.
    Kvm,
}

/// What machine to start. Each method ending in `_arguments` gives one group of QEMU's arguments.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// The hypervisor under the guest.
    pub hypervisor: Hypervisor,
    /// What it starts.
    pub boot: Boot,
    /// Folder for console.log (COM2, the guest) and vmm.log (COM1, the hypervisor).
    pub logs: PathBuf,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// CPUs.
    pub cpus: u32,
    /// Emulation, or KVM with nested virtualisation.
    pub accelerator: Accelerator,
    /// The guest's settings.
    pub settings: Settings,
    /// Labvisor's command line (`defect=...`).
    pub labvisor: String,
    /// What the guest's network card is plugged into.
    pub network: Network,
    /// Host ports that lead into the guest, where QEMU's own network is at the other end.
    pub forwards: Vec<Forward>,
    /// Properties of QEMU's network card, as in `disable-legacy=on`.
    pub card_properties: Vec<String>,
    /// A further network device: on BitVisor a QEMU virtio-net that it passes through.
    pub second_network: bool,
    /// Loopback port of QEMU's gdb server; the machine then waits for a debugger.
    pub gdb: Option<u16>,
    /// Count instructions instead of time (`-icount shift=N`), for reproducible costs.
    pub icount_shift: Option<u8>,
    /// Do not boot: go on from this state, which [`crate::keep`] wrote for a machine that differs in settings only.
    pub resume: Option<PathBuf>,
    /// No QEMU: somebody starts the machine by hand, with the settings that are written to this file.
    pub by_hand: Option<PathBuf>,
    /// Further arguments, last.
    pub further: Vec<OsString>,
}

impl MachineConfig {
    /// The usual machine for `hypervisor`, from its boot disk.
    #[must_use]
    pub fn new(hypervisor: Hypervisor, disk: PathBuf, logs: PathBuf) -> MachineConfig {
        MachineConfig {
            memory_mib: hypervisor.memory_mib(),
            hypervisor,
            boot: Boot::Disk(disk),
            logs,
            cpus: 1,
            accelerator: Accelerator::default(),
            settings: Settings::default(),
            labvisor: String::new(),
            network: Network::User,
            forwards: Vec::new(),
            card_properties: Vec::new(),
            second_network: false,
            gdb: None,
            icount_shift: None,
            by_hand: None,
            resume: None,
            further: Vec::new(),
        }
    }

    /// Processor, memory and chipset.
    fn board_arguments(&self) -> Vec<OsString> {
        let mut arguments = words(match self.accelerator {
            Accelerator::Emulation => "-accel tcg,tb-size=128 -cpu EPYC,+svm,+npt",
            Accelerator::Kvm => "-accel kvm -cpu host",
        });
        arguments.extend(words(
            "-machine pc,smm=off -display none -no-reboot -nodefaults -vga std",
        ));
        arguments.extend([
            "-m".into(),
            self.memory_mib.to_string().into(),
            "-smp".into(),
            self.cpus.to_string().into(),
        ]);
        if let Some(shift) = self.icount_shift {
            arguments.extend(["-icount".into(), format!("shift={shift},sleep=off").into()]);
        }
        arguments
    }

    fn network_arguments(&self) -> Vec<OsString> {
        let mut card = self.hypervisor.network_model().to_owned();
        for property in &self.card_properties {
            card += &format!(",{property}");
        }
        let mut arguments = self.network.arguments(&card, &self.forwards);
        if self.second_network {
            arguments.extend(words(
                "-netdev user,id=net1 -device virtio-net-pci,netdev=net1",
            ));
        }
        arguments
    }

    /// COM1 is the hypervisor's and goes to a file; COM2 is the guest's, a socket with a log.
    fn console_arguments(&self, scratch: &Path) -> Vec<OsString> {
        let mut vmm = OsString::from("file,id=vmm,path=");
        vmm.push(escape_commas(&self.vmm_log()));
        let mut guest = OsString::from("socket,id=guest,server=on,wait=off,path=");
        guest.push(escape_commas(&scratch.join("console")));
        guest.push(",logappend=off,logfile=");
        guest.push(escape_commas(&self.console_log()));
        let mut arguments = vec!["-chardev".into(), vmm, "-chardev".into(), guest];
        arguments.extend(words("-serial chardev:vmm -serial chardev:guest"));
        arguments
    }

    fn settings_arguments(&self, scratch: &Path) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for (item, file) in [("cmdline", "cmdline"), ("labvisor", "labvisor")] {
            let mut value = OsString::from(format!("name=opt/hvlab/{item},file="));
            value.push(escape_commas(&scratch.join(file)));
            arguments.extend(["-fw_cfg".into(), value]);
        }
        arguments
    }

    fn control_arguments(&self, scratch: &Path) -> Vec<OsString> {
        let mut qmp = OsString::from("unix:");
        qmp.push(escape_commas(&scratch.join("qmp")));
        qmp.push(",server=on,wait=off");
        let mut arguments = vec!["-qmp".into(), qmp];
        arguments.extend(words("-device isa-debug-exit,iobase=0xf4,iosize=4"));
        if let Some(port) = self.gdb {
            arguments.extend([
                "-gdb".into(),
                format!("tcp:127.0.0.1:{port}").into(),
                "-S".into(),
            ]);
        }
        arguments
    }

    fn arguments(&self, scratch: &Path) -> Vec<OsString> {
        let mut arguments = self.board_arguments();
        arguments.extend(self.boot.arguments(&self.hypervisor));
        arguments.extend(self.network_arguments());
        arguments.extend(self.console_arguments(scratch));
        arguments.extend(self.settings_arguments(scratch));
        arguments.extend(self.control_arguments(scratch));
        arguments.extend(self.further.iter().cloned());
        arguments
    }

    /// Where the guest's console is logged.
    #[must_use]
    pub fn console_log(&self) -> PathBuf {
        self.logs.join("console.log")
    }

    /// Where the hypervisor's console is logged.
    #[must_use]
    pub fn vmm_log(&self) -> PathBuf {
        self.logs.join("vmm.log")
    }
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest left with this status (by `isa-debug-exit`).
    Status(u8),
    /// The guest's kernel panicked.
    Panicked,
    /// The guest shut down (triple fault), says labvisor.
    Shutdown,
    /// Powered off, or reset (which ends it too).
    PoweredOff,
    /// QEMU itself gave up, or somebody killed it.
    Failed,
}

/// A running QEMU, or a machine that somebody starts by hand and of which nothing is known but what it tells the server.
#[derive(Debug)]
pub struct Machine {
    config: MachineConfig,
    child: Option<Child>,
    /// Sockets, settings with the token, QEMU's own messages. Only we can read it.
    scratch: tempfile::TempDir,
    started: Instant,
    ended: Option<Ended>,
}

impl Machine {
    /// Starts it. The calling thread must live as long as the machine: when it ends, so does QEMU.
    ///
    /// # Errors
    /// When QEMU is missing or refuses the configuration (a disk that is no disk, no memory, ...).
    pub fn start(config: MachineConfig) -> Result<Machine> {
        if let Hypervisor::BitVisor(elf) = &config.hypervisor {
            File::open(elf)
                .with_context(|| format!("cannot read the hypervisor {}", elf.display()))?;
        }
        std::fs::create_dir_all(&config.logs)
            .with_context(|| format!("cannot create {}", config.logs.display()))?;
        let scratch = tempfile::Builder::new()
            .prefix("hv-")
            .tempdir()
            .context("cannot create a temporary folder")?;
        if let Some(file) = &config.by_hand {
            offer_settings(file, &config.settings)?;
            return Ok(Machine {
                config,
                child: None,
                scratch,
                started: Instant::now(),
                ended: None,
            });
        }
        config.boot.check(&config.hypervisor)?;
        write_private(
            &scratch.path().join("cmdline"),
            &config.settings.to_string(),
        )?;
        write_private(&scratch.path().join("labvisor"), &config.labvisor)?;
        let messages = File::create(scratch.path().join("qemu.err"))?;
        let mut arguments = config.arguments(scratch.path());
        if let Some(state) = &config.resume {
            arguments.extend(["-incoming".into(), crate::kept::incoming(state)?.into()]);
        }

        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(messages.try_clone()?)
            .stderr(messages)
            .process_group(0)
            .spawn()
            .context("cannot start QEMU (`hv doctor` says what is missing)")?;
        let mut machine = Machine {
            config,
            child: Some(child),
            scratch,
            started: Instant::now(),
            ended: None,
        };
        machine.wait_for_sockets()?;
        Ok(machine)
    }

    /// QEMU has accepted its arguments once its control socket is there.
    fn wait_for_sockets(&mut self) -> Result<()> {
        let deadline = self.started + Duration::from_secs(20);
        while Instant::now() < deadline {
            if self.ended()?.is_some() {
                bail!("QEMU did not start: {}", self.messages());
            }
            if self.scratch.path().join("qmp").exists() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!(
            "QEMU did not open its control socket within 20 s: {}",
            self.messages()
        )
    }

    /// What it was started with.
    #[must_use]
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// How long it has been running.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// What it had so far. One that somebody starts by hand is taken not to wait for CPUs.
    #[must_use]
    pub fn effort(&self) -> Effort {
        let starved = self.child.as_ref().map(|child| starved(child.id()));
        Effort::new(self.started.elapsed(), starved.unwrap_or_default())
    }

    /// What QEMU itself had to say, without its complaints about features that emulation lacks.
    #[must_use]
    pub fn messages(&self) -> String {
        let text = read_lossy(&self.scratch.path().join("qemu.err"));
        let lines = text
            .lines()
            .filter(|line| !line.contains("TCG doesn't support requested feature"));
        crate::text::escaped(lines.collect::<Vec<_>>().join("\n").trim())
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<Ended>> {
        if let (None, Some(child)) = (self.ended, &mut self.child) {
            self.ended = child
                .try_wait()
                .context("cannot ask for QEMU's state")?
                .map(meaning);
        }
        Ok(self.ended)
    }

    /// Waits for its end, at most `limit`; `None` when it still runs then.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<Ended>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A conversation on the guest's console. One at a time.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn console(&self) -> Result<Console> {
        Console::connect(&self.console_socket())
    }

    /// The socket of the guest's console, for a person's terminal.
    #[must_use]
    pub fn console_socket(&self) -> PathBuf {
        self.scratch.path().join("console")
    }

    /// QEMU's control connection. One at a time.
    ///
    /// # Errors
    /// When QEMU is gone or does not answer.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.scratch.path().join("qmp"))
    }

    /// Somebody else starts and ends it.
    #[must_use]
    pub fn by_hand(&self) -> bool {
        self.child.is_none()
    }

    /// What the guest printed, from its log.
    #[must_use]
    pub fn console_text(&self) -> String {
        read_lossy(&self.config.console_log())
    }

    /// What the hypervisor printed, from its log.
    #[must_use]
    pub fn vmm_text(&self) -> String {
        read_lossy(&self.config.vmm_log())
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        let (None, Some(child)) = (self.ended, &mut self.child) else {
            return;
        };
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself a moment ago.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        if let Ok(status) = child.wait() {
            self.ended = Some(meaning(status));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn meaning(status: ExitStatus) -> Ended {
    match status.code() {
        Some(0) => Ended::PoweredOff,
        Some(code) if code == (i32::from(PANIC_STATUS) << STATUS_SHIFT) + 1 => Ended::Panicked,
        Some(code) if code == (i32::from(SHUTDOWN_STATUS) << STATUS_SHIFT) + 1 => Ended::Shutdown,
        Some(code) if code & 1 == 1 => {
            Ended::Status(u8::try_from(code >> STATUS_SHIFT).unwrap_or(u8::MAX))
        }
        _ => Ended::Failed,
    }
}

/// Writes the settings of a machine that is started by hand where the person who starts it finds them.
fn offer_settings(file: &Path, settings: &Settings) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", file.display()));
        }
        _ => {}
    }
    write_private(file, &format!("{settings}\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn write_private(path: &Path, content: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(content.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

pub(crate) fn words(line: &str) -> Vec<OsString> {
    line.split_ascii_whitespace().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;

    fn config(hypervisor: Hypervisor) -> MachineConfig {
        MachineConfig::new(hypervisor, "disk.img".into(), "logs".into())
    }

    fn line(config: &MachineConfig) -> String {
        let arguments = config.arguments(Path::new("scratch"));
        arguments
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn each_hypervisor_has_its_way_to_boot() {
        let none = line(&config(Hypervisor::None));
        assert!(
            !none.contains("-kernel")
                && !none.contains("-smbios")
                && none.contains("-device virtio-net-pci,netdev=net0"),
            "{none}"
        );
        let labvisor = line(&config(Hypervisor::Labvisor));
        assert!(
            labvisor.contains("-smbios type=1,product=hvlab-labvisor"),
            "{labvisor}"
        );
        let bitvisor = line(&config(Hypervisor::BitVisor("b.elf".into())));
        assert!(
            bitvisor.contains("-kernel b.elf")
                && bitvisor.contains("-device e1000,netdev=net0")
                && bitvisor.contains("-m 1024"),
            "{bitvisor}"
        );
    }

    #[test]
    fn a_direct_boot_needs_no_disk_and_suffers_no_hypervisor() {
        let mut config = config(Hypervisor::None);
        config.boot = Boot::Direct {
            kernel: "k.elf".into(),
            initrd: "modules.cpio".into(),
        };
        let direct = line(&config);
        assert!(
            direct.contains("-kernel k.elf -initrd modules.cpio") && !direct.contains("-drive"),
            "{direct}"
        );
        let error = config.boot.check(&Hypervisor::Labvisor).unwrap_err();
        assert!(
            error.to_string().contains("use --hypervisor none"),
            "{error}"
        );
        let error = config.boot.check(&Hypervisor::None).unwrap_err();
        assert!(error.to_string().contains("cargo hv image"), "{error}");
    }

    #[test]
    fn the_token_is_never_an_argument() {
        let mut config = config(Hypervisor::None);
        config.settings = Settings::default().with("token", "c0ffee");
        assert!(!line(&config).contains("c0ffee"));
    }

    #[test]
    fn the_settings_file_is_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cmdline");
        write_private(&path, "token=c0ffee").unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn endings_are_told_apart() {
        assert_eq!(meaning(ExitStatus::from_raw(0)), Ended::PoweredOff);
        assert_eq!(meaning(ExitStatus::from_raw(1 << 8)), Ended::Status(0));
        assert_eq!(meaning(ExitStatus::from_raw(0xef << 8)), Ended::Panicked);
        assert_eq!(meaning(ExitStatus::from_raw(0xed << 8)), Ended::Shutdown);
        assert_eq!(meaning(ExitStatus::from_raw(7 << 8)), Ended::Status(3));
        assert_eq!(meaning(ExitStatus::from_raw(9)), Ended::Failed);
    }
}
