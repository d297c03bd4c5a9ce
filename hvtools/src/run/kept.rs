//! Fast restart: the second machine of a run and all further ones resume where the first one's kernel began.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use harness::{Accelerator, Boot, Hypervisor, MachineConfig, Network};
use tempfile::TempDir;

use crate::workspace::Workspace;

/// States of the machines that a run needs, made when one is needed for the first time.
#[derive(Debug)]
pub struct Kept {
    folder: TempDir,
    /// The first instruction of what GRUB starts.
    entry: u64,
    /// By what tells the machines of a run apart: the second network device. Nothing where it could not be made.
    states: Mutex<BTreeMap<bool, Option<PathBuf>>>,
}

impl Kept {
    /// For machines like this one; nothing if they cannot be resumed: BitVisor's own boot is part of what is watched,
    /// several CPUs are not all stopped before their first instruction, of a foreign disk the entry is not known, and a direct
    /// boot is fast already.
    ///
    /// # Errors
    /// When there is no temporary folder or the kernel is not built.
    pub fn of(workspace: &Workspace, machine: &MachineConfig) -> Result<Option<Kept>> {
        let binary = match machine.hypervisor {
            Hypervisor::None => "kernel",
            Hypervisor::Labvisor => "labvisor",
            Hypervisor::BitVisor(_) => return Ok(None),
        };
        let plain = machine.cpus == 1
            && machine.accelerator == Accelerator::Emulation
            && machine.icount_shift.is_none()
            && machine.by_hand.is_none()
            && machine.further.is_empty()
            && matches!(machine.network, Network::User);
        if !plain || machine.boot != Boot::Disk(workspace.image("disk.img")) {
            return Ok(None);
        }
        let path = workspace.guest_binary(binary);
        let elf = std::fs::read(&path)
            .with_context(|| format!("cannot read {} (`cargo hv build`)", path.display()))?;
        Ok(Some(Kept {
            folder: tempfile::tempdir().context("cannot create a temporary folder")?,
            entry: entry(&elf).with_context(|| format!("{} is no ELF64", path.display()))?,
            states: Mutex::default(),
        }))
    }

    /// Where the state of such a machine is; `None` if it could not be made before.
    ///
    /// # Errors
    /// When it cannot be made now.
    pub fn state(&self, config: &MachineConfig) -> Result<Option<PathBuf>> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = states.get(&config.second_network) {
            return Ok(known.clone());
        }
        let number = states.len();
        let file = self.folder.path().join(format!("state{number}"));
        let made = harness::keep(config, self.entry, &file);
        let state = made.is_ok().then(|| file.clone());
        states.insert(config.second_network, state.clone());
        made.map(|()| state)
    }
}

/// The entry address of an ELF64 file (System V gABI, ELF header: `e_entry`).
fn entry(elf: &[u8]) -> Option<u64> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    Some(u64::from_le_bytes(elf.get(24..32)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_stands_in_the_header() {
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(24, 0);
        assert_eq!(entry(&elf), None);
        elf.extend(0x10_0020u64.to_le_bytes());
        assert_eq!(entry(&elf), Some(0x10_0020));
        elf[4] = 1;
        assert_eq!(entry(&elf), None, "ELF32");
    }
}
