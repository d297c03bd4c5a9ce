//! Common Trace Format 1.8 (the specification at diamon.org/ctf): `metadata`, and a file of packets for each side.
//!
//! Each stream is one packet. Event headers are a u16 kind and the u64 TSC; every kind has the numbers of its payload as
//! u64, and the payload's text. Events of a stream must come in the order of time: records of several CPUs, and those that
//! a hypervisor hands over late, are sorted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use trace_record::{FileHeader, Kind, Reader, Record};

use super::{Exported, numbers, side};

const MAGIC: u32 = 0xc1fc_1fc1;

/// Writes the trace into a new folder.
///
/// # Errors
/// When the folder is there already or cannot be written.
pub fn write(header: &FileHeader, reader: &mut Reader, folder: &Path) -> Result<Exported> {
    std::fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut exported = Exported::default();
    let mut kinds: BTreeMap<u8, Class> = BTreeMap::new();
    let mut streams: [Vec<(u64, Vec<u8>)>; 2] = [Vec::new(), Vec::new()];
    while let Some(record) = reader.next_record() {
        let Ok(record) = record else {
            exported.damaged += 1;
            continue;
        };
        exported.records += 1;
        let number = record.payload.kind() as u8;
        kinds.entry(number).or_insert_with(|| Class {
            kind: record.payload.kind(),
            fields: numbers(&record.payload)
                .into_iter()
                .map(|(name, _)| name)
                .collect(),
        });
        let (hypervisor, _) = side(record.meta.cpu);
        let event = event(&record);
        streams[usize::from(hypervisor)].push((record.meta.tsc, event));
    }
    let put = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    for (id, (name, mut events)) in (0u32..).zip(["guest", "hypervisor"].into_iter().zip(streams)) {
        if events.is_empty() {
            continue;
        }
        events.sort_by_key(|(tsc, _)| *tsc);
        let mut packet = MAGIC.to_le_bytes().to_vec();
        packet.extend(id.to_le_bytes());
        packet.extend(events.into_iter().flat_map(|(_, bytes)| bytes));
        put(name, &packet)?;
    }
    put("metadata", metadata(header, &kinds).as_bytes())?;
    Ok(exported)
}

/// A kind of event, as it occurs in this trace.
struct Class {
    kind: Kind,
    fields: Vec<&'static str>,
}

fn event(record: &Record<'_>) -> Vec<u8> {
    let meta = &record.meta;
    let mut out = u16::from(record.payload.kind() as u8)
        .to_le_bytes()
        .to_vec();
    out.extend(meta.tsc.to_le_bytes());
    out.push(side(meta.cpu).1);
    out.extend(meta.pid.to_le_bytes());
    out.extend(meta.sequence.to_le_bytes());
    for (_, value) in numbers(&record.payload) {
        out.extend(value.to_le_bytes());
    }
    // The text form has no control bytes, and so no NUL.
    out.extend(record.payload.to_string().bytes());
    out.push(0);
    out
}

fn metadata(header: &FileHeader, kinds: &BTreeMap<u8, Class>) -> String {
    let hz = header.tsc_hz.max(1);
    // The time at which the counter was zero; the first records are older than the head's clock pair.
    let since_zero = u128::from(header.first_tsc) * 1_000_000_000 / u128::from(hz);
    let zero = u128::from(header.first_time_ns).saturating_sub(since_zero);
    let (seconds, rest) = (zero / 1_000_000_000, zero % 1_000_000_000);
    let ticks = rest * u128::from(hz) / 1_000_000_000;
    let mut text = format!(
        "/* CTF 1.8 */\n\
         typealias integer {{ size = 8; align = 8; signed = false; }} := uint8_t;\n\
         typealias integer {{ size = 16; align = 8; signed = false; }} := uint16_t;\n\
         typealias integer {{ size = 32; align = 8; signed = false; }} := uint32_t;\n\
         typealias integer {{ size = 64; align = 8; signed = false; base = hex; }} := uint64_t;\n\
         trace {{ major = 1; minor = 8; byte_order = le; \
         packet.header := struct {{ uint32_t magic; uint32_t stream_id; }}; }};\n\
         env {{ hypervisor = \"{}\"; kernel = \"{}\"; }};\n\
         clock {{ name = tsc; freq = {hz}; offset_s = {seconds}; offset = {ticks}; }};\n\
         typealias integer {{ size = 64; align = 8; signed = false; map = clock.tsc.value; }} := tick_t;\n",
        quoted(&header.hypervisor),
        quoted(&header.kernel),
    );
    for stream in 0..2 {
        let _ = writeln!(
            text,
            "stream {{ id = {stream}; event.header := struct {{ uint16_t id; tick_t timestamp; }}; \
             event.context := struct {{ uint8_t cpu; uint16_t pid; uint32_t sequence; }}; }};"
        );
        for (number, class) in kinds {
            let mut fields = String::new();
            for field in &class.fields {
                // A leading underscore is not part of the name and keeps it apart from TSDL's own words.
                let _ = write!(fields, "uint64_t _{field}; ");
            }
            let _ = writeln!(
                text,
                "event {{ name = \"{}\"; id = {number}; stream_id = {stream}; \
                 fields := struct {{ {fields}string _text; }}; }};",
                class.kind.name()
            );
        }
    }
    text
}

fn quoted(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '"' | '\\'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::samples;

    fn exported() -> (tempfile::TempDir, Exported) {
        let folder = tempfile::tempdir().unwrap();
        let (header, mut reader) = samples::trace();
        let exported = write(&header, &mut reader, &folder.path().join("ctf")).unwrap();
        (folder, exported)
    }

    #[test]
    fn each_side_is_a_stream_with_its_magic_number() {
        let (folder, exported) = exported();
        assert_eq!((exported.records, exported.damaged), (4, 1));
        for (stream, name) in [(0u32, "guest"), (1, "hypervisor")] {
            let bytes = std::fs::read(folder.path().join("ctf").join(name)).unwrap();
            assert_eq!(bytes[..4], [0xc1, 0x1f, 0xfc, 0xc1]);
            assert_eq!(bytes[4..8], stream.to_le_bytes());
        }
    }
}
