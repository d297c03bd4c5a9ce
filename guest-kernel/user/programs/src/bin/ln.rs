//! ln: give a file a second name.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(main, "ln OLD NEW\nGive a file a second name.");

fn main() -> Result<()> {
    let [old, new] = env::operands()[..] else {
        return Err(Error::Usage);
    };
    fs::hard_link(old, &fs::target_in(new, old))
}
