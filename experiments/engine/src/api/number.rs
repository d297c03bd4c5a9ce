//! Arithmetic on 64-bit patterns: integers in scripts are signed, registers are not.

use super::{Answer, Api, error};
use alloc::{format, string::String};
use rhai::Blob;

pub(super) fn register(api: &mut Api) {
    api.section("Numbers");
    let engine = &mut api.engine;
    engine.register_fn("hex", |value: i64| format!("{:#x}", value as u64));
    engine.register_fn("below", |one: i64, other: i64| (one as u64) < other as u64);
    engine.register_fn("add64", |one: i64, other: i64| one.wrapping_add(other));
    engine.register_fn("sub64", |one: i64, other: i64| one.wrapping_sub(other));
    engine.register_fn("mul64", |one: i64, other: i64| one.wrapping_mul(other));
    engine.register_fn("div64", |one: i64, other: i64| -> Answer<i64> {
        (one as u64)
            .checked_div(other as u64)
            .map(|value| value as i64)
            .ok_or_else(|| error("division by zero"))
    });
    engine.register_fn("rem64", |one: i64, other: i64| -> Answer<i64> {
        (one as u64)
            .checked_rem(other as u64)
            .map(|value| value as i64)
            .ok_or_else(|| error("division by zero"))
    });
    engine.register_fn("shr64", |value: i64, bits: i64| {
        u32::try_from(bits)
            .ok()
            .and_then(|bits| (value as u64).checked_shr(bits))
            .unwrap_or(0) as i64
    });
    engine.register_fn("shl64", |value: i64, bits: i64| {
        u32::try_from(bits)
            .ok()
            .and_then(|bits| (value as u64).checked_shl(bits))
            .unwrap_or(0) as i64
    });
    engine.register_fn("bit", |value: i64, bit: i64| {
        (0..64).contains(&bit) && value as u64 >> bit & 1 == 1
    });
    engine.register_fn("without", |value: i64, bits: i64| value & !bits);
    engine.register_fn("to_text", |bytes: Blob| -> String {
        String::from_utf8_lossy(&bytes).into_owned()
    });
    engine.register_fn("le", |value: i64, width: i64| -> Blob {
        value.to_le_bytes()[..width.clamp(0, 8) as usize].to_vec()
    });
    for (signature, text, example) in [
        (
            "hex(value) -> string",
            "The 64-bit pattern in hexadecimal.",
            r#"expect_eq("hex", "0xffffffffffffffff", hex(-1));"#,
        ),
        (
            "below(a, b) -> bool",
            "Whether a < b as unsigned numbers.",
            r#"expect("unsigned", below(1, -1));"#,
        ),
        (
            "add64(a, b), sub64(a, b), mul64(a, b)",
            "Arithmetic that wraps; the operators `+`, `-`, `*` raise an error instead.",
            r#"expect_eq("wraps", 0, add64(-1, 1));"#,
        ),
        (
            "div64(a, b), rem64(a, b)",
            "Unsigned division.",
            r#"expect_eq("half", 0x7fffffffffffffff, div64(-1, 2));"#,
        ),
        (
            "shr64(value, bits), shl64(value, bits)",
            "Shifts that bring in zeros; 64 and more give 0.",
            r#"expect_eq("top", 1, shr64(-1, 63));"#,
        ),
        (
            "without(value, bits) -> int",
            "The value with these bits cleared.",
            r#"expect_eq("low bits", 0x1000, without(0x1fff, 0xfff));"#,
        ),
        (
            "bit(value, n) -> bool",
            "Whether bit n is set.",
            r#"expect("bit 63", bit(-1, 63));"#,
        ),
        (
            "le(value, width) -> blob",
            "The lowest bytes of a value, little-endian.",
            r#"expect_eq("len", 4, le(0x12345678, 4).len);"#,
        ),
        (
            "to_text(blob) -> string",
            "Bytes as text; what is no UTF-8 is replaced.",
            r#"expect_eq("text", "A", to_text(le(0x41, 1)));"#,
        ),
    ] {
        api.entry(signature, text, example);
    }
}
