//! mkdir: make directories.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(main, "mkdir DIRECTORY...\nMake directories.");

fn main() -> Result<()> {
    let paths = env::operands();
    if paths.is_empty() {
        return Err(Error::Usage);
    }
    paths.into_iter().try_for_each(fs::create_dir)
}
