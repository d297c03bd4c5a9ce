//! The Multiboot2 information structure (Multiboot2 specification 3.4 to 3.6): reading GRUB's,
//! and building the guest's from it.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::memory_map::Region;

/// What EAX holds when a Multiboot2 kernel is entered.
pub const MAGIC: u32 = 0x36d7_6289;

mod tag {
    pub const END: u32 = 0;
    pub const COMMAND_LINE: u32 = 1;
    pub const MODULE: u32 = 3;
    pub const BASIC_MEMORY: u32 = 4;
    pub const MEMORY_MAP: u32 = 6;
    pub const EFI_MEMORY_MAP: u32 = 17;
    pub const LOAD_BASE: u32 = 21;
}

/// A file GRUB loaded for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Physical addresses of its bytes.
    pub range: Range<u64>,
    /// The words after the file's path in GRUB's configuration.
    pub text: String,
}

/// What GRUB told us, copied out of its structure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Our own command line.
    pub command_line: String,
    /// Modules in GRUB's order; the first is the guest's kernel.
    pub modules: Vec<Module>,
    /// The firmware's memory map.
    pub memory: Vec<Region>,
    /// Tags that go to the guest as they are (ACPI, boot loader, frame buffer, ...): type and
    /// payload.
    pub other: Vec<(u32, Vec<u8>)>,
}

impl Info {
    /// Reads the structure's bytes. Tags that do not fit their structure end it.
    pub fn read(bytes: &[u8]) -> Self {
        let mut info = Self::default();
        let mut rest = bytes.get(8..).unwrap_or_default();
        while let Some((kind, payload)) = first_tag(rest) {
            match kind {
                tag::END => break,
                tag::COMMAND_LINE => info.command_line = text(payload),
                tag::MODULE => info.modules.extend(module(payload)),
                tag::MEMORY_MAP => info.memory = regions(payload),
                tag::BASIC_MEMORY | tag::EFI_MEMORY_MAP | tag::LOAD_BASE => {}
                other => info.other.push((other, payload.to_vec())),
            }
            let step = (payload.len() + 8).next_multiple_of(8);
            rest = rest.get(step..).unwrap_or_default();
        }
        info
    }

    /// The bytes of a structure that says the same.
    pub fn write(&self) -> Vec<u8> {
        let mut out = alloc::vec![0; 8];
        add_tag(&mut out, tag::COMMAND_LINE, &terminated(&self.command_line));
        for module in &self.modules {
            let mut payload = Vec::new();
            payload.extend((module.range.start as u32).to_le_bytes());
            payload.extend((module.range.end as u32).to_le_bytes());
            payload.extend(terminated(&module.text));
            add_tag(&mut out, tag::MODULE, &payload);
        }
        add_tag(&mut out, tag::BASIC_MEMORY, &basic_memory(&self.memory));
        let mut map = Vec::from([24, 0, 0, 0, 0, 0, 0, 0]);
        for region in &self.memory {
            map.extend(region.base.to_le_bytes());
            map.extend(region.length.to_le_bytes());
            map.extend(u64::from(region.kind).to_le_bytes());
        }
        add_tag(&mut out, tag::MEMORY_MAP, &map);
        for (kind, payload) in &self.other {
            add_tag(&mut out, *kind, payload);
        }
        add_tag(&mut out, tag::END, &[]);
        let total = out.len() as u32;
        out[..4].copy_from_slice(&total.to_le_bytes());
        out
    }
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn first_tag(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let length = word(bytes, 4)? as usize;
    Some((word(bytes, 0)?, bytes.get(8..length)?))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn module(payload: &[u8]) -> Option<Module> {
    Some(Module {
        range: u64::from(word(payload, 0)?)..u64::from(word(payload, 4)?),
        text: text(&payload[8..]),
    })
}

fn regions(payload: &[u8]) -> Vec<Region> {
    let size = word(payload, 0).unwrap_or(0).max(20) as usize;
    let entries = payload.get(8..).unwrap_or_default().chunks_exact(size);
    let region = |entry: &[u8]| {
        Some(Region {
            base: long(entry, 0)?,
            length: long(entry, 8)?,
            kind: word(entry, 16)?,
        })
    };
    entries.filter_map(region).collect()
}

fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = Vec::from(text.as_bytes());
    bytes.push(0);
    bytes
}

/// KiB of RAM from 0 and from 1 MiB up.
fn basic_memory(map: &[Region]) -> [u8; 8] {
    let kib_from = |base: u64| {
        let usable = |region: &&Region| region.kind == Region::USABLE && region.base == base;
        let length = map.iter().find(usable).map_or(0, |region| region.length);
        ((length / 1024) as u32).to_le_bytes()
    };
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&kib_from(0));
    bytes[4..].copy_from_slice(&kib_from(1 << 20));
    bytes
}

fn add_tag(out: &mut Vec<u8>, kind: u32, payload: &[u8]) {
    out.extend(kind.to_le_bytes());
    out.extend((payload.len() as u32 + 8).to_le_bytes());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(8), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Info {
        Info {
            command_line: "start=hx".into(),
            modules: alloc::vec![Module {
                range: 0x20_0000..0x20_1234,
                text: "fs.img and words".into(),
            }],
            memory: alloc::vec![
                Region {
                    base: 0,
                    length: 0x9fc00,
                    kind: 1
                },
                Region {
                    base: 0x10_0000,
                    length: 0x1f50_0000,
                    kind: 1
                },
            ],
            other: alloc::vec![(14, b"RSD PTR 0123456789ab".to_vec())],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(Info::read(&info().write()), info());
    }

    #[test]
    fn damaged_structures_end_early_and_never_panic() {
        let good = info().write();
        for length in 0..good.len() {
            Info::read(&good[..length]);
        }
        for byte in 0..good.len() {
            let mut bad = good.clone();
            bad[byte] ^= 0xff;
            Info::read(&bad);
        }
    }

    /// Another reader of the format agrees.
    #[test]
    #[expect(unsafe_code, reason = "the multiboot2 crate reads from a raw pointer")]
    fn the_multiboot2_crate_reads_it() {
        let mut words: Vec<u64> = Vec::new();
        for chunk in info().write().chunks(8) {
            words.push(u64::from_le_bytes(chunk.try_into().unwrap()));
        }
        // SAFETY: `words` is 8-aligned, holds the whole structure and outlives `boot`.
        let boot = unsafe { multiboot2::BootInformation::load(words.as_ptr().cast()) }.unwrap();
        assert_eq!(boot.command_line_tag().unwrap().cmdline(), Ok("start=hx"));
        let module = boot.module_tags().next().unwrap();
        assert_eq!(module.start_address(), 0x20_0000);
        assert_eq!(module.cmdline(), Ok("fs.img and words"));
        let areas = boot.memory_map_tag().unwrap();
        assert_eq!(areas.memory_areas()[1].size(), 0x1f50_0000);
    }
}
