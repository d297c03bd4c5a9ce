//! x86-64: boot, traps, the context switch, descriptor tables, interrupt controllers, ports, MSRs.
//!
//! The first room for unsafe code. What other modules call here is safe, or says why it is not.

pub mod apic;
pub mod backtrace;
pub mod boot;
pub mod cpu;
pub mod entry;
pub mod features;
pub mod fpu;
pub mod gdt;
pub mod hypercall;
pub mod idt;
pub mod irq;
pub mod msi;
pub mod paging;
pub mod pic;
pub mod port;
pub mod power;
pub mod probe;
pub mod smp;
pub mod switch;
pub mod trap;
