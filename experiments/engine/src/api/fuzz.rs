//! Trace and fuzzing: events, checkpoints, random numbers.

use super::{Answer, Api, error, stop};
use crate::{
    guest::{self, checkpoint},
    random::Random,
    session::call_failed,
};
use alloc::{format, string::String};
use rhai::{Array, Blob, Dynamic, ImmutableString};
use trace_record::verdict::Verdict;

pub(super) fn register(api: &mut Api) {
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
