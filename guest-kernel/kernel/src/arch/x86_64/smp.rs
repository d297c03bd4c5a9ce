//! Starting the other CPUs (Intel MultiProcessor Specification 1.4, appendix B.4).
//!
//! No TLB shootdown is needed, by design: an address space belongs to one process of one thread, whose
//! CPU loads another root when it leaves; and the kernel's own mappings are made but never changed.
#![expect(unsafe_code, reason = "the start code of other CPUs")]

use crate::arch::cpu::{self, MAX_CPUS};
use crate::arch::{apic, entry, features, gdt, idt, paging};
use crate::drivers::acpi;
use crate::mm::stacks::KernelStack;
use crate::mm::{kernel_space, layout, memory_map, raw};
use crate::time;
use core::sync::atomic::Ordering;
use core::time::Duration;

core::arch::global_asm!(include_str!("trampoline.s"), options(att_syntax));

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_parameters: u8;
    static trampoline_end: u8;
}

/// Physical address of the start code: conventional memory that no BIOS table occupies.
const TRAMPOLINE: u64 = 0x8000;
/// How long a CPU may take to execute its first instruction after each of the two start-up messages.
const PATIENCE: Duration = Duration::from_secs(1);

/// Offsets behind `trampoline_parameters`: page-table root, stack pointer, CPU number, and the claim.
///
/// The claim is 1 while a place is offered. A CPU that comes up takes it with one exchange, or finds it taken and
/// halts; we take it back the same way when nobody came. So a CPU that comes late, while the next one is being
/// started, gets a place of its own or none, and never one that another CPU has.
const ROOT: u64 = 0;
const STACK: u64 = 8;
const NUMBER: u64 = 16;
const CLAIM: u64 = 24;
const OFFERED: u32 = 1;
const TAKEN: u32 = 0;

fn code() -> &'static [u8] {
    let start = &raw const trampoline_start;
    let len = &raw const trampoline_end as usize - start as usize;
    // SAFETY: the symbols delimit bytes of .rodata.
    unsafe { core::slice::from_raw_parts(start, len) }
}

/// Physical address of a parameter.
fn parameter(offset: u64) -> u64 {
    TRAMPOLINE + &raw const trampoline_parameters as u64 - &raw const trampoline_start as u64
        + offset
}

fn wait(duration: Duration) {
    let end = time::now() + duration;
    while time::now() < end {
        core::hint::spin_loop();
    }
}

/// Starts every CPU that ACPI lists, up to `limit` in all; returns how many run.
pub fn start_all(limit: usize) -> usize {
    let own = apic::id();
    cpu::this().apic_id.store(own, Ordering::Relaxed);
    let others = acpi::enabled_cpus().into_iter().filter(|&id| id != own);
    raw::write_low(TRAMPOLINE, code());
    let mut number = 1;
    // GRUB on UEFI may have put a module there.
    let trampoline = TRAMPOLINE..TRAMPOLINE + layout::PAGE_SIZE;
    let modules = memory_map::modules();
    if modules
        .iter()
        .any(|module| module.start < trampoline.end && trampoline.start < module.end)
    {
        crate::println!("smp: a module lies where other CPUs start, so they do not");
        return number;
    }
    for apic_id in others {
        if number == limit.min(MAX_CPUS) {
            break;
        }
        if start(number, apic_id) {
            number += 1;
        } else {
            crate::println!("smp: the CPU with APIC id {apic_id} did not start");
        }
    }
    number
}

fn start(number: usize, apic_id: u32) -> bool {
    let Some(root) = kernel_space::root_with_low_memory() else {
        return false;
    };
    let values = [
        (ROOT, root.address().as_u64()),
        (STACK, KernelStack::of_cpu(number).top()),
        (NUMBER, number as u64),
    ];
    for (offset, value) in values {
        raw::write_low(parameter(offset), &value.to_le_bytes());
    }
    raw::exchange_low(parameter(CLAIM), OFFERED);
    apic::send_init(apic_id);
    wait(Duration::from_millis(10));
    let started = &cpu::all()[number].started;
    for _ in 0..2 {
        if started.load(Ordering::SeqCst) {
            break;
        }
        apic::send_startup(apic_id, (TRAMPOLINE >> 12) as u8);
        let end = time::now() + PATIENCE;
        while !started.load(Ordering::SeqCst) && time::now() < end {
            core::hint::spin_loop();
        }
    }
    let somebody_came = raw::exchange_low(parameter(CLAIM), TAKEN) == TAKEN;
    // It runs our code: however slow it is, it arrives.
    while somebody_came && !started.load(Ordering::SeqCst) {
        core::hint::spin_loop();
    }
    kernel_space::free_root_with_low_memory(root);
    somebody_came
}

/// First Rust code of another CPU.
#[unsafe(no_mangle)]
extern "C" fn secondary_main(number: usize) -> ! {
    cpu::init(number);
    gdt::init(number);
    idt::init();
    features::init_cpu();
    paging::load_root(kernel_space::root());
    apic::init_cpu(false);
    cpu::this().apic_id.store(apic::id(), Ordering::Relaxed);
    entry::init_syscall();
    cpu::this().started.store(true, Ordering::SeqCst);
    crate::proc::sched::run()
}
