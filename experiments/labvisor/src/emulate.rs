//! One instruction whose memory operand nested paging refuses: decoded by iced-x86 and carried
//! out by labvisor, byte for byte what the processor would have done.

use alloc::vec::Vec;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::defects::{self, Defect};
use crate::guest_memory::Fault;
use crate::vcpu::{Vcpu, bits};

/// The guest's memory as an instruction sees it: RAM, the emulated device, nothing.
pub trait Bus {
    /// Reads `bytes` at a linear address.
    fn read(&mut self, vcpu: &Vcpu, linear: u64, bytes: &mut [u8]) -> Result<(), Fault>;
    /// Writes `bytes` at a linear address.
    fn write(&mut self, vcpu: &Vcpu, linear: u64, bytes: &[u8]) -> Result<(), Fault>;
}

/// Why an instruction was not carried out.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It faults, as it would on the processor.
    Fault(Fault),
    /// It is none that labvisor can carry out.
    Unsupported,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Fault(fault)
    }
}

/// Decodes the instruction in `bytes`.
pub fn decode(vcpu: &Vcpu, bytes: &[u8]) -> Instruction {
    let rip = vcpu.vmcb.save.rip;
    Decoder::with_ip(vcpu.code_bits(), bytes, rip, DecoderOptions::AMD).decode()
}

/// The linear address of the instruction's memory operand, if it has one.
pub fn operand_address(vcpu: &Vcpu, instruction: &Instruction) -> Option<u64> {
    (0..instruction.op_count()).find_map(|operand| address(vcpu, instruction, operand))
}

/// Carries `instruction` out and steps over it (over one repetition, if it is repeated).
pub fn execute(
    vcpu: &mut Vcpu,
    bus: &mut dyn Bus,
    instruction: &Instruction,
) -> Result<(), Failure> {
    use Mnemonic as M;
    if instruction.code() == Code::INVALID {
        return Err(Failure::Unsupported);
    }
    let mut step = Step {
        vcpu,
        bus,
        instruction,
    };
    match instruction.mnemonic() {
        M::Movsb
        | M::Movsw
        | M::Movsd
        | M::Movsq
        | M::Stosb
        | M::Stosw
        | M::Stosd
        | M::Stosq
        | M::Lodsb
        | M::Lodsw
        | M::Lodsd
        | M::Lodsq
            if is_string(instruction) =>
        {
            return step.string();
        }
        M::Mov | M::Movnti => {
            let value = step.get(1)?;
            step.set(0, value)?;
        }
        M::Movzx => {
            let value = step.get(1)?;
            step.set(0, value)?;
        }
        M::Movsx | M::Movsxd => {
            let value = sign_extended(step.get(1)?, step.size(1));
            step.set(0, value)?;
        }
        M::Xchg => {
            let (left, right) = (step.get(0)?, step.get(1)?);
            // Memory first: if it faults, the register still holds its value.
            let (memory, register) = if instruction.op0_kind() == OpKind::Memory {
                (0, 1)
            } else {
                (1, 0)
            };
            step.set(memory, if memory == 0 { right } else { left })?;
            step.set(register, if register == 0 { right } else { left })?;
        }
        M::Add
        | M::Adc
        | M::Sub
        | M::Sbb
        | M::And
        | M::Or
        | M::Xor
        | M::Cmp
        | M::Test
        | M::Inc
        | M::Dec
        | M::Not
        | M::Neg => step.arithmetic()?,
        _ => return Err(Failure::Unsupported),
    }
    step.vcpu.finish_instruction(instruction.len() as u64);
    Ok(())
}

struct Step<'a> {
    vcpu: &'a mut Vcpu,
    bus: &'a mut dyn Bus,
    instruction: &'a Instruction,
}

impl Step<'_> {
    /// Size of an operand in bytes.
    fn size(&self, operand: u32) -> usize {
        match self.instruction.op_kind(operand) {
            OpKind::Register => self.instruction.op_register(operand).size(),
            OpKind::Memory => self.instruction.memory_size().size(),
            // An immediate has the size of the other operand.
            _ => self.size(0),
        }
    }

    fn get(&mut self, operand: u32) -> Result<u64, Failure> {
        match self.instruction.op_kind(operand) {
            OpKind::Register => {
                let register = self.instruction.op_register(operand);
                read_register(self.vcpu, register).ok_or(Failure::Unsupported)
            }
            OpKind::Memory => {
                let at = address(self.vcpu, self.instruction, operand);
                self.load(at.ok_or(Failure::Unsupported)?, self.size(operand))
            }
            _ => self
                .instruction
                .try_immediate(operand)
                .map_err(|_| Failure::Unsupported),
        }
    }

    fn set(&mut self, operand: u32, value: u64) -> Result<(), Failure> {
        match self.instruction.op_kind(operand) {
            OpKind::Register => {
                let register = self.instruction.op_register(operand);
                write_register(self.vcpu, register, value).ok_or(Failure::Unsupported)
            }
            OpKind::Memory => {
                let at = address(self.vcpu, self.instruction, operand);
                let size = self.size(operand);
                self.store(at.ok_or(Failure::Unsupported)?, value, size)
            }
            _ => Err(Failure::Unsupported),
        }
    }

    fn load(&mut self, at: u64, size: usize) -> Result<u64, Failure> {
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..size).ok_or(Failure::Unsupported)?;
        self.bus.read(self.vcpu, at, part)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn store(&mut self, at: u64, value: u64, size: usize) -> Result<(), Failure> {
        let bytes = value.to_le_bytes();
        let part = bytes.get(..size).ok_or(Failure::Unsupported)?;
        Ok(self.bus.write(self.vcpu, at, part)?)
    }

    fn arithmetic(&mut self) -> Result<(), Failure> {
        use Mnemonic as M;
        let mnemonic = self.instruction.mnemonic();
        let size = self.size(0);
        let left = self.get(0)?;
        let right = match mnemonic {
            M::Inc | M::Dec => 1,
            M::Not | M::Neg => 0,
            _ => self.get(1)?,
        };
        let carry_in = self.vcpu.vmcb.save.rflags & flag::CARRY;
        let (value, flags) = match mnemonic {
            M::Add | M::Inc => add(left, right, 0, size),
            M::Adc => add(left, right, carry_in, size),
            M::Sub | M::Cmp | M::Dec => subtract(left, right, 0, size),
            M::Sbb => subtract(left, right, carry_in, size),
            M::Neg => subtract(0, left, 0, size),
            M::And | M::Test => logic(left & right, size),
            M::Or => logic(left | right, size),
            M::Xor => logic(left ^ right, size),
            _ => (!left, 0),
        };
        if !matches!(mnemonic, M::Cmp | M::Test) {
            self.set(0, value)?;
        }
        let changed = match mnemonic {
            M::Not => 0,
            M::Inc | M::Dec => flag::ALL & !flag::CARRY,
            _ => flag::ALL,
        };
        let rflags = &mut self.vcpu.vmcb.save.rflags;
        *rflags = *rflags & !changed | flags & changed;
        Ok(())
    }

    /// MOVS, STOS or LODS: one repetition.
    fn string(&mut self) -> Result<(), Failure> {
        let repetition = Repetition::new(self.vcpu, self.instruction);
        if repetition.is_over {
            repetition.finish(self.vcpu, &[]);
            return Ok(());
        }
        let (source, target) = (repetition.source, repetition.target);
        let value = match source {
            Some(from) => self.load(from, repetition.size)?,
            None => self.vcpu.register(RAX),
        };
        match target {
            Some(to) => self.store(to, value, repetition.size)?,
            None => self.set(0, value)?,
        }
        let moved = [(source, RSI), (target, RDI)];
        let moved = moved.iter().filter(|(address, _)| address.is_some());
        let moved: Vec<usize> = moved.map(|(_, register)| *register).collect();
        repetition.finish(self.vcpu, &moved);
        Ok(())
    }
}

/// One repetition of a string instruction.
pub struct Repetition<'a> {
    instruction: &'a Instruction,
    /// The count was 0: nothing is done any more.
    pub is_over: bool,
    /// Linear address of the source operand in memory.
    pub source: Option<u64>,
    /// Linear address of the target operand in memory.
    pub target: Option<u64>,
    /// Bytes moved.
    pub size: usize,
    repeated: bool,
    mask: u64,
}

impl<'a> Repetition<'a> {
    /// The next repetition of `instruction`.
    pub fn new(vcpu: &Vcpu, instruction: &'a Instruction) -> Self {
        let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
        let mask = mask(string_address_size(instruction));
        let place = |kinds: [OpKind; 3]| {
            let mut operands = 0..instruction.op_count();
            let operand = operands.find(|op| kinds.contains(&instruction.op_kind(*op)))?;
            address(vcpu, instruction, operand)
        };
        Self {
            instruction,
            is_over: repeated
                && vcpu.register(RCX) & mask == 0
                && !defects::planted(Defect::RepeatZeroMoves),
            source: place([
                OpKind::MemorySegSI,
                OpKind::MemorySegESI,
                OpKind::MemorySegRSI,
            ]),
            target: place([OpKind::MemoryESDI, OpKind::MemoryESEDI, OpKind::MemoryESRDI]),
            size: instruction.memory_size().size(),
            repeated,
            mask,
        }
    }

    /// Moves the index registers `moved` and the count; steps over the instruction when it was
    /// the last repetition.
    pub fn finish(&self, vcpu: &mut Vcpu, moved: &[usize]) {
        let down = vcpu.vmcb.save.rflags & bits::RFLAGS_DF != 0;
        let size = self.size as u64;
        for number in moved {
            let step = if down { size.wrapping_neg() } else { size };
            self.add(vcpu, *number, step);
        }
        if self.repeated && !self.is_over {
            self.add(vcpu, RCX, u64::MAX);
        }
        if !self.repeated || vcpu.register(RCX) & self.mask == 0 {
            vcpu.finish_instruction(self.instruction.len() as u64);
        }
    }

    /// Adds to a register in the address size; a 32-bit result clears the upper half.
    fn add(&self, vcpu: &mut Vcpu, number: usize, value: u64) {
        let old = vcpu.register(number);
        let new = old.wrapping_add(value) & self.mask;
        let kept = if self.mask == 0xffff {
            old & !self.mask
        } else {
            0
        };
        vcpu.set_register(number, kept | new);
    }
}

const RAX: usize = 0;
const RCX: usize = 1;
/// The number of RSI.
pub const RSI: usize = 6;
/// The number of RDI.
pub const RDI: usize = 7;

/// MOVSD and STOSD also name SSE instructions; the string forms have string operands.
fn is_string(instruction: &Instruction) -> bool {
    instruction.is_string_instruction()
}

fn string_address_size(instruction: &Instruction) -> usize {
    let kinds = (0..instruction.op_count()).map(|operand| instruction.op_kind(operand));
    kinds
        .filter_map(|kind| match kind {
            OpKind::MemorySegSI | OpKind::MemoryESDI => Some(2),
            OpKind::MemorySegESI | OpKind::MemoryESEDI => Some(4),
            OpKind::MemorySegRSI | OpKind::MemoryESRDI => Some(8),
            _ => None,
        })
        .next()
        .unwrap_or(8)
}

/// The linear address of a memory operand.
fn address(vcpu: &Vcpu, instruction: &Instruction, operand: u32) -> Option<u64> {
    let linear = instruction.virtual_address(operand, 0, |register, _, _| {
        if register.is_segment_register() {
            Some(segment_base(vcpu, register))
        } else {
            read_register(vcpu, register)
        }
    })?;
    if vcpu.code_bits() == 64 {
        Some(linear)
    } else {
        Some(linear & 0xffff_ffff)
    }
}

fn segment_base(vcpu: &Vcpu, register: Register) -> u64 {
    let save = &vcpu.vmcb.save;
    let flat = vcpu.code_bits() == 64;
    match register {
        Register::FS => save.fs.base,
        Register::GS => save.gs.base,
        _ if flat => 0,
        Register::CS => save.cs.base,
        Register::SS => save.ss.base,
        Register::ES => save.es.base,
        _ => save.ds.base,
    }
}

fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::CH | Register::DH | Register::BH
    )
}

fn read_register(vcpu: &Vcpu, register: Register) -> Option<u64> {
    if register == Register::RIP || register == Register::EIP {
        return Some(vcpu.vmcb.save.rip);
    }
    if !register.is_gpr() {
        return None;
    }
    let full = vcpu.register(register.full_register().number());
    let shift = if is_high_byte(register) { 8 } else { 0 };
    Some(full >> shift & mask(register.size()))
}

fn write_register(vcpu: &mut Vcpu, register: Register, value: u64) -> Option<()> {
    if !register.is_gpr() {
        return None;
    }
    let number = register.full_register().number();
    let old = vcpu.register(number);
    let value = value & mask(register.size());
    let new = match register.size() {
        8 | 4 => value,
        2 => old & !0xffff | value,
        _ if is_high_byte(register) => old & !0xff00 | value << 8,
        _ => old & !0xff | value,
    };
    vcpu.set_register(number, new);
    Some(())
}

fn mask(size: usize) -> u64 {
    u64::MAX >> (64 - 8 * size as u32)
}

fn sign_extended(value: u64, size: usize) -> u64 {
    let spare = 64 - 8 * size as u32;
    ((value << spare) as i64 >> spare) as u64
}

mod flag {
    pub(super) const CARRY: u64 = 1 << 0;
    pub(super) const PARITY: u64 = 1 << 2;
    pub(super) const ADJUST: u64 = 1 << 4;
    pub(super) const ZERO: u64 = 1 << 6;
    pub(super) const SIGN: u64 = 1 << 7;
    pub(super) const OVERFLOW: u64 = 1 << 11;
    pub(super) const ALL: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;
}

fn logic(value: u64, size: usize) -> (u64, u64) {
    let value = value & mask(size);
    let mut flags = 0;
    if (value as u8).count_ones().is_multiple_of(2) {
        flags |= flag::PARITY;
    }
    if value == 0 {
        flags |= flag::ZERO;
    }
    if value >> (8 * size - 1) != 0 {
        flags |= flag::SIGN;
    }
    (value, flags)
}

fn add(left: u64, right: u64, carry: u64, size: usize) -> (u64, u64) {
    let (left, right) = (left & mask(size), right & mask(size));
    let wide = u128::from(left) + u128::from(right) + u128::from(carry);
    let (value, mut flags) = logic(wide as u64, size);
    if wide >> (8 * size) != 0 {
        flags |= flag::CARRY;
    }
    if (left ^ right ^ value) & 0x10 != 0 {
        flags |= flag::ADJUST;
    }
    if (left ^ value) & (right ^ value) & (1 << (8 * size - 1)) != 0 {
        flags |= flag::OVERFLOW;
    }
    (value, flags)
}

fn subtract(left: u64, right: u64, borrow: u64, size: usize) -> (u64, u64) {
    let (left, right) = (left & mask(size), right & mask(size));
    let result = left.wrapping_sub(right).wrapping_sub(borrow);
    let (value, mut flags) = logic(result, size);
    if u128::from(left) < u128::from(right) + u128::from(borrow) {
        flags |= flag::CARRY;
    }
    if (left ^ right ^ value) & 0x10 != 0 {
        flags |= flag::ADJUST;
    }
    if (left ^ right) & (left ^ value) & (1 << (8 * size - 1)) != 0 {
        flags |= flag::OVERFLOW;
    }
    (value, flags)
}

/// Splits `linear..linear + length` at page ends.
pub fn pieces(linear: u64, length: usize) -> Vec<(u64, core::ops::Range<usize>)> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < length {
        let at = linear.wrapping_add(done as u64);
        let step = (length - done).min((4096 - at % 4096) as usize);
        pieces.push((at, done..done + step));
        done += step;
    }
    pieces
}
