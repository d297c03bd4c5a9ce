//! Kernel panic: what happened, where, then the end of the machine.

use crate::arch::trap::{TrapFrame, exception_name};
use crate::arch::{backtrace, power};
use crate::console::print_panicking;
use crate::mm::stacks;
use crate::proc;
use crate::symbols::Name;
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Number of the CPU that panics plus one; 0 for none.
static PANICKING: AtomicUsize = AtomicUsize::new(0);

/// An exception in ring 0, or one that is nobody's fault.
pub fn from_trap(frame: &TrapFrame, address: u64) -> ! {
    let overflow = frame.vector == 8 && stacks::is_guard(address);
    let what = if overflow {
        "kernel stack overflow"
    } else {
        exception_name(frame.vector)
    };
    die(
        format_args!(
            "{what}, error {:#x}, address {address:#x}\n  rip {:#x} rsp {:#x} rflags {:#x} cs {:#x}\n  \
             rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x} rsi {:#x} rdi {:#x} rbp {:#x}",
            frame.error_code,
            frame.rip,
            frame.rsp,
            frame.rflags,
            frame.cs,
            frame.rax,
            frame.rbx,
            frame.rcx,
            frame.rdx,
            frame.rsi,
            frame.rdi,
            frame.rbp
        ),
        Some((frame.rip, frame.rbp)),
    )
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => die(
            format_args!("{} ({}:{})", info.message(), place.file(), place.line()),
            None,
        ),
        None => die(format_args!("{}", info.message()), None),
    }
}

fn die(message: fmt::Arguments<'_>, start: Option<(u64, u64)>) -> ! {
    ::x86_64::instructions::interrupts::disable();
    let own = crate::arch::cpu::number() + 1;
    match PANICKING.compare_exchange(0, own, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {}
        Err(other) if other != own => power::halt_this_cpu(),
        Err(_) => {
            // A panic inside the panic: one line without anything that can fail, then the end.
            print_panicking(format_args!("\npanic inside a panic: {message}\n"));
            power::off(power::PANIC_STATUS);
        }
    }
    power::stop_others();
    print_panicking(format_args!("\npanic: {message}\n"));
    print_panicking(format_args!(
        "  cpu {}, {}\n",
        crate::arch::cpu::number(),
        proc::describe_current()
    ));
    let mut level = 0;
    backtrace::walk(start, |address| {
        let name = match start {
            Some((rip, _)) if level == 0 && address == rip => Name::Instruction(address),
            _ => Name::Return(address),
        };
        print_panicking(format_args!("  #{level} {name}\n"));
        level += 1;
    });
    print_panicking(format_args!("  last trace records of each CPU:\n"));
    crate::trace::for_last_records(|record| print_panicking(format_args!("  {record}\n")));
    print_panicking(format_args!("end of panic\n"));
    power::off(power::PANIC_STATUS)
}
