//! Function names for addresses, from the boot module `symbols`: the kernel's own ELF file with its
//! symbol table.

use crate::mm::memory_map;
use core::fmt;
use elf::ElfBytes;
use elf::abi::STT_FUNC;
use elf::endian::LittleEndian;

/// Name of the module.
const MODULE: &str = "symbols";

/// Shows an address as `function+offset`, or in hexadecimal.
pub enum Name {
    /// Of an instruction.
    Instruction(u64),
    /// Behind a call. The call may be its function's last instruction, so the function is looked up
    /// one byte before.
    Return(u64),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, inside) = match *self {
            Self::Instruction(address) => (address, address),
            Self::Return(address) => (address, address.saturating_sub(1)),
        };
        match find(inside) {
            Some((name, offset)) => {
                let offset = offset + (address - inside);
                write!(f, "{address:#x} {name:#}+{offset:#x}")
            }
            None => write!(f, "{address:#x}"),
        }
    }
}

fn find(address: u64) -> Option<(impl fmt::Display, u64)> {
    let file =
        ElfBytes::<LittleEndian>::minimal_parse(memory_map::try_module(MODULE)?.bytes()).ok()?;
    let (symbols, names) = file.symbol_table().ok()??;
    let symbol = symbols
        .iter()
        .filter(|symbol| symbol.st_symtype() == STT_FUNC)
        .find(|symbol| {
            (symbol.st_value..symbol.st_value + symbol.st_size.max(1)).contains(&address)
        })?;
    let name = names.get(symbol.st_name as usize).ok()?;
    Some((rustc_demangle::demangle(name), address - symbol.st_value))
}
