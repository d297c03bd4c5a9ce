//! Calls about processes.

use super::{Call, CallResult};
use crate::mm::user;
use crate::proc::{self, Pid, exec as program, exit as ending, fork as copying, sched, table};
use crate::time;
use abi::Errno;
use abi::info::TICKS_PER_SECOND;
use core::time::Duration;

/// Most arguments of `exec`.
const MAX_ARGUMENTS: usize = 512;

pub(super) fn fork(call: &mut Call<'_>) -> CallResult {
    copying::fork(call.frame).map(|pid| pid.0 as usize)
}

pub(super) fn exit(call: &mut Call<'_>) -> CallResult {
    ending::exit(call.int(0))
}

pub(super) fn wait(call: &mut Call<'_>) -> CallResult {
    let address = call.argument(0);
    if address != 0 {
        user::check_writable(address, size_of::<i32>())?;
    }
    let (pid, status) = ending::wait()?;
    if address != 0 {
        user::write(address, &status)?;
    }
    Ok(pid.0 as usize)
}

pub(super) fn kill(call: &mut Call<'_>) -> CallResult {
    let pid = u32::try_from(call.int(0)).map_err(|_| Errno::ESRCH)?;
    table::kill(Pid(pid)).map(|()| 0)
}

pub(super) fn getpid(_call: &mut Call<'_>) -> CallResult {
    Ok(proc::current_pid().0 as usize)
}

pub(super) fn sbrk(call: &mut Call<'_>) -> CallResult {
    let delta = i64::from(call.int(0));
    user::with_space(|space| space.sbrk(delta)).map(|old| old as usize)
}

pub(super) fn sleep(call: &mut Call<'_>) -> CallResult {
    let ticks = u64::try_from(call.int(0)).unwrap_or(0);
    time::sleep_until(
        time::now() + Duration::from_nanos(ticks * (1_000_000_000 / TICKS_PER_SECOND)),
    )?;
    Ok(0)
}

pub(super) fn yield_(_call: &mut Call<'_>) -> CallResult {
    sched::yield_now();
    Ok(0)
}

pub(super) fn exec(call: &mut Call<'_>) -> CallResult {
    let path = user::path(call.argument(0))?;
    let mut arguments = alloc::vec::Vec::new();
    let mut total = 0;
    let mut at = call.argument(1);
    loop {
        let pointer: u64 = user::read(at)?;
        if pointer == 0 {
            break;
        }
        if arguments.len() == MAX_ARGUMENTS {
            return Err(Errno::E2BIG);
        }
        let argument =
            user::string(pointer, kcore::argv::MAX_BLOCK).map_err(|error| match error {
                Errno::ENAMETOOLONG => Errno::E2BIG,
                other => other,
            })?;
        total += argument.len() + 1;
        if total > kcore::argv::MAX_BLOCK {
            return Err(Errno::E2BIG);
        }
        arguments.push(argument);
        at = at.checked_add(8).ok_or(Errno::EFAULT)?;
    }
    *call.frame = program::exec(&path, &arguments)?;
    call.full_return = true;
    Ok(0)
}
