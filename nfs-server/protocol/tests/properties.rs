//! Any bytes, any order: decoding and the client's state machine never panic and never believe what they
//! should not. The bodies are those of the fuzz targets in `nfs-server/fuzz`.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use proptest::prelude::*;
use protocol::codec::{self, Field, Rest};
use protocol::frame::{FrameReader, Header};
use protocol::message::{
    Append, Attach, Call, Exports, Follow, Fsync, Getattr, Handle, Lookup, Mkdir, Open, OpenFlags,
    Read, Readdir, Removes, Rename, Request, SyncLevel, Truncate, Unlink, Write,
};
use protocol::name::{self, PathBuf};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_decode_or_say_why(operation in 0u8..30, payload in prop::collection::vec(any::<u8>(), 0..300)) {
        bodies::decode(&[&[operation][..], &payload].concat());
    }

    #[test]
    fn what_was_written_is_read(dir in any::<u32>(), flags in 0u32..128, mode in any::<u16>(),
                                names in prop::collection::vec("[a-zA-Z0-9 .é\u{1b}-]{1,20}", 0..32)) {
        let mut path = PathBuf::new();
        for name in names.iter().filter(|name| name::check(name.as_bytes()).is_ok()) {
            path.push(name.as_bytes()).unwrap();
        }
        let open = Open { dir: Handle(dir), flags: OpenFlags(flags), mode, path: path.as_path() };
        let mut bytes = Vec::new();
        open.put(&mut bytes);
        prop_assert_eq!(codec::decode::<Open<'_>>(&bytes), Ok(open));
        // Its text form leads back to it, unless a byte had to be escaped.
        let text = path.to_string();
        if !text.contains('\\') {
            prop_assert_eq!(PathBuf::parse(text.as_bytes()), Ok(path));
        }
    }

    #[test]
    fn frames_come_whole_out_of_any_pieces(lengths in prop::collection::vec(0usize..5000, 1..8), piece in 1usize..3000) {
        let mut stream = Vec::new();
        for (i, length) in lengths.iter().enumerate() {
            let header = Header { sequence: i as u32, ..Header::default() };
            protocol::frame::put(&mut stream, header, |out| out.resize(out.len() + length, i as u8));
        }
        let mut reader = FrameReader::new(5000);
        let mut seen = Vec::new();
        for piece in stream.chunks(piece) {
            reader.push(piece);
            while let Some((header, payload)) = reader.next_frame().unwrap() {
                prop_assert!(payload.iter().all(|byte| *byte == header.sequence as u8));
                seen.push(payload.len());
            }
        }
        prop_assert_eq!(seen, lengths);
        prop_assert!(!reader.is_within_frame());
    }

    #[test]
    fn a_hostile_server_never_panics_a_client(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        bodies::client(&bytes);
    }

    #[test]
    fn any_stream_is_frames_or_ends(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        bodies::frames(&bytes);
    }

    #[test]
    fn any_bytes_never_panic_a_channel(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        bodies::channel(&bytes);
    }

    #[test]
    fn the_name_rule(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let good = !bytes.is_empty() && bytes.len() <= 255 && bytes != b"." && bytes != b".."
            && !bytes.contains(&b'/') && !bytes.contains(&0);
        prop_assert_eq!(name::check(&bytes).is_ok(), good);
    }

    #[test]
    fn a_write_keeps_its_data(handle in any::<u32>(), offset in any::<u64>(), data in prop::collection::vec(any::<u8>(), 0..2000)) {
        let write = Write { handle: Handle(handle), offset, data: Rest(&data) };
        let mut bytes = Vec::new();
        write.put(&mut bytes);
        prop_assert_eq!(Request::decode(7, &bytes), Ok(Request::Write(write)));
    }
}

/// An operation's number and the payload of a request.
fn message(call: &impl Call) -> Vec<u8> {
    fn number<C: Call>(_: &C) -> u8 {
        C::OPERATION.number()
    }
    let mut bytes = vec![number(call)];
    call.put_payload(&mut bytes);
    assert!(Request::decode(bytes[0], &bytes[1..]).is_ok());
    bytes
}

/// Good requests, of every shape there is.
fn messages() -> Vec<Vec<u8>> {
    let path = PathBuf::parse(b"runs/m00/trace.hvt").unwrap();
    let (path, handle) = (path.as_path(), Handle(1));
    let data = Rest(&b"some data"[..]);
    vec![
        message(&Exports {}),
        message(&Attach { export: b"rw" }),
        message(&Lookup { dir: handle, path }),
        message(&Getattr { handle }),
        message(&Open {
            dir: handle,
            flags: OpenFlags::READ,
            mode: 0o644,
            path,
        }),
        message(&Read {
            handle,
            offset: 3,
            count: 100,
        }),
        message(&Write {
            handle,
            offset: 3,
            data,
        }),
        message(&Append {
            handle,
            expected: 9,
            data,
        }),
        message(&Truncate { handle, size: 4 }),
        message(&Fsync {
            handle,
            level: SyncLevel::All,
        }),
        message(&Readdir {
            handle,
            cookie: 7,
            count: 4096,
        }),
        message(&Mkdir {
            dir: handle,
            mode: 0o755,
            path,
        }),
        message(&Unlink {
            dir: handle,
            removes: Removes::Either,
            path,
        }),
        message(&Rename {
            from_dir: handle,
            to_dir: handle,
            replace: true,
            from: path,
            to: path,
        }),
        message(&Follow {
            id: 1,
            dir: handle,
            offset: 0,
            credit: 100,
            path,
        }),
    ]
}

/// The fuzz bodies on SNFS_FUZZ_INPUTS random inputs (by default as many as take about a minute), seeded by
/// SNFS_FUZZ_SEED. Half of the inputs are changed copies of good messages, which get further than noise.
#[test]
fn fuzz_bodies() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let mut state = number("SNFS_FUZZ_SEED", 1) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = messages();
    for run in 0..number("SNFS_FUZZ_INPUTS", 9_000_000) {
        let data = if next() % 2 == 0 {
            let mut data = good[next() as usize % good.len()].clone();
            for _ in 0..next() % 4 {
                let at = next() as usize % data.len();
                data[at] = next() as u8;
            }
            data.truncate(data.len() - usize::from(next() % 8 == 0));
            data
        } else {
            let length = next() % 600;
            (0..length).map(|_| next() as u8).collect()
        };
        bodies::decode(&data);
        bodies::client(&data);
        bodies::frames(&data);
        if run.is_multiple_of(16) {
            bodies::channel(&data);
        }
    }
}
