//! A cable between two virtual network cards on which frames get lost, doubled, reordered, damaged and late.
//!
//! ```no_run
//! use std::sync::Arc;
//! use harness::{Hypervisor, MachineConfig, Network, Relay, Side};
//!
//! # fn main() -> anyhow::Result<()> {
//! let relay = Arc::new(Relay::start("drop=1%,delay=20ms,seed=7".parse().expect("faults"))?);
//! let mut config = MachineConfig::new(Hypervisor::None, "disk.img".into(), "logs".into());
//! config.network = Network::UserBehind(Arc::clone(&relay));
//! // ... run the machine ...
//! println!("{} of the guest's frames were lost", relay.counts(Side::Near).dropped);
//! # Ok(())
//! # }
//! ```
//! A relay opens two unix sockets that QEMU's `-netdev stream` connects to: frames in network order length and bytes,
//! both ways. [`crate::Network::UserBehind`] puts it between the guest and QEMU's own network, so that everything the
//! guest usually reaches is still there; [`crate::Network::Wire`] is one end of it, for two guests and a cable.
//! When an end goes, so does the other; then both sockets wait for the next machine.

mod faults;
mod line;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use faults::{Faults, Rate};
pub use line::Counts;
use line::Line;

/// How long a relay may take to notice that it shall end.
const TICK: Duration = Duration::from_millis(50);
/// Frames on their way, beyond which the sender waits.
const WAITING_MAX: usize = 4096;
/// Larger than any frame QEMU sends (its NET_BUFSIZE); more is no frame.
const FRAME_MAX: usize = 4096 + 65536;
/// Bytes of the length before each frame.
const HEAD: usize = 4;

/// An end of a relay, and the direction of the frames that come in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The guest's, where the other one is QEMU's network.
    Near,
    /// The other one.
    Far,
}

/// A relay between two ends. Dropping it pulls the cable.
#[derive(Debug)]
pub struct Relay {
    lines: Arc<[Mutex<Line>; 2]>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl Relay {
    /// Opens the two ends.
    ///
    /// # Errors
    /// When the sockets cannot be made.
    pub fn start(faults: Faults) -> Result<Relay> {
        let folder = tempfile::Builder::new()
            .prefix("hv-relay-")
            .tempdir()
            .context("cannot create a temporary folder")?;
        let open = |name: &str| -> Result<UnixListener> {
            let listener = UnixListener::bind(folder.path().join(name))
                .context("cannot open the relay's socket")?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listeners = [open("near")?, open("far")?];
        let lines = Arc::new([
            Mutex::new(Line::new(faults, 0)),
            Mutex::new(Line::new(faults, u64::MAX)),
        ]);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = {
            let (lines, stop) = (Arc::clone(&lines), Arc::clone(&stop));
            std::thread::Builder::new()
                .name("relay".into())
                .spawn(move || serve(&listeners, &lines, &stop))
                .context("cannot start the relay's thread")?
        };
        Ok(Relay {
            lines,
            stop,
            worker: Some(worker),
            folder,
        })
    }

    /// The socket of an end.
    #[must_use]
    pub fn socket(&self, side: Side) -> PathBuf {
        self.folder.path().join(match side {
            Side::Near => "near",
            Side::Far => "far",
        })
    }

    /// What happened to the frames that came in at this end, since the start.
    #[must_use]
    pub fn counts(&self, from: Side) -> Counts {
        lock(self.line(from)).counts()
    }

    /// Other faults from now on, for both directions; the seed stays.
    pub fn set_faults(&self, faults: Faults) {
        for line in self.lines.iter() {
            lock(line).set_faults(faults);
        }
    }

    fn line(&self, from: Side) -> &Mutex<Line> {
        match from {
            Side::Near => &self.lines[0],
            Side::Far => &self.lines[1],
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            // It cannot panic but by a bug; the machine's test will say more than we could here.
            let _ = worker.join();
        }
    }
}

/// A line is never left half changed.
fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Joins two ends after another.
fn serve(listeners: &[UnixListener; 2], lines: &[Mutex<Line>; 2], stop: &AtomicBool) {
    while let (Some(near), Some(far)) = (accept(&listeners[0], stop), accept(&listeners[1], stop)) {
        let over = AtomicBool::new(false);
        let ended = || stop.load(Ordering::Relaxed) || over.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            for (line, from, to) in [(&lines[0], &near, &far), (&lines[1], &far, &near)] {
                let (over, ended) = (&over, &ended);
                scope.spawn(move || {
                    // An end that goes away ends the conversation; that is no error.
                    let _ = carry(line, from, to, ended);
                    over.store(true, Ordering::Relaxed);
                });
            }
            while !ended() {
                std::thread::sleep(TICK);
            }
            // A direction may be waiting for an end that takes nothing any more.
            for end in [&near, &far] {
                let _ = end.shutdown(Shutdown::Both);
            }
        });
        lines.iter().for_each(|line| lock(line).clear());
    }
}

fn accept(listener: &UnixListener, stop: &AtomicBool) -> Option<UnixStream> {
    while !stop.load(Ordering::Relaxed) {
        if let Ok((stream, _)) = listener.accept() {
            return Some(stream);
        }
        wait_readable(listener, TICK);
    }
    None
}

fn wait_readable(socket: &impl AsFd, limit: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: limit.min(TICK).as_nanos() as _,
    };
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    // Interrupted by a signal is as good as nothing yet.
    matches!(poll(&mut fds, Some(&timeout)), Ok(1..))
}

/// Carries frames one way until an end is gone.
fn carry(
    line: &Mutex<Line>,
    mut from: &UnixStream,
    mut to: &UnixStream,
    ended: &impl Fn() -> bool,
) -> std::io::Result<()> {
    let start = Instant::now();
    let (mut input, mut output) = (Splitter::default(), Vec::new());
    let mut chunk = vec![0; 256 * 1024];
    while !ended() {
        let (due, crowded) = {
            let line = lock(line);
            (line.due(), line.waiting() >= WAITING_MAX)
        };
        let pause = due.map_or(TICK, |due| due.saturating_sub(start.elapsed()));
        if crowded {
            std::thread::sleep(pause.min(TICK));
        } else if wait_readable(from, pause) {
            let read = from.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            input.bytes.extend_from_slice(&chunk[..read]);
            let now = start.elapsed();
            let mut line = lock(line);
            while let Some(frame) = input.next()? {
                line.push(frame, now);
            }
        }
        let now = start.elapsed();
        {
            let mut line = lock(line);
            while let Some(frame) = line.pop(now) {
                output.extend_from_slice(&(frame.len() as u32).to_be_bytes());
                output.extend_from_slice(&frame);
            }
        }
        to.write_all(&output)?;
        output.clear();
    }
    Ok(())
}

/// Cuts a byte stream into frames.
#[derive(Default)]
struct Splitter {
    bytes: Vec<u8>,
    /// What of it was taken.
    at: usize,
}

impl Splitter {
    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let rest = &self.bytes[self.at..];
        let frame = match rest.split_first_chunk::<HEAD>() {
            Some((head, body)) => {
                let len = u32::from_be_bytes(*head) as usize;
                if len > FRAME_MAX {
                    return Err(std::io::Error::other("no frame is that long"));
                }
                body.get(..len).map(<[u8]>::to_vec)
            }
            None => None,
        };
        match &frame {
            Some(frame) => self.at += HEAD + frame.len(),
            None => {
                self.bytes.drain(..self.at);
                self.at = 0;
            }
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(mut end: &UnixStream, frame: &[u8]) {
        let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        end.write_all(&bytes).unwrap();
    }

    fn receive(mut end: &UnixStream) -> Vec<u8> {
        let mut head = [0; HEAD];
        end.read_exact(&mut head).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(head) as usize];
        end.read_exact(&mut frame).unwrap();
        frame
    }

    fn plug(relay: &Relay) -> [UnixStream; 2] {
        [Side::Near, Side::Far].map(|side| {
            let end = UnixStream::connect(relay.socket(side)).unwrap();
            end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            end
        })
    }

    #[test]
    fn frames_go_both_ways_and_are_counted_by_direction() {
        let relay = Relay::start(Faults::default()).unwrap();
        let [near, far] = plug(&relay);
        for at in 0..100u8 {
            send(&near, &[at; 60]);
            send(&far, &vec![at; 1514]);
        }
        for at in 0..100u8 {
            assert_eq!(receive(&far), [at; 60]);
            assert_eq!(receive(&near), vec![at; 1514]);
        }
        assert_eq!(relay.counts(Side::Near).bytes, 6000);
        assert_eq!(relay.counts(Side::Far).bytes, 151_400);
    }

    #[test]
    fn faults_can_be_changed_under_way() {
        let relay = Relay::start("drop=100%".parse().unwrap()).unwrap();
        let [near, far] = plug(&relay);
        send(&near, b"lost");
        let mut patience = 400;
        while relay.counts(Side::Near).dropped == 0 && patience > 0 {
            std::thread::sleep(TICK);
            patience -= 1;
        }
        relay.set_faults(Faults::default());
        send(&near, b"found");
        assert_eq!(receive(&far), b"found");
    }

    #[test]
    fn a_late_frame_is_late() {
        let relay = Relay::start("delay=100ms".parse().unwrap()).unwrap();
        let [near, far] = plug(&relay);
        let start = Instant::now();
        send(&far, b"x");
        assert_eq!(receive(&near), b"x");
        assert!(start.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn when_an_end_goes_the_next_machine_may_come() {
        let relay = Relay::start(Faults::default()).unwrap();
        let [near, mut far] = plug(&relay);
        drop(near);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        let [near, far] = plug(&relay);
        send(&near, b"again");
        assert_eq!(receive(&far), b"again");
    }

    #[test]
    fn what_is_no_frame_ends_the_conversation() {
        let relay = Relay::start(Faults::default()).unwrap();
        let [mut near, mut far] = plug(&relay);
        near.write_all(&[0xff; 8]).unwrap();
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
    }
}
