//! Archives of boot modules: what is put in comes out, and damaged ones are refused without a panic.

use kcore::initrd::{self, InitrdError};

const FILES: [(&str, &[u8]); 4] = [
    ("fs.img", b"blocks of a file system"),
    ("empty", b""),
    ("odd", b"12345"),
    ("symbols", b"\x7fELF"),
];

fn names(archive: &[u8]) -> Result<Vec<String>, InitrdError> {
    initrd::entries(archive)
        .map(|entry| entry.map(|entry| entry.name.to_owned()))
        .collect()
}

#[test]
fn what_goes_in_comes_out() {
    let archive = initrd::build(FILES);
    let found: Vec<_> = initrd::entries(&archive).map(Result::unwrap).collect();
    assert_eq!(found.len(), FILES.len());
    for (entry, (name, content)) in found.iter().zip(FILES) {
        assert_eq!(entry.name, name);
        assert_eq!(&archive[entry.content.clone()], content, "{name}");
    }
}

#[test]
fn the_form_is_the_one_of_cpio() {
    let archive = initrd::build([("hx", b"abcdef".as_slice())]);
    // inode, mode, links, owner, group, time, size, device and special device (major, minor), name's size, check
    let numbers = "00000000 00008124 00000001 00000000 00000000 00000000 00000006 \
        00000000 00000000 00000000 00000000 00000003 00000000";
    let header = format!("070701{}", numbers.replace(' ', ""));
    assert_eq!(&archive[..header.len()], header.as_bytes());
    assert_eq!(&archive[110..113], b"hx\0");
    assert_eq!(archive.len() % 4, 0);
}

#[test]
fn an_archive_cut_anywhere_is_refused() {
    let archive = initrd::build(FILES);
    let trailer = archive.len() - 124;
    for len in 0..archive.len() - 4 {
        let result = names(&archive[..len]);
        assert!(
            matches!(result, Err(InitrdError::Short(at)) if at <= trailer),
            "{len}: {result:?}"
        );
    }
}

#[test]
fn damaged_bytes_never_panic_and_never_lead_outside() {
    let archive = initrd::build(FILES);
    let mut random = 1u32;
    for round in 0..20_000u32 {
        let mut damaged = archive.clone();
        for _ in 0..=round % 4 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = random as usize % damaged.len();
            let choices = *b"0f9F\0\xff!7";
            damaged[at] = choices[(random >> 24) as usize % choices.len()];
        }
        for entry in initrd::entries(&damaged).flatten() {
            assert!(damaged.get(entry.content.clone()).is_some(), "{entry:?}");
            assert!(!entry.name.is_empty());
        }
    }
}

#[test]
fn errors_say_where() {
    let mut archive = initrd::build(FILES);
    archive[0] = b'1';
    assert_eq!(
        names(&archive).unwrap_err().to_string(),
        "no cpio newc header at byte 0"
    );
}
