//! What the consoles tell about the state of a machine: panics, and BitVisor's boot stages.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::effort::{Effort, Patience};
use crate::hypervisor::Hypervisor;
use crate::text::escaped;

/// BitVisor's last words before it boots the disk inside its VM.
const LOADING_MBR: &str = "Loading MBR.";
/// It was seen to stop there, about once in 70 boots. The guest needs about a second of its own time from there.
const MBR_PATIENCE: Patience = Patience::of_secs(20);

/// Something a console showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The hypervisor panicked; its words.
    HypervisorPanic(String),
    /// The guest's kernel panicked; its words.
    GuestPanic(String),
    /// BitVisor said that it loads the boot record, and then nothing came for too long.
    StuckLoadingMbr,
}

/// Reads along in a machine's two console logs.
#[derive(Debug)]
pub struct Watch {
    hypervisor: Hypervisor,
    vmm: Tail,
    guest: Tail,
    /// What the machine had had when BitVisor said so.
    loading_mbr_since: Option<Effort>,
    guest_spoke: bool,
}

impl Watch {
    /// Watches the machine whose logs these are.
    #[must_use]
    pub fn new(hypervisor: Hypervisor, vmm_log: PathBuf, console_log: PathBuf) -> Watch {
        Watch {
            hypervisor,
            vmm: Tail::new(vmm_log),
            guest: Tail::new(console_log),
            loading_mbr_since: None,
            guest_spoke: false,
        }
    }

    /// Reads what is new, of a machine that had `effort` so far. Of several signs the hypervisor's panic comes first: it
    /// explains the others.
    pub fn look(&mut self, effort: Effort) -> Option<Sign> {
        let guest_panic = self.guest.new_lines().into_iter().find_map(|line| {
            self.guest_spoke = true;
            guest_panic(&line)
        });
        self.guest_spoke |= self.guest.position > 0;
        for line in self.vmm.new_lines() {
            if line.contains(LOADING_MBR) {
                self.loading_mbr_since = Some(effort);
            }
            if let Some(words) = hypervisor_panic(&self.hypervisor, &line) {
                return Some(Sign::HypervisorPanic(words));
            }
        }
        if guest_panic.is_some() {
            return guest_panic;
        }
        let stuck = !self.guest_spoke
            && self
                .loading_mbr_since
                .is_some_and(|since| MBR_PATIENCE.ends_with(effort.since(since)));
        stuck.then_some(Sign::StuckLoadingMbr)
    }

    /// The guest has printed something.
    #[must_use]
    pub fn guest_spoke(&self) -> bool {
        self.guest_spoke
    }
}

/// BitVisor writes `panic(CPU0): ...` or `panic: ...`, labvisor `labvisor: panic: ...`.
fn hypervisor_panic(hypervisor: &Hypervisor, line: &str) -> Option<String> {
    let panic = match hypervisor {
        Hypervisor::None => false,
        Hypervisor::Labvisor => {
            line.starts_with("labvisor: panic") || line.starts_with("labvisor: cannot start")
        }
        Hypervisor::BitVisor(_) => line.starts_with("panic: ") || line.starts_with("panic(CPU"),
    };
    panic.then(|| escaped(line))
}

/// The guest's kernel writes `panic: ...` at the beginning of a line.
fn guest_panic(line: &str) -> Option<Sign> {
    (line.starts_with("panic: ") || line.starts_with("panic inside a panic: "))
        .then(|| Sign::GuestPanic(escaped(line)))
}

/// The whole lines that a growing file got since the last look.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    position: u64,
    unfinished: Vec<u8>,
}

impl Tail {
    fn new(path: PathBuf) -> Tail {
        Tail {
            path,
            position: 0,
            unfinished: Vec::new(),
        }
    }

    fn new_lines(&mut self) -> Vec<String> {
        let new = read_from(&self.path, self.position).unwrap_or_default();
        self.position += new.len() as u64;
        self.unfinished.extend_from_slice(&new);
        let Some(end) = self.unfinished.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let whole: Vec<u8> = self.unfinished.drain(..=end).collect();
        String::from_utf8_lossy(&whole)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// The bytes of a file from `position` on; an absent file is an error like any other.
fn read_from(path: &Path, position: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(position))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;

    struct Logs {
        folder: tempfile::TempDir,
    }

    impl Logs {
        fn new() -> Logs {
            Logs {
                folder: tempfile::tempdir().unwrap(),
            }
        }

        fn watch(&self, hypervisor: Hypervisor) -> Watch {
            Watch::new(
                hypervisor,
                self.folder.path().join("vmm"),
                self.folder.path().join("guest"),
            )
        }

        fn write(&self, log: &str, text: &str) {
            let path = self.folder.path().join(log);
            let mut file = File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn a_panic_is_seen_when_its_line_is_whole() {
        let logs = Logs::new();
        let mut watch = logs.watch(Hypervisor::Labvisor);
        assert_eq!(watch.look(Effort::default()), None);
        logs.write("vmm", "labvisor: 512 MiB\nlabvisor: panic: no");
        assert_eq!(watch.look(Effort::default()), None);
        logs.write("vmm", " \x1b[2Jway\n");
        assert_eq!(
            watch.look(Effort::default()),
            Some(Sign::HypervisorPanic(
                "labvisor: panic: no \\u{1b}[2Jway".into()
            ))
        );
    }

    #[test]
    fn each_hypervisor_has_its_own_words() {
        let bitvisor = Hypervisor::BitVisor("x".into());
        assert!(hypervisor_panic(&bitvisor, "panic(CPU0): unsupported exitcode").is_some());
        assert!(hypervisor_panic(&bitvisor, "panic: no").is_some());
        assert!(hypervisor_panic(&bitvisor, "do not panic: no").is_none());
        assert!(hypervisor_panic(&Hypervisor::None, "panic: no").is_none());
    }

    #[test]
    fn the_hypervisors_panic_explains_the_guests() {
        let logs = Logs::new();
        let mut watch = logs.watch(Hypervisor::Labvisor);
        logs.write("guest", "panic: guest\n");
        logs.write("vmm", "labvisor: panic: host\n");
        assert!(matches!(
            watch.look(Effort::default()),
            Some(Sign::HypervisorPanic(_))
        ));
    }

    #[test]
    fn loading_mbr_is_stuck_when_the_machine_had_its_time_and_the_guest_is_silent() {
        let logs = Logs::new();
        let mut watch = logs.watch(Hypervisor::BitVisor("x".into()));
        let effort = |wall: u64, starved: u64| {
            Effort::new(Duration::from_secs(wall), Duration::from_secs(starved))
        };
        logs.write("vmm", "Loading MBR.\n");
        assert_eq!(watch.look(effort(300, 270)), None);
        assert_eq!(watch.look(effort(400, 360)), None, "starved, but at work");
        let stuck = Some(Sign::StuckLoadingMbr);
        assert_eq!(watch.look(effort(400, 340)), stuck, "had its time");
        assert_eq!(watch.look(effort(701, 670)), stuck, "starved for too long");
        logs.write("guest", "HvLab");
        assert_eq!(watch.look(effort(999, 0)), None);
    }
}
