//! The status line and the keys.
//!
//! `live · PAUSED, 12 behind · lost 3 · 400 older not kept`

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::paint::{fit, span};
use crate::command::COMMANDS;
use crate::model::status::{State, status as status_of};
use crate::model::{Model, View};
use crate::theme::{Role, Theme};

/// How things are; while a filter is typed, the filter; after a command that had something to say, that.
pub fn status(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let mut line = Line::default();
    let dot = || span(theme.signs.dot, Role::Dim, theme);
    let status = status_of(model);
    let role = match &status.state {
        State::Live => Role::Good,
        State::Quiet(_) | State::Connecting { .. } | State::Reconnecting { .. } => Role::Warn,
        State::Failed(_) => Role::Bad,
        State::NoRun | State::Reading | State::Ended => Role::Info,
    };
    line.push_span(span(status.state.word(), role, theme));
    if let Some(behind) = status.paused {
        line.push_span(dot());
        line.push_span(span(format!("PAUSED, {behind} behind"), Role::Warn, theme));
    }
    if status.lost > 0 {
        line.push_span(dot());
        line.push_span(span(format!("LOST {}", status.lost), Role::Bad, theme));
    }
    if let Some(text) = &model.typing {
        line.push_span(dot());
        line.push_span(span("filter: ", Role::Key, theme));
        line.push_span(span(format!("{text}_"), Role::Input, theme));
    }
    if let Some(answer) = &model.answer {
        line.push_span(dot());
        line.push_span(span(answer.clone(), Role::Warn, theme));
    } else if model.typing.is_none() {
        for (text, role) in details(model, &status) {
            line.push_span(dot());
            line.push_span(span(text, role, theme));
        }
    }
    frame.render_widget(cut(line, area.width, theme), area);
}

fn details(model: &Model, status: &crate::model::status::Status) -> Vec<(String, Role)> {
    let mut parts = Vec::new();
    match &status.state {
        State::Failed(why) => parts.push((why.clone(), Role::Bad)),
        State::Connecting { last, .. } | State::Reconnecting { last, .. } if !last.is_empty() => {
            parts.push((last.clone(), Role::Dim));
        }
        _ => {}
    }
    let filter = model
        .run()
        .map(|run| run.trace.filter().text())
        .unwrap_or_default();
    if model.view == View::Trace && !filter.is_empty() {
        parts.push((format!("filter {filter}"), Role::Key));
    }
    if status.forgotten > 0 && model.view == View::Trace {
        parts.push((format!("{} older not kept", status.forgotten), Role::Dim));
    }
    if model.data().not_followed > 0 {
        parts.push((
            format!("{} older runs not followed", model.data().not_followed),
            Role::Dim,
        ));
    }
    parts
}

/// The keys that matter most here, from the one table of commands.
pub fn keys(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let mut line = Line::default();
    let mut room = usize::from(area.width);
    if model.typing.is_some() {
        line = Line::from(vec![
            span("Enter", Role::Key, theme),
            span(" use it  ", Role::Text, theme),
            span("Esc", Role::Key, theme),
            span(" leave it as it was", Role::Text, theme),
        ]);
        room = 0;
    }
    let here = COMMANDS
        .iter()
        .filter(|command| !command.label.is_empty() && command.scope.holds(model.view));
    for command in here {
        let key = command.keys[0].label();
        let paused = command.action == crate::command::Action::Pause && model.is_paused();
        let label = if paused { "go on" } else { command.label };
        let width = key.width() + label.width() + 3;
        if width > room {
            break;
        }
        room -= width;
        line.push_span(span(key, Role::Key, theme));
        line.push_span(span(format!(" {label}  "), Role::Text, theme));
    }
    frame.render_widget(line, area);
}

/// A line cut to a width, with a sign where something is missing.
fn cut(line: Line<'static>, width: u16, theme: &Theme) -> Line<'static> {
    let mut room = usize::from(width);
    let mut out = Line::default();
    for piece in line.spans {
        let text = fit(&piece.content, room, theme);
        room -= text.width().min(room);
        out.push_span(ratatui::text::Span::styled(text, piece.style));
        if room == 0 {
            break;
        }
    }
    out
}
