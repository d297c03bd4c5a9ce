//! Running code, instructions by name, hypercalls, what the machine is.

use super::{Answer, Api, error, stop};
use crate::{
    asm,
    guest::{self, checkpoint},
    random::Random,
    session::{Exec, Failure, Reply, Session, call_failed},
};
use abi::probe::{self, Registers};
use alloc::{format, string::String, vec::Vec};
use core::cmp;
use rhai::{Array, Blob, Dynamic, ImmutableString, Map};
use trace_record::{run::Parameter, verdict::Verdict};

pub(super) fn register(api: &mut Api) {
    this_machine(api);
    execution(api);
    instructions(api);
    hypercalls(api);
    traces(api);
}

fn text_of(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().into()
}

fn this_machine(api: &mut Api) {
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
        let id = pci(session, slot << 3, 0, 4, None)?;
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

/// Code as a script gives it: a blob, or text for the assembler.
pub(super) fn code_of(code: &Dynamic) -> Result<Vec<u8>, Failure> {
    if code.is_blob() {
        return code
            .clone()
            .into_blob()
            .map_err(|kind| format!("{kind} is no code"));
    }
    match code.clone().into_immutable_string() {
        Ok(text) => asm::assemble(&text),
        Err(kind) => Err(format!("code must be text or a blob, not {kind}")),
    }
}

pub(super) fn flags_of(flags: i64) -> Result<u32, Failure> {
    match u32::try_from(flags) {
        Ok(flags) if flags & !probe::FLAGS_ALL == 0 => Ok(flags),
        _ => Err(format!("{flags:#x} holds unknown flags")),
    }
}

fn execution(api: &mut Api) {
    api.section("Running code");
    api.entry("asm(text) -> blob",
        "Assembles instructions in Intel syntax, separated by `;` or new lines; `name:` is a label, `db 0x66` puts bytes.",
        r#"expect_eq("length", 2, asm("cpuid").len);"#);
    api.engine
        .register_fn("asm", |text: ImmutableString| -> Answer<Blob> {
            asm::assemble(&text).map_err(|why| error(&why))
        });
    function!(
        api,
        "exec",
        "exec(code [, registers [, flags]]) -> Reply",
        "Runs code (text or blob, at most 256 bytes, falling through at its end) in ring 0 with these registers.",
        r#"expect_eq("sum", 7, exec("lea rax, [rbx + 4]", #{rbx: 3}).rax);"#,
        |session, code: Dynamic| -> Reply {
            session.run(&code_of(&code)?, Registers::default(), 0)
        }
    );
    function!(api, overload "exec", |session, code: Dynamic, registers: Registers| -> Reply {
        session.run(&code_of(&code)?, registers, 0)
    });
    function!(api, overload "exec", |session, code: Dynamic, registers: Registers, flags: i64| -> Reply {
        session.run(&code_of(&code)?, registers, flags_of(flags)?)
    });
    function!(api, overload "exec", |session, code: Dynamic, registers: Map| -> Reply {
        session.run(&code_of(&code)?, super::registers::from_map(&registers)?, 0)
    });
    function!(api, overload "exec", |session, code: Dynamic, registers: Map, flags: i64| -> Reply {
        session.run(&code_of(&code)?, super::registers::from_map(&registers)?, flags_of(flags)?)
    });
    function!(
        api,
        "repeat",
        "repeat(code, registers, count, flags) -> Reply",
        "Runs code `count` times in the kernel and times each; registers carry over unless RELOAD is given.",
        r#"expect_eq("rcx", 4, repeat("inc rcx", registers(), 4, 0).rcx);"#,
        |session, code: Dynamic, registers: Registers, count: i64, flags: i64| -> Reply {
            let count = u32::try_from(count)
                .ok()
                .filter(|count| (1..=probe::COUNT_MAX).contains(count))
                .ok_or_else(|| format!("count {count} is not in 1..{}", probe::COUNT_MAX))?;
            session.exec(&Exec {
                code: &code_of(&code)?,
                registers,
                flags: flags_of(flags)?,
                count,
                inner: 1,
                warm_up: 0,
            })
        }
    );
    for (name, value, text) in [
        (
            "WRITE_AHEAD",
            probe::FLAG_WRITE_AHEAD,
            "Flag: record the request and wait for the server before running it. Implied in experiments that may crash.",
        ),
        (
            "INTERRUPTS_OFF",
            probe::FLAG_INTERRUPTS_OFF,
            "Flag: interrupts are off (ring 0).",
        ),
        (
            "SINGLE_STEP",
            probe::FLAG_SINGLE_STEP,
            "Flag: RFLAGS.TF is set; #DB exceptions are counted.",
        ),
        (
            "STI_SHADOW",
            probe::FLAG_STI_SHADOW,
            "Flag: the instruction before the code is STI (ring 0).",
        ),
        (
            "MOV_SS_SHADOW",
            probe::FLAG_MOV_SS_SHADOW,
            "Flag: the instruction before the code loads SS (ring 0).",
        ),
        ("RING3", probe::FLAG_RING3, "Flag: run in ring 3."),
        (
            "RELOAD",
            probe::FLAG_RELOAD,
            "Flag: load the registers anew before every repetition.",
        ),
    ] {
        api.constant(name, i64::from(value), text);
    }
}

fn instructions(api: &mut Api) {
    api.section("Instructions");
    function!(
        api,
        "cpuid",
        "cpuid(leaf [, subleaf]) -> Reply",
        "Executes CPUID.",
        r#"expect("a basic leaf", cpuid(0).rax > 0);"#,
        |session, leaf: i64| -> Reply { cpuid(session, leaf, 0) }
    );
    function!(api, overload "cpuid", |session, leaf: i64, subleaf: i64| -> Reply { cpuid(session, leaf, subleaf) });
    function!(
        api,
        "rdmsr",
        "rdmsr(number) -> Reply",
        "Reads a model-specific register into `value`.",
        r#"expect("EFER.LMA is set", bit(rdmsr(0xc0000080).value, 10));"#,
        |session, number: i64| -> Reply {
            let registers = Registers {
                rcx: number as u64,
                ..Registers::default()
            };
            let mut reply = session.run(&[0x0f, 0x32], registers, 0)?;
            let after = &reply.response.registers;
            reply.value = after.rdx << 32 | after.rax & 0xffff_ffff;
            Ok(reply)
        }
    );
    function!(
        api,
        "wrmsr",
        "wrmsr(number, value) -> Reply",
        "Writes a model-specific register.",
        r#"let old = rdmsr(0xc0000102).value; expect_no_fault("same value", wrmsr(0xc0000102, old));"#,
        |session, number: i64, value: i64| -> Reply {
            let value = value as u64;
            let registers = Registers {
                rcx: number as u64,
                rax: value & 0xffff_ffff,
                rdx: value >> 32,
                ..Registers::default()
            };
            session.run(&[0x0f, 0x30], registers, 0)
        }
    );
    function!(
        api,
        "port_in",
        "port_in(port, width) -> Reply",
        "Reads a port with 1, 2 or 4 bytes into `value`.",
        r#"note(hex(port_in(0x80, 1).value));"#,
        |session, port: i64, width: i64| -> Reply {
            let (code, mask): (&[u8], u64) = match width {
                1 => (&[0xec], 0xff),
                2 => (&[0x66, 0xed], 0xffff),
                4 => (&[0xed], 0xffff_ffff),
                _ => return Err(format!("width {width} is not 1, 2 or 4")),
            };
            let registers = Registers {
                rdx: port as u64 & 0xffff,
                ..Registers::default()
            };
            let mut reply = session.run(code, registers, 0)?;
            reply.value = reply.response.registers.rax & mask;
            Ok(reply)
        }
    );
    function!(
        api,
        "port_out",
        "port_out(port, width, value) -> Reply",
        "Writes a port with 1, 2 or 4 bytes.",
        r#"port_out(0x80, 1, 0);"#,
        |session, port: i64, width: i64, value: i64| -> Reply {
            let code: &[u8] = match width {
                1 => &[0xee],
                2 => &[0x66, 0xef],
                4 => &[0xef],
                _ => return Err(format!("width {width} is not 1, 2 or 4")),
            };
            let registers = Registers {
                rdx: port as u64 & 0xffff,
                rax: value as u64,
                ..Registers::default()
            };
            session.run(code, registers, 0)
        }
    );
    function!(
        api,
        "pci_read",
        "pci_read(address, offset, width) -> int",
        "Reads PCI configuration space through ports CF8h and CFCh; address is bus << 8 | device << 3 | function.",
        r#"note(hex(pci_read(0, 0, 4)));"#,
        |session, address: i64, offset: i64, width: i64| -> i64 {
            pci(session, address, offset, width, None)
        }
    );
    function!(
        api,
        "pci_write",
        "pci_write(address, offset, width, value)",
        "Writes PCI configuration space.",
        r#"let command = pci_read(0, 4, 2); pci_write(0, 4, 2, command);"#,
        |session, address: i64, offset: i64, width: i64, value: i64| -> () {
            pci(session, address, offset, width, Some(value)).map(drop)
        }
    );
}

fn cpuid(session: &mut Session, leaf: i64, subleaf: i64) -> Result<Reply, Failure> {
    let registers = Registers {
        rax: leaf as u64,
        rcx: subleaf as u64,
        ..Registers::default()
    };
    session.run(&[0x0f, 0xa2], registers, 0)
}

/// One access by mechanism 1, in one piece of code so that nobody changes CF8h between.
fn pci(
    session: &mut Session,
    address: i64,
    offset: i64,
    width: i64,
    value: Option<i64>,
) -> Result<i64, Failure> {
    if !matches!(width, 1 | 2 | 4)
        || !(0..256).contains(&offset)
        || !(0..0x1_0000).contains(&address)
    {
        return Err(format!(
            "no such PCI access: address {address:#x}, offset {offset:#x}, width {width}"
        ));
    }
    let select = 0x8000_0000 | (address as u64) << 8 | offset as u64 & 0xfc;
    let register = ["al", "ax", "", "eax"][width as usize - 1];
    let access = match value {
        Some(_) => format!("mov rax, rbx; out dx, {register}"),
        None => format!("xor eax, eax; in {register}, dx"),
    };
    let code = asm::assemble(&format!(
        "mov dx, 0xcf8; out dx, eax; mov rdx, rcx; {access}"
    ))?;
    let registers = Registers {
        rax: select,
        rbx: value.unwrap_or(0) as u64,
        rcx: 0xcfc + (offset as u64 & 3),
        ..Registers::default()
    };
    let reply = session.run(&code, registers, probe::FLAG_INTERRUPTS_OFF)?;
    if reply.faulted() {
        return Err(format!("PCI access raised {}", reply.fault()));
    }
    Ok(reply.response.registers.rax as i64)
}

fn hypercalls(api: &mut Api) {
    api.section("Hypercalls");
    function!(
        api,
        "hypercall",
        "hypercall(number, rbx, rcx [, flags]) -> Reply",
        "Executes the machine's hypercall instruction with the number in rax. Without a hypervisor the reply is a #UD.",
        r#"let reply = hypercall(127, 0, 0);"#,
        |session, number: i64, rbx: i64, rcx: i64| -> Reply {
            hypercall(session, number, rbx, rcx, 0)
        }
    );
    function!(api, overload "hypercall", |session, number: i64, rbx: i64, rcx: i64, flags: i64| -> Reply {
        hypercall(session, number, rbx, rcx, flags_of(flags)?)
    });
    function!(
        api,
        "hypercall_with",
        "hypercall_with(registers [, flags]) -> Reply",
        "The same with a whole register file.",
        r#"let file = pattern_registers(1); file.rax = 127; expect_unchanged("null call", hypercall_with(file), ["rax"]);"#,
        |session, registers: Registers| -> Reply {
            let code = session.hypercall_code();
            session.run(&code, registers, 0)
        }
    );
    function!(api, overload "hypercall_with", |session, registers: Registers, flags: i64| -> Reply {
        let code = session.hypercall_code();
        session.run(&code, registers, flags_of(flags)?)
    });
    function!(
        api,
        "hypercall_code",
        "hypercall_code() -> blob",
        "The machine's hypercall instruction as bytes, to be built into longer code.",
        r#"let twice = hypercall_code() + hypercall_code();"#,
        |session| -> Blob { Ok(session.hypercall_code().to_vec()) }
    );
    function!(
        api,
        "hypercall_number",
        "hypercall_number(name) -> int",
        "The number of the named hypercall, 0 if there is none (or no hypervisor).",
        r#"note(`dbgsh has number ${hypercall_number("dbgsh")}`);"#,
        |session, name: ImmutableString| -> i64 {
            session.hypercall_number(&name).map(|number| number as i64)
        }
    );
}

fn hypercall(
    session: &mut Session,
    number: i64,
    rbx: i64,
    rcx: i64,
    flags: u32,
) -> Result<Reply, Failure> {
    let registers = Registers {
        rax: number as u64,
        rbx: rbx as u64,
        rcx: rcx as u64,
        ..Registers::default()
    };
    let code = session.hypercall_code();
    session.run(&code, registers, flags)
}

fn traces(api: &mut Api) {
    api.section("Trace and fuzzing");
    function!(
        api,
        "event",
        "event(text)",
        "Puts an experiment event into the trace.",
        r#"event("phase two");"#,
        |session, text: ImmutableString| -> () {
            session.guest.event(&text);
            Ok(())
        }
    );
    function!(
        api,
        "checkpoint",
        "checkpoint(seed, from, count)",
        "Records that cases `from` to `from + count - 1` of this seed come next, and waits until the server has it. A fuzzer does this instead of a write-ahead of every case.",
        r#"checkpoint(seed(), 0, 100);"#,
        |session, seed: i64, from: i64, count: i64| -> () {
            let text = format!(
                "checkpoint seed={:#x} from={from} count={count}",
                seed as u64
            );
            checkpoint(&mut *session.guest, text.as_bytes())
                .map_err(|errno| call_failed("checkpoint", errno))
        }
    );
    function!(
        api,
        "write_ahead",
        "write_ahead(on)",
        "Switches the write-ahead of every probe on or off; it is on at the start of experiments that may crash.",
        r#"write_ahead(false);"#,
        |session, on: bool| -> () {
            session.write_ahead = on;
            Ok(())
        }
    );
    api.entry("still_works()",
        "Makes a request whose answer is known. If the answer is wrong, the verdict is WEDGED and the script ends. The runner does this before and after every script, too.",
        r#"still_works();"#);
    let shared = api.session.clone();
    let known = core::cell::Cell::new(None);
    api.engine
        .register_fn("still_works", move || -> Answer<()> {
            let works = super::with_session(&shared, |session| {
                let now = session.reference()?;
                let before = known.replace(Some(known.get().unwrap_or(now)));
                if before.is_some_and(|before| before != now) {
                    session.findings.add(
                        Verdict::Wedged,
                        "the reference request has another answer than before",
                        None,
                    );
                    return Ok(false);
                }
                Ok(true)
            })?;
            if works { Ok(()) } else { Err(stop()) }
        });
    function!(
        api,
        "vmm_log",
        "vmm_log() -> string",
        "New text of the hypervisor's log, if it gives it to the guest (hypercall `log_set_buf`).",
        r#"let before = vmm_log();"#,
        |session| -> String {
            let bytes = guest::vmm_log(&mut *session.guest)
                .map_err(|errno| call_failed("VMM log", errno))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
    );
    api.engine.register_type_with_name::<Random>("Random");
    api.entry(
        "random(seed) -> Random",
        "A generator of random numbers; the same seed gives the same sequence.",
        r#"let dice = random(seed());"#,
    );
    api.engine
        .register_fn("random", |seed: i64| Random::new(seed as u64));
    api.entry("dice.next(), dice.below(n), dice.interesting(), dice.pick(array), dice.bytes(n)",
        "64 random bits; a number from 0 to n-1; a value at which things break half of the time; an element; a blob.",
        r#"let dice = random(1); expect("below", dice.below(6) < 6);"#);
    api.engine
        .register_fn("next", |random: &mut Random| random.next_u64() as i64);
    api.engine
        .register_fn("below", |random: &mut Random, bound: i64| {
            random.below(bound.max(0) as u64) as i64
        });
    api.engine
        .register_fn("interesting", |random: &mut Random| {
            random.interesting() as i64
        });
    api.engine.register_fn(
        "pick",
        |random: &mut Random, from: Array| -> Answer<Dynamic> {
            let index = random.below(from.len() as u64) as usize;
            from.get(index)
                .cloned()
                .ok_or_else(|| error("pick from an empty array"))
        },
    );
    api.engine
        .register_fn("bytes", |random: &mut Random, len: i64| -> Blob {
            (0..len.clamp(0, 65_536))
                .map(|_| random.next_u64() as u8)
                .collect()
        });
}
