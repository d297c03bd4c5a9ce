//! Measuring: interleaved rounds of samples, timed in the kernel, summarised in integers.

use super::{
    Api,
    execution::{code_of, flags_of},
    registers,
};
use crate::{
    session::{Exec, Failure, Session},
    stats::summarise,
};
use abi::probe::{FLAG_INTERRUPTS_OFF, INTERRUPTS_OFF_MAX, Registers};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rhai::{Array, Dynamic, Map};
use trace_record::verdict::{Measurement, SAMPLES_MAX};

/// Rounds of all rows, so that drift hits all of them.
const ROUNDS: i64 = 5;

struct Row {
    name: String,
    code: Vec<u8>,
    registers: Registers,
    flags: u32,
    inner: u32,
    samples: Vec<u64>,
    round_medians: Vec<u64>,
    interrupts: u64,
}

pub(super) fn register(api: &mut Api) {
    api.section("Measurements");
    function!(
        api,
        "measure",
        "measure(rows [, options]) -> map",
        "Times code. A row is #{name, code [, registers, flags, inner]}; `inner` executions make one sample. Options: samples (1000), rounds (5), warm_up (100). Rounds visit all rows in turn; interrupts are off in ring 0; registers are reloaded before each sample. The rows become measurements of the result; the answer maps each name to #{n, min, p5, median, p95, p99, max, mad, disturbed, round_medians, interrupts}. Ticks include the timer's own; a row `empty` (code `nop`) shows how much that is.",
        r#"let cost = measure([#{name: "empty", code: "nop"}, #{name: "cpuid-0", code: "cpuid"}], #{samples: 20}); note(`${cost["cpuid-0"].median} ticks`);"#,
        |session, rows: Array| -> Map { measure(session, rows, &Map::new()) }
    );
    function!(api, overload "measure", |session, rows: Array, options: Map| -> Map {
        measure(session, rows, &options)
    });
    function!(
        api,
        "record",
        "record(name, unit, values)",
        "Makes an array of integers a measurement of the result: what a script has timed or counted itself.",
        r#"record("ratio", "percent", [101, 99, 100]);"#,
        |session, name: rhai::ImmutableString, unit: rhai::ImmutableString, values: Array| -> () {
            let mut samples = Vec::with_capacity(values.len());
            for value in &values {
                let value = value
                    .as_int()
                    .map_err(|kind| format!("a value is {kind}, not an integer"))?;
                samples.push(value.max(0) as u64);
            }
            keep(session, &name, &unit, samples).map(drop)
        }
    );
}

fn option(options: &Map, name: &str, default: i64, low: i64, high: i64) -> Result<i64, Failure> {
    let Some(value) = options.get(name) else {
        return Ok(default);
    };
    match value.as_int() {
        Ok(value) if (low..=high).contains(&value) => Ok(value),
        _ => Err(format!("{name} is {value}, allowed are {low} to {high}")),
    }
}

fn measure(session: &mut Session, rows: Array, options: &Map) -> Result<Map, Failure> {
    for name in options.keys() {
        if !matches!(name.as_str(), "samples" | "rounds" | "warm_up") {
            return Err(format!("unknown option `{name}`"));
        }
    }
    let rounds = option(options, "rounds", ROUNDS, 1, 100)?;
    let samples = option(options, "samples", 1000, 1, 1_000_000)?;
    let warm_up = option(options, "warm_up", 100, 0, 10_000)?;
    let per_round = (samples as u64).div_ceil(rounds as u64).min(10_000) as u32;
    let mut rows = rows
        .into_iter()
        .map(row)
        .collect::<Result<Vec<Row>, Failure>>()?;
    for round in 0..rounds {
        for row in &mut rows {
            let warm_up = if round == 0 {
                warm_up as u32
            } else {
                (warm_up as u32).min(10)
            };
            one_round(session, row, per_round, warm_up)?;
        }
    }
    let mut answer = Map::new();
    for row in rows {
        let (round_medians, interrupts) = (row.round_medians, row.interrupts);
        let mut map = keep(session, &row.name, "ticks", row.samples)?;
        let medians: Array = round_medians
            .into_iter()
            .map(|median| (median as i64).into())
            .collect();
        map.insert("round_medians".into(), medians.into());
        map.insert("interrupts".into(), (interrupts as i64).into());
        answer.insert(row.name.as_str().into(), Dynamic::from_map(map));
    }
    Ok(answer)
}

fn row(row: Dynamic) -> Result<Row, Failure> {
    let Some(map) = row.try_cast::<Map>() else {
        return Err("a row is a map #{name, code, ...}".into());
    };
    for key in map.keys() {
        if !matches!(
            key.as_str(),
            "name" | "code" | "registers" | "flags" | "inner"
        ) {
            return Err(format!("unknown key `{key}` in a row"));
        }
    }
    let name = map
        .get("name")
        .map(Dynamic::to_string)
        .ok_or_else(|| String::from("a row lacks `name`"))?;
    let code = code_of(
        map.get("code")
            .ok_or_else(|| format!("row {name} lacks `code`"))?,
    )?;
    let registers = match map.get("registers") {
        None => Registers::default(),
        Some(value) if value.is_map() => registers::from_map(&value.clone().cast::<Map>())?,
        Some(value) => value
            .clone()
            .try_cast::<Registers>()
            .ok_or_else(|| format!("row {name}: registers must be a register file or a map"))?,
    };
    let flags = match map.get("flags") {
        None => FLAG_INTERRUPTS_OFF,
        Some(flags) => flags_of(
            flags
                .as_int()
                .map_err(|kind| format!("row {name}: flags are {kind}"))?,
        )?,
    };
    let inner = option(&map, "inner", 1, 1, 100_000)? as u32;
    Ok(Row {
        name,
        code,
        registers,
        flags,
        inner,
        samples: Vec::new(),
        round_medians: Vec::new(),
        interrupts: 0,
    })
}

fn one_round(
    session: &mut Session,
    row: &mut Row,
    per_round: u32,
    warm_up: u32,
) -> Result<(), Failure> {
    // Interrupts may stay off only so long; several requests make up the round.
    let most = (INTERRUPTS_OFF_MAX / u64::from(row.inner) / 2).clamp(1, 1000) as u32;
    let (mut left, mut warm_up) = (per_round, warm_up.min(most));
    let start = row.samples.len();
    while left > 0 {
        let count = left.min(most);
        let reply = session.exec(&Exec {
            code: &row.code,
            registers: row.registers,
            flags: row.flags | abi::probe::FLAG_RELOAD,
            count,
            inner: row.inner,
            warm_up,
        })?;
        if reply.faulted() {
            return Err(format!(
                "row {}: {} at +{}",
                row.name,
                reply.fault(),
                reply.response.rip_offset
            ));
        }
        row.samples.extend(reply.ticks.iter());
        row.interrupts += reply.response.interrupts;
        left -= count;
        warm_up = 0;
    }
    let mut round: Vec<u64> = row.samples[start..].to_vec();
    row.round_medians
        .extend(summarise(&mut round).map(|summary| summary.median));
    Ok(())
}

/// Adds a measurement to the result; the answer is its summary.
fn keep(
    session: &mut Session,
    name: &str,
    unit: &str,
    mut samples: Vec<u64>,
) -> Result<Map, Failure> {
    // Raw samples in the order they were taken, before they are sorted.
    let raw = samples
        .iter()
        .take(SAMPLES_MAX)
        .map(|sample| u32::try_from(*sample).unwrap_or(u32::MAX))
        .collect();
    let summary = summarise(&mut samples).ok_or_else(|| format!("row {name} has no samples"))?;
    session.findings.measurements.push(Measurement {
        name: name.into(),
        unit: unit.into(),
        n: summary.n,
        min: summary.min,
        p5: summary.p5,
        median: summary.median,
        p95: summary.p95,
        p99: summary.p99,
        max: summary.max,
        samples: raw,
    });
    let mut map = Map::new();
    for (key, value) in [
        ("n", summary.n),
        ("min", summary.min),
        ("p5", summary.p5),
        ("median", summary.median),
        ("p95", summary.p95),
        ("p99", summary.p99),
        ("max", summary.max),
        ("mad", summary.mad),
        ("disturbed", summary.disturbed),
    ] {
        map.insert(key.into(), (value as i64).into());
    }
    Ok(map)
}
