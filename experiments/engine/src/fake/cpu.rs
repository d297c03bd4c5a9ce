//! An interpreter for the instructions that experiments use.

use super::{Fake, PAGE};
use crate::guest::{REGISTER_NAMES, register_mut};
use abi::{
    Errno,
    probe::{
        ExecRequest, ExecResponse, FLAG_RELOAD, FLAG_RING3, FLAG_SINGLE_STEP, NO_VECTOR,
        PTE_PRESENT, PTE_RESERVED, PTE_USER, PTE_WRITE, Registers, STATUS_DONE, STATUS_FAULT,
    },
};
use alloc::{format, vec::Vec};
use iced_x86::{Decoder, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register};

const CODE_BASE: u64 = 0x6100_0000_0000;
const CF: u64 = 1;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;
/// Instructions of one execution, so that a loop in the code ends.
const STEPS_MAX: u32 = 1_000_000;

/// An exception: vector, error code, CR2.
struct Fault(u32, u64, u64);

const UD: Fault = Fault(6, 0, 0);
const GP: Fault = Fault(13, 0, 0);

/// One execution of the code.
struct Core<'a> {
    machine: &'a mut Fake,
    registers: Registers,
    user: bool,
    xmm: [u128; 16],
}

impl Fake {
    pub(super) fn execute(
        &mut self,
        request: &ExecRequest,
    ) -> Result<(ExecResponse, Vec<u64>), Errno> {
        let code = request
            .code
            .get(..request.code_len as usize)
            .ok_or(Errno::EINVAL)?;
        if request.count == 0 || request.inner == 0 || code.is_empty() {
            return Err(Errno::EINVAL);
        }
        let user = request.flags & FLAG_RING3 != 0;
        let mut answer = ExecResponse {
            vector: NO_VECTOR,
            status: STATUS_DONE,
            ..ExecResponse::default()
        };
        let mut ticks = Vec::new();
        let mut registers = Registers {
            rsp: 0,
            ..request.registers
        };
        for sample in 0..u64::from(request.warm_up) + u64::from(request.count) {
            let before = self.ticks;
            for _ in 0..request.inner {
                if request.flags & FLAG_RELOAD != 0 {
                    registers = Registers {
                        rsp: 0,
                        ..request.registers
                    };
                }
                let mut core = Core {
                    machine: self,
                    registers,
                    user,
                    xmm: [0; 16],
                };
                let (offset, fault, steps) = core.run(code);
                registers = core.registers;
                answer.rip_offset = offset;
                if request.flags & FLAG_SINGLE_STEP != 0 {
                    answer.debug_exceptions += steps;
                    if answer.first_debug_offset == 0 {
                        let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
                        answer.first_debug_offset = decoder.decode().next_ip() as i64;
                    }
                }
                if let Some(Fault(vector, error_code, cr2)) = fault {
                    (answer.status, answer.vector) = (STATUS_FAULT, vector);
                    (answer.error_code, answer.cr2) = (error_code, cr2);
                    answer.registers = registers;
                    return Ok((answer, ticks));
                }
                answer.executions += 1;
            }
            if sample >= u64::from(request.warm_up) {
                // A little noise, or percentiles would all be the same.
                ticks.push(self.ticks - before + self.ticks % 7);
                answer.samples += 1;
            }
        }
        answer.registers = registers;
        Ok((answer, ticks))
    }
}

impl Core<'_> {
    /// RIP offset at the end, the fault if one ended it, instructions that finished.
    fn run(&mut self, code: &[u8]) -> (i64, Option<Fault>, u32) {
        let (mut ip, mut steps) = (CODE_BASE, 0);
        let end = CODE_BASE + code.len() as u64;
        while (CODE_BASE..end).contains(&ip) && steps < STEPS_MAX {
            let at = (ip - CODE_BASE) as usize;
            let mut decoder = Decoder::with_ip(64, &code[at..], ip, DecoderOptions::NONE);
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return (at as i64, Some(UD), steps);
            }
            match self.step(&instruction) {
                Ok(next) => ip = next,
                Err(fault) => {
                    // INT3, INT n and ICEBP are traps: RIP is behind them.
                    let trap = matches!(instruction.mnemonic(), Mnemonic::Int3 | Mnemonic::Int1);
                    let offset = if trap { instruction.next_ip() } else { ip } - CODE_BASE;
                    return (offset as i64, Some(fault), steps);
                }
            }
            steps += 1;
        }
        (ip.wrapping_sub(CODE_BASE) as i64, None, steps)
    }

    fn step(&mut self, i: &Instruction) -> Result<u64, Fault> {
        self.machine.ticks += 30;
        let next = i.next_ip();
        use Mnemonic as M;
        let privileged = matches!(
            i.mnemonic(),
            M::Rdmsr
                | M::Wrmsr
                | M::Cli
                | M::Sti
                | M::Hlt
                | M::In
                | M::Out
                | M::Invlpg
                | M::Wbinvd
                | M::Invd
                | M::Xsetbv
                | M::Lgdt
                | M::Lidt
                | M::Clts
                | M::Lmsw
                | M::Swapgs
                | M::Insb
                | M::Insw
                | M::Insd
                | M::Outsb
                | M::Outsw
                | M::Outsd
        );
        if privileged && self.user {
            return Err(GP);
        }
        match i.mnemonic() {
            M::Vmmcall if self.machine.hypervisor => {
                self.machine.ticks += 60_000;
                let mut registers = self.registers;
                self.machine.hypercall(&mut registers, self.user);
                self.registers = registers;
            }
            M::Vmmcall
            | M::Vmcall
            | M::Vmrun
            | M::Vmload
            | M::Vmsave
            | M::Stgi
            | M::Clgi
            | M::Skinit
            | M::Invlpga
            | M::Vmxon
            | M::Vmlaunch
            | M::Vmresume
            | M::Vmxoff
            | M::Ud2
            | M::Invpcid
            | M::Rdpru
            | M::Rsm => return Err(UD),
            M::Cpuid => self.cpuid(),
            M::Rdmsr => {
                let value = self.read_msr()?;
                self.registers.rax = value & 0xffff_ffff;
                self.registers.rdx = value >> 32;
            }
            M::Wrmsr => self.write_msr()?,
            M::Rdtsc | M::Rdtscp => {
                self.registers.rax = self.machine.ticks & 0xffff_ffff;
                self.registers.rdx = self.machine.ticks >> 32;
                if i.mnemonic() == M::Rdtscp {
                    self.registers.rcx = 0;
                }
            }
            M::Xgetbv | M::Xsetbv if self.registers.rcx as u32 != 0 => return Err(GP),
            M::Xgetbv => (self.registers.rax, self.registers.rdx) = (3, 0),
            M::Xsetbv if self.registers.rax & 1 == 0 || self.registers.rdx != 0 => return Err(GP),
            M::Int3 => return Err(Fault(3, 0, 0)),
            M::Int1 => return Err(Fault(1, 0, 0)),
            M::Int => {
                let vector = i.immediate8();
                return Err(if self.user {
                    Fault(13, u64::from(vector) * 8 + 2, 0)
                } else {
                    Fault(u32::from(vector), 0, 0)
                });
            }
            M::In => self.port_in(i)?,
            M::Out => self.port_out(i)?,
            M::Mov | M::Movzx | M::Movups | M::Movq => {
                let value = self.read(i, 1)?;
                self.write(i, 0, value)?;
            }
            M::Movsx => {
                let bits = 8 * self.size(i, 1);
                let value = self.read(i, 1)? as u64;
                self.write(
                    i,
                    0,
                    u128::from(((value << (64 - bits)) as i64 >> (64 - bits)) as u64),
                )?;
            }
            M::Lea => {
                let address = self.address(i);
                self.write(i, 0, u128::from(address))?;
            }
            M::Xchg => {
                let (one, other) = (self.read(i, 0)?, self.read(i, 1)?);
                self.write(i, 0, other)?;
                self.write(i, 1, one)?;
            }
            M::Add | M::Sub | M::Cmp | M::And | M::Test | M::Or | M::Xor | M::Inc | M::Dec => {
                self.arithmetic(i)?
            }
            M::Shl | M::Shr => {
                let (value, bits) = (self.read(i, 0)? as u64, u32::from(i.immediate8()) & 63);
                let shifted = if i.mnemonic() == M::Shl {
                    value << bits
                } else {
                    value >> bits
                };
                self.write(i, 0, u128::from(shifted))?;
            }
            M::Not => {
                let value = !self.read(i, 0)?;
                self.write(i, 0, value)?;
            }
            M::Div if self.read(i, 0)? == 0 => return Err(Fault(0, 0, 0)),
            M::Pxor if i.op0_register() == i.op1_register() => self.write(i, 0, 0)?,
            M::Jmp if i.op0_kind() == OpKind::NearBranch64 => return Ok(i.near_branch_target()),
            M::Jmp => return Ok(self.read(i, 0)? as u64),
            M::Je if self.flag(ZF) => return Ok(i.near_branch_target()),
            M::Jne if !self.flag(ZF) => return Ok(i.near_branch_target()),
            M::Jb if self.flag(CF) => return Ok(i.near_branch_target()),
            M::Jae if !self.flag(CF) => return Ok(i.near_branch_target()),
            M::Js if self.flag(SF) => return Ok(i.near_branch_target()),
            M::Jns if !self.flag(SF) => return Ok(i.near_branch_target()),
            M::Ja if !self.flag(CF) && !self.flag(ZF) => return Ok(i.near_branch_target()),
            M::Jbe if self.flag(CF) || self.flag(ZF) => return Ok(i.near_branch_target()),
            M::Loop => {
                self.registers.rcx = self.registers.rcx.wrapping_sub(1);
                if self.registers.rcx != 0 {
                    return Ok(i.near_branch_target());
                }
            }
            M::Stc => self.registers.rflags |= CF,
            M::Clc => self.registers.rflags &= !CF,
            M::Push => {
                self.read(i, 0)?;
                self.registers.rsp = self.registers.rsp.wrapping_sub(8);
            }
            M::Pop | M::Popfq => self.registers.rsp = self.registers.rsp.wrapping_add(8),
            M::Pushfq => self.registers.rsp = self.registers.rsp.wrapping_sub(8),
            M::Stosb | M::Movsb => self.string(i)?,
            M::Rdrand => {
                let value = self.machine.ticks.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                self.write(i, 0, u128::from(value))?;
            }
            _ => {}
        }
        Ok(next)
    }

    fn flag(&self, flag: u64) -> bool {
        self.registers.rflags & flag != 0
    }

    fn size(&self, i: &Instruction, operand: u32) -> u32 {
        match i.op_kind(operand) {
            OpKind::Register => i.op_register(operand).size() as u32,
            OpKind::Memory => match i.memory_size() {
                MemorySize::Unknown => 8,
                size => size.size() as u32,
            },
            _ => 8,
        }
    }

    fn arithmetic(&mut self, i: &Instruction) -> Result<(), Fault> {
        use Mnemonic as M;
        let bits = 8 * self.size(i, 0);
        let mask = u64::MAX >> (64 - bits);
        let one = self.read(i, 0)? as u64 & mask;
        let other = match i.mnemonic() {
            M::Inc | M::Dec => 1,
            _ => self.read(i, 1)? as u64 & mask,
        };
        let (result, carry) = match i.mnemonic() {
            M::Add | M::Inc => (
                one.wrapping_add(other) & mask,
                u128::from(one) + u128::from(other) > u128::from(mask),
            ),
            M::Sub | M::Cmp | M::Dec => (one.wrapping_sub(other) & mask, one < other),
            M::And | M::Test => (one & other, false),
            M::Or => (one | other, false),
            _ => (one ^ other, false),
        };
        let keep_carry = matches!(i.mnemonic(), M::Inc | M::Dec);
        let flags = &mut self.registers.rflags;
        let old_carry = *flags & CF;
        *flags &= !(CF | ZF | SF | OF);
        *flags |= if keep_carry {
            old_carry
        } else {
            u64::from(carry)
        };
        *flags |=
            if result == 0 { ZF } else { 0 } | if result >> (bits - 1) & 1 == 1 { SF } else { 0 };
        if !matches!(i.mnemonic(), M::Cmp | M::Test) {
            self.write(i, 0, u128::from(result))?;
        }
        Ok(())
    }

    fn string(&mut self, i: &Instruction) -> Result<(), Fault> {
        let repeated = i.has_rep_prefix();
        while !repeated || self.registers.rcx != 0 {
            let byte = if i.mnemonic() == Mnemonic::Movsb {
                let byte = self.load(self.registers.rsi, 1)?;
                self.registers.rsi = self.registers.rsi.wrapping_add(1);
                byte
            } else {
                u128::from(self.registers.rax as u8)
            };
            self.store(self.registers.rdi, 1, byte)?;
            self.registers.rdi = self.registers.rdi.wrapping_add(1);
            if !repeated {
                break;
            }
            self.registers.rcx -= 1;
        }
        Ok(())
    }

    fn general(&mut self, register: Register) -> Option<&mut u64> {
        let full = register.full_register();
        let name = format!("{full:?}").to_lowercase();
        REGISTER_NAMES
            .contains(&name.as_str())
            .then(|| register_mut(&mut self.registers, &name))?
    }

    fn get(&mut self, register: Register) -> Result<u128, Fault> {
        if register.is_xmm() {
            return Ok(self.xmm[register.number()]);
        }
        if register.is_cr() || register.is_dr() {
            if self.user {
                return Err(GP);
            }
            let file: &[u64] = if register.is_cr() {
                &self.machine.cr
            } else {
                &self.machine.dr
            };
            return file
                .get(register.number())
                .map(|value| u128::from(*value))
                .ok_or(UD);
        }
        let size = register.size();
        let value = self.general(register).map_or(0, |value| *value);
        Ok(u128::from(if size >= 8 {
            value
        } else {
            value & ((1 << (8 * size)) - 1)
        }))
    }

    fn set(&mut self, register: Register, value: u128) -> Result<(), Fault> {
        if register.is_xmm() {
            self.xmm[register.number()] = value;
            return Ok(());
        }
        let value = value as u64;
        if register.is_cr() {
            let reserved = match register.number() {
                0 => !0xe005_003f,
                4 => !0x003f_27ff,
                8 => !0xf,
                _ => 0,
            };
            if self.user || value & reserved != 0 {
                return Err(GP);
            }
            *self.machine.cr.get_mut(register.number()).ok_or(UD)? = value;
            return Ok(());
        }
        if register.is_dr() {
            if self.user {
                return Err(GP);
            }
            *self.machine.dr.get_mut(register.number()).ok_or(UD)? = value;
            return Ok(());
        }
        let size = register.size();
        if let Some(field) = self.general(register) {
            *field = match size {
                8 => value,
                4 => value & 0xffff_ffff,
                size => {
                    let mask = (1u64 << (8 * size)) - 1;
                    *field & !mask | value & mask
                }
            };
        }
        Ok(())
    }

    fn address(&mut self, i: &Instruction) -> u64 {
        let part = |core: &mut Self, register: Register| {
            if register == Register::None || register == Register::RIP {
                0
            } else {
                core.get(register).unwrap_or(0) as u64
            }
        };
        let base = part(self, i.memory_base());
        let index = part(self, i.memory_index()).wrapping_mul(u64::from(i.memory_index_scale()));
        base.wrapping_add(index)
            .wrapping_add(i.memory_displacement64())
    }

    fn read(&mut self, i: &Instruction, operand: u32) -> Result<u128, Fault> {
        match i.op_kind(operand) {
            OpKind::Register => self.get(i.op_register(operand)),
            OpKind::Memory => {
                let address = self.address(i);
                self.load(address, self.size(i, operand))
            }
            _ => Ok(u128::from(i.immediate(operand))),
        }
    }

    fn write(&mut self, i: &Instruction, operand: u32, value: u128) -> Result<(), Fault> {
        match i.op_kind(operand) {
            OpKind::Register => self.set(i.op_register(operand), value),
            _ => {
                let address = self.address(i);
                self.store(address, self.size(i, operand), value)
            }
        }
    }

    fn translate(&mut self, address: u64, write: bool) -> Result<u64, Fault> {
        let top = address >> 47;
        if top != 0 && top != 0x1_ffff {
            return Err(GP);
        }
        let kind = u64::from(write) << 1 | u64::from(self.user) << 2;
        let Some(index) = Fake::window_index(address) else {
            return Err(Fault(14, kind, address));
        };
        let (physical, flags) = self.machine.window[index];
        if flags & PTE_PRESENT == 0 {
            return Err(Fault(14, kind, address));
        }
        if flags & PTE_RESERVED != 0 {
            return Err(Fault(14, kind | 9, address));
        }
        if write && flags & PTE_WRITE == 0 || self.user && flags & PTE_USER == 0 {
            return Err(Fault(14, kind | 1, address));
        }
        self.machine.window[index].1 |= 1 << 5 | u64::from(write) << 6;
        Ok(physical + address % PAGE)
    }

    fn load(&mut self, address: u64, size: u32) -> Result<u128, Fault> {
        let mut value = 0;
        for offset in 0..size {
            let physical = self.translate(address.wrapping_add(u64::from(offset)), false)?;
            value |= u128::from(self.machine.physical_byte(physical)) << (8 * offset);
        }
        Ok(value)
    }

    fn store(&mut self, address: u64, size: u32, value: u128) -> Result<(), Fault> {
        for offset in 0..size {
            self.translate(address.wrapping_add(u64::from(offset)), true)?;
        }
        for offset in 0..size {
            let physical = self.translate(address.wrapping_add(u64::from(offset)), true)?;
            self.machine
                .set_physical_byte(physical, (value >> (8 * offset)) as u8);
        }
        Ok(())
    }

    fn cpuid(&mut self) {
        self.machine.ticks += 50_000;
        let r = &mut self.registers;
        let leaf = r.rax as u32;
        let osxsave = u64::from(self.machine.cr[4] >> 18 & 1 == 1) << 27;
        let vendor = |max: u64| (max, 0x6874_7541, 0x444d_4163, 0x6974_6e65);
        (r.rax, r.rbx, r.rcx, r.rdx) = match leaf {
            0 => vendor(0xd),
            1 => (
                0x80_0f12,
                0x800,
                0x7ed8_220b & !(1 << 27) | osxsave,
                0x178b_fbff,
            ),
            7 => (0, 0x209c_01a9, 0, 0),
            0x8000_0000 => vendor(0x8000_0008),
            0x8000_0001 => (0x80_0f12, 0, 0x71, 0x2fd3_fbff),
            0x8000_0008 => (0x3028, 0, 0, 0),
            _ => (0, 0, 0, 0),
        };
    }

    fn read_msr(&mut self) -> Result<u64, Fault> {
        self.machine.ticks += 40_000;
        match self.registers.rcx as u32 {
            0x10 => Ok(self.machine.ticks),
            number => self.machine.msrs.get(&number).copied().ok_or(GP),
        }
    }

    fn write_msr(&mut self) -> Result<(), Fault> {
        let value = self.registers.rdx << 32 | self.registers.rax & 0xffff_ffff;
        let number = self.registers.rcx as u32;
        let canonical = matches!(value >> 47, 0 | 0x1_ffff);
        let refused = match number {
            0xc000_0080 => value & !0x6d01 != 0 || value & 0x500 != 0x500,
            0xc000_0081 | 0xc000_0084 | 0x277 | 0x1d9 | 0xc000_0103 => false,
            0xc000_0082 | 0xc000_0083 | 0xc000_0100..=0xc000_0102 | 0x175 | 0x176 => !canonical,
            0xc001_0114 | 0xc001_0117 => true,
            _ => false,
        };
        match self.machine.msrs.get_mut(&number) {
            _ if number == 0x10 => Ok(()),
            Some(slot) if !refused => {
                *slot = value;
                Ok(())
            }
            _ => Err(GP),
        }
    }

    fn port_in(&mut self, i: &Instruction) -> Result<(), Fault> {
        self.machine.ticks += 20_000;
        let port = if i.op1_kind() == OpKind::Register {
            self.registers.rdx as u16
        } else {
            u16::from(i.immediate8())
        };
        let value: u128 = match port {
            0xcf8 => self.machine.pci_select.into(),
            _ => u128::from(u32::MAX),
        };
        self.set(i.op0_register(), value)
    }

    fn port_out(&mut self, i: &Instruction) -> Result<(), Fault> {
        self.machine.ticks += 20_000;
        let value = self.get(i.op1_register())? as u32;
        if self.registers.rdx as u16 == 0xcf8 {
            self.machine.pci_select = value;
        }
        Ok(())
    }
}
