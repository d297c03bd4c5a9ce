//! trace: switch the classes of the trace.
#![no_std]
#![no_main]
use trace_record::Class;
use ulib::prelude::*;

ulib::main!(
    main,
    "trace [+CLASS | -CLASS | all | none]... | trace -s | trace -f | trace -e TEXT\n\
     Switch classes of trace records on (+) or off (-) and show which are on.\n\
     -s counters  -f wait until the server has everything  -e record an event"
);

fn main() -> Result<()> {
    let operands = env::operands();
    match operands[..] {
        ["-s"] => return counters(),
        ["-f"] => return Ok(sys::trace_flush()?),
        ["-e", text] => return Ok(sys::trace_event(text.as_bytes())?),
        _ => {}
    }
    let mut mask = sys::trace_classes()?;
    for word in &operands {
        mask = match (*word, word.split_at_checked(1)) {
            ("all", _) => Class::ALL.iter().fold(0, |mask, class| mask | class.bit()),
            ("none", _) => 0,
            (_, Some(("+", name))) => mask | bit(name)?,
            (_, Some(("-", name))) => mask & !bit(name)?,
            _ => return Err(Error::Usage),
        };
    }
    if !operands.is_empty() {
        sys::set_trace_classes(mask)?;
    }
    for class in Class::ALL {
        let on = mask & class.bit() != 0;
        println!(
            "{} {:10} {}",
            if on { '+' } else { '-' },
            class.name(),
            class.help()
        );
    }
    Ok(())
}

fn bit(name: &str) -> Result<u64> {
    let class = Class::from_name(name);
    class
        .map(Class::bit)
        .ok_or_else(|| Error::Message(format!("no class {name}")))
}

fn counters() -> Result<()> {
    let stats = sys::trace_stats()?;
    println!("{:10} records", stats.recorded);
    println!("{:10} dropped", stats.dropped);
    println!(
        "{:10} acknowledged, {} bytes",
        stats.acknowledged, stats.bytes
    );
    println!(
        "{:10} packets of the trace's own connection",
        stats.transport_packets
    );
    println!(
        "server     {}",
        if stats.connected == 1 {
            "connected"
        } else {
            "none"
        }
    );
    Ok(())
}
