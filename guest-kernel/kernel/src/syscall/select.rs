//! select: waiting for several files at once.

use super::{Call, CallResult};
use crate::file::{File, Readiness};
use crate::mm::user;
use crate::proc::current;
use crate::sync::{WaitResult, WaitSet};
use crate::time::{self, Instant};
use abi::Errno;
use abi::net::{FD_SETSIZE, FdSet, TimeVal};
use alloc::vec::Vec;
use core::time::Duration;

/// The three sets: what would read, write, and is exceptional.
const SETS: usize = 3;

struct Watched {
    fd: usize,
    file: File,
    wanted: [bool; SETS],
}

fn deadline(address: u64) -> Result<Option<Instant>, Errno> {
    if address == 0 {
        return Ok(None);
    }
    let timeout: TimeVal = user::read(address)?;
    let seconds = u64::try_from(timeout.seconds).map_err(|_| Errno::EINVAL)?;
    let micros = u32::try_from(timeout.microseconds)
        .ok()
        .filter(|&micros| micros < 1_000_000)
        .ok_or(Errno::EINVAL)?;
    Ok(Some(time::now() + Duration::new(seconds, micros * 1000)))
}

fn ready(watched: &[Watched]) -> ([FdSet; SETS], usize) {
    let mut sets = [FdSet::default(); SETS];
    let mut count = 0;
    for item in watched {
        let Readiness {
            readable,
            writable,
            except,
        } = item.file.poll();
        for ((set, wanted), is) in sets
            .iter_mut()
            .zip(item.wanted)
            .zip([readable, writable, except])
        {
            if wanted && is {
                set.insert(item.fd);
                count += 1;
            }
        }
    }
    (sets, count)
}

pub(super) fn select(call: &mut Call<'_>) -> CallResult {
    let max = call.length(0)?;
    if max > FD_SETSIZE {
        return Err(Errno::EINVAL);
    }
    let addresses = [call.argument(1), call.argument(2), call.argument(3)];
    let mut sets = [FdSet::default(); SETS];
    for (set, &address) in sets
        .iter_mut()
        .zip(&addresses)
        .filter(|(_, address)| **address != 0)
    {
        *set = user::read(address)?;
        user::check_writable(address, size_of::<FdSet>())?;
    }
    let deadline = deadline(call.argument(4))?;
    let mut watched = Vec::new();
    for fd in 0..max {
        let wanted = sets.map(|set| set.contains(fd));
        if wanted.contains(&true) {
            let file = current().files.lock().get(fd as i32)?;
            watched.push(Watched { fd, file, wanted });
        }
    }
    let queues = watched
        .iter()
        .filter_map(|item| item.file.wait_queue())
        .collect();
    let waiting = WaitSet::register(queues);
    let (sets, count) = loop {
        let (sets, count) = ready(&watched);
        if count > 0 || deadline.is_some_and(|deadline| time::now() >= deadline) {
            break (sets, count);
        }
        if waiting.sleep(deadline) == WaitResult::Killed {
            return Err(Errno::EINTR);
        }
    };
    for (set, &address) in sets
        .iter()
        .zip(&addresses)
        .filter(|(_, address)| **address != 0)
    {
        user::write(address, set)?;
    }
    Ok(count)
}
