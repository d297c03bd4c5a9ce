//! cat: print files.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(main, "cat [FILE...]\nPrint the files, or standard input.");

fn main() -> Result<()> {
    let files = env::operands();
    if files.is_empty() {
        io::copy(&mut io::stdin(), &mut io::stdout())?;
    }
    for file in files {
        io::copy(&mut fs::File::open(file)?, &mut io::stdout())?;
    }
    Ok(())
}
