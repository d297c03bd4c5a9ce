//! Each refusal by a minimal file, then mutations of real programs.

use super::*;
use alloc::vec;

/// Offsets in a program header.
mod at {
    pub const FLAGS: usize = 4;
    pub const OFFSET: usize = 8;
    pub const ADDRESS: usize = 16;
    pub const FILE_SIZE: usize = 32;
    pub const MEMORY_SIZE: usize = 40;
    pub const ALIGN: usize = 48;
}

const TABLE: usize = 64;
const TEXT: usize = TABLE;
const DATA: usize = TABLE + 56;
const STACK: usize = TABLE + 112;

fn program_header(kind: u32, flags: u32, numbers: [u64; 6]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// Code of 0x20 bytes at 0, data of 8 bytes and 0x2000 of memory at 0x1000, a stack of 5000 bytes.
fn sample() -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [ET_EXEC, EM_X86_64] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [0x10_u64, TABLE as u64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 3, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(program_header(
        PT_LOAD,
        PF_R | PF_X,
        [0x100, 0, 0, 0x20, 0x20, 0x1000],
    ));
    file.extend(program_header(
        PT_LOAD,
        PF_R | PF_W,
        [0x120, 0x1000, 0, 8, 0x2000, 0x1000],
    ));
    file.extend(program_header(
        PT_GNU_STACK,
        PF_R | PF_W,
        [0, 0, 0, 0, 5000, 16],
    ));
    file.resize(0x128, 0xcc);
    file
}

fn plan_of(file: &[u8]) -> Result<Plan, ElfError> {
    plan(&mut &file[..], &Limits::default())
}

fn with(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = sample();
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    file
}

fn with_u64(offset: usize, value: u64) -> Vec<u8> {
    with(offset, &value.to_le_bytes())
}

#[test]
fn a_good_program_becomes_its_plan() {
    let plan = plan_of(&sample()).unwrap();
    let text = Segment {
        address: 0,
        memory_size: 0x20,
        file_offset: 0x100,
        file_size: 0x20,
        access: Access::Execute,
    };
    let data = Segment {
        address: 0x1000,
        memory_size: 0x2000,
        file_offset: 0x120,
        file_size: 8,
        access: Access::Write,
    };
    assert_eq!(plan.segments, [text, data]);
    assert_eq!(
        (plan.entry, plan.stack_size, plan.image_end()),
        (0x10, Some(8192), 0x3000)
    );
    assert_eq!(data.pages(), 2);
}

#[test]
fn segments_come_in_order_of_address_and_empty_ones_not_at_all() {
    let mut file = sample();
    let (text, data) = (file[TEXT..DATA].to_vec(), file[DATA..STACK].to_vec());
    file[TEXT..DATA].copy_from_slice(&data);
    file[DATA..STACK].copy_from_slice(&text);
    assert_eq!(plan_of(&file), plan_of(&sample()));
    file[TEXT + at::FILE_SIZE..TEXT + at::MEMORY_SIZE + 8].fill(0);
    assert_eq!(plan_of(&file).unwrap().segments.len(), 1);
}

#[test]
fn every_refusal_has_its_reason() {
    use ElfError as E;
    let (first, second) = (0, 1);
    let half: u64 = 0xffff_8000_0000_0000;
    let cases: Vec<(Vec<u8>, E)> = vec![
        (vec![], E::Truncated),
        (sample()[..63].to_vec(), E::Truncated),
        (sample()[..STACK + 55].to_vec(), E::Truncated),
        (b"#!/bin/sh\n".repeat(20), E::NotElf),
        (with(4, &[1]), E::OtherMachine),
        (with(5, &[2]), E::OtherMachine),
        (with(5, &[3]), E::OtherMachine),
        (with(18, &243_u16.to_le_bytes()), E::OtherMachine),
        (with(20, &[2]), E::OtherMachine),
        (with(16, &[3]), E::NotExecutable(3)),
        (with(54, &[57]), E::HeaderSize(57)),
        (with(56, &33_u16.to_le_bytes()), E::TooManyHeaders(33)),
        (with(56, &[0xff, 0xff]), E::TooManyHeaders(0xffff)),
        (with(56, &[0]), E::NoSegments),
        (with_u64(32, u64::MAX - 8), E::Truncated),
        (with_u64(32, 1 << 40), E::Truncated),
        (with(STACK, &PT_INTERP.to_le_bytes()), E::Dynamic),
        (with(STACK, &PT_DYNAMIC.to_le_bytes()), E::Dynamic),
        (
            with_u64(STACK + at::MEMORY_SIZE, u64::MAX),
            E::Stack(u64::MAX),
        ),
        (
            with_u64(TEXT + at::ADDRESS, 0x800),
            E::Unaligned { segment: first },
        ),
        (
            with_u64(TEXT + at::ALIGN, 3),
            E::Unaligned { segment: first },
        ),
        (
            with_u64(DATA + at::FILE_SIZE, 0x2001),
            E::Wraps { segment: second },
        ),
        (
            with_u64(DATA + at::ADDRESS, u64::MAX - 0xfff),
            E::Wraps { segment: second },
        ),
        (
            with_u64(DATA + at::MEMORY_SIZE, u64::MAX),
            E::Wraps { segment: second },
        ),
        (
            with_u64(DATA + at::ADDRESS, half),
            E::OutOfRange { segment: second },
        ),
        (
            with_u64(DATA + at::ADDRESS, 0x8000_0000_0000),
            E::OutOfRange { segment: second },
        ),
        (
            with_u64(DATA + at::ADDRESS, 1 << 30),
            E::OutOfRange { segment: second },
        ),
        (with_u64(DATA + at::MEMORY_SIZE, 64 << 20), E::TooBig),
        (
            with_u64(DATA + at::OFFSET, 0x121),
            E::OutsideFile { segment: second },
        ),
        (
            with_u64(DATA + at::OFFSET, u64::MAX),
            E::OutsideFile { segment: second },
        ),
        (
            with(DATA + at::FLAGS, &[7]),
            E::WritableCode { segment: second },
        ),
        (
            with(DATA + at::FLAGS, &[0]),
            E::NoAccess { segment: second },
        ),
        (with_u64(TEXT + at::MEMORY_SIZE, 0x1001), E::Overlap),
        (with_u64(DATA + at::ADDRESS, 0), E::Overlap),
        (with_u64(24, 0x20), E::Entry(0x20)),
        (with_u64(24, 0x1000), E::Entry(0x1000)),
        (with_u64(24, half), E::Entry(half)),
        (with(TEXT + at::FLAGS, &[4]), E::Entry(0x10)),
    ];
    for (index, (file, error)) in cases.iter().enumerate() {
        assert_eq!(plan_of(file), Err(*error), "case {index}");
        assert_eq!(error.errno(), Errno::ENOEXEC);
    }
    let user_end = Limits {
        image_end: u64::MAX,
        ..Limits::default()
    };
    let high = with_u64(DATA + at::ADDRESS, USER_END - 0x1000);
    assert_eq!(
        plan(&mut &high[..], &user_end),
        Err(E::OutOfRange { segment: second })
    );
    let fits = with_u64(DATA + at::ADDRESS, USER_END - 0x2000);
    assert_eq!(
        plan(&mut &fits[..], &user_end).unwrap().image_end(),
        USER_END
    );
}

/// A file that gives one byte at a time, and one that fails.
struct Slow<'a>(&'a [u8]);
struct Broken;

impl ReadAt for Slow<'_> {
    fn size(&mut self) -> Result<u64, Errno> {
        self.0.size()
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.0.read_at(offset, &mut buf[..1])
    }
}

impl ReadAt for Broken {
    fn size(&mut self) -> Result<u64, Errno> {
        Ok(4096)
    }

    fn read_at(&mut self, _: u64, _: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::EIO)
    }
}

#[test]
fn short_reads_are_continued_and_errors_passed_on() {
    assert_eq!(
        plan(&mut Slow(&sample()), &Limits::default()),
        plan_of(&sample())
    );
    let error = plan(&mut Broken, &Limits::default()).unwrap_err();
    assert_eq!(
        (error, error.errno()),
        (ElfError::Read(Errno::EIO), Errno::EIO)
    );
}

/// Loads a plan into pages as a kernel would, relying on what `plan` promises.
fn load(plan: &Plan, file: &[u8], limits: &Limits) {
    let mut pages = 0;
    let mut above = 0;
    let mut has_entry = false;
    for segment in &plan.segments {
        assert!(segment.address >= above && segment.address.is_multiple_of(PAGE_SIZE));
        assert!(segment.memory_size > 0 && segment.file_size <= segment.memory_size);
        above = segment.end();
        assert!(above <= USER_END && above <= limits.image_end);
        pages += segment.pages();
        let is_code = segment.access == Access::Execute;
        has_entry |= is_code && (segment.address..above).contains(&plan.entry);
        let content = &file[segment.file_offset as usize..][..segment.file_size as usize];
        assert!(segment.address + content.len() as u64 <= above);
    }
    assert!(has_entry && pages <= limits.pages);
    assert!(
        plan.stack_size
            .is_none_or(|size| size > 0 && size.is_multiple_of(PAGE_SIZE))
    );
}

/// Numbers that loaders get wrong.
const NASTY: [u64; 14] = [
    0,
    1,
    0xfff,
    0x1000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_f000,
    0x8000_0000_0000,
    0xffff_8000_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

fn mutate_and_load(original: &[u8], rounds: u64, seed: u64) -> (u64, u64) {
    let mut state = seed;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 33) % below as u64) as usize
    };
    let limits = Limits::default();
    let (mut accepted, mut refused) = (0, 0);
    let headers = original.len().min(TABLE + 56 * 8);
    let mut file = original.to_vec();
    for _ in 0..rounds {
        file.truncate(0);
        file.extend_from_slice(original);
        for _ in 0..=random(3) {
            match random(4) {
                0 => file[random(headers)] = random(256) as u8,
                1 => file[random(headers)] ^= 1 << random(8),
                2 => {
                    // A number, where a number stands.
                    let offset = 8 * random(headers / 8);
                    let number = NASTY[random(NASTY.len())]
                        .wrapping_add(random(3) as u64)
                        .wrapping_sub(1);
                    file[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
                }
                _ => file.resize(headers + random(original.len() - headers + 1), 0),
            }
        }
        match plan(&mut &file[..], &limits) {
            Ok(plan) => {
                load(&plan, &file, &limits);
                accepted += 1;
            }
            Err(error) => {
                assert!(!alloc::format!("{error}").is_empty());
                refused += 1;
            }
        }
    }
    (accepted, refused)
}

#[test]
fn a_mutated_program_is_refused_or_safe_to_load() {
    let (accepted, refused) = mutate_and_load(&sample(), 200_000, 1);
    assert!(
        accepted > 10_000 && refused > 50_000,
        "{accepted} accepted, {refused} refused"
    );
}

/// This test itself is an ELF file from a real linker: position independent, so it is refused, until
/// its type is patched. Then its headers are as rich as they come.
#[test]
fn a_mutated_file_of_a_real_linker_is_refused_or_safe_to_load() {
    extern crate std;
    let this = std::env::current_exe().unwrap();
    let whole = std::fs::read(this).unwrap();
    assert_eq!(plan_of(&whole), Err(ElfError::NotExecutable(3)));
    let mut file = whole[..whole.len().min(65_536)].to_vec();
    file[16..18].copy_from_slice(&ET_EXEC.to_le_bytes());
    assert_eq!(plan_of(&file), Err(ElfError::Dynamic));
    let (_, refused) = mutate_and_load(&file, 20_000, 2);
    assert!(refused > 10_000, "{refused} refused");
}
