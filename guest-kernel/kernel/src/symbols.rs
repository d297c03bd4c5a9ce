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
pub struct Name(pub u64);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match find(self.0) {
            Some((name, offset)) => write!(f, "{:#x} {name:#}+{offset:#x}", self.0),
            None => write!(f, "{:#x}", self.0),
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
