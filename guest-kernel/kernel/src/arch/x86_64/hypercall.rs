//! Executes the hypercall instructions from the kernel, with #UD caught.
#![expect(unsafe_code, reason = "vmcall and vmmcall")]

use crate::arch::cpu::IrqGuard;
use crate::arch::trap::{self, RecoveryHook, TrapFrame};
use ::hypercall::raw::{self, INSTRUCTION_LEN, Instruction, Registers};
use ::hypercall::{Reply, Transport, Undefined};
use core::sync::atomic::{AtomicBool, Ordering};

static SKIPPED: AtomicBool = AtomicBool::new(false);
static HOOK: RecoveryHook = skip_undefined;

/// #UD at one of the two instructions: notes it and goes on behind it.
fn skip_undefined(frame: &mut TrapFrame) -> bool {
    if frame.vector == 6 && raw::undefined_at(frame.rip) {
        SKIPPED.store(true, Ordering::Relaxed);
        frame.rip += INSTRUCTION_LEN;
        return true;
    }
    false
}

fn execute(instruction: Instruction, registers: &mut Registers) -> Result<(), Undefined> {
    let _irq = IrqGuard::new();
    SKIPPED.store(false, Ordering::Relaxed);
    trap::set_recovery(Some(&HOOK));
    // SAFETY: 1. the hook skips the instruction if it is undefined. 2. The callers below ask only for
    // numbers by name, or pass memory they own.
    unsafe { raw::execute(instruction, registers) };
    trap::set_recovery(None);
    if SKIPPED.load(Ordering::Relaxed) {
        Err(Undefined)
    } else {
        Ok(())
    }
}

/// Which instruction answers: both are tried with the empty name, which no hypervisor knows.
pub fn detect() -> Option<Instruction> {
    let name = c"";
    [Instruction::Vmmcall, Instruction::Vmcall]
        .into_iter()
        .find(|&instruction| {
            let mut registers = Registers {
                rbx: name.as_ptr().expose_provenance() as u64,
                ..Registers::default()
            };
            execute(instruction, &mut registers).is_ok()
        })
}

/// Called before a hypercall with no reply, and after it with rax and rcx.
pub type Observer = fn(number: u64, rbx: u64, rcx: u64, reply: Option<(u64, u64)>);

/// The kernel's way to the hypervisor.
pub struct Kernel {
    instruction: Instruction,
    observer: Observer,
}

impl Kernel {
    /// Calls with this instruction, observed.
    pub const fn new(instruction: Instruction, observer: Observer) -> Self {
        Self {
            instruction,
            observer,
        }
    }
}

impl Transport for Kernel {
    fn call(&mut self, number: u64, rbx: u64, rcx: u64) -> Result<Reply, Undefined> {
        (self.observer)(number, rbx, rcx, None);
        let mut registers = Registers {
            rax: number,
            rbx,
            rcx,
            ..Registers::default()
        };
        execute(self.instruction, &mut registers)?;
        (self.observer)(number, rbx, rcx, Some((registers.rax, registers.rcx)));
        Ok(Reply {
            rax: registers.rax,
            rcx: registers.rcx,
        })
    }
}
