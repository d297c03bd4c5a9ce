//! Draws the model. Nothing here changes anything.
//!
//! ```text
//! ┌──────────────────────────────────────────────┐
//! │ HvLab  source  run (1 of 2)       hypervisor │ head
//! │ 1 Overview  2 Trace  3 Latency ...           │ tabs
//! │                                              │
//! │                  body                        │ error, waiting, help or a view: body
//! │                                              │
//! │ live · lost 3                                │ status, or what is typed, or an answer
//! │ q quit  ? help  Space pause                  │ foot
//! └──────────────────────────────────────────────┘
//! ```

mod body;
mod experiments;
mod foot;
mod head;
mod help;
mod latency;
mod log;
mod overview;
pub mod paint;
mod remote;
mod server;
mod trace;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};

use crate::model::Model;
use crate::theme::Theme;

/// Rows that are not the body's.
pub const FRAME_ROWS: u16 = 4;

/// Draws everything.
pub fn view(model: &Model, theme: &Theme, frame: &mut Frame<'_>) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
        Constraint::Length(1),
    ];
    let [title, tabs, body, status, keys] = Layout::vertical(rows).areas(frame.area());
    head::title(model, theme, frame, title);
    head::tabs(model, theme, frame, tabs);
    body::draw(model, theme, frame, body);
    foot::status(model, theme, frame, status);
    foot::keys(model, theme, frame, keys);
}
