//! Where labvisor hides, and the memory map without that place.

use alloc::vec::Vec;
use core::ops::Range;

/// One entry of the firmware's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub base: u64,
    /// Length in bytes.
    pub length: u64,
    /// E820 type; [`Region::USABLE`] is RAM free for use.
    pub kind: u32,
}

impl Region {
    /// RAM free for use.
    pub const USABLE: u32 = 1;
    /// RAM that holds ACPI tables.
    pub const ACPI_RECLAIMABLE: u32 = 3;

    /// The addresses the region covers.
    pub fn range(&self) -> Range<u64> {
        self.base..self.base.saturating_add(self.length)
    }
}

const FOUR_GIB: u64 = 1 << 32;

/// The part of RAM to hide: the top `length` bytes or a little more of the highest usable region
/// below 4 GiB, from a 2 MiB boundary to the region's end. `None` when no region is that large.
pub fn choose_hidden(map: &[Region], length: u64) -> Option<Range<u64>> {
    const ALIGNMENT: u64 = 2 << 20;
    let top = map
        .iter()
        .filter(|region| region.kind == Region::USABLE && region.range().end <= FOUR_GIB)
        .max_by_key(|region| region.base)?
        .range();
    let start = top.end.checked_sub(length)? / ALIGNMENT * ALIGNMENT;
    (start >= top.start).then(|| start..top.end / 4096 * 4096)
}

/// `map` without `hidden`.
pub fn without(map: &[Region], hidden: &Range<u64>) -> Vec<Region> {
    let mut rest = Vec::new();
    for region in map {
        let Range { start, end } = region.range();
        let before = start..end.min(hidden.start);
        let after = start.max(hidden.end)..end;
        if end <= hidden.start || start >= hidden.end {
            rest.push(*region);
            continue;
        }
        for part in [before, after] {
            if part.start < part.end {
                rest.push(Region {
                    base: part.start,
                    length: part.end - part.start,
                    kind: region.kind,
                });
            }
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable(base: u64, length: u64) -> Region {
        Region {
            base,
            length,
            kind: Region::USABLE,
        }
    }

    /// The map of QEMU's `pc` with 512 MiB, and a region above 4 GiB that must not be chosen.
    fn map() -> [Region; 4] {
        [
            usable(0, 0x9fc00),
            usable(0x10_0000, 0x1fee_0000),
            Region {
                base: 0x1ffe_0000,
                length: 0x2_0000,
                kind: 2,
            },
            usable(1 << 32, 1 << 30),
        ]
    }

    #[test]
    fn hides_at_the_top_of_ram_below_4_gib() {
        assert_eq!(
            choose_hidden(&map(), 8 << 20),
            Some(0x1f60_0000..0x1ffe_0000)
        );
        assert_eq!(choose_hidden(&map(), 1 << 30), None);
    }

    #[test]
    fn the_map_of_the_guest_lacks_the_hidden_part_only() {
        let rest = without(&map(), &(0x1f60_0000..0x1ffe_0000));
        let mut expected = map();
        expected[1].length = 0x1f50_0000;
        assert_eq!(rest, expected);
        assert_eq!(
            without(&[usable(0, 0x3000)], &(0x1000..0x2000)),
            [usable(0, 0x1000), usable(0x2000, 0x1000)]
        );
    }
}
