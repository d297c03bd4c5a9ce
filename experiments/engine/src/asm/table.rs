//! The one list of instructions: mnemonic, operands, opcode.
//!
//! Operand kinds: `r` and `rm` take any operand size (all operands of one instruction must agree),
//! `r8`..`r64`, `rm8`, `rm16` one size, `m` any memory operand, `i8`, `i16`, `i32`, `i64` immediates (`i32`
//! is sign-extended, and 8 or 16 bits wide where the operand size is), `cr`, `dr`, `sr`, `x`
//! control, debug, segment and XMM registers, `xm` XMM or memory, `rel8` a label, and register names.
//! Opcodes are those of AMD64 Architecture Programmer's Manual volume 3, revision 3.36.

/// How the operands enter the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Opcode only; operands, if any, are implied by their names.
    Fixed,
    /// Opcode and an immediate, the last operand.
    Imm,
    /// The register is added to the opcode's last byte; an immediate may follow.
    PlusReg,
    /// ModRM: first operand in r/m, second in reg.
    MemReg,
    /// ModRM: first operand in reg, second in r/m.
    RegMem,
    /// ModRM: first operand in r/m, `/n` in reg; an immediate may follow.
    Ext(u8),
}

/// One way to write one instruction.
pub(super) struct Row {
    pub(super) mnemonic: &'static str,
    pub(super) operands: &'static str,
    pub(super) form: Form,
    pub(super) opcode: &'static [u8],
    /// What [`SIZED`], [`WIDE`] and [`DEFAULT64`] say.
    pub(super) flags: u8,
}

/// The opcode is that of 8 bits; wider operands use opcode + 1.
pub(super) const SIZED: u8 = 1;
/// REX.W always.
pub(super) const WIDE: u8 = 2;
/// 64 bits without REX.W (push, pop, control registers, jumps).
pub(super) const DEFAULT64: u8 = 4;

const fn row(
    mnemonic: &'static str,
    operands: &'static str,
    form: Form,
    opcode: &'static [u8],
    flags: u8,
) -> Row {
    Row {
        mnemonic,
        operands,
        form,
        opcode,
        flags,
    }
}

const fn fixed(mnemonic: &'static str, opcode: &'static [u8]) -> Row {
    row(mnemonic, "", Form::Fixed, opcode, DEFAULT64)
}

use Form::{Ext, Fixed, Imm, MemReg, PlusReg, RegMem};

#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    // Virtualisation.
    fixed("vmmcall",  &[0x0f, 0x01, 0xd9]),
    fixed("vmcall",   &[0x0f, 0x01, 0xc1]),
    fixed("vmrun",    &[0x0f, 0x01, 0xd8]),
    fixed("vmload",   &[0x0f, 0x01, 0xda]),
    fixed("vmsave",   &[0x0f, 0x01, 0xdb]),
    fixed("stgi",     &[0x0f, 0x01, 0xdc]),
    fixed("clgi",     &[0x0f, 0x01, 0xdd]),
    fixed("skinit",   &[0x0f, 0x01, 0xde]),
    fixed("invlpga",  &[0x0f, 0x01, 0xdf]),
    fixed("vmlaunch", &[0x0f, 0x01, 0xc2]),
    fixed("vmresume", &[0x0f, 0x01, 0xc3]),
    fixed("vmxoff",   &[0x0f, 0x01, 0xc4]),
    row("vmxon", "m", Ext(6), &[0xf3, 0x0f, 0xc7], DEFAULT64),
    // Identification, model-specific registers, counters, extended control registers.
    fixed("cpuid",  &[0x0f, 0xa2]),
    fixed("rdmsr",  &[0x0f, 0x32]),
    fixed("wrmsr",  &[0x0f, 0x30]),
    fixed("rdpmc",  &[0x0f, 0x33]),
    fixed("rdtsc",  &[0x0f, 0x31]),
    fixed("rdtscp", &[0x0f, 0x01, 0xf9]),
    fixed("rdpru",  &[0x0f, 0x01, 0xfd]),
    fixed("xgetbv", &[0x0f, 0x01, 0xd0]),
    fixed("xsetbv", &[0x0f, 0x01, 0xd1]),
    row("rdrand", "r", Ext(6), &[0x0f, 0xc7], 0),
    row("rdpid", "r64", Ext(7), &[0xf3, 0x0f, 0xc7], DEFAULT64),
    // Control flow, flags, exceptions.
    fixed("nop", &[0x90]),
    fixed("pause", &[0xf3, 0x90]),
    fixed("ud2", &[0x0f, 0x0b]),
    fixed("int3", &[0xcc]),
    fixed("icebp", &[0xf1]),
    fixed("hlt", &[0xf4]),
    fixed("cli", &[0xfa]),
    fixed("sti", &[0xfb]),
    fixed("cld", &[0xfc]),
    fixed("std", &[0xfd]),
    fixed("clc", &[0xf8]),
    fixed("stc", &[0xf9]),
    fixed("clac", &[0x0f, 0x01, 0xca]),
    fixed("stac", &[0x0f, 0x01, 0xcb]),
    fixed("pushfq", &[0x9c]),
    fixed("popfq", &[0x9d]),
    fixed("iretq", &[0x48, 0xcf]),
    fixed("ret", &[0xc3]),
    fixed("retf", &[0xcb]),
    fixed("syscall", &[0x0f, 0x05]),
    fixed("sysret", &[0x48, 0x0f, 0x07]),
    fixed("sysenter", &[0x0f, 0x34]),
    fixed("swapgs", &[0x0f, 0x01, 0xf8]),
    fixed("rsm", &[0x0f, 0xaa]),
    row("int", "i8", Imm, &[0xcd], DEFAULT64),
    row("jmp", "rel8", Fixed, &[0xeb], DEFAULT64),
    row("jmp", "rm", Ext(4), &[0xff], DEFAULT64),
    row("call", "rm", Ext(2), &[0xff], DEFAULT64),
    row("jo",  "rel8", Fixed, &[0x70], DEFAULT64),
    row("jno", "rel8", Fixed, &[0x71], DEFAULT64),
    row("jc",  "rel8", Fixed, &[0x72], DEFAULT64),
    row("jnc", "rel8", Fixed, &[0x73], DEFAULT64),
    row("jz",  "rel8", Fixed, &[0x74], DEFAULT64),
    row("jnz", "rel8", Fixed, &[0x75], DEFAULT64),
    row("jbe", "rel8", Fixed, &[0x76], DEFAULT64),
    row("ja",  "rel8", Fixed, &[0x77], DEFAULT64),
    row("js",  "rel8", Fixed, &[0x78], DEFAULT64),
    row("jns", "rel8", Fixed, &[0x79], DEFAULT64),
    row("loop", "rel8", Fixed, &[0xe2], DEFAULT64),
    // Caches, translation, ordering.
    fixed("invd", &[0x0f, 0x08]),
    fixed("wbinvd", &[0x0f, 0x09]),
    row("invlpg", "m", Ext(7), &[0x0f, 0x01], DEFAULT64),
    row("invpcid", "r64,m", RegMem, &[0x66, 0x0f, 0x38, 0x82], DEFAULT64),
    row("clflush", "m", Ext(7), &[0x0f, 0xae], DEFAULT64),
    fixed("lfence", &[0x0f, 0xae, 0xe8]),
    fixed("mfence", &[0x0f, 0xae, 0xf0]),
    fixed("sfence", &[0x0f, 0xae, 0xf8]),
    fixed("monitor", &[0x0f, 0x01, 0xc8]),
    fixed("mwait", &[0x0f, 0x01, 0xc9]),
    // System registers and descriptor tables.
    fixed("clts", &[0x0f, 0x06]),
    row("mov", "r64,cr", MemReg, &[0x0f, 0x20], DEFAULT64),
    row("mov", "cr,r64", RegMem, &[0x0f, 0x22], DEFAULT64),
    row("mov", "r64,dr", MemReg, &[0x0f, 0x21], DEFAULT64),
    row("mov", "dr,r64", RegMem, &[0x0f, 0x23], DEFAULT64),
    row("mov", "r64,sr", MemReg, &[0x8c], DEFAULT64),
    row("mov", "sr,r64", RegMem, &[0x8e], DEFAULT64),
    row("sgdt", "m", Ext(0), &[0x0f, 0x01], DEFAULT64),
    row("sidt", "m", Ext(1), &[0x0f, 0x01], DEFAULT64),
    row("lgdt", "m", Ext(2), &[0x0f, 0x01], DEFAULT64),
    row("lidt", "m", Ext(3), &[0x0f, 0x01], DEFAULT64),
    row("smsw", "r64", Ext(4), &[0x0f, 0x01], WIDE),
    row("lmsw", "rm16", Ext(6), &[0x0f, 0x01], DEFAULT64),
    row("sldt", "r64", Ext(0), &[0x0f, 0x00], DEFAULT64),
    row("str",  "r64", Ext(1), &[0x0f, 0x00], DEFAULT64),
    // Ports.
    row("in",  "al,dx",  Fixed, &[0xec], DEFAULT64),
    row("in",  "ax,dx",  Fixed, &[0x66, 0xed], DEFAULT64),
    row("in",  "eax,dx", Fixed, &[0xed], DEFAULT64),
    row("in",  "al,i8",  Imm, &[0xe4], DEFAULT64),
    row("in",  "ax,i8",  Imm, &[0x66, 0xe5], DEFAULT64),
    row("in",  "eax,i8", Imm, &[0xe5], DEFAULT64),
    row("out", "dx,al",  Fixed, &[0xee], DEFAULT64),
    row("out", "dx,ax",  Fixed, &[0x66, 0xef], DEFAULT64),
    row("out", "dx,eax", Fixed, &[0xef], DEFAULT64),
    fixed("insb",  &[0x6c]),
    fixed("insw",  &[0x66, 0x6d]),
    fixed("insd",  &[0x6d]),
    fixed("outsb", &[0x6e]),
    fixed("outsw", &[0x66, 0x6f]),
    fixed("outsd", &[0x6f]),
    // Strings.
    fixed("movsb", &[0xa4]),
    fixed("movsw", &[0x66, 0xa5]),
    fixed("movsd", &[0xa5]),
    fixed("movsq", &[0x48, 0xa5]),
    fixed("stosb", &[0xaa]),
    fixed("stosw", &[0x66, 0xab]),
    fixed("stosd", &[0xab]),
    fixed("stosq", &[0x48, 0xab]),
    fixed("lodsb", &[0xac]),
    fixed("lodsd", &[0xad]),
    fixed("lodsq", &[0x48, 0xad]),
    // Moves.
    row("mov", "rm,r",    MemReg,  &[0x88], SIZED),
    row("mov", "r,rm",    RegMem,  &[0x8a], SIZED),
    row("mov", "rm,i32",  Ext(0),  &[0xc6], SIZED),
    row("mov", "r64,i64", PlusReg, &[0xb8], WIDE),
    row("lea", "r64,m",   RegMem,  &[0x8d], WIDE),
    row("movzx", "r,rm8",  RegMem, &[0x0f, 0xb6], 0),
    row("movzx", "r,rm16", RegMem, &[0x0f, 0xb7], 0),
    row("movsx", "r,rm8",  RegMem, &[0x0f, 0xbe], 0),
    row("movsx", "r,rm16", RegMem, &[0x0f, 0xbf], 0),
    row("xchg", "rm,r",    MemReg, &[0x86], SIZED),
    row("cmpxchg", "rm,r", MemReg, &[0x0f, 0xb0], SIZED),
    row("xadd", "rm,r",    MemReg, &[0x0f, 0xc0], SIZED),
    row("cmpxchg8b", "m",  Ext(1), &[0x0f, 0xc7], DEFAULT64),
    row("cmpxchg16b", "m", Ext(1), &[0x0f, 0xc7], WIDE),
    row("push", "r64", PlusReg, &[0x50], DEFAULT64),
    row("pop",  "r64", PlusReg, &[0x58], DEFAULT64),
    // Arithmetic.
    row("add", "rm,r", MemReg, &[0x00], SIZED),
    row("or",  "rm,r", MemReg, &[0x08], SIZED),
    row("adc", "rm,r", MemReg, &[0x10], SIZED),
    row("sbb", "rm,r", MemReg, &[0x18], SIZED),
    row("and", "rm,r", MemReg, &[0x20], SIZED),
    row("sub", "rm,r", MemReg, &[0x28], SIZED),
    row("xor", "rm,r", MemReg, &[0x30], SIZED),
    row("cmp", "rm,r", MemReg, &[0x38], SIZED),
    row("add", "r,rm", RegMem, &[0x02], SIZED),
    row("or",  "r,rm", RegMem, &[0x0a], SIZED),
    row("and", "r,rm", RegMem, &[0x22], SIZED),
    row("sub", "r,rm", RegMem, &[0x2a], SIZED),
    row("xor", "r,rm", RegMem, &[0x32], SIZED),
    row("cmp", "r,rm", RegMem, &[0x3a], SIZED),
    row("add", "rm,i32", Ext(0), &[0x80], SIZED),
    row("or",  "rm,i32", Ext(1), &[0x80], SIZED),
    row("and", "rm,i32", Ext(4), &[0x80], SIZED),
    row("sub", "rm,i32", Ext(5), &[0x80], SIZED),
    row("xor", "rm,i32", Ext(6), &[0x80], SIZED),
    row("cmp", "rm,i32", Ext(7), &[0x80], SIZED),
    row("test", "rm,r", MemReg, &[0x84], SIZED),
    row("inc", "rm", Ext(0), &[0xfe], SIZED),
    row("dec", "rm", Ext(1), &[0xfe], SIZED),
    row("not", "rm", Ext(2), &[0xf6], SIZED),
    row("neg", "rm", Ext(3), &[0xf6], SIZED),
    row("div", "rm", Ext(6), &[0xf6], SIZED),
    row("shl", "rm,i8", Ext(4), &[0xc0], SIZED),
    row("shr", "rm,i8", Ext(5), &[0xc0], SIZED),
    row("bt",  "rm,i8", Ext(4), &[0x0f, 0xba], 0),
    row("bts", "rm,i8", Ext(5), &[0x0f, 0xba], 0),
    // Floating point and SSE.
    fixed("fninit", &[0xdb, 0xe3]),
    fixed("fwait", &[0x9b]),
    row("fxsave",  "m", Ext(0), &[0x0f, 0xae], DEFAULT64),
    row("fxrstor", "m", Ext(1), &[0x0f, 0xae], DEFAULT64),
    row("ldmxcsr", "m", Ext(2), &[0x0f, 0xae], DEFAULT64),
    row("stmxcsr", "m", Ext(3), &[0x0f, 0xae], DEFAULT64),
    row("movups", "x,xm", RegMem, &[0x0f, 0x10], DEFAULT64),
    row("movups", "m,x",  MemReg, &[0x0f, 0x11], DEFAULT64),
    row("movq", "x,r64",  RegMem, &[0x66, 0x0f, 0x6e], WIDE),
    row("movq", "r64,x",  MemReg, &[0x66, 0x0f, 0x7e], WIDE),
    row("pxor", "x,xm",   RegMem, &[0x66, 0x0f, 0xef], DEFAULT64),
];

/// Prefixes that may stand before an instruction.
pub(super) static PREFIXES: &[(&str, u8)] = &[
    ("lock", 0xf0),
    ("rep", 0xf3),
    ("repe", 0xf3),
    ("repne", 0xf2),
    ("data16", 0x66),
    ("addr32", 0x67),
];
