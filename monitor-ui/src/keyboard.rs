//! Reads keys in a thread of its own.
//!
//! crossterm reads for ever from a terminal that was closed, so each read is preceded by a look whether
//! it is still there, and nobody but this thread can be caught by a terminal that goes in between.

use std::io::stdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossterm::event;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::command::Key;
use crate::terminal::key;

/// How often the thread looks whether it shall end.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
/// How long to wait for it to end.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Keys that may wait to be acted upon.
const QUEUE: usize = 64;

/// What comes from the keyboard.
#[derive(Debug)]
pub(crate) enum Input {
    /// A key.
    Key(Key),
    /// The terminal is gone.
    Gone,
}

/// The thread. Dropping it gives the keyboard back.
#[derive(Debug)]
pub(crate) struct Keyboard {
    from: Option<Receiver<Input>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keyboard {
    /// Starts to read.
    pub(crate) fn start() -> Result<Self> {
        let (to, from) = sync_channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("keyboard".to_owned())
            .spawn(move || read(&to, &stopped))
            .context("cannot start the thread that reads keys")?;
        Ok(Self {
            from: Some(from),
            stop,
            thread: Some(thread),
        })
    }

    /// The next input, if it comes within this time.
    pub(crate) fn next(&self, within: Duration) -> Option<Input> {
        self.from.as_ref()?.recv_timeout(within).ok()
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.from = None;
        let until = Instant::now() + LAST_WORDS;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

fn read(to: &SyncSender<Input>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let input = stdin();
        let mut fds = [PollFd::new(&input, PollFlags::IN)];
        let ready = match poll(&mut fds, Some(&LOOK)) {
            Ok(_) => fds[0].revents(),
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => PollFlags::ERR,
        };
        if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            let _ = to.send(Input::Gone);
            return;
        }
        if ready.is_empty() {
            continue;
        }
        while let Ok(true) = event::poll(Duration::ZERO) {
            let sent = match event::read().as_ref().map(key) {
                Ok(Some(key)) => to.send(Input::Key(key)),
                Ok(None) => Ok(()),
                Err(_) => to.send(Input::Gone),
            };
            if sent.is_err() {
                return;
            }
        }
    }
}
