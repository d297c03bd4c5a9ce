//! tracebench: what tracing costs, for `hv bench-trace`.
#![no_std]
#![no_main]
use trace_record::Class;
use ulib::abi::probe::Registers;
use ulib::hypercall::Probe;
use ulib::prelude::*;
use ulib::thread;
use ulib::time::{self, Duration, Instant};

ulib::main!(
    main,
    "tracebench -n SAMPLES | tracebench -r RECORDS\n\
     -n what a hypercall costs with its class of records off and on, in ticks of the TSC; medians\n\
     -r how many records a second reach the server when none may be lost\n\
     -n runs only if the boot setting probe= names it."
);

/// Records that may be under way: fewer than a CPU's ring holds.
const UNDER_WAY: u64 = 6000;
/// How many are made before somebody looks.
const PIECE: u64 = 500;

fn main() -> Result<()> {
    let options = env::options("n:r:")?;
    match (options.has('n'), options.has('r')) {
        (true, false) => hypercall(options.number('n', 0u64)?.max(1)),
        (false, true) => records(options.number('r', 0u64)?),
        _ => Err(Error::Usage),
    }
}

/// The cheapest call: the number of a name that nobody has. Off and on take turns.
fn hypercall(samples: u64) -> Result<()> {
    let probe = Probe::new()?;
    let name = [0u8; 8];
    let call = Registers {
        rbx: name.as_ptr() as u64,
        ..Registers::default()
    };
    let classes = sys::trace_classes()?;
    let (off, on) = (
        classes & !Class::Hypercall.bit(),
        classes | Class::Hypercall.bit(),
    );
    let mut ticks = [Vec::new(), Vec::new()];
    for _ in 0..samples {
        for (mask, ticks) in [off, on].into_iter().zip(&mut ticks) {
            sys::set_trace_classes(mask)?;
            let (_, start) = time::tsc();
            probe.execute(call)?;
            ticks.push(time::tsc().1 - start);
        }
    }
    sys::set_trace_classes(classes)?;
    let [off, on] = ticks.map(median);
    println!("a hypercall, tracing off {off:8} ticks");
    println!("a hypercall, tracing on  {on:8} ticks");
    println!(
        "tracing adds             {:8} ticks",
        on.saturating_sub(off)
    );
    Ok(())
}

fn median(mut ticks: Vec<u64>) -> u64 {
    ticks.sort_unstable();
    ticks[ticks.len() / 2]
}

/// As fast as the server acknowledges them: whoever waits loses nothing.
fn records(wanted: u64) -> Result<()> {
    // Until the server has what came before.
    sys::trace_flush()?;
    let before = sys::trace_stats()?;
    if before.connected == 0 {
        return Err(Error::from("no server takes this trace"));
    }
    let start = Instant::now();
    let mut made = 0;
    while made < wanted {
        for _ in 0..PIECE.min(wanted - made) {
            sys::trace_event(b"tracebench: one of many records")?;
            made += 1;
        }
        loop {
            let stats = sys::trace_stats()?;
            if stats.recorded.saturating_sub(stats.acknowledged) < UNDER_WAY {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    sys::trace_flush()?;
    let elapsed = start.elapsed();
    let after = sys::trace_stats()?;
    let per_second = |count: u64| count * 1000 / (elapsed.as_millis() as u64).max(1);
    println!(
        "{made} records in {} ms: {} a second, {} KiB/s; {} lost",
        elapsed.as_millis(),
        per_second(made),
        per_second(after.bytes - before.bytes) / 1024,
        after.dropped - before.dropped
    );
    Ok(())
}
