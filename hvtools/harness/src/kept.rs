//! A machine's state kept just before the kernel's first instruction: BIOS and boot loader done, every module in memory.
//!
//! Nothing of ours has run then, and settings (fw_cfg) are read later, so one state serves machines with any settings and
//! any planted defect. Resuming it takes a tenth of a boot.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::debugger::Debugger;
use crate::machine::{Machine, MachineConfig};
use crate::text::escape_commas;

/// BIOS and boot loader are long done by then.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// Writing a few dozen megabytes.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// Boots the machine to `entry`, the address of the kernel's first instruction, and writes its state to `file`.
///
/// # Errors
/// When the machine does not come to `entry`, or QEMU cannot write the state.
pub fn keep(config: &MachineConfig, entry: u64, file: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let socket = scratch.path().join("gdb");
    let mut config = config.clone();
    config.resume = None;
    config.logs = scratch.path().to_owned();
    let mut server = std::ffi::OsString::from("unix:");
    server.push(escape_commas(&socket));
    server.push(",server=on,wait=off");
    // The machine is paused when its state is written; whoever resumes it shall find it running.
    let running = "migration.store-global-state=off";
    config
        .further
        .extend(["-S".into(), "-global".into(), running.into()]);
    config.further.extend(["-gdb".into(), server]);
    let machine = Machine::start(config)?;
    let mut debugger = Debugger::connect(&socket, BOOT_LIMIT)?;
    debugger
        .run_to(entry)
        .context("the machine did not come to the kernel's entry")?;
    debugger.pause_at(entry)?;
    let mut qmp = machine.qmp()?;
    qmp.command(
        "migrate",
        json!({ "uri": format!("exec:cat > {}", shell_word(file)?) }),
    )?;
    let deadline = Instant::now() + WRITE_LIMIT;
    loop {
        let state = qmp.command("query-migrate", json!({}))?;
        match state["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => bail!("QEMU cannot write the machine's state: {state}"),
            _ => ensure!(
                Instant::now() < deadline,
                "QEMU did not write the machine's state within {} s",
                WRITE_LIMIT.as_secs()
            ),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// QEMU's argument that resumes from `file`.
pub(crate) fn incoming(file: &Path) -> Result<String> {
    Ok(format!("exec:cat {}", shell_word(file)?))
}

/// In single quotes, for the shell that QEMU runs.
fn shell_word(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is no UTF-8", path.display()))?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        let path = Path::new("/a b/it's;$(x)");
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("printf %s {}", shell_word(path).unwrap()))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "/a b/it's;$(x)");
    }
}
