//! Verdicts and assertions.

use super::{Answer, Api, stop, with_session};
use crate::guest::{REGISTER_NAMES, register_values};
use crate::session::{Reply, STATUS_FLAGS, Session};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rhai::{Array, Dynamic, ImmutableString, NativeCallContext};
use trace_record::verdict::Verdict;

pub(super) fn register(api: &mut Api) {
    verdicts(api);
    assertions(api);
    replies(api);
}

fn line(context: &NativeCallContext<'_>) -> Option<usize> {
    context.call_position().line()
}

/// Registers an assertion; `body` gives what was wrong, if anything.
macro_rules! assertion {
    ($api:ident, $name:literal, $signature:literal, $text:literal, $example:literal,
     |$($argument:ident : $type:ty),*| $body:expr) => {{
        $api.entry($signature, $text, $example);
        let shared = $api.session.clone();
        $api.engine.register_fn(
            $name,
            move |context: NativeCallContext, $($argument: $type),*| -> Answer<bool> {
                let wrong: Option<String> = $body;
                with_session(&shared, |session| Ok(judge(session, wrong, line(&context))))
            },
        );
    }};
}

fn judge(session: &mut Session, wrong: Option<String>, line: Option<usize>) -> bool {
    match wrong {
        None => {
            session.findings.held();
            true
        }
        Some(text) => {
            session.findings.add(Verdict::Fail, &text, line);
            false
        }
    }
}

fn verdicts(api: &mut Api) {
    api.section("Verdicts");
    for (name, verdict, ends) in [
        ("pass", Verdict::Pass, false),
        ("info", Verdict::Info, false),
        ("fail", Verdict::Fail, true),
        ("skip", Verdict::Skip, true),
        ("error", Verdict::Error, true),
    ] {
        let shared = api.session.clone();
        api.engine.register_fn(
            name,
            move |context: NativeCallContext, text: ImmutableString| -> Answer<()> {
                with_session(&shared, |session| {
                    session.findings.add(verdict, &text, line(&context));
                    Ok(())
                })?;
                if ends { Err(stop()) } else { Ok(()) }
            },
        );
    }
    api.entry(
        "pass(text)",
        "Records PASS with what was established. The script goes on; the worst verdict wins.",
        r#"pass("all numbers answered");"#,
    );
    api.entry(
        "info(text)",
        "Records INFO: a finding that is no claim.",
        r#"info(`the vendor is ${vendor()}`);"#,
    );
    api.entry(
        "fail(text)",
        "Records FAIL with what was expected and seen, and ends the script.",
        r#"if vendor() == "" { fail("expected a vendor, saw none"); }"#,
    );
    api.entry(
        "skip(reason)",
        "Records SKIP with what is missing, and ends the script.",
        r#"if cpus() < 2 { skip("needs two CPUs"); }"#,
    );
    api.entry(
        "error(reason)",
        "Records ERROR, a mistake of ours, and ends the script.",
        r#"if cpus() < 1 { error("no CPU runs"); }"#,
    );
    function!(
        api,
        "note",
        "note(text)",
        "Adds a line to the result's details.",
        r#"note("first round done");"#,
        |session, text: ImmutableString| -> () {
            session.findings.note(&text);
            Ok(())
        }
    );
    let shared = api.session.clone();
    api.engine.on_print(move |text| {
        if let Ok(mut session) = shared.try_borrow_mut() {
            session.guest.say(text);
        }
    });
    api.entry(
        "print(text)",
        "Shows a line to whoever watches; it is not part of the result.",
        r#"print("half way");"#,
    );
}

/// How a value looks in a message: integers above 9 also in hexadecimal.
pub(super) fn show(value: &Dynamic) -> String {
    match value.as_int() {
        Ok(number) if !(0..10).contains(&number) => format!("{:#x} ({number})", number as u64),
        _ if value.is_blob() => {
            let bytes = value.clone().into_blob().unwrap_or_default();
            let mut text: String = bytes
                .iter()
                .take(32)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            if bytes.len() > 32 {
                text.push_str("...");
            }
            format!("{} bytes {text}", bytes.len())
        }
        _ if value.is_string() => format!("{:?}", value.clone().into_string().unwrap_or_default()),
        _ => value.to_string(),
    }
}

fn same(one: &Dynamic, other: &Dynamic) -> bool {
    match (one.as_int(), other.as_int(), one.as_bool(), other.as_bool()) {
        (Ok(one), Ok(other), ..) => one == other,
        (_, _, Ok(one), Ok(other)) => one == other,
        _ if one.is_string() && other.is_string() => one.to_string() == other.to_string(),
        _ if one.is_blob() && other.is_blob() => {
            one.clone().into_blob().ok() == other.clone().into_blob().ok()
        }
        _ if one.is_array() && other.is_array() => {
            let (one, other): (Array, Array) = (one.clone().cast(), other.clone().cast());
            one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| same(one, other))
        }
        _ => false,
    }
}

fn assertions(api: &mut Api) {
    api.section("Assertions");
    assertion!(
        api,
        "expect",
        "expect(what, condition) -> bool",
        "FAIL with `what` if the condition does not hold. All assertions let the script go on and return whether they held.",
        r#"expect("at least one CPU runs", cpus() >= 1);"#,
        |what: ImmutableString, condition: bool| (!condition)
            .then(|| format!("{what}: this does not hold"))
    );
    assertion!(
        api,
        "expect_eq",
        "expect_eq(what, expected, seen) -> bool",
        "FAIL unless both are equal: integers, booleans, strings, blobs or arrays.",
        r#"expect_eq("one and one", 2, 1 + 1);"#,
        |what: ImmutableString, expected: Dynamic, seen: Dynamic| (!same(&expected, &seen))
            .then(|| format!("{what}: expected {}, saw {}", show(&expected), show(&seen)))
    );
    assertion!(
        api,
        "expect_ne",
        "expect_ne(what, unexpected, seen) -> bool",
        "FAIL if both are equal.",
        r#"expect_ne("the page is somewhere", 0, pages(1).physical);"#,
        |what: ImmutableString, unexpected: Dynamic, seen: Dynamic| same(&unexpected, &seen)
            .then(|| format!("{what}: expected anything but {}", show(&unexpected)))
    );
    assertion!(
        api,
        "expect_in",
        "expect_in(what, allowed, seen) -> bool",
        "FAIL unless `seen` is one of the array `allowed`.",
        r#"expect_in("instruction", ["vmmcall", "vmcall", ""], hypercall_instruction());"#,
        |what: ImmutableString, allowed: Array, seen: Dynamic| (!allowed
            .iter()
            .any(|one| same(one, &seen)))
        .then(|| {
            let words: Vec<String> = allowed.iter().map(show).collect();
            format!(
                "{what}: expected one of {}, saw {}",
                words.join(", "),
                show(&seen)
            )
        })
    );
    assertion!(
        api,
        "expect_fault",
        "expect_fault(what, fault, reply) -> bool",
        "FAIL unless the code ended with this exception, as in `#GP(0)`, `#UD`, `#PF(0x2)`; `#PF` alone allows any error code.",
        r##"expect_fault("ud2", "#UD", exec("ud2"));"##,
        |what: ImmutableString, fault: ImmutableString, reply: Reply| fault_differs(
            &what, &fault, &reply
        )
    );
    assertion!(
        api,
        "expect_no_fault",
        "expect_no_fault(what, reply) -> bool",
        "FAIL if an exception ended the code.",
        r#"expect_no_fault("nop", exec("nop"));"#,
        |what: ImmutableString, reply: Reply| reply.faulted().then(|| {
            format!(
                "{what}: expected no fault, saw {} at +{}",
                reply.fault(),
                reply.response.rip_offset
            )
        })
    );
    assertion!(
        api,
        "expect_unchanged",
        "expect_unchanged(what, reply, except) -> bool",
        "FAIL if a register other than those named in the array `except` changed; of rflags the status flags count.",
        r#"expect_unchanged("nop", exec("nop", pattern_registers(1)), []);"#,
        |what: ImmutableString, reply: Reply, except: Array| {
            let except: Vec<String> = except.iter().map(Dynamic::to_string).collect();
            let changed: Vec<String> = changes(&reply)
                .into_iter()
                .filter(|(name, ..)| !except.iter().any(|one| one == name))
                .map(|(name, before, after)| format!("{name} {before:#x} -> {after:#x}"))
                .collect();
            (!changed.is_empty()).then(|| {
                format!(
                    "{what}: expected no other register to change, saw {}",
                    changed.join(", ")
                )
            })
        }
    );
}

fn fault_differs(what: &str, expected: &str, reply: &Reply) -> Option<String> {
    let seen = reply.fault();
    let agrees = if expected.contains('(') {
        seen == expected
    } else {
        seen.split('(').next() == Some(expected)
    };
    let seen = if seen.is_empty() {
        "no fault".to_string()
    } else {
        seen
    };
    (!agrees).then(|| format!("{what}: expected {expected}, saw {seen}"))
}

/// Registers that differ after the code: name, before, after.
pub(super) fn changes(reply: &Reply) -> Vec<(&'static str, u64, u64)> {
    let mut before = reply.before;
    let mut after = reply.response.registers;
    before.rsp = 0;
    before.rflags &= STATUS_FLAGS;
    after.rflags &= STATUS_FLAGS;
    REGISTER_NAMES
        .into_iter()
        .zip(
            register_values(&before)
                .into_iter()
                .zip(register_values(&after)),
        )
        .filter(|(_, (before, after))| before != after)
        .map(|(name, (before, after))| (name, before, after))
        .collect()
}

fn replies(api: &mut Api) {
    api.section("Replies");
    let engine = &mut api.engine;
    engine.register_type_with_name::<Reply>("Reply");
    engine.register_get("faulted", |reply: &mut Reply| reply.faulted());
    engine.register_get("fault", |reply: &mut Reply| reply.fault());
    engine.register_get("vector", |reply: &mut Reply| {
        if reply.faulted() {
            i64::from(reply.response.vector)
        } else {
            -1
        }
    });
    engine.register_get("error_code", |reply: &mut Reply| {
        reply.response.error_code as i64
    });
    engine.register_get("cr2", |reply: &mut Reply| reply.response.cr2 as i64);
    engine.register_get("rip", |reply: &mut Reply| reply.response.rip_offset);
    engine.register_get("value", |reply: &mut Reply| reply.value as i64);
    engine.register_get("registers", |reply: &mut Reply| reply.response.registers);
    engine.register_get("samples", |reply: &mut Reply| {
        i64::from(reply.response.samples)
    });
    engine.register_get("executions", |reply: &mut Reply| {
        reply.response.executions as i64
    });
    engine.register_get("interrupts", |reply: &mut Reply| {
        reply.response.interrupts as i64
    });
    engine.register_get("debug_exceptions", |reply: &mut Reply| {
        i64::from(reply.response.debug_exceptions)
    });
    engine.register_get("first_debug", |reply: &mut Reply| {
        reply.response.first_debug_offset
    });
    engine.register_get("ticks", |reply: &mut Reply| -> Array {
        reply
            .ticks
            .iter()
            .map(|ticks| Dynamic::from_int(*ticks as i64))
            .collect()
    });
    engine.register_get("changed", |reply: &mut Reply| -> Array {
        changes(reply)
            .into_iter()
            .map(|(name, ..)| name.into())
            .collect()
    });
    for (index, name) in REGISTER_NAMES.into_iter().enumerate() {
        engine.register_get(name, move |reply: &mut Reply| {
            register_values(&reply.response.registers)[index] as i64
        });
    }
    api.entry(
        "reply.rax ... reply.r15, reply.rflags, reply.registers",
        "The registers after the code; `rsp` is relative, 0 means unchanged.",
        r#"expect_eq("rax", 5, exec("mov rax, 5").rax);"#,
    );
    api.entry("reply.faulted, reply.fault, reply.vector, reply.error_code, reply.cr2, reply.rip",
        "The exception that ended the code: its name with error code as in `#GP(0)` (empty if none), number (-1 if none), error code, CR2, and RIP relative to the code's start.",
        r##"expect_eq("fault", "#UD", exec("nop; ud2").fault); expect_eq("rip", 1, exec("nop; ud2").rip);"##);
    api.entry(
        "reply.value",
        "The result of `rdmsr`, `port_in` and `read_at`.",
        r#"let time = rdmsr(0x10).value;"#,
    );
    api.entry("reply.changed", "Names of the registers that changed.", r#"expect_eq("changed", ["rcx"], exec("inc rcx", registers()).changed.filter(|name| name != "rflags"));"#);
    api.entry("reply.samples, reply.executions, reply.ticks, reply.interrupts",
        "Timed samples that finished, executions of the code, ticks of each sample, interrupts meanwhile.",
        r#"expect_eq("samples", 3, repeat("nop", registers(), 3, 0).samples);"#);
    api.entry(
        "reply.debug_exceptions, reply.first_debug",
        "With SINGLE_STEP: how many #DB came, and RIP of the first, relative to the code's start.",
        r#"expect_eq("steps", 2, exec("nop; nop", registers(), SINGLE_STEP).debug_exceptions);"#,
    );
}
