//! Running code in the kernel.

use super::{Answer, Api, error};
use crate::{
    asm,
    session::{Exec, Failure, Reply},
};
use abi::probe::{self, Registers};
use alloc::{format, vec::Vec};
use rhai::{Blob, Dynamic, ImmutableString, Map};

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

pub(super) fn register(api: &mut Api) {
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
    for (name, value, text, example) in [
        (
            "WRITE_AHEAD",
            probe::FLAG_WRITE_AHEAD,
            "Flag: record the request and wait for the server before running it. Implied in experiments that may crash.",
            r#"expect_no_fault("recorded first", exec("nop", registers(), WRITE_AHEAD));"#,
        ),
        (
            "INTERRUPTS_OFF",
            probe::FLAG_INTERRUPTS_OFF,
            "Flag: interrupts are off (ring 0).",
            r#"expect("IF is clear", !bit(exec("pushfq; pop rax", registers(), INTERRUPTS_OFF).rax, 9));"#,
        ),
        (
            "SINGLE_STEP",
            probe::FLAG_SINGLE_STEP,
            "Flag: RFLAGS.TF is set; #DB exceptions are counted.",
            r#"expect_eq("first #DB behind the first NOP", 1, exec("nop; nop", registers(), SINGLE_STEP).first_debug);"#,
        ),
        (
            "STI_SHADOW",
            probe::FLAG_STI_SHADOW,
            "Flag: the instruction before the code is STI (ring 0).",
            r#"expect_no_fault("CPUID in the shadow of STI", exec("cpuid", registers(), STI_SHADOW));"#,
        ),
        (
            "MOV_SS_SHADOW",
            probe::FLAG_MOV_SS_SHADOW,
            "Flag: the instruction before the code loads SS (ring 0).",
            r#"expect_no_fault("CPUID in the shadow of MOV SS", exec("cpuid", registers(), MOV_SS_SHADOW));"#,
        ),
        (
            "RING3",
            probe::FLAG_RING3,
            "Flag: run in ring 3.",
            r##"expect_fault("HLT is privileged", "#GP(0)", exec("hlt", registers(), RING3));"##,
        ),
        (
            "RELOAD",
            probe::FLAG_RELOAD,
            "Flag: load the registers anew before every repetition.",
            r#"expect_eq("one, every time", 1, repeat("inc rcx", registers(), 4, RELOAD).rcx);"#,
        ),
    ] {
        api.constant(name, i64::from(value), text, example);
    }
}
