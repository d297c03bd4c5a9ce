//! What the boot loader said: memory, modules, command line. Copied out before memory is given away.

use super::layout::PAGE_SIZE;
use multiboot2::{BootInformation, MemoryAreaType};
use spin::Once;

/// Most ranges of the memory map that are kept.
const MAX_RANGES: usize = 64;
/// Most modules.
const MAX_MODULES: usize = 16;
/// Longest command line kept, of the kernel or of a module.
const MAX_TEXT: usize = 512;

/// Name of the module that holds the root file system.
pub const ROOT_IMAGE: &str = "fs.img";

/// One range of physical memory, `start` to `end`, as the loader gave it.
#[derive(Clone, Copy, Default)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Multiboot2 type: 1 usable, 2 reserved, 3 ACPI reclaimable, 4 ACPI NVS, 5 defective.
    pub kind: u32,
}

/// Text of bounded length.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; MAX_TEXT],
    len: usize,
}

impl Text {
    const EMPTY: Self = Self {
        bytes: [0; MAX_TEXT],
        len: 0,
    };

    fn new(text: &str) -> Self {
        let mut copy = Self::EMPTY;
        copy.len = text.len().min(MAX_TEXT);
        copy.bytes[..copy.len].copy_from_slice(&text.as_bytes()[..copy.len]);
        copy
    }

    /// The text, as far as it is UTF-8.
    pub fn as_str(&self) -> &str {
        let bytes = &self.bytes[..self.len];
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}

/// A module: a file the loader put into memory.
#[derive(Clone, Copy)]
pub struct Module {
    /// First physical address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    text: Text,
}

impl Module {
    /// First word of its command line.
    pub fn name(&self) -> &str {
        let word = self
            .text
            .as_str()
            .split_ascii_whitespace()
            .next()
            .unwrap_or("");
        word.rsplit('/').next().unwrap_or(word)
    }

    /// Its content; nothing for the root image, which belongs to the file system.
    pub fn bytes(&self) -> &'static [u8] {
        if self.name() == ROOT_IMAGE {
            return &[];
        }
        super::raw::module_bytes(self)
    }
}

/// Everything that is kept of the boot information.
pub struct BootInfo {
    ranges: [Range; MAX_RANGES],
    range_count: usize,
    modules: [Module; MAX_MODULES],
    module_count: usize,
    modules_left_out: usize,
    /// The kernel's command line.
    pub command_line: Text,
    /// Where the structure itself lies.
    pub own: Range,
    /// Physical address of the ACPI root table and whether it is the 64-bit one.
    pub acpi_root: Option<(u64, bool)>,
}

static BOOT_INFO: Once<BootInfo> = Once::new();

impl BootInfo {
    /// Nothing yet; `own` is where the loader's structure lies.
    pub fn new(own: Range) -> Self {
        Self {
            ranges: [Range::default(); MAX_RANGES],
            range_count: 0,
            modules: [Module {
                start: 0,
                end: 0,
                text: Text::EMPTY,
            }; MAX_MODULES],
            module_count: 0,
            modules_left_out: 0,
            command_line: Text::EMPTY,
            own,
            acpi_root: None,
        }
    }

    /// Copies what is needed out of the structure of a Multiboot2 loader.
    pub fn of_multiboot2(info: &BootInformation<'_>, address: u64) -> Self {
        let mut copy = Self::new(Range {
            start: address,
            end: address + info.total_size() as u64,
            kind: 0,
        });
        for area in info
            .memory_map_tag()
            .iter()
            .flat_map(|tag| tag.memory_areas())
        {
            let kind = match area.typ() {
                MemoryAreaType::Available => 1,
                MemoryAreaType::Reserved => 2,
                MemoryAreaType::AcpiAvailable => 3,
                MemoryAreaType::ReservedHibernate => 4,
                MemoryAreaType::Defective => 5,
                MemoryAreaType::Custom(number) => number,
            };
            copy.add_range(Range {
                start: area.start_address(),
                end: area.end_address(),
                kind,
            });
        }
        for module in info.module_tags() {
            copy.add_module(
                u64::from(module.start_address()),
                u64::from(module.end_address()),
                module.cmdline().unwrap_or(""),
            );
        }
        copy.set_command_line(info.command_line_tag().and_then(|tag| tag.cmdline().ok()));
        copy.acpi_root = info
            .rsdp_v2_tag()
            .map(|tag| (tag.xsdt_address() as u64, true))
            .or_else(|| {
                info.rsdp_v1_tag()
                    .map(|tag| (tag.rsdt_address() as u64, false))
            });
        copy
    }

    /// Adds a range of the memory map. Memory beyond the last that fits stays unused, which is safe.
    pub fn add_range(&mut self, range: Range) {
        if self.range_count < MAX_RANGES {
            self.ranges[self.range_count] = range;
            self.range_count += 1;
        }
    }

    /// Adds a module; the first word of `text` names it.
    pub fn add_module(&mut self, start: u64, end: u64, text: &str) {
        if self.module_count == MAX_MODULES {
            self.modules_left_out += 1;
            return;
        }
        self.modules[self.module_count] = Module {
            start,
            end,
            text: Text::new(text),
        };
        self.module_count += 1;
    }

    /// Keeps the kernel's command line, if there is one.
    pub fn set_command_line(&mut self, text: Option<&str>) {
        self.command_line = Text::new(text.unwrap_or(""));
    }
}

/// Keeps what the loader said.
pub fn init(left: BootInfo) {
    if left.modules_left_out > 0 {
        crate::println!(
            "boot: {} modules too many, only {MAX_MODULES} are kept",
            left.modules_left_out
        );
    }
    BOOT_INFO.call_once(|| left);
}

/// The copy.
pub fn get() -> &'static BootInfo {
    BOOT_INFO.get().expect("memory_map::init ran")
}

/// All ranges, as the loader gave them.
pub fn ranges() -> &'static [Range] {
    let info = get();
    &info.ranges[..info.range_count]
}

/// Usable ranges, shrunk to whole pages, without low memory.
pub fn usable() -> impl Iterator<Item = (u64, u64)> {
    ranges()
        .iter()
        .filter(|range| range.kind == 1)
        .filter_map(|range| {
            let start = super::layout::page_up(range.start.max(super::layout::LOW_MEMORY_END));
            let end = range.end & !(PAGE_SIZE - 1);
            (start < end).then_some((start, end))
        })
}

/// All modules.
pub fn modules() -> &'static [Module] {
    let info = get();
    &info.modules[..info.module_count]
}

/// The module with this name, also before `init` (for panics).
pub fn try_module(name: &str) -> Option<&'static Module> {
    let info = BOOT_INFO.get()?;
    info.modules[..info.module_count]
        .iter()
        .find(|module| module.name() == name)
}

/// The module with this name.
pub fn module(name: &str) -> Option<&'static Module> {
    modules().iter().find(|module| module.name() == name)
}

/// Physical memory that is taken at boot: the image, the loader's structure, the modules.
pub fn taken() -> impl Iterator<Item = (u64, u64)> {
    let info = get();
    let image = (super::layout::LOW_MEMORY_END, super::raw::image().end);
    [image, (info.own.start, info.own.end)]
        .into_iter()
        .chain(modules().iter().map(|module| (module.start, module.end)))
}
