//! `dbgsh`: a small shell inside labvisor, one character a call, in BitVisor's protocol.
//!
//! RBX (its low 32 bits as a signed number) is the guest's answer to what the last call
//! returned, -1 for none. RAX takes, sign-extended: -1 nothing yet; 0 the shell wants a key,
//! answered with its code; 1 to 100h a character, answered with 0; 10Ah the shell ended,
//! answered with 0, and a new one starts.

use alloc::collections::VecDeque;
use alloc::string::String;

use super::Vmm;
use crate::defects::{self, Defect};
use crate::machine::Machine;
use crate::vcpu::Vcpu;

const NOTHING: i32 = -1;
const WANT_KEY: i32 = 0;
const ENDED: i32 = 0x10a;
const LONGEST_LINE: usize = 100;
const HELP: &str = "help    this list\nstatus  exits counted and timed\nlog     labvisor's log\nplanted defects and quirks\nexit    end this shell\n";

/// The shell's state.
#[derive(Default)]
pub struct Shell {
    started: bool,
    output: VecDeque<i32>,
    line: String,
    /// What the guest was last told and has not answered.
    offered: Option<i32>,
}

impl Vmm {
    pub(super) fn dbgsh(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let answer = vcpu.registers.rbx as i32;
        let allowed = !vcpu.is_user() || defects::planted(Defect::ShellFromUser);
        let told = if !allowed {
            NOTHING
        } else if answer == NOTHING && self.shell.started {
            let offer = self.shell.output.front().copied().unwrap_or(WANT_KEY);
            self.shell.offered = Some(offer);
            offer
        } else {
            self.take_answer(m, answer);
            NOTHING
        };
        vcpu.vmcb.save.rax = if defects::planted(Defect::ShellResultNotExtended) {
            u64::from(told as u32)
        } else {
            i64::from(told) as u64
        };
    }

    /// The answer to what was offered. The next offer comes with the next question, as from
    /// BitVisor, whose shell is a thread.
    fn take_answer(&mut self, m: &mut dyn Machine, answer: i32) {
        if !self.shell.started {
            self.shell.started = true;
            self.shell.print("> ");
        }
        match self.shell.offered.take() {
            Some(WANT_KEY) if answer != 0 => {
                self.key(m, (answer & 0xff) as u8);
                if defects::planted(Defect::ShellKeyTwice) {
                    self.key(m, (answer & 0xff) as u8);
                }
            }
            Some(ENDED) => self.shell = Shell::default(),
            Some(WANT_KEY) => {}
            None if answer == NOTHING => {}
            None => self
                .log
                .line(m, format_args!("dbgsh: an answer to nothing")),
            Some(_) => drop(self.shell.output.pop_front()),
        }
    }

    fn key(&mut self, m: &dyn Machine, key: u8) {
        let room =
            self.shell.line.len() < LONGEST_LINE || defects::planted(Defect::ShellLineEndless);
        match key {
            b'\r' | b'\n' => {
                self.shell.print("\n");
                self.command(m);
            }
            8 | 0x7f if self.shell.line.pop().is_some() => self.shell.print("\x08 \x08"),
            b' '..=b'~' if room => {
                self.shell.line.push(char::from(key));
                self.shell.output.push_back(i32::from(key));
            }
            _ => {}
        }
    }

    fn command(&mut self, m: &dyn Machine) {
        let line = core::mem::take(&mut self.shell.line);
        match line.trim() {
            "" => {}
            "help" => self.shell.print(HELP),
            "status" => {
                let text = self.status_text(m);
                self.shell.print(&text);
            }
            "log" => self.shell.output.extend(self.log.text().map(i32::from)),
            "planted" => {
                for id in defects::active() {
                    self.shell.print(id);
                    self.shell.print("\n");
                }
            }
            "exit" => {
                self.shell.output.push_back(ENDED);
                return;
            }
            _ => self.shell.print("unknown command; help lists them\n"),
        }
        self.shell.print("> ");
    }
}

impl Shell {
    fn print(&mut self, text: &str) {
        self.output.extend(text.bytes().map(i32::from));
    }
}
