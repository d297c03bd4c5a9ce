//! echo: print the arguments.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "echo [WORD...]\nPrint the words, separated by blanks."
);

fn main() {
    println!("{}", env::operands().join(" "));
}
