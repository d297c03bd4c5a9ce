//! reboot: reset the machine.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(main, "reboot\nReset the machine.");

/// What `poweroff` takes for a reset.
const RESET: i32 = -1;

fn main() -> Result<()> {
    Ok(sys::poweroff(RESET)?)
}
