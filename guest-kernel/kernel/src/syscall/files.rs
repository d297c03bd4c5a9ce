//! Calls on descriptors. User buffers are copied through kernel buffers, so that a file sees plain slices.

use super::{Call, CallResult};
use crate::file::{self, File};
use crate::mm::raw::bytes_of;
use crate::mm::user;
use crate::proc::current;
use abi::{DirEntry, Errno};

/// Largest piece copied at once.
const CHUNK: usize = 64 * 1024;
/// Entries copied at once by `readdir`.
const ENTRIES: usize = 16;

/// The file behind the descriptor in an argument.
pub(super) fn file(call: &Call<'_>, index: usize) -> Result<File, Errno> {
    current().files.lock().get(call.int(index))
}

/// A descriptor for a file.
pub(super) fn install(file: File) -> Result<i32, Errno> {
    let installed = current().files.lock().install(file);
    installed.map_err(|(error, _file)| error)
}

pub(super) fn read(call: &mut Call<'_>) -> CallResult {
    let file = file(call, 0)?;
    let (address, len) = (call.argument(1), call.length(2)?);
    user::check_writable(address, len)?;
    let mut bytes = user::buffer(len.min(CHUNK))?;
    let mut done = 0;
    loop {
        let piece = (len - done).min(CHUNK);
        // Only the first piece may wait: what has arrived is returned.
        let got = match file.read(&mut bytes[..piece], done > 0) {
            Ok(got) => got,
            Err(_) if done > 0 => return Ok(done),
            Err(error) => return Err(error),
        };
        user::copy_out(address + done as u64, &bytes[..got])?;
        done += got;
        if got < piece || done == len {
            return Ok(done);
        }
    }
}

pub(super) fn write(call: &mut Call<'_>) -> CallResult {
    let file = file(call, 0)?;
    let (address, len) = (call.argument(1), call.length(2)?);
    user::check_readable(address, len)?;
    let mut bytes = user::buffer(len.min(CHUNK))?;
    let mut done = 0;
    loop {
        let piece = (len - done).min(CHUNK);
        user::copy_in(address + done as u64, &mut bytes[..piece])?;
        let put = match file.write(&bytes[..piece], false) {
            Ok(put) => put,
            Err(_) if done > 0 => return Ok(done),
            Err(error) => return Err(error),
        };
        done += put;
        if put < piece || done == len {
            return Ok(done);
        }
    }
}

pub(super) fn close(call: &mut Call<'_>) -> CallResult {
    let file = current().files.lock().remove(call.int(0))?;
    file.close()?; // may sleep, so not under the table's lock; the descriptor is gone in any case
    Ok(0)
}

pub(super) fn dup(call: &mut Call<'_>) -> CallResult {
    install(file(call, 0)?).map(|fd| fd as usize)
}

pub(super) fn pipe(call: &mut Call<'_>) -> CallResult {
    let address = call.argument(0);
    user::check_writable(address, 8)?;
    let (reader, writer) = file::pipe::new()?;
    let read_fd = install(reader)?;
    let write_fd = match install(writer) {
        Ok(fd) => fd,
        Err(error) => {
            let reader = current().files.lock().remove(read_fd);
            drop(reader);
            return Err(error);
        }
    };
    user::write(address, &read_fd)?;
    user::write(address + 4, &write_fd)?;
    Ok(0)
}

pub(super) fn fstat(call: &mut Call<'_>) -> CallResult {
    let stat = file(call, 0)?.stat()?;
    user::write(call.argument(1), &stat).map(|()| 0)
}

pub(super) fn seek(call: &mut Call<'_>) -> CallResult {
    file(call, 0)?
        .seek(call.argument(1) as i64)
        .map(|offset| offset as usize)
}

pub(super) fn ftruncate(call: &mut Call<'_>) -> CallResult {
    let length = u64::try_from(call.argument(1) as i64).map_err(|_| Errno::EINVAL)?;
    file(call, 0)?.ftruncate(length).map(|()| 0)
}

pub(super) fn fsync(call: &mut Call<'_>) -> CallResult {
    file(call, 0)?.fsync().map(|()| 0)
}

pub(super) fn ttymode(call: &mut Call<'_>) -> CallResult {
    file(call, 0)?.set_tty_mode(call.int(1)).map(|()| 0)
}

pub(super) fn readdir(call: &mut Call<'_>) -> CallResult {
    let file = file(call, 0)?;
    let (address, count) = (call.argument(1), call.length(2)?);
    user::check_writable(
        address,
        count
            .checked_mul(size_of::<DirEntry>())
            .ok_or(Errno::EFAULT)?,
    )?;
    let mut done = 0;
    let mut entries = alloc::vec![DirEntry::new(0, 0, 0, b""); ENTRIES.min(count)];
    while done < count {
        let piece = (count - done).min(ENTRIES);
        let got = file.readdir(&mut entries[..piece])?;
        for (index, entry) in entries[..got].iter().enumerate() {
            user::copy_out(
                address + ((done + index) * size_of::<DirEntry>()) as u64,
                bytes_of(entry),
            )?;
        }
        done += got;
        if got < piece {
            break;
        }
    }
    Ok(done)
}
