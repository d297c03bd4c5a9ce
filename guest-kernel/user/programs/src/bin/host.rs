//! host: look a name up.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(main, "host NAME...\nPrint the addresses of hosts.");

fn main() -> Result<()> {
    let names = env::operands();
    if names.is_empty() {
        return Err(Error::Usage);
    }
    for name in names {
        for address in ulib::net::resolve(name)? {
            println!("{name} {address}");
        }
    }
    Ok(())
}
