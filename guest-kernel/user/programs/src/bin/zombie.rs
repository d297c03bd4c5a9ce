//! zombie: leave a zombie for init.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "zombie\nLeave a child that outlives its parent for a moment, so that init must reap it."
);

fn main() -> Result<()> {
    process::fork(|| 0)?;
    ulib::thread::sleep(core::time::Duration::from_millis(500));
    Ok(())
}
