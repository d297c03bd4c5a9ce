//! QEMU's machine protocol: one JSON object a line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A command may take this long; QEMU answers from its main loop.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to the socket and leaves QEMU's negotiation mode.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn connect(socket: &Path) -> Result<Qmp> {
        let stream = UnixStream::connect(socket).context("cannot reach QEMU's control socket")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut qmp = Qmp {
            stream: BufReader::new(stream),
        };
        qmp.line()?; // the greeting
        qmp.command("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command; events that arrive before its answer are passed over.
    ///
    /// # Errors
    /// When QEMU refuses it or does not answer.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({ "execute": name, "arguments": arguments }).to_string();
        line.push('\n');
        self.stream
            .get_mut()
            .write_all(line.as_bytes())
            .with_context(|| format!("cannot send `{name}` to QEMU"))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut answer = self.line()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!(
                    "QEMU refused `{name}`: {}",
                    error["desc"].as_str().unwrap_or("no reason given")
                );
            }
        }
        bail!("QEMU did not answer `{name}`")
    }

    /// Runs a command of the human monitor and returns its text.
    ///
    /// # Errors
    /// As [`Qmp::command`].
    pub fn monitor(&mut self, line: &str) -> Result<String> {
        let text = self.command("human-monitor-command", json!({ "command-line": line }))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The instruction pointer of the first CPU, now.
    ///
    /// # Errors
    /// When QEMU does not answer or shows no RIP.
    pub fn rip(&mut self) -> Result<u64> {
        rip(&self.monitor("info registers")?).context("QEMU shows no RIP")
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self
            .stream
            .read_line(&mut line)
            .context("QEMU does not answer")?;
        if read == 0 {
            bail!("QEMU closed its control socket");
        }
        serde_json::from_str(&line).context("QEMU's answer is no JSON")
    }
}

fn rip(registers: &str) -> Option<u64> {
    let at = registers.find("RIP=").or_else(|| registers.find("EIP="))? + 4;
    let digits = registers[at..].split_ascii_whitespace().next()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rip_is_found_in_both_modes() {
        assert_eq!(
            rip("RAX=1\nRIP=ffffffff80101234 RFL=00000002"),
            Some(0xffff_ffff_8010_1234)
        );
        assert_eq!(rip("EIP=0000fff0 EFL=00000002"), Some(0xfff0));
        assert_eq!(rip("nothing"), None);
    }
}
