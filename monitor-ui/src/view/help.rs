//! The help: every command that is valid here, from the one table.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::paint::{fit, line, lines, pad, span, wrap};
use crate::command::COMMANDS;
use crate::model::Model;
use crate::theme::{Role, Theme};

const KEYS: usize = 16;

/// Draws the help from a line on.
pub fn draw(model: &Model, from: usize, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width).saturating_sub(KEYS);
    let here = COMMANDS
        .iter()
        .filter(|command| command.scope.holds(model.view));
    let mut rows = Vec::new();
    for command in here {
        let keys: Vec<String> = command.keys.iter().map(|key| key.label()).collect();
        let mut keys = keys.join(" ");
        for piece in wrap(command.help, width) {
            rows.push(Line::from(vec![
                span(pad(&keys, KEYS, theme), Role::Key, theme),
                span(piece, Role::Text, theme),
            ]));
            keys.clear();
        }
    }
    rows.push(Line::default());
    let words = [
        "Status: live = bytes came in the last 2 s; quiet = connected, read to the end, nothing since; reading = what is there is still being read;",
        "PAUSED = the picture stands still, intake goes on; LOST = dropped in the guest, missing numbers, damaged; ended = run.json says the run is over.",
    ];
    for piece in wrap(&words.join(" "), usize::from(area.width)) {
        rows.push(line(piece, Role::Dim, theme));
    }
    let room = usize::from(area.height).saturating_sub(1);
    let from = from.min(rows.len().saturating_sub(room));
    let until = (from + room).min(rows.len());
    let head = format!(
        "Keys in {}, lines {} to {until} of {}: Up and Down move, ? closes",
        model.view.title(),
        from + 1,
        rows.len()
    );
    let head = fit(&head, usize::from(area.width), theme);
    let mut all = vec![line(head, Role::Title, theme)];
    all.extend(rows.into_iter().skip(from).take(room));
    lines(frame, area, all);
}
