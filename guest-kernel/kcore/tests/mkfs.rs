//! mkfs lays out as xv6's does; fingerprints were taken from images that xv6-riscv's own mkfs
//! (f5b93ef1) made of the same files.

use kcore::fs::{FileSystem, Inum, MemoryDisk};
use kcore::fsck;
use kcore::mkfs::{File, MkfsError, Parameters, build, xv6_name};

/// FNV-1a, 64 bits.
fn fingerprint(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The bytes of a test file: `at * 7 + at / 1024`, cut to a byte.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 1024) as u8).collect()
}

fn build_sizes(sizes: &[usize]) -> Vec<u8> {
    let contents: Vec<_> = sizes.iter().map(|&size| content(size)).collect();
    let names: Vec<_> = (0..sizes.len())
        .map(|index| format!("file{index}"))
        .collect();
    let files: Vec<_> = names
        .iter()
        .zip(&contents)
        .map(|(name, content)| File {
            name: name.as_bytes(),
            content,
        })
        .collect();
    build(&Parameters::default(), &files).unwrap()
}

#[test]
fn images_are_xv6s_byte_by_byte() {
    let edges = [
        0,
        1,
        1023,
        1024,
        1025,
        12 * 1024,
        12 * 1024 + 1,
        100_000,
        268 * 1024,
    ];
    let fill_the_directory = [1; 62];
    let cases: [(&[usize], u64); 3] = [
        (&[], EMPTY),
        (&edges, EDGES),
        (&fill_the_directory, FULL_DIRECTORY),
    ];
    for (sizes, expected) in cases {
        let image = build_sizes(sizes);
        assert_eq!(
            fingerprint(&image),
            expected,
            "{} files: {:#x}",
            sizes.len(),
            fingerprint(&image)
        );
    }
}

#[test]
fn every_file_can_be_read_back_and_the_image_is_clean() {
    let sizes = [0, 1, 1024, 12 * 1024 + 1, 268 * 1024];
    let mut image = build_sizes(&sizes);
    assert_eq!(fsck::check(&mut MemoryDisk(&mut image[..])), []);
    let mut fs = FileSystem::mount(MemoryDisk(image)).unwrap();
    for (index, size) in sizes.into_iter().enumerate() {
        let inum = fs
            .lookup(Inum::ROOT, format!("file{index}").as_bytes())
            .unwrap();
        let mut buf = vec![0; 300_000];
        let length = fs.read_at(inum, 0, &mut buf).unwrap();
        assert_eq!(buf[..length], content(size));
        fs.put(inum).unwrap();
    }
}

#[test]
fn names_lose_what_xv6s_mkfs_takes_off() {
    let table = [
        ("user/_cat", "cat"),
        ("_cat", "cat"),
        ("README", "README"),
        ("user/__x", "_x"),
    ];
    for (path, name) in table {
        assert_eq!(xv6_name(path.as_bytes()), name.as_bytes());
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let file = |name: &'static [u8], content: &'static [u8]| File { name, content };
    let make = |parameters: &Parameters, files: &[File<'_>]| build(parameters, files).unwrap_err();
    let usual = Parameters::default();
    for name in [&b""[..], b"a/b", b".", b"..", b"a\0b", b"123456789012345/x"] {
        assert_eq!(
            make(&usual, &[file(b"ok", b""), file(name, b"")]),
            MkfsError::Name { file: 1 }
        );
    }
    let twice = [file(b"12345678901234a", b""), file(b"12345678901234b", b"")];
    assert_eq!(make(&usual, &twice), MkfsError::Duplicate { file: 1 });
    static BIG: [u8; 268 * 1024 + 1] = [0; 268 * 1024 + 1];
    assert_eq!(
        make(&usual, &[file(b"big", &BIG)]),
        MkfsError::FileTooBig { file: 0 }
    );
    let few = Parameters { inodes: 3, ..usual };
    let two = [file(b"a", b""), file(b"b", b"")];
    assert_eq!(make(&few, &two), MkfsError::OutOfInodes { file: 1 });
    let small = Parameters { size: 100, ..usual };
    let most = &BIG[..268 * 1024];
    let files = [
        File {
            name: b"a",
            content: most,
        },
        File {
            name: b"b",
            content: b"x",
        },
    ];
    let needed = 46 + 1 + 269 + 1;
    assert_eq!(make(&small, &files), MkfsError::TooSmall { needed });
    let fits = Parameters {
        size: needed as u32,
        ..usual
    };
    assert!(build(&fits, &files).is_ok());
    assert!(matches!(
        make(&Parameters { size: 46, ..usual }, &[]),
        MkfsError::Parameters(_)
    ));
}

const EMPTY: u64 = 0x29bc_452a_1d98_0960;
const EDGES: u64 = 0xabee_5c6b_d4bf_fe71;
const FULL_DIRECTORY: u64 = 0x9764_1e2a_3e92_c083;
