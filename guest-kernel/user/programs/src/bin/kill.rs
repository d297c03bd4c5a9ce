//! kill: end processes.
#![no_std]
#![no_main]
use ulib::error::Context;
use ulib::prelude::*;

ulib::main!(main, "kill PID...\nEnd processes.");

fn main() -> Result<()> {
    let pids = env::operands();
    if pids.is_empty() {
        return Err(Error::Usage);
    }
    for pid in pids {
        sys::kill(pid.parse().map_err(|_| Error::Usage)?).on(pid)?;
    }
    Ok(())
}
