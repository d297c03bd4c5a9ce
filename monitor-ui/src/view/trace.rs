//! The trace table, and the details of the chosen record below it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use trace_record::payload::ProbeAnswer;
use trace_record::record::CPU_HYPERVISOR;
use trace_record::{Class, Payload};

use super::paint::{fit, line, lines, list, pad, pad_left, rule, seconds, span, window, wrap};
use crate::model::Model;
use crate::model::run::Run;
use crate::model::trace::Row;
use crate::theme::{Role, Theme};

const DETAILS: u16 = 9;

/// Draws the table.
pub fn draw(model: &Model, run: &Run, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let details = if model.details() {
        DETAILS.min(area.height / 2)
    } else {
        0
    };
    let rows = [
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(details),
    ];
    let [head, body, below] = Layout::vertical(rows).areas(area);
    let columns = Columns::of(run, area.width);
    frame.render_widget(columns.head(theme), head);
    let len = run.trace.shown();
    if len == 0 {
        let text = if run.trace.total() == 0 {
            "no records yet"
        } else {
            "no record passes the filter; Esc drops it"
        };
        lines(
            frame,
            body,
            vec![line(format!(" {text}"), Role::Dim, theme)],
        );
        return;
    }
    let chosen = model.chosen_index();
    let height = usize::from(body.height);
    let from = window(len, chosen, height);
    let visible = run
        .trace
        .page(from, height)
        .map(|row| columns.row(row, theme));
    list(frame, body, theme, (len, Some(chosen)), visible);
    if details > 0
        && let Some(row) = run
            .trace
            .shown_number(chosen)
            .and_then(|number| run.trace.row(number))
    {
        draw_details(row, theme, frame, below);
    }
}

struct Columns {
    boot: usize,
    time: usize,
    cpu: usize,
    pid: usize,
    class: usize,
    text: usize,
}

impl Columns {
    fn of(run: &Run, width: u16) -> Self {
        let wide = width >= 60;
        let mut columns = Self {
            boot: if run.boots.len() > 1 { 5 } else { 0 },
            time: if wide { 11 } else { 7 },
            cpu: if wide { 4 } else { 0 },
            pid: if wide { 5 } else { 0 },
            class: if wide { 11 } else { 6 },
            text: 0,
        };
        let used = columns.boot + columns.time + columns.cpu + columns.pid + columns.class;
        columns.text = usize::from(width).saturating_sub(used + 2);
        columns
    }

    fn head(&self, theme: &Theme) -> Line<'static> {
        let cells = [
            " ".to_owned(),
            pad(if self.boot > 0 { "boot" } else { "" }, self.boot, theme),
            pad_left("seconds ", self.time, theme),
            pad(if self.cpu > 0 { "cpu" } else { "" }, self.cpu, theme),
            pad(if self.pid > 0 { "pid" } else { "" }, self.pid, theme),
            pad("class", self.class, theme),
            pad("what", self.text, theme),
        ];
        line(cells.concat(), Role::Head, theme)
    }

    fn row(&self, row: &Row, theme: &Theme) -> Line<'static> {
        let meta = &row.record.meta;
        let digits = if self.time > 8 { 6 } else { 2 };
        let cpu = meta.cpu & !CPU_HYPERVISOR;
        let side = if meta.cpu >= CPU_HYPERVISOR { 'h' } else { 'c' };
        let mut cells = String::new();
        if self.boot > 0 {
            cells.push_str(&pad(&format!("m{:02}", row.machine), self.boot, theme));
        }
        cells.push_str(&pad_left(
            &seconds(row.since_ns, digits),
            self.time - 1,
            theme,
        ));
        cells.push(' ');
        if self.cpu > 0 {
            cells.push_str(&pad(&format!("{side}{cpu}"), self.cpu, theme));
            cells.push_str(&pad(&meta.pid.to_string(), self.pid, theme));
        }
        let class = pad(row.record.class.name(), self.class - 1, theme);
        let text = fit(&row.record.payload.to_string(), self.text, theme);
        Line::from(vec![
            span(cells, Role::Dim, theme),
            span(class, Role::Info, theme),
            span(" ", Role::Text, theme),
            span(text, role(&row.record.payload, row.record.class), theme),
        ])
    }
}

fn role(payload: &Payload<'_>, class: Class) -> Role {
    match payload {
        Payload::Dropped { .. } | Payload::Panic { .. } => Role::Bad,
        Payload::PageFault { .. } | Payload::VirtioReset { .. } => Role::Warn,
        Payload::ProbeAnswer(ProbeAnswer { vector, .. }) if *vector != u32::MAX => Role::Warn,
        Payload::RemoteAnswer { status, .. } if *status < 0 => Role::Warn,
        _ if class == Class::Meta => Role::Dim,
        _ => Role::Text,
    }
}

fn draw_details(row: &Row, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let record = &row.record;
    let meta = &record.meta;
    let width = usize::from(area.width).saturating_sub(2);
    let mut all = vec![rule(&format!("record {}", row.number), area.width, theme)];
    let head = format!(
        "boot m{:02}  cpu {:#04x}  sequence {}  pid {}  tsc {}  at {} s  {} {}",
        row.machine,
        meta.cpu,
        meta.sequence,
        meta.pid,
        meta.tsc,
        seconds(row.since_ns, 9),
        record.class.name(),
        record.payload.kind().name(),
    );
    for text in wrap(&head, width) {
        all.push(line(format!(" {text}"), Role::Dim, theme));
    }
    let mut text = record.payload.to_string();
    match &record.payload {
        Payload::ProbeRequest(probe) => {
            let code: Vec<String> = probe
                .code
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            text = format!(
                "{text} | all {} bytes of code: {}",
                code.len(),
                code.join(" ")
            );
        }
        Payload::ProbeAnswer(answer) => {
            text = format!("{text} | all {} ticks", answer.total_ticks);
        }
        Payload::Packet { frame: bytes, .. } => {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            text = format!("{text} | {}", bytes.join(" "));
        }
        _ => {}
    }
    for text in wrap(&text, width) {
        all.push(line(format!(" {text}"), Role::Text, theme));
    }
    lines(frame, area, all);
}
