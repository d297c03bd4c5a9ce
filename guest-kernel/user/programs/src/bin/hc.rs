//! hc: one hypercall from the command line.
#![no_std]
#![no_main]
use ulib::abi::probe::Registers;
use ulib::hypercall::{Probe, StatusError, Vmm, lookup};
use ulib::prelude::*;

ulib::main!(
    main,
    "hc NAME|NUMBER [RBX [RCX]] | hc -l | hc -s\n\
     Make one hypercall, by name or number; RBX and RCX are numbers or, with s: before it, a text.\n\
     Print the registers after it. -l list the known names  -s print get_status\n\
     Runs only if the boot setting probe= names it."
);

/// Room for the text of get_status.
const STATUS_BYTES: usize = 8192;

fn main() -> Result<()> {
    let options = env::options("ls")?;
    let probe = Probe::new()?;
    if options.has('l') {
        let mut vmm = Vmm::new(probe);
        for name in [
            "boot",
            "loadcfg",
            "loadcfg64",
            "dbgsh",
            "log_set_buf",
            "get_status",
            "iccard",
        ] {
            match lookup(&mut vmm, name) {
                Ok(number) => println!("{:4} {name}", number.get()),
                Err(_) => println!("   - {name}"),
            }
        }
        return Ok(());
    }
    if options.has('s') {
        return status(Vmm::new(probe));
    }
    let (call, arguments) = options.operands.split_first().ok_or(Error::Usage)?;
    let rax = match number(call) {
        Some(number) => number,
        None => lookup(&mut Vmm::new(Probe::new()?), call)?.get(),
    };
    let mut texts = Vec::new();
    let mut values = [0; 2];
    if arguments.len() > values.len() {
        return Err(Error::Usage);
    }
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = match argument.strip_prefix("s:") {
            Some(text) => {
                texts.push(format!("{text}\0"));
                texts.last().map_or(0, |text| text.as_ptr() as u64)
            }
            None => number(argument).ok_or(Error::Usage)?,
        };
    }
    let [rbx, rcx] = values;
    let after = probe.execute(Registers {
        rax,
        rbx,
        rcx,
        ..Registers::default()
    })?;
    println!(
        "rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x}",
        after.rax, after.rbx, after.rcx, after.rdx
    );
    Ok(())
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text
            .parse()
            .ok()
            .or_else(|| text.parse::<i64>().ok().map(|value| value as u64)),
    }
}

fn status(mut vmm: Vmm<Probe>) -> Result<()> {
    let call = lookup(&mut vmm, "get_status")?;
    let mut text = vec![1; STATUS_BYTES];
    match vmm.get_status(call, &mut text) {
        Ok(len) => io::stdout().write_all(&text[..len]),
        Err(StatusError::Disabled) => Err(Error::from("the hypervisor's status is switched off")),
        Err(StatusError::TooShort { needed }) => {
            Err(Error::Message(format!("the text has {needed} bytes")))
        }
        Err(StatusError::Undefined) => Err(Error::from("no answer")),
    }
}
