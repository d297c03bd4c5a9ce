//! Per-CPU state, found through GS.
//!
//! Ring 0 always runs with GS pointing to this CPU's `PerCpu`; entry.s swaps it with the user's at
//! the border. Fields are atomics because interrupt handlers share them, not because CPUs do: each
//! CPU writes its own, unless a field says otherwise.
#![expect(unsafe_code, reason = "GS points to per-CPU state")]

use crate::arch::switch::Context;
use crate::arch::trap::RecoveryHook;
use ::x86_64::VirtAddr;
use ::x86_64::instructions::interrupts;
use ::x86_64::registers::model_specific::{GsBase, KernelGsBase};
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Most CPUs this kernel runs on.
pub const MAX_CPUS: usize = 8;

/// `PerCpu::current` when no process runs.
const NO_PROCESS: usize = usize::MAX;

/// What each CPU has of its own. The first three fields are known to entry.s.
#[repr(C)]
pub struct PerCpu {
    /// Address of this structure, so that one load from GS finds it.
    own_address: AtomicU64,
    /// The user's stack pointer while `syscall` enters.
    user_rsp: AtomicU64,
    /// Top of the current process's kernel stack.
    kernel_rsp: AtomicU64,
    /// Number of this CPU, 0 for the one that booted.
    pub number: AtomicUsize,
    /// Local APIC id.
    pub apic_id: AtomicU32,
    /// Its start code has run. Read by the CPU that started it.
    pub started: AtomicBool,
    /// Whether it takes part in scheduling. Read by other CPUs.
    pub online: AtomicBool,
    /// Depth of `IrqGuard`s.
    pub irq_depth: AtomicU32,
    /// Whether interrupts were on before the outermost guard.
    pub irq_were_on: AtomicBool,
    /// Its process id, for those who must not take its lock.
    pub pid: AtomicU32,
    /// Slot of the running process, or `NO_PROCESS`.
    current: AtomicUsize,
    /// The scheduler, while a process runs.
    pub scheduler: Context,
    /// The time slice is over.
    pub reschedule: AtomicBool,
    /// Waiting in `hlt` for work. Read by other CPUs.
    pub idle: AtomicBool,
    /// Id of the process that ran before.
    pub previous_pid: AtomicU32,
    /// Interrupts taken.
    pub interrupts: AtomicU64,
    /// Called first for every exception while set: see `trap::set_recovery`.
    pub recovery: AtomicPtr<RecoveryHook>,
    /// Page-table root loaded now.
    pub root: AtomicU64,
}

const _: () = assert!(offset_of!(PerCpu, user_rsp) == 8 && offset_of!(PerCpu, kernel_rsp) == 16);

static CPUS: [PerCpu; MAX_CPUS] = [const {
    PerCpu {
        own_address: AtomicU64::new(0),
        user_rsp: AtomicU64::new(0),
        kernel_rsp: AtomicU64::new(0),
        number: AtomicUsize::new(0),
        apic_id: AtomicU32::new(0),
        started: AtomicBool::new(false),
        online: AtomicBool::new(false),
        irq_depth: AtomicU32::new(0),
        irq_were_on: AtomicBool::new(false),
        pid: AtomicU32::new(0),
        current: AtomicUsize::new(NO_PROCESS),
        scheduler: Context::empty(),
        reschedule: AtomicBool::new(false),
        idle: AtomicBool::new(false),
        previous_pid: AtomicU32::new(0),
        interrupts: AtomicU64::new(0),
        recovery: AtomicPtr::new(core::ptr::null_mut()),
        root: AtomicU64::new(0),
    }
}; MAX_CPUS];

/// Makes GS of the calling CPU point to the state with this number.
pub fn init(number: usize) {
    let cpu = &CPUS[number];
    let address = core::ptr::from_ref(cpu) as u64;
    cpu.own_address.store(address, Ordering::Relaxed);
    cpu.number.store(number, Ordering::Relaxed);
    GsBase::write(VirtAddr::new(address));
    KernelGsBase::write(VirtAddr::new(0));
}

/// All CPUs, online or not.
pub fn all() -> &'static [PerCpu] {
    &CPUS
}

/// Number of CPUs that run.
pub fn online_count() -> usize {
    CPUS.iter()
        .filter(|cpu| cpu.online.load(Ordering::Relaxed))
        .count()
}

/// This CPU's state. The caller must have interrupts off, or may be moved to another CPU meanwhile.
pub fn this() -> &'static PerCpu {
    let address: u64;
    // SAFETY: 1. `init` ran before anything that can call this (first line of boot and of each AP).
    // 2. GS:0 holds the address of a static. 3. The load has no side effects.
    unsafe {
        core::arch::asm!("mov {}, gs:[0]", out(reg) address, options(nostack, readonly, preserves_flags));
        &*(address as *const PerCpu)
    }
}

/// Number of this CPU at the moment of the call.
pub fn number() -> usize {
    this().number.load(Ordering::Relaxed)
}

/// Slot of the process that runs here. Stable for the process itself: it moves along.
pub fn current_slot() -> Option<usize> {
    let slot: usize;
    // SAFETY: as in `this`. One load, so that being moved to another CPU cannot come in between.
    unsafe {
        core::arch::asm!("mov {slot}, gs:[{offset}]", slot = out(reg) slot,
            offset = const offset_of!(PerCpu, current),
            options(nostack, readonly, preserves_flags));
    }
    (slot != NO_PROCESS).then_some(slot)
}

/// Notes the process that runs here; interrupts are off.
pub fn set_current(slot: Option<usize>, pid: u32) {
    let cpu = this();
    cpu.current
        .store(slot.unwrap_or(NO_PROCESS), Ordering::Relaxed);
    cpu.pid.store(pid, Ordering::Relaxed);
}

/// Sets the stack on which traps and system calls from user mode start; interrupts are off.
pub fn set_kernel_stack(top: u64) {
    let cpu = this();
    cpu.kernel_rsp.store(top, Ordering::Relaxed);
    super::gdt::set_kernel_stack(cpu.number.load(Ordering::Relaxed), top);
}

/// The stack on which traps from user mode start now.
pub fn kernel_stack() -> u64 {
    this().kernel_rsp.load(Ordering::Relaxed)
}

/// Interrupts are off on this CPU while one of these lives; they nest.
#[must_use = "interrupts come back when the guard is dropped"]
pub struct IrqGuard {
    /// Not `Send`: it belongs to the CPU it was made on.
    _not_send: core::marker::PhantomData<*const ()>,
}

impl IrqGuard {
    /// Turns interrupts off.
    pub fn new() -> Self {
        let were_on = interrupts::are_enabled();
        interrupts::disable();
        let cpu = this();
        if cpu.irq_depth.load(Ordering::Relaxed) == 0 {
            cpu.irq_were_on.store(were_on, Ordering::Relaxed);
        }
        cpu.irq_depth
            .store(cpu.irq_depth.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Self {
            _not_send: core::marker::PhantomData,
        }
    }

    /// The guard of a level that was entered before and whose guard was forgotten.
    pub(crate) fn adopt() -> Self {
        debug_assert!(
            this().irq_depth.load(Ordering::Relaxed) > 0,
            "no forgotten guard here"
        );
        Self {
            _not_send: core::marker::PhantomData,
        }
    }
}

impl Drop for IrqGuard {
    fn drop(&mut self) {
        let cpu = this();
        let depth = cpu.irq_depth.load(Ordering::Relaxed) - 1;
        cpu.irq_depth.store(depth, Ordering::Relaxed);
        if depth == 0 && cpu.irq_were_on.load(Ordering::Relaxed) {
            interrupts::enable();
        }
    }
}

/// The time stamp counter.
pub fn read_tsc() -> u64 {
    // SAFETY: every 64-bit CPU has it, and ring 0 may always read it.
    unsafe { core::arch::x86_64::_rdtsc() }
}
