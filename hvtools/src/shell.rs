//! `hv shell`: a person at the guest's serial console.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Ended, Machine, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::interrupt::Interrupt;

/// Ctrl-] leaves, as in telnet.
const LEAVE: u8 = 0x1d;
/// How often the signals' flag is looked at while nothing happens.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The terminal in raw mode; dropping it brings back what was.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn enter() -> Result<RawTerminal> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(RawTerminal(None));
        }
        let before = tcgetattr(&stdin).context("cannot read the terminal's modes")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)
            .context("cannot change the terminal's modes")?;
        Ok(RawTerminal(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Nothing better can be done if the terminal is gone.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// Connects terminal and guest until the guest powers off or the person leaves.
///
/// # Errors
/// When the terminal or the machine's console fails.
pub fn interactive(machine: &mut Machine, interrupt: &Interrupt) -> Result<Outcome> {
    eprintln!(
        "hv: guest on {}; Ctrl-] ends it",
        machine.config().hypervisor
    );
    let mut guest = UnixStream::connect(machine.console_socket())
        .context("cannot reach the guest's console")?;
    let _raw = RawTerminal::enter()?;
    let (stdin, mut stdout) = (std::io::stdin(), std::io::stdout());
    let (mut keyboard_open, mut chunk) = (true, [0u8; 4096]);
    while !interrupt.requested() {
        let mut fds = vec![PollFd::new(&guest, PollFlags::IN)];
        if keyboard_open {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut fds, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for terminal and guest"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            let read = guest.read(&mut chunk).unwrap_or(0);
            if read == 0 {
                return Ok(outcome(machine.wait(Duration::from_secs(5))?));
            }
            stdout.write_all(&chunk[..read])?;
            stdout.flush()?;
        }
        if ready.get(1) == Some(&true) {
            let read = rustix::io::read(&stdin, &mut chunk).unwrap_or(0);
            if chunk[..read].contains(&LEAVE) {
                return Ok(Outcome::AsExpected);
            }
            keyboard_open = read > 0;
            guest
                .write_all(&chunk[..read])
                .context("the guest's console is closed")?;
        }
    }
    Ok(Outcome::Interrupted)
}

/// Shows what the guest prints, controls escaped, until it ends; for `hv shell -c`.
///
/// # Errors
/// When the machine cannot be asked for its state.
pub fn watch(machine: &mut Machine, limit: Duration, interrupt: &Interrupt) -> Result<Outcome> {
    let mut shown = 0;
    loop {
        let ended = machine.wait(Duration::from_millis(50))?;
        let text = machine.console_text();
        if text.len() > shown {
            print!("{}", harness::escaped(&text[shown..]));
            std::io::stdout().flush()?;
            shown = text.len();
        }
        if ended.is_some() {
            return Ok(outcome(ended));
        }
        if interrupt.requested() {
            return Ok(Outcome::Interrupted);
        }
        if machine.age() > limit {
            eprintln!("\nhv: the guest did not end within {} s", limit.as_secs());
            return Ok(Outcome::Died);
        }
    }
}

fn outcome(ended: Option<Ended>) -> Outcome {
    match ended {
        Some(Ended::Status(0) | Ended::PoweredOff) => Outcome::AsExpected,
        Some(Ended::Status(_)) => Outcome::Unexpected,
        Some(Ended::Panicked | Ended::Shutdown | Ended::Failed) | None => Outcome::Died,
    }
}
