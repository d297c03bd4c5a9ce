//! Error, waiting, help or a view: chosen here and nowhere else.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::paint::{line, lines, wrap};
use super::{experiments, help, latency, log, overview, remote, server, trace};
use crate::model::status::{State, status};
use crate::model::{Model, View};
use crate::theme::{Role, Theme};

/// Draws what there is to say.
pub fn draw(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    if let Some(from) = model.help {
        return help::draw(model, from, theme, frame, area);
    }
    if model.view == View::Server && model.data().server.is_some() {
        return server::draw(model, theme, frame, area);
    }
    let Some(run) = model.run() else {
        return waiting(model, theme, frame, area);
    };
    match model.view {
        View::Overview => overview::draw(model, run, theme, frame, area),
        View::Trace => trace::draw(model, run, theme, frame, area),
        View::Latency => latency::draw(model, run, theme, frame, area),
        View::Experiments => experiments::draw(model, run, theme, frame, area),
        View::Log => log::draw(model, run, theme, frame, area),
        View::Remote => remote::draw(model, run, theme, frame, area),
        View::Server => server::draw(model, theme, frame, area),
    }
}

fn waiting(model: &Model, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let (role, head, rest) = match status(model).state {
        State::Failed(why) => (
            Role::Bad,
            "Error".to_owned(),
            vec![
                why,
                "Nothing more will come. q ends the monitor.".to_owned(),
            ],
        ),
        State::Connecting { attempts, last } => {
            let mut rest = vec![format!("to {}", model.source)];
            if attempts > 0 {
                rest.push(format!(
                    "{attempts} attempts failed so far; the last one said: {last}"
                ));
            }
            (Role::Warn, "Connecting".to_owned(), rest)
        }
        State::Reconnecting { next_in_s, last } => (
            Role::Warn,
            "Connection lost".to_owned(),
            vec![
                last,
                format!("next attempt in {next_in_s} s; no run was seen yet"),
            ],
        ),
        _ => (
            Role::Info,
            "No run yet".to_owned(),
            vec![
                format!("Connected to {}.", model.source),
                "A run shows up here as soon as its folder exists: start one with cargo hv run."
                    .to_owned(),
            ],
        ),
    };
    let width = usize::from(area.width.saturating_sub(4));
    let mut all: Vec<Line<'_>> = vec![
        Line::default(),
        line(format!("  {head}"), role, theme),
        Line::default(),
    ];
    for text in rest {
        for piece in wrap(&text, width) {
            all.push(line(format!("  {piece}"), Role::Text, theme));
        }
    }
    for note in &model.data().notes {
        all.push(line(format!("  hv: {note}"), Role::Dim, theme));
    }
    lines(frame, area, all);
}
