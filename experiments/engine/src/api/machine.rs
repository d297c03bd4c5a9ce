//! What the machine is: its processor, its memory, its settings.

use super::Api;
use crate::{
    guest,
    session::{Failure, Session, call_failed},
};
use abi::probe;
use alloc::{format, string::String, vec::Vec};
use core::cmp;
use rhai::{Array, Dynamic, ImmutableString, Map};
use trace_record::run::Parameter;

fn text_of(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().into()
}

pub(super) fn register(api: &mut Api) {
    api.section("The machine");
    function!(
        api,
        "vendor",
        "vendor() -> string",
        "The CPU's vendor: `AuthenticAMD`, `GenuineIntel`, ...",
        r#"note(vendor());"#,
        |session| -> String { Ok(text_of(&session.machine.vendor)) }
    );
    function!(
        api,
        "brand",
        "brand() -> string",
        "The CPU's brand string.",
        r#"note(brand());"#,
        |session| -> String { Ok(text_of(&session.machine.brand)) }
    );
    function!(
        api,
        "cpus",
        "cpus() -> int",
        "CPUs that run.",
        r#"expect("some CPU runs", cpus() > 0);"#,
        |session| -> i64 { Ok(i64::from(session.machine.cpus)) }
    );
    function!(
        api,
        "tsc_hz",
        "tsc_hz() -> int",
        "Ticks of the time-stamp counter per second.",
        r#"note(`${tsc_hz()} Hz`);"#,
        |session| -> i64 { Ok(session.machine.tsc_hz as i64) }
    );
    function!(
        api,
        "hypervisor_present",
        "hypervisor_present() -> bool",
        "Whether an instruction that enters a hypervisor answers.",
        r#"if !hypervisor_present() { skip("no hypervisor"); }"#,
        |session| -> bool { Ok(session.machine.hypercall != probe::HYPERCALL_NONE) }
    );
    function!(
        api,
        "hypercall_instruction",
        "hypercall_instruction() -> string",
        "`vmmcall`, `vmcall`, or empty where both raise #UD.",
        r#"note(hypercall_instruction());"#,
        |session| -> ImmutableString {
            Ok(match session.machine.hypercall {
                probe::HYPERCALL_VMCALL => "vmcall".into(),
                probe::HYPERCALL_VMMCALL => "vmmcall".into(),
                _ => "".into(),
            })
        }
    );
    function!(
        api,
        "setting",
        "setting(key) -> string",
        "A setting of this boot, empty if there is none.",
        r#"note(setting("run"));"#,
        |session, key: ImmutableString| -> String {
            Ok(session.guest.setting(&key).unwrap_or_default())
        }
    );
    function!(
        api,
        "test_device",
        "test_device() -> int",
        "PCI address (bus << 8 | device << 3 | function) of the virtio network device under test, -1 if there is none.",
        r#"if test_device() < 0 { skip("no device under test"); }"#,
        |session| -> i64 { Ok(test_device(session)?.map_or(-1, i64::from)) }
    );
    function!(
        api,
        "memory_map",
        "memory_map() -> array of #{base, len, kind}",
        "The boot loader's memory map; kind 1 is usable RAM.",
        r#"for range in memory_map() { note(`${hex(range.base)} ${hex(range.len)} ${range.kind}`); }"#,
        |session| -> Array {
            let ranges = guest::memory_map(&mut *session.guest)
                .map_err(|errno| call_failed("memory map", errno))?;
            Ok(ranges
                .iter()
                .map(|range| {
                    let mut map = Map::new();
                    map.insert("base".into(), (range.base as i64).into());
                    map.insert("len".into(), (range.len as i64).into());
                    map.insert("kind".into(), i64::from(range.kind).into());
                    Dynamic::from_map(map)
                })
                .collect())
        }
    );
    function!(
        api,
        "hidden_memory",
        "hidden_memory() -> array of #{base, len}",
        "RAM below 4 GiB that is missing from the memory map: gaps of 1 MiB or more between 1 MiB and the end of the last RAM-like range (reserved or ACPI) below the PCI hole.",
        r#"for gap in hidden_memory() { note(`${hex(gap.base)} ${hex(gap.len)}`); }"#,
        |session| -> Array {
            Ok(hidden_memory(session)?
                .into_iter()
                .map(|(base, len)| {
                    let mut map = Map::new();
                    map.insert("base".into(), (base as i64).into());
                    map.insert("len".into(), (len as i64).into());
                    Dynamic::from_map(map)
                })
                .collect())
        }
    );
    function!(
        api,
        "now_ns",
        "now_ns() -> int",
        "Nanoseconds on a clock that never goes back.",
        r#"let start = now_ns();"#,
        |session| -> i64 { Ok(session.guest.now_ns() as i64) }
    );
    function!(
        api,
        "sleep_ms",
        "sleep_ms(milliseconds)",
        "Sleeps, at most 10,000 ms.",
        r#"sleep_ms(1);"#,
        |session, milliseconds: i64| -> () {
            session.guest.sleep_ms(milliseconds.clamp(0, 10_000) as u64);
            Ok(())
        }
    );
    function!(
        api,
        "param",
        "param(name) -> int, bool or string",
        "A parameter that the head declares.",
        r#"if seed() == 0 { note("no seed was given"); }"#,
        |session, name: ImmutableString| -> Dynamic {
            match session.parameters.get(name.as_str()) {
                Some(Parameter::Int(value)) => Ok((*value).into()),
                Some(Parameter::Bool(value)) => Ok((*value).into()),
                Some(Parameter::Text(value)) => Ok(value.clone().into()),
                None => Err(format!("the head declares no parameter `{name}`")),
            }
        }
    );
    function!(
        api,
        "seed",
        "seed() -> int",
        "The seed of this run; the plan gives it.",
        r#"let dice = random(seed());"#,
        |session| -> i64 { Ok(session.seed as i64) }
    );
}

/// Gaps in the memory map where RAM must be: between 1 MiB and the top of RAM below 4 GiB.
pub(crate) fn hidden_memory(session: &mut Session) -> Result<Vec<(u64, u64)>, Failure> {
    const MIB: u64 = 1 << 20;
    // Firmware flash, APICs and the PCI hole are above; RAM ends below it on all chipsets we know.
    const RAM_END_MAX: u64 = 0xe000_0000;
    let mut ranges =
        guest::memory_map(&mut *session.guest).map_err(|errno| call_failed("memory map", errno))?;
    ranges.retain(|range| {
        range.base < RAM_END_MAX && range.base.saturating_add(range.len) <= RAM_END_MAX
    });
    ranges.sort_by_key(|range| range.base);
    let (mut end, mut gaps) = (MIB, Vec::new());
    for range in ranges {
        if range.base >= end + MIB {
            gaps.push((end, range.base - end));
        }
        end = cmp::max(end, range.base.saturating_add(range.len));
    }
    Ok(gaps)
}

/// The virtio network device under test: what the kernel says, else the last one on bus 0 if there are two.
pub(crate) fn test_device(session: &mut Session) -> Result<Option<u32>, Failure> {
    if session.machine.test_device == 1 {
        return Ok(Some(session.machine.test_device_address));
    }
    let mut found = Vec::new();
    for slot in 0..32 {
        let id = super::instructions::pci(session, slot << 3, 0, 4, None)?;
        if id == 0x1000_1af4 || id == 0x1041_1af4 {
            found.push(slot as u32);
        }
    }
    // The first carries the kernel's own traffic.
    Ok(if found.len() > 1 {
        found.last().map(|slot| slot << 3)
    } else {
        None
    })
}
