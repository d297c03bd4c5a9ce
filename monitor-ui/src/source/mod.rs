//! Where the monitor's data comes from. Each source is a thread that sends [`Feed`]s into a bounded
//! queue and waits when it is full: the server keeps a cursor for us, so waiting loses nothing.

pub mod demo;
pub mod file;
pub mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::feed::Feed;

/// Feeds that may wait to be taken; each carries at most one push of 64 KiB.
const QUEUE: usize = 64;
/// How long a source may take to end.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// Nobody listens any more.
#[derive(Debug)]
pub struct Ended;

/// Where a source's thread sends to.
#[derive(Debug)]
pub struct Sink {
    to: SyncSender<Feed>,
    stop: Arc<AtomicBool>,
}

impl Sink {
    /// Sends, waiting for room.
    ///
    /// # Errors
    /// [`Ended`] when the monitor ended.
    pub fn send(&self, feed: Feed) -> Result<(), Ended> {
        if self.stopped() {
            return Err(Ended);
        }
        self.to.send(feed).map_err(|_| Ended)
    }

    /// Whether the source shall end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A running source. Dropping it ends the thread.
#[derive(Debug)]
pub struct Source {
    from: Option<Receiver<Feed>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts a thread that sends until it ends or nobody listens.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn spawn(run: impl FnOnce(&Sink) -> Result<(), Ended> + Send + 'static) -> Result<Self> {
        let (to, from) = sync_channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let sink = Sink {
            to,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name("source".to_owned())
            .spawn(move || {
                // Ended is what we asked for.
                let _ = run(&sink);
            })
            .context("cannot start the thread that reads")?;
        Ok(Self {
            from: Some(from),
            stop,
            thread: Some(thread),
        })
    }

    /// The next feed, if one is there.
    pub fn try_next(&self) -> Option<Feed> {
        self.from.as_ref()?.try_recv().ok()
    }

    /// The next feed, if it comes within this time.
    pub fn next(&self, within: Duration) -> Option<Feed> {
        self.from.as_ref()?.recv_timeout(within).ok()
    }

    /// Whether nothing more can come.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.from = None;
        let until = Instant::now() + LAST_WORDS;
        if let Some(thread) = self.thread.take() {
            // It sees the flag within a moment, unless it waits for a server that does not answer;
            // then it ends by itself later, or with the process.
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}
