//! ACPI: as much as it takes to find the CPUs (ACPI 6.5, sections 5.2.6 to 5.2.12).

use crate::mm::{PhysAddr, kernel_space, memory_map, raw};
use alloc::vec::Vec;

/// Length of the header that every table starts with.
const HEADER: usize = 36;
/// Longest table believed.
const MAX_TABLE: usize = 64 * 1024;
/// Where the MADT's list of structures starts.
const MADT_LIST: usize = 44;
const LOCAL_APIC: u8 = 0;
const ENABLED: u32 = 1;

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*field))
}

/// Copies a table; None if its length or checksum makes no sense.
fn table(address: u64) -> Option<Vec<u8>> {
    let header = read(address, HEADER)?;
    let len = u32_at(&header, 4)? as usize;
    if !(HEADER..=MAX_TABLE).contains(&len) {
        return None;
    }
    let bytes = read(address, len)?;
    let sum = bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
    (sum == 0).then_some(bytes)
}

fn read(address: u64, len: usize) -> Option<Vec<u8>> {
    let at = kernel_space::map_read_only(PhysAddr::try_new(address).ok()?, len)?;
    let mut bytes = alloc::vec![0; len];
    raw::read_mapped(at, &mut bytes).then_some(bytes)
}

/// The table with this signature.
fn find(signature: &[u8; 4]) -> Option<Vec<u8>> {
    let (address, wide) = memory_map::get().acpi_root?;
    let root = table(address)?;
    let width = if wide { 8 } else { 4 };
    root[HEADER..]
        .chunks_exact(width)
        .map(|entry| {
            let mut bytes = [0; 8];
            bytes[..width].copy_from_slice(entry);
            u64::from_le_bytes(bytes)
        })
        .filter_map(table)
        .find(|table| table.starts_with(signature))
}

/// APIC ids of all CPUs that may be used; empty where ACPI says nothing.
pub fn enabled_cpus() -> Vec<u32> {
    let mut ids = Vec::new();
    let Some(madt) = find(b"APIC") else {
        return ids;
    };
    let mut list = madt.get(MADT_LIST..).unwrap_or(&[]);
    while let [kind, len, ..] = *list {
        let len = usize::from(len);
        if len < 2 || len > list.len() {
            break;
        }
        if kind == LOCAL_APIC && u32_at(list, 4).is_some_and(|flags| flags & ENABLED != 0) {
            ids.push(u32::from(list[3]));
        }
        list = &list[len..];
    }
    ids
}
