//! The guest's serial console: wait for what it prints, type what it reads.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use std::fmt;

use crate::text;

/// What the guest printed so far.
#[derive(Debug, Default)]
struct Printed {
    bytes: Vec<u8>,
    closed: bool,
}

/// A conversation with the guest. A thread reads along, so that QEMU never waits for us.
#[derive(Debug)]
pub struct Console {
    input: UnixStream,
    printed: Arc<(Mutex<Printed>, Condvar)>,
    /// Everything before this was waited for already.
    seen: usize,
}

/// The guest did not print what was waited for.
#[derive(Debug)]
pub struct Silence {
    /// What was waited for.
    pub expected: String,
    /// The machine ended; otherwise time was up.
    pub ended: bool,
    /// What it printed instead.
    pub printed: String,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.ended {
            "the machine ended"
        } else {
            "time was up"
        };
        write!(
            f,
            "{why} before the guest printed {:?}; its last lines:\n{}",
            self.expected,
            text::last_lines(&self.printed, 30)
        )
    }
}

impl std::error::Error for Silence {}

impl Console {
    pub(crate) fn connect(socket: &Path) -> Result<Console> {
        let input = UnixStream::connect(socket).context("cannot reach the guest's console")?;
        let printed = Arc::new((Mutex::new(Printed::default()), Condvar::new()));
        let (mut output, shared) = (input.try_clone()?, Arc::clone(&printed));
        std::thread::spawn(move || {
            let mut chunk = [0u8; 4096];
            loop {
                let read = output.read(&mut chunk).unwrap_or(0);
                let mut printed = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                printed.bytes.extend_from_slice(&chunk[..read]);
                printed.closed = read == 0;
                shared.1.notify_all();
                if printed.closed {
                    return;
                }
            }
        });
        Ok(Console {
            input,
            printed,
            seen: 0,
        })
    }

    /// Waits until the guest prints `expected` behind everything waited for before; returns what came up to it.
    ///
    /// # Errors
    /// [`Silence`] when the machine ends or `limit` passes first.
    pub fn wait_for(&mut self, expected: &str, limit: Duration) -> Result<String, Silence> {
        self.wait_for_any(&[expected], limit).map(|(_, text)| text)
    }

    /// Waits for the first of several texts; returns which it was.
    ///
    /// # Errors
    /// [`Silence`] when the machine ends or `limit` passes first.
    pub fn wait_for_any(
        &mut self,
        expected: &[&str],
        limit: Duration,
    ) -> Result<(usize, String), Silence> {
        let deadline = Instant::now() + limit;
        let mut printed = self
            .printed
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            let new = &printed.bytes[self.seen..];
            let first = expected
                .iter()
                .enumerate()
                .filter_map(|(which, text)| Some((find(new, text.as_bytes())?, which, text.len())));
            if let Some((at, which, length)) = first.min() {
                let text = String::from_utf8_lossy(&new[..at + length]).into_owned();
                self.seen += at + length;
                return Ok((which, text));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if printed.closed || left.is_zero() {
                let text = String::from_utf8_lossy(new).into_owned();
                return Err(Silence {
                    expected: expected.join("` or `"),
                    ended: printed.closed,
                    printed: text,
                });
            }
            printed = self
                .printed
                .1
                .wait_timeout(printed, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Everything printed so far.
    #[must_use]
    pub fn text(&self) -> String {
        let printed = self
            .printed
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&printed.bytes).into_owned()
    }

    /// Types a line and its end.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.type_bytes(format!("{line}\r").as_bytes())
    }

    /// Types bytes as they are.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn type_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.input
            .write_all(bytes)
            .context("the guest's console is closed")
    }

    /// Types `command` at the shell's prompt and returns what it printed.
    ///
    /// # Errors
    /// [`Silence`] as for [`Console::wait_for`], or a closed console.
    pub fn run(&mut self, command: &str, prompt: &str, limit: Duration) -> Result<String> {
        // The shell draws what it reads; what came before it was reading may be drawn twice. So: no end of line before
        // the whole command is on the screen, and the output is what follows that line.
        self.type_bytes(command.as_bytes())?;
        self.wait_for(command, limit)?;
        self.type_bytes(b"\r")?;
        self.wait_for("\n", limit)?;
        let text = self.wait_for(prompt, limit)?;
        let text = text.strip_suffix(prompt).unwrap_or(&text).replace('\r', "");
        let drawn_again = format!("{command}\n");
        Ok(text.strip_prefix(&drawn_again).unwrap_or(&text).to_owned())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Ends the reading thread; QEMU goes on without us.
        let _ = self.input.shutdown(std::net::Shutdown::Both);
    }
}

fn find(text: &[u8], expected: &[u8]) -> Option<usize> {
    text.windows(expected.len().max(1))
        .position(|window| window == expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn pair() -> (Console, UnixStream, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let console = Console::connect(&folder.path().join("s")).unwrap();
        (console, listener.accept().unwrap().0, folder)
    }

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn what_was_waited_for_is_not_found_again() {
        let (mut console, mut guest, _folder) = pair();
        guest.write_all(b"boot\n$ ls\na\n$ ").unwrap();
        assert_eq!(console.wait_for("$ ", LONG).unwrap(), "boot\n$ ");
        assert_eq!(console.wait_for("$ ", LONG).unwrap(), "ls\na\n$ ");
        assert!(!console.wait_for("$ ", SHORT).unwrap_err().ended);
    }

    #[test]
    fn the_earliest_text_wins() {
        let (mut console, mut guest, _folder) = pair();
        guest.write_all(b"panic: x\n$ ").unwrap();
        assert_eq!(console.wait_for_any(&["$ ", "panic"], LONG).unwrap().0, 1);
    }

    #[test]
    fn the_end_of_the_machine_is_told_apart_from_silence() {
        let (mut console, guest, _folder) = pair();
        drop(guest);
        assert!(console.wait_for("$ ", LONG).unwrap_err().ended);
    }
}
