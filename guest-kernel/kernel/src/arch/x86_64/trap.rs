//! Traps: what `entry.s` saves, and who handles it.
#![expect(
    unsafe_code,
    reason = "called by the assembly stubs; the recovery hook is a raw pointer"
)]

use crate::arch::{apic, cpu, irq, msi};
use ::x86_64::instructions::interrupts;
use ::x86_64::registers::control::Cr2;
use ::x86_64::registers::rflags::RFlags;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

/// Vector "number" of a frame that a system call pushed.
pub const SYSCALL_VECTOR: u64 = 256;

/// Page fault error code: a write.
pub const PF_WRITE: u64 = 1 << 1;
/// Page fault error code: an instruction fetch.
pub const PF_FETCH: u64 = 1 << 4;

/// Debug exception's vector.
const DEBUG: u64 = 1;

/// Page-fault vector.
pub const PAGE_FAULT: u64 = 14;

/// The interrupted registers, in the order entry.s pushes them (last first).
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () = assert!(offset_of!(TrapFrame, cs) == 18 * 8 && size_of::<TrapFrame>() == 22 * 8);

impl TrapFrame {
    /// Registers for the first instruction of a user program.
    pub fn for_user(rip: u64, rsp: u64) -> Self {
        Self {
            rip,
            rsp,
            cs: u64::from(super::gdt::USER_CODE.0),
            ss: u64::from(super::gdt::USER_DATA.0),
            rflags: RFlags::INTERRUPT_FLAG.bits() | 2,
            vector: SYSCALL_VECTOR,
            ..Self::default()
        }
    }

    /// Whether the trap came from ring 3.
    pub fn is_user(&self) -> bool {
        self.cs & 3 == 3
    }
}

/// Takes over an exception: gets the frame, which it may change, and returns whether it did.
pub type RecoveryHook = fn(&mut TrapFrame) -> bool;

/// Sets (or removes) the hook called first for every exception on this CPU, interrupts excluded. The
/// hook runs in trap context, possibly on an interrupt stack: no sleeping, no locks that the
/// interrupted code may hold. The caller keeps interrupts off, or pins itself otherwise, while set.
pub fn set_recovery(hook: Option<&'static RecoveryHook>) {
    let pointer = hook.map_or(core::ptr::null_mut(), |hook| {
        core::ptr::from_ref(hook).cast_mut()
    });
    cpu::this().recovery.store(pointer, Ordering::Relaxed);
}

fn try_recovery(frame: &mut TrapFrame) -> bool {
    let pointer = cpu::this().recovery.load(Ordering::Relaxed);
    // SAFETY: the pointer is null or was made from a `&'static RecoveryHook` in `set_recovery`.
    match unsafe { pointer.as_ref() } {
        Some(hook) => hook(frame),
        None => false,
    }
}

/// Interrupts that arrived although interrupts were off; entry.s counts and forgets them, and says why.
#[unsafe(no_mangle)]
static repeated_interrupts: AtomicU64 = AtomicU64::new(0);
/// So many of them are in the kernel's log.
static REPEATED_LOGGED: AtomicU64 = AtomicU64::new(0);

/// Puts the number of forgotten interrupts into the kernel's log when it has doubled.
fn log_repeated() {
    let seen = repeated_interrupts.load(Ordering::Relaxed);
    let logged = REPEATED_LOGGED.load(Ordering::Relaxed);
    let doubled = seen != 0 && seen >= logged * 2;
    if doubled
        && REPEATED_LOGGED
            .compare_exchange(logged, seen, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        crate::klog::note(format_args!(
            "irq: {seen} arrived while interrupts were off, ignored\n"
        ));
    }
}

/// Every trap but `syscall` comes here, interrupts off.
#[unsafe(no_mangle)]
extern "C" fn trap_handler(frame: &mut TrapFrame) {
    if frame.vector < 32 {
        if try_recovery(frame) {
            return;
        }
        if frame.is_user() {
            user_exception(frame);
        } else {
            kernel_exception(frame);
        }
    } else {
        // `entry.s` forgets those: here locks may be held that an interrupt takes.
        assert!(
            frame.rflags & RFlags::INTERRUPT_FLAG.bits() != 0,
            "interrupt {:#x} although interrupts are off",
            frame.vector
        );
        let cpu = cpu::this();
        cpu.interrupts.store(
            cpu.interrupts.load(Ordering::Relaxed) + 1,
            Ordering::Relaxed,
        );
        interrupt(frame.vector as u8);
        if !frame.is_user() {
            preempt_kernel();
        }
    }
    if frame.is_user() {
        before_user(frame);
    }
}

fn interrupt(vector: u8) {
    match vector {
        irq::FIRST_VECTOR..=irq::LAST_VECTOR => irq::dispatch(vector - irq::FIRST_VECTOR),
        msi::FIRST_VECTOR..=msi::LAST_VECTOR => msi::dispatch(vector),
        apic::TIMER_VECTOR => {
            apic::end_of_interrupt();
            crate::time::tick();
            log_repeated();
        }
        apic::WAKE_VECTOR => apic::end_of_interrupt(),
        apic::STOP_VECTOR => super::power::halt_this_cpu(),
        _ => {} // spurious: no EOI
    }
}

/// A kernel thread or a system call whose time slice ended while interrupts were on.
fn preempt_kernel() {
    let cpu = cpu::this();
    if cpu.irq_depth.load(Ordering::Relaxed) == 0
        && cpu.reschedule.load(Ordering::Relaxed)
        && cpu::current_slot().is_some()
    {
        crate::proc::sched::yield_now();
    }
}

/// Last stop before user mode: dies if killed, yields if the slice is over. Returns with interrupts off.
pub fn before_user(_frame: &TrapFrame) {
    loop {
        interrupts::enable();
        crate::proc::exit_if_killed();
        interrupts::disable();
        if !cpu::this().reschedule.load(Ordering::Relaxed) {
            return;
        }
        crate::proc::sched::yield_now();
    }
}

fn user_exception(frame: &mut TrapFrame) {
    let address = Cr2::read_raw();
    if matches!(frame.vector, 2 | 8 | 18) {
        crate::panic::from_trap(frame, address);
    }
    interrupts::enable();
    crate::proc::fault::user_exception(frame, address);
}

fn kernel_exception(frame: &mut TrapFrame) {
    // A single step that a user program had coming when it entered the kernel: not ours, and over.
    if frame.vector == DEBUG {
        frame.rflags &= !RFlags::TRAP_FLAG.bits();
        return;
    }
    crate::panic::from_trap(frame, Cr2::read_raw());
}

/// Name of an exception vector.
pub fn exception_name(vector: u64) -> &'static str {
    const NAMES: [&str; 22] = [
        "divide error",
        "debug exception",
        "non-maskable interrupt",
        "breakpoint",
        "overflow",
        "bound range exceeded",
        "invalid opcode",
        "device not available",
        "double fault",
        "coprocessor segment overrun",
        "invalid TSS",
        "segment not present",
        "stack segment fault",
        "general protection fault",
        "page fault",
        "reserved exception",
        "floating-point exception",
        "alignment check",
        "machine check",
        "SIMD floating-point exception",
        "virtualization exception",
        "control protection exception",
    ];
    NAMES
        .get(vector as usize)
        .copied()
        .unwrap_or("reserved exception")
}
