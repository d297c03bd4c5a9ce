//! The program on a terminal of its own: it draws, ends as asked, and leaves the terminal as it was.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

/// Long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(20);
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

struct OnTerminal {
    child: Child,
    master: Option<File>,
    slave: OwnedFd,
    before: Termios,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl OnTerminal {
    fn start() -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).unwrap();
        let before = tcgetattr(&slave).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_monitor-ui"))
            .args(["--demo", "--colour", "none", "--ascii"])
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap())
            .spawn()
            .unwrap();
        let master = File::from(master);
        let (to, output) = channel();
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if to.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            master: Some(master),
            slave: slave.into(),
            before,
            output,
            seen: String::new(),
        }
    }

    fn until(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.seen);
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(100)) {
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.master
            .as_mut()
            .unwrap()
            .write_all(keys.as_bytes())
            .unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }

    fn assert_restored(&mut self) {
        self.until(LEAVE);
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn keys_work_and_q_leaves_the_terminal_as_it_was() {
    let mut screen = OnTerminal::start();
    screen.until(ENTER);
    screen.until("records by class");
    assert!(screen.is_raw());
    screen.press("2");
    screen.until("request ring0");
    screen.press("?");
    screen.until("Keys in Trace");
    screen.press("q");
    assert!(screen.end().success());
    screen.assert_restored();
}

#[test]
fn control_c_and_signals_leave_it_as_it_was() {
    let mut screen = OnTerminal::start();
    screen.until("records by class");
    screen.press("\x03");
    assert!(screen.end().success());
    screen.assert_restored();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut screen = OnTerminal::start();
        screen.until("records by class");
        kill_process(Pid::from_child(&screen.child), signal).unwrap();
        assert!(screen.end().success(), "{signal:?}");
        screen.assert_restored();
    }
}

#[test]
fn a_terminal_that_is_closed_ends_it() {
    let mut screen = OnTerminal::start();
    screen.until("records by class");
    // The reading thread holds a copy of the master and drops it when nobody takes what it read.
    let master = screen.master.take().unwrap();
    drop(std::mem::replace(&mut screen.output, channel().1));
    drop(master);
    screen.end();
}
