//! forktest: fork until it fails.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "forktest\nFork until the kernel refuses, then wait for every child. A small program, so that\n\
     processes run out before memory does."
);

/// More than there can be processes.
const LIMIT: usize = 1000;

fn main() -> Result<()> {
    let mut children = 0;
    while children < LIMIT && process::fork(|| 0).is_ok() {
        children += 1;
    }
    if children == LIMIT {
        return Err(Error::from("fork never failed"));
    }
    for _ in 0..children {
        sys::wait()?;
    }
    match sys::wait() {
        Err(Errno::ECHILD) => println!("forktest: {children} children, OK"),
        _ => return Err(Error::from("wait found one child too many")),
    }
    Ok(())
}
