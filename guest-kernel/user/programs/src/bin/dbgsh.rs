//! dbgsh: BitVisor's debug shell, by hypercall.
#![no_std]
#![no_main]
use core::time::Duration;
use ulib::hypercall::{DebugShell, Probe, ShellInput, Vmm, lookup};
use ulib::io::STDIN;
use ulib::prelude::*;

ulib::main!(
    main,
    "dbgsh [-c COMMAND]\n\
     The hypervisor's debug shell. Leave with exit at its prompt.\n\
     -c send this line, then exit, and print what comes\n\
     Runs only if the boot setting probe= names it."
);

/// Polls without an answer before this program lets others run.
const POLLS_BEFORE_YIELD: u32 = 64;
/// Unanswered polls after which it gives up: the shell's thread is not scheduled.
const POLLS_MAX: u32 = 2_000_000;

fn main() -> Result<()> {
    let options = env::options("c:")?;
    let mut keys = Keys {
        script: options
            .value('c')
            .map(|line| format!("{line}\nexit\n").into_bytes()),
        at: 0,
    };
    let mut vmm = Vmm::new(Probe::new()?);
    let number = lookup(&mut vmm, "dbgsh")?;
    let mut answer = ShellInput::Poll;
    let mut silent = 0;
    let mut shown = Vec::new();
    loop {
        let said = vmm
            .debug_shell(number, answer)
            .map_err(|error| Error::Message(error.to_string()))?;
        answer = ShellInput::Poll;
        silent = if said == DebugShell::Busy {
            silent + 1
        } else {
            0
        };
        match said {
            DebugShell::Character(byte) => {
                shown.push(byte);
                if byte == b'\n' {
                    show(&mut shown)?;
                }
                answer = ShellInput::Acknowledge;
            }
            DebugShell::WantsKey => {
                let pager = pager_key(&shown);
                show(&mut shown)?;
                answer = match keys.next(pager)? {
                    Some(key) => ShellInput::Key(key),
                    None => return Ok(()),
                };
            }
            DebugShell::Ended => {
                show(&mut shown)?;
                let _ = vmm.debug_shell(number, ShellInput::Acknowledge);
                return Ok(());
            }
            DebugShell::Busy if silent > POLLS_MAX => {
                return Err(Error::from("the hypervisor's shell does not answer"));
            }
            DebugShell::Busy if silent.is_multiple_of(POLLS_BEFORE_YIELD) => sys::yield_now(),
            DebugShell::Busy => {}
            DebugShell::Unknown(rax) => {
                return Err(Error::Message(format!(
                    "the hypervisor's shell answered {rax:#x}"
                )));
            }
        }
    }
}

/// Prints what the hypervisor said; control characters but newline and backspace become dots.
fn show(bytes: &mut Vec<u8>) -> Result<()> {
    for byte in bytes.iter_mut() {
        if !matches!(*byte, b'\n' | 8 | b' '..=b'~') {
            *byte = b'.';
        }
    }
    io::stdout().write_all(bytes)?;
    bytes.clear();
    Ok(())
}

/// What the shell's pager wants where its text stops: a space for more, q at the end.
fn pager_key(shown: &[u8]) -> Option<u8> {
    match shown {
        shown if shown.ends_with(b"-- more --") => Some(b' '),
        shown if shown.ends_with(b"-- end --") => Some(b'q'),
        _ => None,
    }
}

/// Where keys come from: the command line, or the terminal.
struct Keys {
    script: Option<Vec<u8>>,
    at: usize,
}

impl Keys {
    /// The next key, `None` when there will be no more. A pager takes its key from no script.
    fn next(&mut self, pager: Option<u8>) -> Result<Option<u8>> {
        let Some(script) = &self.script else {
            ulib::net::wait_readable(&[STDIN], None::<Duration>)?;
            let mut key = [0];
            return Ok((io::stdin().read(&mut key)? == 1).then_some(key[0]));
        };
        if pager.is_some() {
            return Ok(pager);
        }
        self.at += 1;
        Ok(script.get(self.at - 1).copied())
    }
}
