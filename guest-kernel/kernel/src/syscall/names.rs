//! Calls that take paths.

use super::{Call, CallResult};
use crate::fs;
use crate::mm::user;
use crate::proc::current;
use abi::{Errno, OpenFlags};

/// Every bit that `open` understands.
const KNOWN_FLAGS: OpenFlags = OpenFlags(
    OpenFlags::WRONLY.0
        | OpenFlags::RDWR.0
        | OpenFlags::CREATE.0
        | OpenFlags::TRUNC.0
        | OpenFlags::APPEND.0
        | OpenFlags::EXCLUSIVE.0
        | OpenFlags::NONBLOCK.0,
);

pub(super) fn open(call: &mut Call<'_>) -> CallResult {
    let path = user::path(call.argument(0))?;
    let flags = OpenFlags(call.int(1) as u32);
    if !KNOWN_FLAGS.contains(flags) {
        return Err(Errno::EINVAL);
    }
    let file = fs::open(&path, flags)?;
    // The table's guard must be gone before a file that found no place is dropped.
    let installed = current().files.lock().install(file);
    installed
        .map(|fd| fd as usize)
        .map_err(|(error, _file)| error)
}

pub(super) fn mkdir(call: &mut Call<'_>) -> CallResult {
    fs::mkdir(&user::path(call.argument(0))?).map(|()| 0)
}

pub(super) fn mknod(call: &mut Call<'_>) -> CallResult {
    let path = user::path(call.argument(0))?;
    fs::mknod(&path, call.int(1) as i16, call.int(2) as i16).map(|()| 0)
}

pub(super) fn unlink(call: &mut Call<'_>) -> CallResult {
    fs::unlink(&user::path(call.argument(0))?).map(|()| 0)
}

pub(super) fn link(call: &mut Call<'_>) -> CallResult {
    let old = user::path(call.argument(0))?;
    fs::link(&old, &user::path(call.argument(1))?).map(|()| 0)
}

pub(super) fn rename(call: &mut Call<'_>) -> CallResult {
    let old = user::path(call.argument(0))?;
    fs::rename(&old, &user::path(call.argument(1))?).map(|()| 0)
}

pub(super) fn chdir(call: &mut Call<'_>) -> CallResult {
    fs::chdir(&user::path(call.argument(0))?).map(|()| 0)
}
