//! Starting the other CPUs (Intel MultiProcessor Specification 1.4, appendix B.4).
//!
//! No TLB shootdown is needed, by design: an address space belongs to one process of one thread, whose
//! CPU loads another root when it leaves; and the kernel's own mappings are made but never changed.
#![expect(unsafe_code, reason = "the start code of other CPUs")]

use crate::arch::cpu::{self, MAX_CPUS};
use crate::arch::{apic, entry, features, gdt, idt, paging};
use crate::drivers::acpi;
use crate::mm::stacks::KernelStack;
use crate::mm::{kernel_space, raw};
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
/// How long a CPU may take to come up.
const PATIENCE: Duration = Duration::from_millis(200);

/// What `trampoline.s` expects behind `trampoline_parameters`.
#[repr(C)]
struct Parameters {
    root: u64,
    stack: u64,
    number: u64,
}

fn code() -> &'static [u8] {
    let start = &raw const trampoline_start;
    let len = &raw const trampoline_end as usize - start as usize;
    // SAFETY: the symbols delimit bytes of .rodata.
    unsafe { core::slice::from_raw_parts(start, len) }
}

fn parameters_offset() -> u64 {
    &raw const trampoline_parameters as u64 - &raw const trampoline_start as u64
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
    let mut number = 1;
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
    let parameters = Parameters {
        root: root.address().as_u64(),
        stack: KernelStack::of_cpu(number).top(),
        number: number as u64,
    };
    raw::write_low(TRAMPOLINE, code());
    for (index, value) in [parameters.root, parameters.stack, parameters.number]
        .into_iter()
        .enumerate()
    {
        let at = TRAMPOLINE + parameters_offset() + 8 * index as u64;
        raw::write_low(at, &value.to_le_bytes());
    }
    let target = &cpu::all()[number];
    target.apic_id.store(apic_id, Ordering::Relaxed);
    apic::send_init(apic_id);
    wait(Duration::from_millis(10));
    for _ in 0..2 {
        apic::send_startup(apic_id, (TRAMPOLINE >> 12) as u8);
        let end = time::now() + PATIENCE;
        while time::now() < end {
            if target.started.load(Ordering::SeqCst) {
                kernel_space::free_root_with_low_memory(root);
                return true;
            }
            core::hint::spin_loop();
        }
    }
    // The root stays: the CPU might still come up, and then it must not run on freed tables.
    false
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
    entry::init_syscall();
    cpu::this().started.store(true, Ordering::SeqCst);
    crate::proc::sched::run()
}
