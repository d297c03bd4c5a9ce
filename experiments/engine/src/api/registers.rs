//! Register files.

use super::Api;
use crate::{
    guest::{REGISTER_NAMES, register_mut, register_values},
    random::Random,
    session::{Failure, STATUS_FLAGS},
};
use abi::probe::Registers;
use alloc::format;
use rhai::{Dynamic, Map};

pub(super) fn register(api: &mut Api) {
    api.section("Register files");
    api.engine.register_type_with_name::<Registers>("Registers");
    api.entry("registers() -> Registers",
        "A register file of zeros; fields `rax` to `r15` and `rflags` can be read and set. `exec` also takes a map, as in `#{rbx: 3}`.",
        r#"let file = registers(); file.rbx = 5;"#);
    api.engine.register_fn("registers", Registers::default);
    api.entry("pattern_registers(seed) -> Registers",
        "A register file in which every register holds another value with all bytes different from zero.",
        r#"expect_ne("rbx", 0, pattern_registers(1).rbx);"#);
    api.engine
        .register_fn("pattern_registers", |seed: i64| pattern(seed as u64));
    api.entry(
        "random_registers(dice) -> Registers",
        "A register file of interesting random values.",
        r#"let file = random_registers(random(1));"#,
    );
    api.engine
        .register_fn("random_registers", |random: &mut Random| {
            let mut registers = Registers::default();
            for name in REGISTER_NAMES
                .into_iter()
                .filter(|name| !matches!(*name, "rsp" | "rflags"))
            {
                if let Some(field) = register_mut(&mut registers, name) {
                    *field = random.interesting();
                }
            }
            registers
        });
    for (index, name) in REGISTER_NAMES.into_iter().enumerate() {
        api.engine.register_get_set(
            name,
            move |registers: &mut Registers| register_values(registers)[index] as i64,
            move |registers: &mut Registers, value: i64| {
                if let Some(field) = register_mut(registers, name) {
                    *field = value as u64;
                }
            },
        );
    }
}

/// Distinct values without zero bytes; the status flags that user code may set.
fn pattern(seed: u64) -> Registers {
    let mut random = Random::new(seed);
    let mut registers = Registers::default();
    for (index, name) in REGISTER_NAMES.into_iter().enumerate() {
        let Some(field) = register_mut(&mut registers, name) else {
            continue;
        };
        *field = match name {
            "rsp" => 0,
            // CF, PF, AF, ZF, SF, OF; DF and AC would disturb compiled code around the probe.
            "rflags" => 0x8d5 & STATUS_FLAGS,
            _ => random.next_u64() | 0x0101_0101_0101_0101 ^ ((index as u64) << 56),
        };
    }
    registers
}

/// A register file from `#{rbx: 3, ...}`.
pub(super) fn from_map(map: &Map) -> Result<Registers, Failure> {
    let mut registers = Registers::default();
    for (name, value) in map {
        let field =
            register_mut(&mut registers, name).ok_or_else(|| format!("no register `{name}`"))?;
        *field = Dynamic::as_int(value)
            .map_err(|kind| format!("register {name} must be an integer, not {kind}"))?
            as u64;
    }
    Ok(registers)
}
