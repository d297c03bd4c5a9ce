//! QEMU's fw_cfg: named files from the host (QEMU docs/specs/fw_cfg.rst), by port I/O.

use crate::arch::port::FW_CFG;
use alloc::vec::Vec;

const SELECTOR: u16 = 0;
const DATA: u16 = 1;
const KEY_SIGNATURE: u16 = 0;
const KEY_DIRECTORY: u16 = 0x19;
/// Entries a directory may have before we take it for rubbish.
const MAX_ENTRIES: u32 = 1024;
/// Largest file we take.
const MAX_FILE: usize = 64 * 1024;

fn select(key: u16) {
    FW_CFG.write(SELECTOR, key);
}

fn read(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = FW_CFG.read(DATA);
    }
}

fn read_array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    read(&mut bytes);
    bytes
}

/// The file with this name, or None where there is no QEMU or no such file.
pub fn file(name: &str) -> Option<Vec<u8>> {
    select(KEY_SIGNATURE);
    if &read_array::<4>() != b"QEMU" {
        return None;
    }
    select(KEY_DIRECTORY);
    let count = u32::from_be_bytes(read_array()).min(MAX_ENTRIES);
    for _ in 0..count {
        let size = u32::from_be_bytes(read_array()) as usize;
        let key = u16::from_be_bytes(read_array());
        let _reserved: [u8; 2] = read_array();
        let entry: [u8; 56] = read_array();
        let end = entry
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(entry.len());
        if &entry[..end] == name.as_bytes() {
            let mut content = alloc::vec![0; size.min(MAX_FILE)];
            select(key);
            read(&mut content);
            return Some(content);
        }
    }
    None
}
