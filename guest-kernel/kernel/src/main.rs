//! The guest kernel: xv6's structure in Rust, for x86-64, as guest of a hypervisor or without one.
//!
//! Boot is the list in [`main`]. From there: a trap's way is `arch/x86_64/{entry.s,trap.rs}`; a system
//! call's `syscall`; a process's life `proc`; its memory `mm`; files `file` and `fs`.
#![no_std]
#![no_main]

extern crate alloc;

mod arch;
mod console;
mod drivers;
mod file;
mod fs;
mod klog;
mod mm;
mod net;
mod panic;
mod probe;
mod proc;
mod remote;
mod settings;
mod symbols;
mod sync;
mod syscall;
mod time;
mod trace;

use mm::memory_map::BootInfo;

/// Boot, on the CPU that the loader started.
fn main(left: BootInfo) -> ! {
    arch::cpu::init(0); // per-CPU state, which every lock needs
    console::init(); // from here on there are messages
    println!("HvLab kernel {}", env!("CARGO_PKG_VERSION"));
    mm::memory_map::init(left); // what the loader said
    arch::gdt::init(0); // segments and interrupt stacks
    arch::idt::init(); // faults are reported from here on
    mm::frames::init(); // physical pages
    mm::raw::init_heap(); // Box, Vec, Arc
    settings::init(); // fw_cfg or command line
    let protections = arch::features::init_cpu(); // SMEP, SMAP, UMIP, SSE for users
    mm::kernel_space::init(); // final page tables, W^X
    mm::stacks::init(); // a kernel stack for each process
    arch::pic::init(); // interrupt lines, all masked
    arch::apic::init(); // timer and messages between CPUs
    time::init(); // clocks
    arch::entry::init_syscall(); // user programs may call
    console::init_input(); // keys
    fs::init(); // root file system from the boot module
    report(protections);
    net::init(); // network card and stack
    remote::init(); // sessions with file servers
    trace::init(arch::cpu::MAX_CPUS); // a ring for each CPU
    probe::init(); // which hypervisor answers
    trace::start(); // to the server, if there is one
    start_cpus(); // the others
    mm::commit::seal(); // what is free now belongs to user programs
    proc::init::start(); // the first process
    proc::sched::run()
}

/// Somebody started us who speaks neither Multiboot2 nor PVH: say so and stop.
fn main_without_loader() -> ! {
    arch::cpu::init(0);
    console::init();
    println!(
        "panic: this kernel wants a loader that speaks Multiboot2 (GRUB) or PVH (QEMU's -kernel)"
    );
    arch::power::off(arch::power::PANIC_STATUS)
}

/// Starts the other CPUs, at most as many as the setting `cpus=` says.
fn start_cpus() {
    let limit = settings::value("cpus").and_then(|text| text.parse().ok());
    let count = arch::smp::start_all(limit.unwrap_or(arch::cpu::MAX_CPUS));
    println!("cpus: {count}");
}

fn report(protections: arch::features::Protections) {
    let mib = |pages: usize| pages * mm::layout::PAGE_SIZE as usize / (1 << 20);
    println!(
        "memory: {} MiB free of {} MiB, heap {} MiB; tsc {} MHz; smep {} smap {} umip {}",
        mib(mm::frames::free_count()),
        mib(mm::frames::total_count()),
        mm::raw::heap_size() / (1 << 20),
        time::tsc_hz() / 1_000_000,
        protections.smep,
        protections.smap,
        protections.umip
    );
}
