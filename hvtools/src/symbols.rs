//! The kernel's function names, as a small ELF file: the boot module `symbols`, which a panic reads.
//!
//! The kernel's own ELF file has them, too, but its debug information makes it fifty times as large.

use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::STT_FUNC;
use elf::endian::LittleEndian;

const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;

/// An ELF64 file that holds nothing but the symbols of `kernel`'s functions.
///
/// # Errors
/// When `kernel` is no ELF file with a symbol table.
pub fn of(kernel: &[u8]) -> Result<Vec<u8>> {
    let file =
        ElfBytes::<LittleEndian>::minimal_parse(kernel).context("the kernel is no ELF file")?;
    let (table, names) = file
        .symbol_table()?
        .context("the kernel has no symbol table")?;
    let (mut symbols, mut strings) = (vec![0u8; SYMBOL], vec![0u8]);
    for symbol in table
        .iter()
        .filter(|symbol| symbol.st_symtype() == STT_FUNC)
    {
        let name = names
            .get(symbol.st_name as usize)
            .context("a symbol's name is no text")?;
        symbols.extend(u32::try_from(strings.len())?.to_le_bytes());
        symbols.extend([STT_FUNC, 0]);
        symbols.extend(1u16.to_le_bytes()); // section: any that is not "undefined"
        symbols.extend(symbol.st_value.to_le_bytes());
        symbols.extend(symbol.st_size.to_le_bytes());
        strings.extend(name.as_bytes());
        strings.push(0);
    }
    Ok(write(&kernel[..HEADER], &symbols, &strings))
}

/// Header, symbols, strings, and the section table that names them.
fn write(header: &[u8], symbols: &[u8], strings: &[u8]) -> Vec<u8> {
    let sections_at = (HEADER + symbols.len() + strings.len()).next_multiple_of(8);
    let mut file = header.to_vec();
    file[0x20..0x28].fill(0); // e_phoff: no segments
    file[0x28..0x30].copy_from_slice(&(sections_at as u64).to_le_bytes());
    file[0x38..0x3a].fill(0); // e_phnum
    file[0x3a..0x3c].copy_from_slice(&(SECTION_HEADER as u16).to_le_bytes());
    file[0x3c..0x3e].copy_from_slice(&3u16.to_le_bytes()); // e_shnum
    file[0x3e..0x40].fill(0); // e_shstrndx: the sections have no names
    file.extend_from_slice(symbols);
    file.extend_from_slice(strings);
    file.resize(sections_at + SECTION_HEADER, 0); // the null section
    file.extend(section(SHT_SYMTAB, HEADER, symbols.len(), 2, SYMBOL));
    file.extend(section(
        SHT_STRTAB,
        HEADER + symbols.len(),
        strings.len(),
        0,
        0,
    ));
    file
}

fn section(kind: u32, offset: usize, size: usize, link: u32, entry: usize) -> [u8; SECTION_HEADER] {
    let mut section = [0u8; SECTION_HEADER];
    section[4..8].copy_from_slice(&kind.to_le_bytes());
    section[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
    section[32..40].copy_from_slice(&(size as u64).to_le_bytes());
    section[40..44].copy_from_slice(&link.to_le_bytes());
    section[48..56].copy_from_slice(&8u64.to_le_bytes());
    section[56..64].copy_from_slice(&(entry as u64).to_le_bytes());
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_functions_survive_the_way() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let small = of(&own).unwrap();
        assert!(small.len() < own.len());
        let names = |bytes: &[u8]| {
            let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).unwrap();
            let (table, strings) = file.symbol_table().unwrap().unwrap();
            let functions = table
                .iter()
                .filter(|symbol| symbol.st_symtype() == STT_FUNC);
            functions
                .map(|symbol| {
                    (
                        symbol.st_value,
                        strings.get(symbol.st_name as usize).unwrap().to_owned(),
                    )
                })
                .collect::<Vec<_>>()
        };
        assert!(names(&small).len() > 100);
        assert_eq!(names(&small), names(&own));
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert!(of(b"no ELF at all").is_err());
    }
}
