//! Runs a caller's code with a given register file, in ring 0 or ring 3, and survives its faults.
//!
//! Every CPU has an area: a page for the code (a copy of `probe_blob` in probe.s with the caller's code
//! in it, executable and read-only), a page for data, a stack. The copy loads the registers, runs the
//! code, saves the registers and reads the TSC on both sides. A fault is taken over by the recovery
//! hook, which sends the CPU back to `probe_resume`.
//!
//! The code may do anything that ring 0 may, so nothing here is memory-safe by itself: the setting
//! `probe=` names the programs that are trusted with that, and `probe::syscall` checks it.
#![expect(unsafe_code, reason = "runs a caller's machine code")]

use crate::arch::cpu::{self, IrqGuard, MAX_CPUS};
use crate::arch::gdt;
use crate::arch::trap::{self, RecoveryHook, TrapFrame};
use crate::mm::layout::PAGE_SIZE;
use crate::mm::{Frame, frames, kernel_space, raw};
use crate::sync::SpinLock;
use ::x86_64::registers::control::Cr2;
use ::x86_64::structures::paging::PageTableFlags as Flags;
use abi::probe::{CODE_MAX, Registers};
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};

core::arch::global_asm!(
    include_str!("probe.s"),
    user_data = const gdt::USER_DATA.0,
    user_code = const gdt::USER_CODE.0,
);

unsafe extern "sysv64" {
    fn probe_enter(
        entry: u64,
        stack: u64,
        saved_rsp: *mut u64,
        ring3: u64,
        flags: u64,
        data_rsp: *mut u64,
    );
    fn probe_resume();
    static probe_blob: u8;
    static probe_exit: u8;
    static probe_finished: u8;
    static probe_before: u8;
    static probe_code: u8;
    static probe_blob_end: u8;
}

/// Fields of the data page that only assembly and this file know.
const REQUESTED: usize = 136;
const INNER: usize = 272;
const RELOAD: usize = 280;
const START: usize = 288;
const END: usize = 296;
const EXECUTIONS: usize = 304;
const STACK_TOP: usize = 312;
const KERNEL_RSP: usize = 320;
const RETURN: usize = 328;
const RING3: usize = 336;
const SS_SELECTOR: usize = 344;

const _: () = {
    assert!(size_of::<Registers>() == REQUESTED);
    assert!(offset_of!(Registers, rsp) == 56 && offset_of!(Registers, r8) == 64);
    assert!(offset_of!(Registers, rflags) == 128);
};

const STACK_PAGES: usize = 4;
const PAGES: usize = 2 + STACK_PAGES;
/// RFLAGS that a caller may set: CF PF AF ZF SF DF OF AC.
const CALLER_FLAGS: u64 = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x400 | 0x800 | 0x4_0000;
const TRAP_FLAG: u64 = 0x100;
const INTERRUPT_FLAG: u64 = 0x200;

/// What stands right before the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shadow {
    /// A NOP.
    None,
    /// STI, which holds interrupts back for one more instruction (AMD APM vol. 2, 15.21.5).
    Sti,
    /// MOV to SS, which holds interrupts and debug exceptions back.
    MovSs,
}

/// How to run it.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Registers at the start.
    pub registers: &'a Registers,
    /// The code.
    pub code: &'a [u8],
    /// Executions between the two TSC reads.
    pub inner: u32,
    /// Load the registers anew for each execution.
    pub reload: bool,
    /// Leave interrupts on.
    pub interrupts: bool,
    /// Set TF.
    pub single_step: bool,
    /// Instruction before the code.
    pub shadow: Shadow,
    /// Run in ring 3, with the area's pages mapped at this user address.
    pub ring3: Option<u64>,
}

/// An exception that ended the code.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Vector.
    pub vector: u32,
    /// Error code.
    pub error_code: u64,
    /// CR2 if it is a page fault, else 0.
    pub cr2: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Registers at the end.
    pub registers: Registers,
    /// The exception, if one ended it.
    pub fault: Option<Fault>,
    /// RIP at the end minus the start of the code.
    pub rip_offset: i64,
    /// TSC ticks between start and end, if it came to the end.
    pub ticks: Option<u64>,
    /// Executions that finished.
    pub executions: u64,
    /// Debug exceptions counted while single-stepping.
    pub debug_exceptions: u32,
    /// RIP offset of the first of them.
    pub first_debug_offset: i64,
    /// Interrupts meanwhile.
    pub interrupts: u64,
}

struct Area {
    frames: [Frame; PAGES],
    base: u64,
    user_stack: Frame,
    run: Option<Running>,
}

#[derive(Clone, Copy)]
struct Running {
    code_base: u64,
    code_len: i64,
    ring3: bool,
    single_step: bool,
    debug_exceptions: u32,
    first_debug_offset: i64,
    end: Option<(TrapFrame, u64)>,
}

static AREAS: [SpinLock<Option<Area>>; MAX_CPUS] =
    [const { SpinLock::new("probe area", None) }; MAX_CPUS];
/// The kernel's stack pointer while a probe runs; out of the reach of ring 3.
static SAVED_RSP: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static HOOK: RecoveryHook = take_over;

fn blob_offset(symbol: &'static u8) -> usize {
    core::ptr::from_ref(symbol) as usize - (&raw const probe_blob) as usize
}

fn code_offset() -> usize {
    // SAFETY: only the symbol's address is used.
    blob_offset(unsafe { &probe_code })
}

/// Makes the area of this CPU if there is none. False if memory is short.
fn prepare_area(number: usize) -> bool {
    if AREAS[number].lock().is_some() {
        return true;
    }
    let make = || {
        let mut taken = [None; PAGES + 1];
        for slot in &mut taken {
            *slot = frames::alloc();
        }
        if taken.iter().any(Option::is_none) {
            taken.into_iter().flatten().for_each(frames::free);
            return None;
        }
        let all = taken.map(|frame| frame.expect("checked above"));
        let user_stack = all[PAGES];
        let mut frames = [all[0]; PAGES];
        frames.copy_from_slice(&all[..PAGES]);
        let text = Flags::PRESENT | Flags::GLOBAL;
        let mut pages = [(all[0], kernel_space::DATA); PAGES];
        for (page, frame) in pages.iter_mut().zip(frames) {
            page.0 = frame;
        }
        pages[0].1 = text;
        let base = kernel_space::map_frames(&pages)?;
        Some(Area {
            frames,
            base,
            user_stack,
            run: None,
        })
    };
    let Some(area) = make() else { return false };
    *AREAS[number].lock() = Some(area);
    true
}

/// Pages that ring 3 needs at a user address: code, data, stack, in this order.
pub fn user_pages(number: usize) -> Option<[Frame; 3]> {
    if !prepare_area(number) {
        return None;
    }
    AREAS[number]
        .lock()
        .as_ref()
        .map(|area| [area.frames[0], area.frames[1], area.user_stack])
}

fn put(frame: Frame, offset: usize, value: u64) {
    raw::write(frame, offset, &value.to_le_bytes());
}

fn get(frame: Frame, offset: usize) -> u64 {
    let mut bytes = [0; 8];
    raw::read(frame, offset, &mut bytes);
    u64::from_le_bytes(bytes)
}

fn register_bytes(registers: &Registers) -> [u8; REQUESTED] {
    let r = registers;
    let words = [
        r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15, r.rflags,
    ];
    let mut bytes = [0; REQUESTED];
    for (slot, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *slot = word.to_le_bytes();
    }
    bytes
}

fn registers_at(frame: Frame) -> Registers {
    let r = |index: usize| get(frame, 8 * index);
    Registers {
        rax: r(0),
        rbx: r(1),
        rcx: r(2),
        rdx: r(3),
        rsi: r(4),
        rdi: r(5),
        rbp: r(6),
        rsp: r(7),
        r8: r(8),
        r9: r(9),
        r10: r(10),
        r11: r(11),
        r12: r(12),
        r13: r(13),
        r14: r(14),
        r15: r(15),
        rflags: r(16),
    }
}

fn registers_of(frame: &TrapFrame) -> Registers {
    let f = frame;
    Registers {
        rax: f.rax,
        rbx: f.rbx,
        rcx: f.rcx,
        rdx: f.rdx,
        rsi: f.rsi,
        rdi: f.rdi,
        rbp: f.rbp,
        rsp: f.rsp,
        r8: f.r8,
        r9: f.r9,
        r10: f.r10,
        r11: f.r11,
        r12: f.r12,
        r13: f.r13,
        r14: f.r14,
        r15: f.r15,
        rflags: f.rflags,
    }
}

/// Writes the blob with the caller's code into the area's code page.
fn write_code(frame: Frame, plan: &Plan<'_>) {
    // SAFETY: the blob is constant data between two symbols of this image; addresses only otherwise.
    let (blob, exit, before) = unsafe {
        let start = &raw const probe_blob;
        let len = (&raw const probe_blob_end) as usize - start as usize;
        (
            core::slice::from_raw_parts(start, len),
            blob_offset(&probe_exit),
            blob_offset(&probe_before),
        )
    };
    raw::write(frame, 0, blob);
    let code = code_offset();
    match plan.shadow {
        Shadow::None => {}
        Shadow::Sti => raw::write(frame, code - 1, &[0xfb]),
        Shadow::MovSs => {
            // mov ss, [rip + disp32]: 8e 15, the displacement counts from the start of the code.
            let displacement = (PAGE_SIZE as usize + SS_SELECTOR - code) as u32;
            let [a, b, c, d] = displacement.to_le_bytes();
            raw::write(frame, code - 6, &[0x8e, 0x15, a, b, c, d]);
        }
    }
    debug_assert!(code - before == 8, "room for the instruction of a shadow");
    raw::write(frame, code, plan.code);
    let end = code + plan.code.len();
    let back = (exit as i64 - (end as i64 + 5)) as i32;
    let [a, b, c, d] = back.to_le_bytes();
    raw::write(frame, end, &[0xe9, a, b, c, d]);
}

/// Runs the code once (`inner` times between the TSC reads) on this CPU. `None` without memory.
pub fn run(plan: &Plan<'_>) -> Option<Outcome> {
    assert!(
        (1..=CODE_MAX).contains(&plan.code.len()),
        "length of probed code"
    );
    let irq = IrqGuard::new();
    let number = cpu::number();
    if !prepare_area(number) {
        return None;
    }
    let (entry, stack, kernel_stack, data_frame, base) = {
        let mut slot = AREAS[number].lock();
        let area = slot.as_mut()?;
        let [code, data] = [area.frames[0], area.frames[1]];
        write_code(code, plan);
        let base = plan.ring3.unwrap_or(area.base);
        let kernel_stack = area.base + PAGES as u64 * PAGE_SIZE;
        let stack = if plan.ring3.is_some() {
            base + 3 * PAGE_SIZE
        } else {
            kernel_stack
        };
        let mut registers = *plan.registers;
        registers.rflags = registers.rflags & CALLER_FLAGS
            | 2
            | if plan.single_step { TRAP_FLAG } else { 0 }
            | if plan.interrupts && plan.ring3.is_none() {
                INTERRUPT_FLAG
            } else {
                0
            };
        let bytes = register_bytes(&registers);
        raw::write(data, 0, &bytes);
        raw::write(data, REQUESTED, &bytes);
        for (offset, value) in [
            (INNER, u64::from(plan.inner.max(1))),
            (RELOAD, u64::from(plan.reload)),
            (START, 0),
            (END, 0),
            (EXECUTIONS, 0),
            (STACK_TOP, stack),
            (RETURN, probe_resume as *const () as u64),
            (RING3, u64::from(plan.ring3.is_some())),
            (
                SS_SELECTOR,
                u64::from(if plan.ring3.is_some() {
                    gdt::USER_DATA.0
                } else {
                    gdt::KERNEL_DATA.0
                }),
            ),
        ] {
            put(data, offset, value);
        }
        area.run = Some(Running {
            code_base: base + code_offset() as u64,
            code_len: plan.code.len() as i64,
            ring3: plan.ring3.is_some(),
            single_step: plan.single_step,
            debug_exceptions: 0,
            first_debug_offset: 0,
            end: None,
        });
        (base, stack, kernel_stack, data, area.base)
    };
    let interrupts_before = cpu::this().interrupts.load(Ordering::Relaxed);
    let own_stack = cpu::kernel_stack();
    if plan.ring3.is_some() {
        // A trap from ring 3 must not start on the stack this function runs on.
        cpu::set_kernel_stack(kernel_stack);
    }
    trap::set_recovery(Some(&HOOK));
    let data_rsp = (base + PAGE_SIZE + KERNEL_RSP as u64) as *mut u64;
    // SAFETY: 1. `entry` is the blob, mapped executable (kernel area, or by the caller for ring 3), and
    // its data page is filled in above. 2. `stack` is the top of mapped pages that nobody else uses: the
    // area belongs to this CPU, and the guard keeps this flow of control on it. 3. It comes back through
    // probe_resume, from the blob's end or from the recovery hook, with the saved registers. 4. What
    // the caller's code does to the machine is its own affair (module head).
    unsafe {
        probe_enter(
            entry,
            stack,
            SAVED_RSP[number].as_ptr(),
            u64::from(plan.ring3.is_some()),
            ring_flags(plan),
            data_rsp,
        );
    }
    trap::set_recovery(None);
    if plan.ring3.is_some() {
        cpu::set_kernel_stack(own_stack);
    }
    let interrupts = cpu::this().interrupts.load(Ordering::Relaxed) - interrupts_before;
    let running = AREAS[number]
        .lock()
        .as_mut()
        .and_then(|area| area.run.take());
    drop(irq);
    Some(outcome(&running?, data_frame, stack, interrupts))
}

/// RFLAGS on entry to the blob: ring 3 runs without interrupts, since a trap would leave the probe half done.
fn ring_flags(plan: &Plan<'_>) -> u64 {
    2 | if plan.interrupts && plan.ring3.is_none() {
        INTERRUPT_FLAG
    } else {
        0
    }
}

fn outcome(running: &Running, data: Frame, stack: u64, interrupts: u64) -> Outcome {
    let executions = get(data, EXECUTIONS);
    let (debug_exceptions, first_debug_offset) =
        (running.debug_exceptions, running.first_debug_offset);
    let base = Outcome {
        registers: registers_at(data),
        fault: None,
        rip_offset: running.code_len,
        ticks: Some(get(data, END).wrapping_sub(get(data, START))),
        executions,
        debug_exceptions,
        first_debug_offset,
        interrupts,
    };
    let mut outcome = match &running.end {
        None => base,
        Some((frame, cr2)) => Outcome {
            registers: registers_of(frame),
            fault: Some(Fault {
                vector: frame.vector as u32,
                error_code: frame.error_code,
                cr2: *cr2,
            }),
            rip_offset: frame.rip.wrapping_sub(running.code_base) as i64,
            ticks: None,
            ..base
        },
    };
    // The stack pointer is told relative to where the code found it.
    outcome.registers.rsp = outcome.registers.rsp.wrapping_sub(stack);
    outcome.registers.rflags &= !(TRAP_FLAG | INTERRUPT_FLAG);
    outcome
}

fn in_kernel_text(rip: u64) -> bool {
    let (start, end) = raw::image().text;
    (start..end).contains(&rip.wrapping_sub(crate::mm::layout::KERNEL_BASE))
}

/// The recovery hook while a probe runs on this CPU.
fn take_over(frame: &mut TrapFrame) -> bool {
    // NMI and machine check are nobody's answer.
    if matches!(frame.vector, 2 | 18) {
        return false;
    }
    let cr2 = if frame.vector == trap::PAGE_FAULT {
        Cr2::read_raw()
    } else {
        0
    };
    let Some(mut slot) = AREAS[cpu::number()].try_lock() else {
        return false;
    };
    let Some(area) = slot.as_mut() else {
        return false;
    };
    let Some(running) = area.run.as_mut() else {
        return false;
    };
    if frame.is_user() != running.ring3 || (!frame.is_user() && in_kernel_text(frame.rip)) {
        return false;
    }
    let offset = frame.rip.wrapping_sub(running.code_base) as i64;
    if frame.vector == 1 && running.single_step {
        step(frame, running, offset);
        return true;
    }
    // SAFETY: only the symbol's address is used.
    let finished = blob_offset(unsafe { &probe_finished }) as i64 - code_offset() as i64;
    if !(frame.vector == 6 && frame.is_user() && offset == finished) {
        running.end = Some((*frame, cr2));
    }
    frame.rip = probe_resume as *const () as u64;
    frame.cs = u64::from(gdt::KERNEL_CODE.0);
    frame.ss = u64::from(gdt::KERNEL_DATA.0);
    frame.rsp = SAVED_RSP[cpu::number()].load(Ordering::Relaxed);
    frame.rflags = 2;
    true
}

/// A debug exception of single-stepping: counted inside the code, ended behind it.
fn step(frame: &mut TrapFrame, running: &mut Running, offset: i64) {
    if (1..=running.code_len).contains(&offset) {
        if running.debug_exceptions == 0 {
            running.first_debug_offset = offset;
        }
        running.debug_exceptions += 1;
        return;
    }
    // SAFETY: only the symbols' addresses are used.
    let (exit, before) = unsafe {
        (
            blob_offset(&probe_exit) as i64,
            blob_offset(&probe_before) as i64,
        )
    };
    let at = offset + code_offset() as i64;
    if (exit..before).contains(&at) {
        frame.rflags &= !TRAP_FLAG;
    }
}
