//! The server's counters, asked for over the protocol.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::paint::{line, lines, list, pad, pad_left, short, span, window};
use crate::feed::OperationCount;
use crate::model::Model;
use crate::theme::{Role, Theme};

/// Draws a row for each session and operation.
pub fn draw(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let Some((at_ms, server)) = &model.data().server else {
        let text = " no server is asked: this is a file or the demo, or it did not answer yet";
        return lines(frame, area, vec![line(text, Role::Dim, theme)]);
    };
    let [sums, head, body] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
    ])
    .areas(area);
    let age_s = model.now_ms.saturating_sub(*at_ms) / 1000;
    let text = format!(
        " {}, up {} s, {} connections, {} refused; asked {age_s} s ago",
        model.source,
        server.uptime_ms / 1000 + age_s,
        server.connections,
        server.refused,
    );
    let width = usize::from(area.width);
    frame.render_widget(line(pad(&text, width, theme), Role::Info, theme), sums);
    let text = format!(
        " {} {} {} {} {} {}",
        pad("session", 16, theme),
        pad("operation", 10, theme),
        pad_left("calls", 7, theme),
        pad_left("refused", 7, theme),
        pad_left("bytes", 7, theme),
        pad_left("s ago", 7, theme),
    );
    frame.render_widget(line(pad(&text, width, theme), Role::Head, theme), head);
    let len = server.counts.len();
    let height = usize::from(body.height);
    let chosen = model.chosen_index();
    let from = window(len, chosen, height);
    let visible = server.counts.iter().skip(from).take(height);
    let visible = visible.map(|count| row(count, age_s, theme));
    list(
        frame,
        body,
        theme,
        (len, (len > 0).then_some(chosen)),
        visible,
    );
}

fn row(count: &OperationCount, age_s: u64, theme: &Theme) -> Line<'static> {
    let name = format!(
        "{} #{:x}",
        trace_record::escape(&count.name),
        count.session & 0xffff
    );
    let ago = count.ago_ms / 1000 + age_s;
    let role = if count.errors > 0 {
        Role::Warn
    } else {
        Role::Dim
    };
    Line::from(vec![
        span(
            format!(
                "{} {} ",
                pad(&name, 16, theme),
                pad(count.operation.name(), 10, theme)
            ),
            Role::Text,
            theme,
        ),
        span(pad_left(&short(count.calls), 7, theme), Role::Text, theme),
        span(
            format!(" {}", pad_left(&short(count.errors), 7, theme)),
            role,
            theme,
        ),
        span(
            format!(
                " {} {}",
                pad_left(&short(count.bytes), 7, theme),
                pad_left(&ago.to_string(), 7, theme)
            ),
            Role::Text,
            theme,
        ),
    ])
}
