//! Pins every number of the formats, and decodes damage of every kind.

use crate::header::{FIXED_LEN, HeaderError};
use crate::payload::{Exit, Probe, ProbeAnswer};
use crate::record::{DecodeError, Record, encode_with_class, record_len};
use crate::verdict::{Measurement, Progress, RECORD_MAX, Verdict, VerdictError, VerdictRecord};
use crate::{Class, FileHeader, Kind, Payload, Reader, RecordMeta, encode_record, escape};
use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const META: RecordMeta = RecordMeta {
    tsc: 0x1122_3344_5566_7788,
    sequence: 0x0a0b_0c0d,
    pid: 0x0102,
    cpu: 3,
    flags: 0,
};

#[test]
fn kinds_and_classes_are_pinned() {
    let kinds: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| (*kind as u8, kind.name()))
        .collect();
    assert_eq!(kinds[0], (1, "clock"));
    assert_eq!(kinds[3], (4, "request"));
    assert_eq!(kinds[4], (5, "answer"));
    assert_eq!(kinds[14], (15, "exit"));
    assert_eq!(kinds.len(), 16);
    let classes: Vec<_> = Class::ALL
        .iter()
        .map(|class| (*class as u8, class.name()))
        .collect();
    assert_eq!(classes[1], (1, "hypercall"));
    assert_eq!(classes[12], (12, "exit"));
    assert_eq!(classes.len(), 15);
    assert_eq!(Class::DEFAULT_MASK, 0x1d7f);
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(*kind as u8), Some(*kind));
        assert_eq!(Kind::from_name(kind.name()), Some(*kind));
    }
}

#[test]
fn a_record_is_pinned_byte_by_byte() {
    let mut bytes = Vec::new();
    encode_record(&META, &Payload::Switch { from: 5, to: 6 }, &mut bytes);
    assert_eq!(bytes.len(), 32);
    assert_eq!(bytes[..4], [32, 0, 12, 0]);
    assert_eq!(
        bytes[8..24],
        [
            0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x0d, 0x0c, 0x0b, 0x0a, 0x02, 0x01, 3,
            9
        ]
    );
    assert_eq!(bytes[24..], [5, 0, 6, 0, 0, 0, 0, 0]);
    assert_eq!(
        bytes[4..8],
        0x11d6_5663_u32.to_le_bytes(),
        "crc {:02x?}",
        &bytes[4..8]
    );
}

fn every_payload() -> Vec<Payload<'static>> {
    let text = || Cow::Borrowed(&b"words"[..]);
    vec![
        Payload::ClockPair { time_ns: 1 },
        Payload::Dropped { count: 2 },
        Payload::Panic { text: text() },
        Payload::ProbeRequest(Probe {
            flags: 1,
            count: 2,
            inner: 3,
            registers: [4, 5, 6, 7],
            code: Cow::Borrowed(&[0x0f, 0x01, 0xd9]),
        }),
        Payload::ProbeAnswer(ProbeAnswer {
            request: 1,
            vector: 6,
            error_code: 2,
            registers: [3, 4, 5, 6],
            executions: 7,
            min_ticks: 8,
            total_ticks: 9,
            rip_offset: -1,
        }),
        Payload::PageFault {
            address: 1,
            rip: 2,
            error_code: 3,
        },
        Payload::VirtioNotify { queue: 1 },
        Payload::VirtioReset { text: text() },
        Payload::Interrupt { vector: 43 },
        Payload::RemoteRequest {
            operation: 4,
            text: text(),
        },
        Payload::RemoteAnswer {
            request: 1,
            status: -2,
            bytes: 3,
        },
        Payload::Switch { from: 1, to: 2 },
        Payload::Event { text: text() },
        Payload::VmmLog { text: text() },
        Payload::Exit(Exit {
            code: 0x81,
            info1: 1,
            info2: 2,
            rip: 3,
            rax: 4,
            ticks: 5,
        }),
        Payload::Packet {
            sent: true,
            wire_len: 60,
            frame: text(),
        },
    ]
}

#[test]
fn every_payload_survives_and_every_flipped_bit_is_seen() {
    assert_eq!(every_payload().len(), Kind::ALL.len());
    for payload in every_payload() {
        let mut bytes = Vec::new();
        encode_record(&META, &payload, &mut bytes);
        let record = Record::decode(&bytes).expect("sound");
        assert_eq!(record.payload, payload);
        assert_eq!(record.meta, META);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&damaged).is_err(), "bit {bit} of {payload}");
        }
        assert!(!record.to_string().contains('\n'));
    }
}

#[test]
fn a_hypercall_is_sorted_by_its_opcode() {
    let class = |code: &[u8]| crate::record::probe_class(code);
    assert_eq!(class(&[0x0f, 0x01, 0xd9]), Class::Hypercall);
    assert_eq!(class(&[0x0f, 0x01, 0xc1]), Class::Hypercall);
    assert_eq!(class(&[0x0f, 0x01, 0xd8]), Class::Code);
    assert_eq!(class(&[0x0f, 0xa2]), Class::Cpuid);
    assert_eq!(class(&[0x0f, 0x32]), Class::Msr);
    assert_eq!(class(&[0xec]), Class::Port);
    assert_eq!(class(&[]), Class::Code);
}

#[test]
fn lengths_have_bounds() {
    assert_eq!(record_len(24u16.to_le_bytes()), Ok(24));
    assert_eq!(record_len(4096u16.to_le_bytes()), Ok(4096));
    for bad in [0u16, 8, 16, 23, 25, 4097, 4104, 65535] {
        assert_eq!(
            record_len(bad.to_le_bytes()),
            Err(DecodeError::Length { len: bad })
        );
    }
    let long = vec![b'x'; 10_000];
    let mut bytes = Vec::new();
    encode_record(
        &META,
        &Payload::Event {
            text: Cow::Borrowed(&long),
        },
        &mut bytes,
    );
    assert!(bytes.len() <= 4096);
    assert!(Record::decode(&bytes).is_ok());
}

#[test]
fn the_reader_takes_pieces_and_skips_damage() {
    let mut file = Vec::new();
    for sequence in 0..5 {
        encode_with_class(
            &RecordMeta { sequence, ..META },
            Class::Meta,
            &Payload::ClockPair { time_ns: 9 },
            &mut file,
        );
    }
    file[32 * 2 + 26] ^= 1;
    let mut reader = Reader::new();
    let (mut sound, mut bad) = (Vec::new(), 0);
    for piece in file.chunks(7) {
        reader.push(piece);
        while let Some(record) = reader.next_record() {
            match record {
                Ok(record) => sound.push(record.meta.sequence),
                Err(DecodeError::Checksum { .. }) => bad += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert_eq!(
        (sound, bad, reader.damaged(), reader.pending()),
        (vec![0, 1, 3, 4], 1, 1, 0)
    );
    reader.push(&[1, 0, 0]);
    assert!(matches!(
        reader.next_record(),
        Some(Err(DecodeError::Length { len: 1 }))
    ));
    assert!(reader.next_record().is_none() && reader.lost_place());
}

#[test]
fn the_head_is_pinned_and_refuses_strangers() {
    let header = FileHeader {
        tsc_hz: 1,
        first_tsc: 2,
        first_time_ns: 3,
        run: *b"0123456789abcdef",
        machine: 4,
        boot: 5,
        hypervisor: "labvisor".into(),
        kernel: "k".into(),
        machine_name: "m".into(),
    };
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    assert_eq!(&bytes[..12], b"HVTRACE\0\x01\0\0\0");
    assert_eq!(
        u32::from_le_bytes(bytes[12..16].try_into().expect("four")) as usize,
        bytes.len()
    );
    assert_eq!(bytes[16], 1);
    assert_eq!(bytes[24], 2);
    assert_eq!(bytes[32], 3);
    assert_eq!(&bytes[40..56], b"0123456789abcdef");
    assert_eq!((bytes[56], bytes[60]), (4, 5));
    assert_eq!(&bytes[FIXED_LEN..FIXED_LEN + 12], b"\x01\0\x08\0labvisor");
    assert_eq!(FileHeader::decode(&bytes), Ok((header, bytes.len())));
    for cut in 0..bytes.len() {
        assert_eq!(
            FileHeader::decode(&bytes[..cut]),
            Err(HeaderError::Incomplete),
            "{cut}"
        );
    }
    assert_eq!(FileHeader::decode(b"ELF"), Err(HeaderError::NotATrace));
    bytes[8] = 2;
    assert_eq!(
        FileHeader::decode(&bytes),
        Err(HeaderError::Version { major: 2 })
    );
}

fn finished() -> VerdictRecord {
    let row = Measurement {
        name: "cpuid".into(),
        unit: "ticks".into(),
        n: 3,
        min: 1,
        p5: 1,
        median: 2,
        p95: 3,
        p99: 3,
        max: 3,
        samples: vec![1, 2, 3],
    };
    VerdictRecord {
        sequence: 7,
        experiment: "hypercall-map".into(),
        progress: Progress::Finished {
            verdict: Verdict::Fail,
            reason: "rbx changed".into(),
            detail: "a\nb".into(),
            measurements: vec![row],
        },
    }
}

#[test]
fn verdict_records_survive_and_damage_is_seen() {
    let mut bytes = Vec::new();
    finished().encode(&mut bytes);
    assert_eq!(
        (bytes[8], bytes[12], bytes[13], bytes.len() % 8),
        (7, 2, 5, 0)
    );
    assert_eq!(VerdictRecord::decode(&bytes), Ok((finished(), bytes.len())));
    for cut in 0..bytes.len() {
        assert_eq!(
            VerdictRecord::decode(&bytes[..cut]),
            Err(VerdictError::Incomplete)
        );
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(VerdictRecord::decode(&damaged).is_err(), "bit {bit}");
    }
    let started = VerdictRecord {
        sequence: 0,
        experiment: "x".into(),
        progress: Progress::Started,
    };
    let mut bytes = Vec::new();
    started.encode(&mut bytes);
    assert_eq!(VerdictRecord::decode(&bytes), Ok((started, bytes.len())));
}

#[test]
fn a_huge_verdict_is_cut_but_stays_readable() {
    let row = Measurement {
        name: "r".into(),
        n: 50_000,
        samples: vec![1; 50_000],
        ..Measurement::default()
    };
    let record = VerdictRecord {
        sequence: 0,
        experiment: "x".into(),
        progress: Progress::Finished {
            verdict: Verdict::Info,
            reason: "y".repeat(100_000),
            detail: "z".repeat(100_000),
            measurements: vec![row; 20],
        },
    };
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    assert!(bytes.len() <= RECORD_MAX);
    let (decoded, _) = VerdictRecord::decode(&bytes).expect("readable");
    let Progress::Finished { measurements, .. } = decoded.progress else {
        panic!("finished")
    };
    assert_eq!(measurements.len(), 20);
    assert_eq!(measurements[19].n, 50_000);
}

#[test]
fn verdict_words_and_exit_statuses_are_pinned() {
    let table: Vec<_> = Verdict::ALL
        .iter()
        .map(|verdict| (verdict.word(), *verdict as u8, verdict.exit_status()))
        .collect();
    assert_eq!(
        table,
        [
            ("PASS", 1, 0),
            ("INFO", 2, 0),
            ("SKIP", 3, 0),
            ("XFAIL", 4, 0),
            ("FAIL", 5, 1),
            ("XPASS", 6, 1),
            ("LOST", 7, 2),
            ("ERROR", 8, 2),
            ("WEDGED", 9, 3),
            ("HANG", 10, 3),
            ("CRASH", 11, 3),
        ]
    );
}

#[test]
fn untrusted_text_cannot_drive_a_terminal() {
    assert_eq!(escape(b"ok\n"), "ok");
    assert_eq!(escape(b"\x1b[2J\x07"), "\\x1b[2J\\x07");
    assert_eq!(escape("\u{9b}31m\u{202e}x".as_bytes()), "\\x9b31m\\x202ex");
    assert_eq!(escape(&[0xff, b'a', b'\n', b'b']), "\\xffa\\nb");
}

#[cfg(feature = "plan")]
#[test]
fn a_plan_line_is_pinned() {
    use crate::run::{Parameter, PlanItem};
    let line = r#"{"id":"hypercall-map","file":"hypercall-map.rhai","parameters":{"n":5},"seed":1,"time_limit_s":30}"#;
    let item: PlanItem = serde_json::from_str(line).expect("valid");
    assert_eq!(item.parameters["n"], Parameter::Int(5));
    assert_eq!(serde_json::to_string(&item).expect("writable"), line);
    assert!(serde_json::from_str::<PlanItem>(&line.replace("seed", "sead")).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), number in 1u8..17) {
        let _ = Record::decode(&bytes).map(|record| record.to_string());
        let _ = FileHeader::decode(&bytes);
        let _ = VerdictRecord::decode(&bytes);
        if let Some(payload) = Kind::from_number(number).and_then(|kind| Payload::decode(kind, &bytes)) {
            let _ = payload.to_string();
        }
        let mut reader = Reader::new();
        reader.push(&bytes);
        while reader.next_record().is_some() {}
    }
}
