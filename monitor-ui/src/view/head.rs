//! The title and the tabs.
//!
//! `HvLab  127.0.0.1:7049  run 20261123-120000 (2 of 2)            labvisor`

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::paint::{fit, span};
use crate::model::{Model, View};
use crate::theme::{Role, Theme};

/// The first line.
pub fn title(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let runs = &model.data().runs;
    let mut right = String::new();
    let mut left = format!("  {}", model.source);
    if let Some(run) = model.run() {
        let id = trace_record::escape(run.id.as_bytes());
        left = match runs.iter().position(|one| one.id == run.id) {
            Some(index) if runs.len() > 1 => {
                format!("{left}  run {id} ({} of {})", index + 1, runs.len())
            }
            _ => format!("{left}  run {id}"),
        };
        right = hypervisor(run);
    }
    let name = "HvLab";
    let width = usize::from(area.width);
    let right = fit(&right, width / 3, theme);
    let room = width.saturating_sub(name.width() + right.width() + 1);
    let left = fit(&left, room, theme);
    let gap = width.saturating_sub(name.width() + left.width() + right.width());
    let line = Line::from(vec![
        span(name, Role::Title, theme),
        span(left, Role::Text, theme),
        span(" ".repeat(gap), Role::Text, theme),
        span(right, Role::Info, theme),
    ]);
    frame.render_widget(line, area);
}

/// What the run is said to run on; the guest's own finding if nobody else says it.
pub fn hypervisor(run: &crate::model::run::Run) -> String {
    let said = run.info.as_ref().map(|info| info.hypervisor.clone());
    let found = || Some(run.newest()?.1.header.as_ref()?.hypervisor.clone());
    let name = said.filter(|name| !name.is_empty()).or_else(found);
    trace_record::escape(name.unwrap_or_default().as_bytes())
}

/// The second line: all views, or just this one where there is no room.
pub fn tabs(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let all: usize = View::ALL.iter().map(|view| view.title().len() + 4).sum();
    let mut line = Line::default();
    if all <= usize::from(area.width) + 1 {
        for (index, view) in View::ALL.iter().enumerate() {
            line.push_span(span(format!("{}", index + 1), Role::Key, theme));
            let role = if *view == model.view {
                Role::Tab
            } else {
                Role::Text
            };
            let (open, close) = if *view == model.view {
                ("[", "]")
            } else {
                (" ", " ")
            };
            line.push_span(span(format!("{open}{}{close}", view.title()), role, theme));
            line.push_span(span(" ", Role::Text, theme));
        }
    } else {
        let number = model.view as usize + 1;
        line.push_span(span(format!("{number}"), Role::Key, theme));
        line.push_span(span(format!("[{}]", model.view.title()), Role::Tab, theme));
        line.push_span(span(
            format!(" {number} of {}", View::ALL.len()),
            Role::Dim,
            theme,
        ));
    }
    frame.render_widget(line, area);
}
