//! uptime: show the time since boot.
#![no_std]
#![no_main]
use ulib::prelude::*;
use ulib::time::Instant;

ulib::main!(
    main,
    "uptime\nShow the time since boot and the timer ticks."
);

fn main() {
    let time = Instant::now().since_boot();
    let ticks = sys::uptime();
    println!(
        "{}.{:03} s, {ticks} ticks",
        time.as_secs(),
        time.subsec_millis()
    );
}
