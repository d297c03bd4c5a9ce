//! ps: list processes.
#![no_std]
#![no_main]
use ulib::abi::info::{ProcessInfo, STATE_NAMES};
use ulib::prelude::*;

ulib::main!(
    main,
    "ps\nList processes; those in brackets are kernel threads."
);

fn main() -> Result<()> {
    let mut list = vec![ProcessInfo::default(); 256];
    let count = sys::ps(&mut list)?;
    println!("  pid parent state  cpu  pages   time ms name");
    for process in &list[..count] {
        let name = String::from_utf8_lossy(&process.name);
        let name = name.trim_end_matches('\0');
        let state = STATE_NAMES.get(usize::from(process.state)).unwrap_or(&"?");
        print!(
            "{:5} {:6} {state:6} {:3} {:6} {:9} ",
            process.pid,
            process.parent,
            process.cpu,
            process.pages,
            process.cpu_ns / 1_000_000
        );
        match process.kernel {
            0 => println!("{name}"),
            _ => println!("[{name}]"),
        }
    }
    Ok(())
}
