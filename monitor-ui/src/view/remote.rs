//! Operations on remote files as the guest traced them.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::paint::{fit, line, lines, list, pad, pad_left, seconds, short, span, window};
use crate::model::Model;
use crate::model::remote::RemoteOperation;
use crate::model::run::Run;
use crate::theme::{Role, Theme};

/// Draws sums and operations.
pub fn draw(model: &Model, run: &Run, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let log = &run.remote;
    let len = model.list_len();
    if len == 0 {
        let text = " no remote operation was traced yet";
        return lines(frame, area, vec![line(text, Role::Dim, theme)]);
    }
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
    ];
    let [sums, head, body] = Layout::vertical(rows).areas(area);
    let width = usize::from(area.width);
    let parts: Vec<String> = log
        .sums()
        .iter()
        .map(|(operation, sum)| {
            let name = protocol::Operation::from_number(*operation)
                .map_or("unknown", protocol::Operation::name);
            let errors = match sum.errors {
                0 => String::new(),
                errors => format!(" ({errors} refused)"),
            };
            format!("{name} {}{errors}", short(sum.calls))
        })
        .collect();
    let text = format!(
        " {}{}{} waiting",
        parts.join(", "),
        theme.signs.dot,
        log.waiting()
    );
    frame.render_widget(line(fit(&text, width, theme), Role::Info, theme), sums);
    let text = format!(
        " {} {} {} {} {} {}",
        pad_left("seconds", 9, theme),
        pad_left("pid", 4, theme),
        pad("operation", 9, theme),
        pad_left("ms", 7, theme),
        pad_left("bytes", 6, theme),
        "answer, name"
    );
    frame.render_widget(line(pad(&text, width, theme), Role::Head, theme), head);
    let height = usize::from(body.height);
    let chosen = model.chosen_index();
    let from = window(len, chosen, height);
    let numbers = (from..(from + height).min(len)).map(|index| log.forgotten() + index as u64);
    let visible = numbers
        .filter_map(|number| log.get(number))
        .map(|one| row(one, width, theme));
    list(frame, body, theme, (len, Some(chosen)), visible);
}

fn row(one: &RemoteOperation, width: usize, theme: &Theme) -> Line<'static> {
    let (ms, bytes, answer, role) = match one.answer {
        None => (String::new(), String::new(), "waits".to_owned(), Role::Key),
        Some(answer) => {
            let ms = match one.ticks_per_us {
                0 => String::new(),
                per_us => {
                    let us = answer.ticks / per_us;
                    format!("{}.{:02}", us / 1000, us % 1000 / 10)
                }
            };
            let (word, role) = match answer.status {
                0.. => ("ok".to_owned(), Role::Good),
                status => (format!("errno {}", status.unsigned_abs()), Role::Bad),
            };
            (ms, short(answer.bytes), word, role)
        }
    };
    let head = format!(
        "{} {} {} {} {} ",
        pad_left(&seconds(one.since_ns, 3), 9, theme),
        pad_left(&one.pid.to_string(), 4, theme),
        pad(one.name(), 9, theme),
        pad_left(&ms, 7, theme),
        pad_left(&bytes, 6, theme),
    );
    let room = width.saturating_sub(head.len() + answer.len() + 2);
    Line::from(vec![
        span(head, Role::Text, theme),
        span(answer, role, theme),
        span(
            format!(" {}", fit(&one.text, room, theme)),
            Role::Dim,
            theme,
        ),
    ])
}
