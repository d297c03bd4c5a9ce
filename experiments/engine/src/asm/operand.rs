//! Operands: registers, memory, immediates, labels.

use alloc::{
    format,
    string::{String, ToString},
};

/// Kinds of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    General,
    Control,
    Debug,
    Segment,
    Xmm,
}

/// A register by its number in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reg {
    pub(super) class: Class,
    pub(super) number: u8,
    pub(super) size: u8,
}

impl Reg {
    /// Whether this is the register that an operand kind names (`al`, `dx`, ...).
    pub(super) fn is_named(self, name: &str) -> bool {
        register(name) == Some(self)
    }
}

/// `[base + index * scale + displacement]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Mem {
    pub(super) base: Option<u8>,
    /// Register and binary logarithm of the scale.
    pub(super) index: Option<(u8, u8)>,
    pub(super) displacement: i32,
    pub(super) size: Option<u8>,
}

/// One operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Reg(Reg),
    Mem(Mem),
    Imm(i64),
    Label(String),
}

const NAMES64: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const NAMES32: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
const NAMES16: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
const NAMES8: [&str; 8] = ["al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

fn register(name: &str) -> Option<Reg> {
    let general = |number: usize, size| Reg {
        class: Class::General,
        number: number as u8,
        size,
    };
    if let Some(number) = NAMES64.iter().position(|known| *known == name) {
        return Some(general(number, 64));
    }
    for (names, size) in [(NAMES32, 32), (NAMES16, 16), (NAMES8, 8)] {
        if let Some(number) = names.iter().position(|known| *known == name) {
            return Some(general(number, size));
        }
    }
    if let Some(number) = SEGMENTS.iter().position(|known| *known == name) {
        return Some(Reg {
            class: Class::Segment,
            number: number as u8,
            size: 16,
        });
    }
    let numbered = |prefix: &str, class, size| {
        let number: u8 = name.strip_prefix(prefix)?.parse().ok()?;
        (number < 16).then_some(Reg {
            class,
            number,
            size,
        })
    };
    if let Some(found) = numbered("cr", Class::Control, 64)
        .or_else(|| numbered("dr", Class::Debug, 64))
        .or_else(|| numbered("xmm", Class::Xmm, 128))
    {
        return Some(found);
    }
    // r8d, r8w, r8b.
    let (stem, size) = match name.as_bytes().last()? {
        b'd' => (&name[..name.len() - 1], 32),
        b'w' => (&name[..name.len() - 1], 16),
        b'b' => (&name[..name.len() - 1], 8),
        _ => return None,
    };
    let number = NAMES64.iter().position(|known| *known == stem)?;
    (number >= 8).then(|| general(number, size))
}

/// A decimal or `0x` number, with a sign if wanted; 64 bits, unsigned values above `i64::MAX` wrap.
pub(super) fn number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.trim()),
        None => (false, text),
    };
    let digits = digits.replace('_', "");
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative {
        (value as i64).wrapping_neg()
    } else {
        value as i64
    })
}

pub(super) fn parse(text: &str) -> Result<Operand, String> {
    let mut rest = text;
    let mut size = None;
    for (word, bits) in [
        ("byte", 8),
        ("word", 16),
        ("dword", 32),
        ("qword", 64),
        ("xmmword", 128),
    ] {
        if let Some(after) = rest.strip_prefix(word)
            && after.starts_with([' ', '['])
        {
            size = Some(bits);
            rest = after.trim_start();
            rest = rest.strip_prefix("ptr").unwrap_or(rest).trim_start();
            break;
        }
    }
    if let Some(inner) = rest
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
    {
        return memory(inner, size).map(Operand::Mem);
    }
    if size.is_some() {
        return Err(format!("`{text}`: a size must be followed by [...]"));
    }
    if let Some(found) = register(rest) {
        return Ok(Operand::Reg(found));
    }
    if let Some(value) = number(rest) {
        return Ok(Operand::Imm(value));
    }
    if rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(Operand::Label(rest.to_string()));
    }
    Err(format!("`{text}` is no operand"))
}

fn memory(inner: &str, size: Option<u8>) -> Result<Mem, String> {
    let mut mem = Mem {
        size,
        ..Mem::default()
    };
    let spaced = inner.replace('-', "+-");
    for term in spaced
        .split('+')
        .map(str::trim)
        .filter(|term| !term.is_empty())
    {
        if let Some((name, scale)) = term.split_once('*') {
            let index = general64(name.trim())?;
            let scale = match scale.trim() {
                "1" => 0,
                "2" => 1,
                "4" => 2,
                "8" => 3,
                other => return Err(format!("scale {other} is not 1, 2, 4 or 8")),
            };
            if index == 4 || mem.index.replace((index, scale)).is_some() {
                return Err(format!("`[{inner}]` cannot be encoded"));
            }
        } else if let Some(value) = number(term) {
            let sum = i64::from(mem.displacement) + value;
            mem.displacement = i32::try_from(sum)
                .map_err(|_| format!("displacement {sum:#x} does not fit 32 bits"))?;
        } else {
            let register = general64(term)?;
            if mem.base.is_none() {
                mem.base = Some(register);
            } else if register == 4 || mem.index.replace((register, 0)).is_some() {
                return Err(format!("`[{inner}]` cannot be encoded"));
            }
        }
    }
    Ok(mem)
}

fn general64(name: &str) -> Result<u8, String> {
    match register(name) {
        Some(Reg {
            class: Class::General,
            number,
            size: 64,
        }) => Ok(number),
        _ => Err(format!("`{name}` is no 64-bit register")),
    }
}
