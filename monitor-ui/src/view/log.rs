//! The hypervisor's console and log, or the guest's console.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::paint::{fit, line, lines, list, span, window};
use crate::model::logs::{Line as LogLine, Origin};
use crate::model::run::Run;
use crate::model::{LOG_CHOICES, Model};
use crate::theme::{Role, Theme};

/// Draws the newest lines, or those around the chosen one.
pub fn draw(model: &Model, run: &Run, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let (name, origins) = LOG_CHOICES[model.log_choice];
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let mut title = format!(" {name}: vmm = vmm.log, log = log_set_buf, cons = console.log");
    if run.logs.forgotten() > 0 {
        title = format!(
            "{title}{}{} older lines not kept",
            theme.signs.dot,
            run.logs.forgotten()
        );
    }
    let width = usize::from(area.width);
    frame.render_widget(line(fit(&title, width, theme), Role::Head, theme), head);
    // Lines that did not end yet come last and are not chosen.
    let open = run.logs.unfinished(origins);
    let open_rows = (open.len() as u16).min(body.height / 2);
    let [body, tail] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(open_rows)]).areas(body);
    let len = model.list_len();
    if len == 0 && open.is_empty() {
        return lines(frame, body, vec![line(" nothing yet", Role::Dim, theme)]);
    }
    let several = run.boots.len() > 1;
    let height = usize::from(body.height);
    let chosen = model.chosen_index();
    let from = window(len, chosen, height);
    let visible = run.logs.of(origins).skip(from).take(height);
    let visible = visible.map(|one| row(one, several, width, "", theme));
    list(
        frame,
        body,
        theme,
        (len, (len > 0).then_some(chosen)),
        visible,
    );
    let open = open
        .iter()
        .map(|one| row(one, several, width, theme.signs.cut, theme));
    list(frame, tail, theme, (usize::from(open_rows), None), open);
}

fn row(one: &LogLine, several: bool, width: usize, end: &str, theme: &Theme) -> Line<'static> {
    let boot = if several {
        format!("m{:02} ", one.machine)
    } else {
        String::new()
    };
    let room = width.saturating_sub(boot.len() + 6);
    let role = match one.origin {
        Origin::Vmm => Role::Info,
        Origin::VmmTraced => Role::Good,
        Origin::Guest => Role::Dim,
    };
    Line::from(vec![
        span(boot, Role::Dim, theme),
        span(one.origin.word(), role, theme),
        span(" ", Role::Text, theme),
        span(
            fit(&format!("{}{end}", one.text), room, theme),
            Role::Text,
            theme,
        ),
    ])
}
