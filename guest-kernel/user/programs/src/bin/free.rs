//! free: show memory in use.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(main, "free\nShow memory, open files and processes.");

fn main() -> Result<()> {
    let info = sys::meminfo()?;
    let kib = |pages: u64| pages * 4;
    println!("memory   {:8} KiB total", kib(info.total_pages));
    println!(
        "         {:8} KiB free ({} pages)",
        kib(info.free_pages),
        info.free_pages
    );
    println!(
        "heap     {:8} KiB, {} KiB in use",
        info.heap_size / 1024,
        info.heap_used / 1024
    );
    println!("failed   {:8} allocations", info.failed_allocations);
    println!("files    {:8} open", info.open_files);
    println!("processes{:8}, on {} CPU(s)", info.processes, info.cpus);
    Ok(())
}
