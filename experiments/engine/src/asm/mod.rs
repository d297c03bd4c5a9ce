//! A small assembler for the instructions that experiments use, in Intel syntax.
//!
//! ```
//! let code = engine::asm::assemble("mov rax, [rbx + 8]; cpuid").unwrap();
//! assert_eq!(code, [0x48, 0x8b, 0x43, 0x08, 0x0f, 0xa2]);
//! ```
//!
//! Statements are separated by `;` or a new line, `#` starts a comment, `name:` is a label for the short
//! jumps, `db 0x66, 0x90` puts bytes. One table lists the instructions: `asm/table.rs`.

mod operand;
mod table;

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use operand::{Class, Mem, Operand, Reg};
use table::{DEFAULT64, Form, PREFIXES, ROWS, Row, SIZED, WIDE};

/// Assembles `text`; the error says what is wrong with which statement.
pub fn assemble(text: &str) -> Result<Vec<u8>, String> {
    let mut assembler = Assembler::default();
    for statement in text.split([';', '\n']) {
        let statement = statement.split('#').next().unwrap_or("").trim();
        assembler
            .statement(statement)
            .map_err(|why| format!("`{statement}`: {why}"))?;
    }
    assembler.finish()
}

/// All mnemonics, sorted, for the reference page.
pub fn mnemonics() -> Vec<&'static str> {
    let mut names: Vec<_> = ROWS.iter().map(|row| row.mnemonic).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[derive(Default)]
struct Assembler {
    code: Vec<u8>,
    labels: Vec<(String, usize)>,
    /// Where a displacement byte waits for which label.
    jumps: Vec<(String, usize)>,
}

impl Assembler {
    fn statement(&mut self, statement: &str) -> Result<(), String> {
        let mut rest = statement;
        if let Some((label, after)) = statement.split_once(':') {
            let label = label.trim();
            if label.is_empty() || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("{label:?} is no label"));
            }
            self.labels.push((label.to_string(), self.code.len()));
            rest = after.trim();
        }
        loop {
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let Some((_, byte)) = PREFIXES.iter().find(|(name, _)| *name == word) else {
                break;
            };
            self.code.push(*byte);
            rest = after.trim();
        }
        if rest.is_empty() {
            return Ok(());
        }
        let (mnemonic, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if mnemonic == "db" {
            for item in operands.split(',') {
                let value =
                    operand::number(item.trim()).ok_or_else(|| format!("{item:?} is no number"))?;
                self.code
                    .push(u8::try_from(value).map_err(|_| format!("{value:#x} is no byte"))?);
            }
            return Ok(());
        }
        let mut parsed = Vec::new();
        for text in operands
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            parsed.push(operand::parse(text)?);
        }
        let mut known = false;
        for row in ROWS.iter().filter(|row| row.mnemonic == mnemonic) {
            known = true;
            if let Some(size) = matches(row, &parsed) {
                return self.encode(row, &parsed, size);
            }
        }
        Err(if known {
            format!("`{mnemonic}` does not take these operands")
        } else {
            format!("unknown instruction `{mnemonic}`")
        })
    }

    fn encode(&mut self, row: &Row, operands: &[Operand], size: u8) -> Result<(), String> {
        let (reg, rm, ext) = match row.form {
            Form::MemReg => (operands.get(1), operands.first(), 0),
            Form::RegMem => (operands.first(), operands.get(1), 0),
            Form::Ext(n) => (None, operands.first(), n),
            Form::PlusReg => (None, operands.first(), 0),
            Form::Fixed | Form::Imm => (None, None, 0),
        };
        let reg_number = match reg {
            Some(Operand::Reg(reg)) => reg.number,
            _ => ext,
        };
        let (mut rex, mut need_rex) = (0u8, false);
        if row.flags & WIDE != 0 || (size == 64 && row.flags & DEFAULT64 == 0) {
            rex |= 8;
        }
        if reg_number & 8 != 0 {
            rex |= 4;
        }
        match rm {
            Some(Operand::Reg(reg)) if reg.number & 8 != 0 => rex |= 1,
            Some(Operand::Mem(mem)) => {
                rex |= u8::from(mem.base.is_some_and(|base| base & 8 != 0));
                rex |= u8::from(mem.index.is_some_and(|(index, _)| index & 8 != 0)) << 1;
            }
            _ => {}
        }
        for operand in [reg, rm].into_iter().flatten() {
            if let Operand::Reg(Reg {
                class: Class::General,
                size: 8,
                number,
            }) = operand
            {
                need_rex |= (4..8).contains(number);
            }
        }
        // Mandatory prefixes go before REX, the rest of the opcode after it.
        let prefixes = match row.opcode {
            [0x66 | 0xf2 | 0xf3, _, ..] => 1,
            _ => 0,
        };
        if size == 16 && row.flags & DEFAULT64 == 0 {
            self.code.push(0x66);
        }
        self.code.extend_from_slice(&row.opcode[..prefixes]);
        if rex != 0 || need_rex {
            self.code.push(0x40 | rex);
        }
        let mut opcode = row.opcode[prefixes..].to_vec();
        let last = opcode.len() - 1;
        if row.flags & SIZED != 0 && size > 8 {
            opcode[last] += 1;
        }
        if let (Form::PlusReg, Some(Operand::Reg(reg))) = (row.form, rm) {
            opcode[last] += reg.number & 7;
        }
        self.code.extend_from_slice(&opcode);
        if row.form != Form::PlusReg
            && let Some(rm) = rm
        {
            self.modrm(reg_number & 7, rm)?;
        }
        for (operand, kind) in operands.iter().zip(row.operands.split(',')) {
            match (operand, kind) {
                (Operand::Imm(value), "i64") => self.code.extend_from_slice(&value.to_le_bytes()),
                (Operand::Imm(value), "i8") => self.code.push(*value as u8),
                (Operand::Imm(value), "i32") => match size {
                    8 => self.code.push(*value as u8),
                    16 => self.code.extend_from_slice(&(*value as u16).to_le_bytes()),
                    _ => self.code.extend_from_slice(&(*value as i32).to_le_bytes()),
                },
                (Operand::Label(label), "rel8") => {
                    self.jumps.push((label.clone(), self.code.len()));
                    self.code.push(0);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn modrm(&mut self, reg: u8, rm: &Operand) -> Result<(), String> {
        let mem = match rm {
            Operand::Reg(register) => {
                self.code.push(0xc0 | reg << 3 | register.number & 7);
                return Ok(());
            }
            Operand::Mem(mem) => mem,
            _ => return Err("an operand is neither register nor memory".into()),
        };
        let Mem {
            base,
            index,
            displacement,
            ..
        } = *mem;
        let mode = match (base, displacement) {
            (None, _) => 0,
            // rbp and r13 without displacement mean something else, so they always get one.
            (Some(base), 0) if base & 7 != 5 => 0,
            (Some(_), -128..=127) => 1,
            (Some(_), _) => 2,
        };
        match (base, index) {
            (Some(base), None) if base & 7 != 4 => self.code.push(mode << 6 | reg << 3 | base & 7),
            _ => {
                let (index, scale) = index.unwrap_or((4, 0));
                self.code.push(mode << 6 | reg << 3 | 4);
                self.code
                    .push(scale << 6 | (index & 7) << 3 | base.map_or(5, |base| base & 7));
            }
        }
        match (base, mode) {
            (Some(_), 0) => {}
            (Some(_), 1) => self.code.push(displacement as u8),
            _ => self.code.extend_from_slice(&displacement.to_le_bytes()),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, String> {
        for (label, at) in &self.jumps {
            let Some((_, target)) = self.labels.iter().find(|(name, _)| name == label) else {
                return Err(format!("no label `{label}`"));
            };
            let distance = *target as i64 - (*at as i64 + 1);
            self.code[*at] = i8::try_from(distance).map_err(|_| {
                format!("label `{label}` is {distance} bytes away, a short jump reaches 127")
            })? as u8;
        }
        Ok(self.code)
    }
}

/// The operand size in bits if the operands fit the row.
fn matches(row: &Row, operands: &[Operand]) -> Option<u8> {
    let kinds: Vec<&str> = row
        .operands
        .split(',')
        .filter(|kind| !kind.is_empty())
        .collect();
    if kinds.len() != operands.len() {
        return None;
    }
    let mut size: Option<u8> = None;
    for (kind, operand) in kinds.iter().zip(operands) {
        let seen = match (*kind, operand) {
            (
                "r" | "rm",
                Operand::Reg(Reg {
                    class: Class::General,
                    size,
                    ..
                }),
            ) => Some(*size),
            ("rm", Operand::Mem(mem)) => mem.size,
            ("rm8", Operand::Mem(mem)) if mem.size.is_none_or(|size| size == 8) => None,
            ("rm16", Operand::Mem(mem)) if mem.size == Some(16) => None,
            (
                "rm8",
                Operand::Reg(Reg {
                    class: Class::General,
                    size: 8,
                    ..
                }),
            )
            | (
                "rm16",
                Operand::Reg(Reg {
                    class: Class::General,
                    size: 16,
                    ..
                }),
            )
            | (
                "cr",
                Operand::Reg(Reg {
                    class: Class::Control,
                    ..
                }),
            )
            | (
                "dr",
                Operand::Reg(Reg {
                    class: Class::Debug,
                    ..
                }),
            )
            | (
                "sr",
                Operand::Reg(Reg {
                    class: Class::Segment,
                    ..
                }),
            )
            | (
                "x" | "xm",
                Operand::Reg(Reg {
                    class: Class::Xmm, ..
                }),
            )
            | ("m" | "xm", Operand::Mem(_))
            | ("rel8", Operand::Label(_))
            | ("i64", Operand::Imm(_)) => None,
            (
                "r64",
                Operand::Reg(Reg {
                    class: Class::General,
                    size: 64,
                    ..
                }),
            ) => Some(64),
            ("i32", Operand::Imm(value)) => {
                // Up to 32 bits the pattern counts, 64 bits are sign-extended.
                let unsigned = size.is_some_and(|size| size <= 32) && u32::try_from(*value).is_ok();
                (unsigned || i32::try_from(*value).is_ok()).then_some(())?;
                None
            }
            ("i8", Operand::Imm(value)) => {
                (-128..=255).contains(value).then_some(())?;
                None
            }
            (name, Operand::Reg(register)) if register.is_named(name) => None,
            _ => return None,
        };
        match (size, seen) {
            (Some(one), Some(other)) if one != other => return None,
            (None, seen) => size = seen,
            _ => {}
        }
    }
    // Memory of unknown size with an immediate or alone: the size must be said.
    let needs_size =
        kinds.iter().any(|kind| matches!(*kind, "r" | "rm")) && row.flags & DEFAULT64 == 0;
    if needs_size && size.is_none() {
        None
    } else {
        Some(size.unwrap_or(64))
    }
}

#[cfg(test)]
mod tests;
