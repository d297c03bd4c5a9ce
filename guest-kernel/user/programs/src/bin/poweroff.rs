//! poweroff: switch the machine off.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "poweroff [STATUS]\nSwitch the machine off. QEMU then ends with status 2 * STATUS + 1."
);

fn main() -> Result<()> {
    let status = match env::operands()[..] {
        [] => 0,
        [text] => text.parse().map_err(|_| Error::Usage)?,
        _ => return Err(Error::Usage),
    };
    Ok(sys::poweroff(status)?)
}
