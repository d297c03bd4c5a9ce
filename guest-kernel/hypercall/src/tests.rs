use crate::fake::Fake;
use crate::{DebugShell, KNOWN_NAMES, LogBuild, LogReader, ShellInput, StatusError, Vmm};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::vec::Vec;

#[test]
fn numbers_come_from_names_and_absence_is_none() {
    let mut fake = Fake::new();
    fake.names[1].1 = 77;
    let found: Vec<_> = {
        let mut vmm = Vmm::new(&mut fake);
        KNOWN_NAMES
            .iter()
            .map(|name| vmm.lookup(name).expect("answers").map(|n| n.get()))
            .collect()
    };
    assert_eq!(
        found,
        [Some(1), None, None, Some(77), Some(5), Some(6), None]
    );
    // Exposes the provenance for the fake and checks that number 0 is what asks.
    assert!(fake.calls.iter().all(|call| call.0 == 0));
}

#[test]
fn status_tells_disabled_from_short_from_text() {
    let mut fake = Fake::new();
    let mut buffer = [0; 32];
    let mut vmm = Vmm::new(&mut fake);
    let number = vmm.lookup(c"get_status").expect("answers").expect("exists");
    assert_eq!(vmm.get_status(number, &mut buffer), Ok(9));
    assert_eq!(&buffer[..9], b"time: ok\n");
    assert_eq!(
        vmm.get_status(number, &mut buffer[..3]),
        Err(StatusError::TooShort { needed: 9 })
    );
    fake.status = None;
    assert_eq!(
        Vmm::new(&mut fake).get_status(number, &mut buffer),
        Err(StatusError::Disabled)
    );
}

#[test]
fn the_shell_protocol_is_pinned() {
    let inputs = [
        ShellInput::Poll,
        ShellInput::Acknowledge,
        ShellInput::Key(b'a'),
        ShellInput::Key(0),
    ];
    assert_eq!(inputs.map(ShellInput::argument), [u64::MAX, 0, 97, 0x100]);
    let mut fake = Fake::new();
    fake.shell = Vec::from([0x200, 0x10a, 0x100, 0x41, 0]);
    let mut vmm = Vmm::new(&mut fake);
    let number = vmm.lookup(c"dbgsh").expect("answers").expect("exists");
    let heard: Vec<_> = (0..6)
        .map(|_| vmm.debug_shell(number, ShellInput::Poll).expect("answers"))
        .collect();
    let expected = [
        DebugShell::WantsKey,
        DebugShell::Character(0x41),
        DebugShell::Character(0),
        DebugShell::Ended,
        DebugShell::Unknown(0x200),
        DebugShell::Busy,
    ];
    assert_eq!(heard, expected);
}

struct Ring {
    header: AtomicU32,
    ring: Vec<AtomicU8>,
    at: usize,
    counting: bool,
}

impl Ring {
    fn new(size: usize, counting: bool) -> Self {
        Self {
            header: AtomicU32::new(0),
            ring: (0..size).map(|_| AtomicU8::new(0)).collect(),
            at: 0,
            counting,
        }
    }
}

fn log(ring: &Ring, at: &mut usize, text: &[u8]) {
    for &byte in text {
        ring.ring[*at].store(byte, Ordering::Release);
        if ring.counting {
            ring.header.fetch_add(1, Ordering::AcqRel);
        } else {
            ring.header.fetch_and(1, Ordering::AcqRel);
        }
        *at = (*at + 1) % ring.ring.len();
    }
}

#[test]
fn both_builds_are_read_across_the_wrap() {
    for counting in [false, true] {
        let ring = Ring::new(16, counting);
        let mut at = ring.at;
        let mut reader = LogReader::new(&ring.header, &ring.ring);
        let mut out = [0; 64];
        assert_eq!(reader.read(&mut out), 0);
        assert_eq!(reader.build(), LogBuild::Unknown);
        for round in 0..10 {
            let text = [b'a' + round; 7];
            log(&ring, &mut at, &text);
            assert_eq!(
                reader.read(&mut out),
                7,
                "round {round}, counting {counting}"
            );
            assert_eq!(out[..7], text);
        }
        assert_eq!(
            reader.build(),
            if counting {
                LogBuild::Counting
            } else {
                LogBuild::And
            }
        );
        if counting {
            assert_eq!(
                ring.header.load(Ordering::Relaxed),
                0x8000_0000,
                "all bytes were taken off the count"
            );
        }
    }
}

#[test]
fn a_counting_build_tells_what_was_overwritten() {
    let ring = Ring::new(8, true);
    let mut at = 0;
    let mut reader = LogReader::new(&ring.header, &ring.ring);
    log(&ring, &mut at, b"0123456789ab");
    let mut out = [0; 64];
    assert_eq!(reader.read(&mut out), 8);
    assert_eq!(reader.lost(), 4);
    assert_eq!(ring.header.load(Ordering::Relaxed), 0x8000_0000);
}
