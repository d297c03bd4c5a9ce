//! `hv report`: one HTML page without anything from outside, latency plots included.
//!
//! All text of guest, hypervisor and scripts goes through [`escape_markup`].

use crate::{
    excerpt::Excerpts,
    formats::escape_markup,
    result::{ResultLine, Row, Run},
    table::counts,
};
use std::{collections::BTreeMap, fmt::Write};
use trace_record::{run::machine_dir, verdict::Verdict};

/// Trace records shown of an experiment with nothing to explain, and of one with something.
const FEW: usize = 8;
const MANY: usize = 40;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
.v{font-weight:600}.PASS,.INFO{color:#176b2c}.FAIL,.XPASS,.CRASH,.HANG,.WEDGED{color:#a3161f}.ERROR,.LOST{color:#8a4b00}\
.SKIP,.XFAIL{color:#555}pre{white-space:pre-wrap;background:#f6f6f6;padding:.6rem}td.n{text-align:right;font-variant-numeric:tabular-nums}\
svg{background:#f6f6f6}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre,svg{background:#242424}\
td,th{border-color:#444}.PASS,.INFO{color:#6cc77f}.FAIL,.XPASS,.CRASH,.HANG,.WEDGED{color:#ff7b7b}.ERROR,.LOST{color:#ffb35c}.SKIP,.XFAIL{color:#aaa}}";

/// The page.
pub fn html(run: &Run) -> String {
    let id = escape_markup(&run.info.id);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n<title>HvLab run {id}</title>\n<style>{STYLE}</style>\n\
         <h1>Run {id}</h1>\n<p>{} on {} {}. Exit status {}.</p>\n",
        escape_markup(&counts(&run.results)),
        escape_markup(&run.info.hypervisor),
        escape_markup(&run.info.hypervisor_detail),
        run.exit_status()
    );
    out.push_str("<h2>Experiments</h2>\n<table><tr><th>verdict<th>experiment<th>why<th>seconds\n");
    for line in &run.results {
        let _ = writeln!(
            out,
            "<tr><td class=\"v {word}\">{word}<td><a href=\"#{id}\">{id}</a><br>{title}<td>{reason}<td class=\"n\">{}.{:03}",
            line.took_ms / 1000,
            line.took_ms % 1000,
            word = line.verdict.word(),
            id = escape_markup(&line.id),
            title = escape_markup(&line.title),
            reason = escape_markup(&line.reason),
        );
    }
    out.push_str("</table>\n");
    let mut excerpts = BTreeMap::new();
    for line in &run.results {
        let boot = excerpts
            .entry(line.machine)
            .or_insert_with(|| Excerpts::of_boot(&run.folder.join(machine_dir(line.machine))));
        details(&mut out, run, line, boot);
    }
    environment(&mut out, run);
    out
}

fn details(out: &mut String, run: &Run, line: &ResultLine, boot: &Excerpts) {
    let id = escape_markup(&line.id);
    let word = line.verdict.word();
    let _ = writeln!(
        out,
        "<h3 id=\"{id}\">{id}: <span class=\"{word}\">{word}</span></h3>"
    );
    let _ = writeln!(
        out,
        "<p>{}</p><p>machine m{:02}, seed {}, script {}</p>",
        escape_markup(&line.reason),
        line.machine,
        line.seed,
        escape_markup(&line.script)
    );
    if let Some(expected) = &line.expectation {
        let _ = writeln!(
            out,
            "<p>Expected to fail: {} ({})</p>",
            escape_markup(&expected.reason),
            escape_markup(&expected.reference)
        );
    }
    if !line.detail.is_empty() {
        let _ = writeln!(
            out,
            "<details><summary>details</summary><pre>{}</pre></details>",
            escape_markup(&line.detail)
        );
    }
    trace(out, line, boot);
    if line.measurements.is_empty() {
        return;
    }
    if run.info.emulated {
        out.push_str("<p>Software emulation: ticks are shown, never compared.</p>\n");
    }
    out.push_str("<table><tr><th>row<th>unit<th>n<th>min<th>p5<th>median<th>p95<th>p99<th>max\n");
    for row in &line.measurements {
        let _ = write!(
            out,
            "<tr><td>{}<td>{}",
            escape_markup(&row.name),
            escape_markup(&row.unit)
        );
        for value in [
            row.n, row.min, row.p5, row.median, row.p95, row.p99, row.max,
        ] {
            let _ = write!(out, "<td class=\"n\">{value}");
        }
        out.push('\n');
    }
    out.push_str("</table>\n");
    plot(out, &line.measurements);
}

/// The last records of the experiment's part of the trace.
fn trace(out: &mut String, line: &ResultLine, boot: &Excerpts) {
    let quiet = matches!(line.verdict, Verdict::Pass | Verdict::Info | Verdict::Skip);
    let records = boot.last(&line.id, if quiet { FEW } else { MANY });
    if records.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<details{}><summary>the last {} trace records</summary><pre>",
        if quiet { "" } else { " open" },
        records.len()
    );
    for record in records {
        let _ = writeln!(out, "{}", escape_markup(&record.to_string()));
    }
    out.push_str("</pre></details>\n");
}

/// Boxes from p5 to p95 with the median, whiskers from min to p99, on a logarithmic axis.
fn plot(out: &mut String, rows: &[Row]) {
    const LEFT: u64 = 180;
    const WIDTH: u64 = 700;
    const HEIGHT: u64 = 22;
    let largest = rows.iter().map(|row| row.p99).max().unwrap_or(1).max(2);
    // Sixteenths of a bit: a logarithm in integers.
    let log = |value: u64| {
        let value = value.max(1);
        let whole = u64::from(value.ilog2());
        whole * 16
            + if whole >= 4 {
                (value >> (whole - 4)) & 15
            } else {
                (value << (4 - whole)) & 15
            }
    };
    let x = |value: u64| LEFT + log(value) * WIDTH / log(largest).max(1);
    let height = rows.len() as u64 * HEIGHT + 10;
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 {} {height}\" width=\"100%\" role=\"img\" aria-label=\"latency of each row, logarithmic\">",
        LEFT + WIDTH + 20
    );
    for (index, row) in rows.iter().enumerate() {
        let y = index as u64 * HEIGHT + 8;
        let middle = y + 6;
        let _ = writeln!(
            out,
            "<text x=\"4\" y=\"{}\" font-size=\"12\" fill=\"currentColor\">{}</text>\
             <line x1=\"{}\" x2=\"{}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#888\"/>\
             <rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"12\" fill=\"#4a90d9\" opacity=\".6\"/>\
             <line x1=\"{m}\" x2=\"{m}\" y1=\"{y}\" y2=\"{}\" stroke=\"#a3161f\" stroke-width=\"2\"/>",
            y + 10,
            escape_markup(&row.name),
            x(row.min),
            x(row.p99),
            x(row.p5),
            (x(row.p95) - x(row.p5)).max(2),
            y + 12,
            m = x(row.median),
        );
    }
    out.push_str("</svg>\n");
}

fn environment(out: &mut String, run: &Run) {
    out.push_str("<h2>Environment</h2>\n<table>\n");
    let _ = writeln!(
        out,
        "<tr><td>started<td>{} seconds since 1970",
        run.info.started
    );
    let _ = writeln!(out, "<tr><td>seed<td>{}", run.info.seed);
    let _ = writeln!(out, "<tr><td>machines<td>{}", run.info.machines);
    for (name, value) in &run.info.environment {
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{}",
            escape_markup(name),
            escape_markup(value)
        );
    }
    out.push_str("</table>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunInfo;
    use trace_record::verdict::Verdict;

    #[test]
    fn what_the_guest_says_is_never_markup() {
        let evil = "</pre><script>alert(1)</script><img src=x onerror=y> \u{1b}]0;x\u{7}";
        let line = ResultLine {
            title: evil.into(),
            reason: evil.into(),
            detail: evil.into(),
            script: evil.into(),
            measurements: vec![Row {
                name: evil.into(),
                unit: evil.into(),
                n: 1,
                min: 1,
                p5: 2,
                median: 3,
                p95: u64::MAX,
                p99: u64::MAX,
                max: u64::MAX,
                samples: vec![],
            }],
            ..ResultLine::sample(Verdict::Crash)
        };
        let info = RunInfo {
            id: evil.into(),
            hypervisor: evil.into(),
            ..RunInfo::default()
        };
        let page = html(&Run {
            folder: "x".into(),
            info,
            results: vec![line],
        });
        assert!(
            !page.contains("<script") && !page.contains("<img") && !page.contains('\u{1b}'),
            "{page}"
        );
        assert!(page.contains("CRASH") && page.contains("<svg"));
    }
}
