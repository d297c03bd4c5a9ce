//! How many processors the firmware lists (ACPI specification 5.2): labvisor serves one.

/// Reads physical memory.
pub type Read<'a> = &'a dyn Fn(u64, &mut [u8]);

/// The number of enabled processors in the MADT, found from the root pointer `rsdp` (the payload
/// of the Multiboot2 tag). `None` when the tables cannot be followed.
pub fn processors(rsdp: &[u8], read: Read) -> Option<usize> {
    let extended = *rsdp.get(15)? >= 2 && rsdp.len() >= 36;
    let (root, width) = if extended {
        (number(rsdp.get(24..32)?), 8)
    } else {
        (number(rsdp.get(16..20)?), 4)
    };
    let root = table(root, read)?;
    let madt = root
        .get(36..)?
        .chunks_exact(width)
        .filter_map(|pointer| table(number(pointer), read))
        .find(|table| table.starts_with(b"APIC"))?;
    let mut rest = madt.get(44..)?;
    let mut processors = 0;
    while let [kind, length, ..] = *rest {
        let entry = rest.get(..usize::from(length)).filter(|e| e.len() >= 2)?;
        // Local APIC: flags at 4; local x2APIC: flags at 8. Bit 0 is "enabled".
        let flags_at = match kind {
            0 => Some(4),
            9 => Some(8),
            _ => None,
        };
        let flags = flags_at.and_then(|at| entry.get(at));
        processors += usize::from(flags.is_some_and(|flags| flags & 1 != 0));
        rest = &rest[entry.len()..];
    }
    Some(processors)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn table(address: u64, read: Read) -> Option<alloc::vec::Vec<u8>> {
    const LARGEST: usize = 1 << 16;
    let mut header = [0; 8];
    read(address, &mut header);
    let length = number(&header[4..]) as usize;
    if !(36..=LARGEST).contains(&length) {
        return None;
    }
    let mut bytes = alloc::vec![0; length];
    read(address, &mut bytes);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// RSDT at 0x100 pointing to a MADT at 0x200 with the given entries.
    fn memory(entries: &[u8]) -> Vec<u8> {
        let mut memory = alloc::vec![0; 0x400];
        memory[0x100..0x108].copy_from_slice(b"RSDT\x28\0\0\0");
        memory[0x124..0x128].copy_from_slice(&0x200u32.to_le_bytes());
        memory[0x200..0x204].copy_from_slice(b"APIC");
        memory[0x204] = 44 + entries.len() as u8;
        memory[0x22c..0x22c + entries.len()].copy_from_slice(entries);
        memory
    }

    fn count(entries: &[u8]) -> Option<usize> {
        let memory = memory(entries);
        let mut rsdp = *b"RSD PTR 0123456\0\0\x01\0\0";
        rsdp[15] = 0;
        processors(&rsdp, &|address, bytes| {
            let start = address as usize;
            bytes.copy_from_slice(&memory[start..start + bytes.len()]);
        })
    }

    #[test]
    fn enabled_processors_are_counted() {
        assert_eq!(count(&[0, 8, 0, 0, 1, 0, 0, 0]), Some(1));
        let two_and_a_disabled_one = [
            0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 1, 1, 0, 0, 0, 0, 8, 2, 2, 0, 0, 0, 0,
        ];
        assert_eq!(count(&two_and_a_disabled_one), Some(2));
        assert_eq!(count(&[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Some(0));
    }

    #[test]
    fn a_damaged_table_counts_nothing() {
        assert_eq!(count(&[0, 0]), None);
        assert_eq!(count(&[0, 9, 0]), None);
    }
}
