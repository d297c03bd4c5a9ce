//! How long calls took: a row for each call, and the chosen one's histogram below.

use std::collections::BTreeMap;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::paint::{fit, line, lines, list, pad, pad_left, rule, short, span, window};
use crate::model::Model;
use crate::model::calls::{Call, CallStats};
use crate::model::run::Run;
use crate::theme::{Role, Theme};

const COLUMNS: [&str; 8] = ["n", "median", "faults", "min", "p5", "p95", "p99", "max"];
const COLUMN: usize = 7;

/// Draws table and histogram.
pub fn draw(model: &Model, run: &Run, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let stats = run.calls.stats();
    if stats.is_empty() {
        let text = " no hypercall, probe or exit was traced yet";
        return lines(frame, area, vec![line(text, Role::Dim, theme)]);
    }
    let below = area.height / 2;
    let rows = [
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(below),
    ];
    let [head, body, bars] = Layout::vertical(rows).areas(area);
    let columns = if area.width < 72 { 2 } else { COLUMNS.len() };
    let name_width = usize::from(area.width)
        .saturating_sub(columns * COLUMN + 2)
        .max(12);
    let mut text = pad(" call, in ticks", name_width + 1, theme);
    for column in &COLUMNS[..columns] {
        text.push_str(&pad_left(column, COLUMN, theme));
    }
    frame.render_widget(
        line(
            fit(&text, usize::from(area.width), theme),
            Role::Head,
            theme,
        ),
        head,
    );
    let names = names(run);
    let chosen = model.chosen_index();
    let height = usize::from(body.height);
    let from = window(stats.len(), chosen, height);
    let visible = stats
        .iter()
        .skip(from)
        .take(height)
        .map(|(call, stats)| row(call, stats, &names, (name_width, columns), theme));
    list(frame, body, theme, (stats.len(), Some(chosen)), visible);
    if let Some((call, stats)) = stats.iter().nth(chosen) {
        histogram(run, &label(call, &names), stats, theme, frame, bars);
    }
}

fn row(
    call: &Call,
    stats: &CallStats,
    names: &Names,
    (width, columns): (usize, usize),
    theme: &Theme,
) -> Line<'static> {
    let mut line = Line::from(span(
        pad(&label(call, names), width, theme),
        Role::Text,
        theme,
    ));
    let ticks = &stats.ticks;
    let values = [
        ticks.percentile(50),
        stats.faults,
        ticks.min(),
        ticks.percentile(5),
        ticks.percentile(95),
        ticks.percentile(99),
        ticks.max(),
    ];
    let values = std::iter::once(stats.requests).chain(values);
    for (index, value) in values.take(columns).enumerate() {
        let (timed, role) = match COLUMNS[index] {
            "n" => (false, Role::Text),
            "faults" if value > 0 => (false, Role::Warn),
            "faults" => (false, Role::Dim),
            _ => (true, Role::Info),
        };
        let text = if timed && ticks.count() == 0 {
            String::new()
        } else {
            short(value)
        };
        line.push_span(span(pad_left(&text, COLUMN, theme), role, theme));
    }
    line
}

fn histogram(
    run: &Run,
    name: &str,
    stats: &CallStats,
    theme: &Theme,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let emulated = run.info.as_ref().is_some_and(|info| info.emulated);
    let what = if emulated {
        format!("{name}, ticks of an emulation: shown, never compared")
    } else {
        format!("{name}, ticks")
    };
    let mut all = vec![rule(&what, area.width, theme)];
    let bars = stats.ticks.bars(usize::from(area.height).saturating_sub(1));
    let most = bars
        .iter()
        .map(|(.., count)| *count)
        .max()
        .unwrap_or(0)
        .max(1);
    let room = usize::from(area.width).saturating_sub(22) as u64;
    for (from, to, count) in bars {
        let length = (count * room).div_ceil(most) as usize;
        let bar: String = std::iter::repeat_n(theme.signs.bar, length).collect();
        all.push(Line::from(vec![
            span(
                format!(" {:>6}-{:<6} ", short(from), short(to)),
                Role::Dim,
                theme,
            ),
            span(bar, Role::Info, theme),
            span(format!(" {}", short(count)), Role::Text, theme),
        ]));
    }
    if stats.ticks.count() == 0 {
        all.push(line(" no execution finished", Role::Dim, theme));
    }
    lines(frame, area, all);
}

type Names = BTreeMap<u64, String>;

/// Names of hypercalls: number 0 looks up the others by name, and the experiment hypercall-map notes what it found.
fn names(run: &Run) -> Names {
    let mut names = Names::from([(0, "get_vmmcall_number".to_owned())]);
    let map = run
        .experiments
        .list()
        .iter()
        .filter(|one| one.id == "hypercall-map");
    for line in map.flat_map(|one| one.detail.lines()) {
        let mut words = line.rsplitn(3, ' ');
        if let (Some(number), Some("="), Some(name)) = (words.next(), words.next(), words.next())
            && let Ok(number) = number.parse()
            && let Some(name) = name.split_whitespace().last()
        {
            names.insert(number, trace_record::escape(name.as_bytes()));
        }
    }
    names
}

fn label(call: &Call, names: &Names) -> String {
    match call {
        Call::Hypercall(number) => match names.get(number) {
            Some(name) => format!("hypercall {number} {name}"),
            None => format!("hypercall {number:#x}"),
        },
        Call::Cpuid(leaf) => format!("cpuid {leaf:#x}"),
        Call::Msr(number) => format!("msr {number:#x}"),
        Call::Port(number) => format!("port {number:#x}"),
        Call::Code(bytes) => {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("code {}", bytes.join(" "))
        }
        Call::Exit(code) => format!("exit {code:#x} {}", exit_name(*code)),
        Call::Other => "others".to_owned(),
    }
}

/// AMD APM vol. 2 appendix C.
fn exit_name(code: u64) -> &'static str {
    match code {
        0x40..=0x5f => "exception",
        0x60 => "intr",
        0x64 => "vintr",
        0x6e => "rdtsc",
        0x72 => "cpuid",
        0x78 => "hlt",
        0x7b => "ioio",
        0x7c => "msr",
        0x7f => "shutdown",
        0x80 => "vmrun",
        0x81 => "vmmcall",
        0x400 => "npf",
        _ => "",
    }
}
