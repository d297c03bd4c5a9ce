//! dmesg: print the kernel's messages.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(main, "dmesg\nPrint the kernel's messages since boot.");

fn main() -> Result<()> {
    let mut buffer = [0; io::BUFFER_BYTES];
    let mut offset = 0;
    loop {
        let count = sys::klog(&mut buffer, offset)?;
        if count == 0 {
            return Ok(());
        }
        io::stdout().write_all(&buffer[..count])?;
        offset += count as u64;
    }
}
