//! The experiments, and what is known about the chosen one below them.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use trace_record::escape;
use trace_record::verdict::Verdict;

use super::paint::{fit, line, lines, list, pad, pad_left, rule, short, span, window, wrap};
use crate::model::Model;
use crate::model::experiments::{Experiment, Stage};
use crate::model::run::Run;
use crate::theme::{Role, Theme};

/// Draws table and details.
pub fn draw(model: &Model, run: &Run, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let all = run.experiments.list();
    if all.is_empty() {
        let text = " no experiment is planned yet";
        return lines(frame, area, vec![line(text, Role::Dim, theme)]);
    }
    let below = if model.details() { area.height / 2 } else { 0 };
    let rows = [
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(below),
    ];
    let [head, body, details] = Layout::vertical(rows).areas(area);
    let id_width = (usize::from(area.width) / 3).clamp(10, 28);
    let head_text = format!(
        " {} {} {} {}",
        pad("verdict", 7, theme),
        pad("experiment", id_width, theme),
        pad_left("seconds", 8, theme),
        "why",
    );
    frame.render_widget(
        line(
            pad(&head_text, usize::from(area.width), theme),
            Role::Head,
            theme,
        ),
        head,
    );
    let chosen = model.chosen_index();
    let height = usize::from(body.height);
    let from = window(all.len(), chosen, height);
    let width = usize::from(area.width);
    let visible = all.iter().skip(from).take(height);
    let visible = visible.map(|one| row(one, model.now_ms, id_width, width, theme));
    list(frame, body, theme, (all.len(), Some(chosen)), visible);
    if below > 0
        && let Some(one) = all.get(chosen)
    {
        draw_details(one, theme, frame, details);
    }
}

/// The colour that goes with a verdict's word.
pub fn verdict_role(verdict: Verdict) -> Role {
    match verdict {
        Verdict::Pass => Role::Good,
        Verdict::Info => Role::Info,
        Verdict::Skip => Role::Dim,
        Verdict::XFail => Role::Warn,
        _ => Role::Bad,
    }
}

fn row(
    one: &Experiment,
    now_ms: u64,
    id_width: usize,
    width: usize,
    theme: &Theme,
) -> Line<'static> {
    let (word, role) = match &one.stage {
        Stage::Planned => ("-", Role::Dim),
        Stage::Running { .. } => ("runs", Role::Key),
        Stage::Finished(verdict) | Stage::Judged(verdict) => {
            (verdict.word(), verdict_role(*verdict))
        }
    };
    let time = match (&one.stage, one.took_ms) {
        (Stage::Running { .. }, _) => running_for(one, now_ms),
        (_, Some(took)) => format!("{}.{}", took / 1000, took % 1000 / 100),
        (_, None) => String::new(),
    };
    let why = match (&one.stage, one.limit_s) {
        (Stage::Running { .. }, Some(limit)) => format!("time limit {limit} s"),
        _ => escape(one.reason.as_bytes()),
    };
    let room = width.saturating_sub(8 + id_width + 1 + 8 + 2);
    Line::from(vec![
        span(pad(word, 7, theme), role, theme),
        span(
            format!(" {} ", pad(&escape(one.id.as_bytes()), id_width, theme)),
            Role::Text,
            theme,
        ),
        span(pad_left(&time, 8, theme), Role::Dim, theme),
        span(format!(" {}", fit(&why, room, theme)), Role::Text, theme),
    ])
}

/// How long an experiment has been running, as far as that is known.
pub fn running_for(one: &Experiment, now_ms: u64) -> String {
    match one.stage {
        Stage::Running { heard_ms, late } => {
            let seconds = now_ms.saturating_sub(heard_ms) / 1000;
            format!("{}{seconds}", if late { ">" } else { "" })
        }
        _ => String::new(),
    }
}

fn draw_details(one: &Experiment, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width).saturating_sub(2);
    let id = escape(one.id.as_bytes());
    let mut all = vec![rule(
        &format!("{id}, boot m{:02}", one.machine),
        area.width,
        theme,
    )];
    let mut text = |text: &str, role: Role| {
        for piece in wrap(text, width) {
            all.push(line(format!(" {piece}"), role, theme));
        }
    };
    if !one.title.is_empty() {
        text(&escape(one.title.as_bytes()), Role::Title);
    }
    if !one.reason.is_empty() {
        text(&escape(one.reason.as_bytes()), Role::Text);
    }
    for row in &one.measurements {
        let line = format!(
            "{} [{}] n {} min {} median {} p95 {} p99 {} max {}",
            escape(row.name.as_bytes()),
            escape(row.unit.as_bytes()),
            row.n,
            short(row.min),
            short(row.median),
            short(row.p95),
            short(row.p99),
            short(row.max),
        );
        text(&line, Role::Info);
    }
    for detail in one.detail.lines() {
        text(&escape(detail.as_bytes()), Role::Dim);
    }
    lines(frame, area, all);
}
