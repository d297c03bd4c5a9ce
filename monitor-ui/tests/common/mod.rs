//! Models in known states, and screens as text.
#![allow(dead_code, reason = "each test uses its part")]

use monitor_ui::command::Key;
use monitor_ui::feed::{Feed, FileEvent, Link, OperationCount, Place, RunFile, ServerCounts};
use monitor_ui::model::{Effect, Model, Msg, update};
use monitor_ui::source::demo::Demo;
use monitor_ui::theme::{Depth, Theme};
use monitor_ui::view::{FRAME_ROWS, view};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

pub fn empty() -> Model {
    Model::new("127.0.0.1:7049")
}

pub fn feed(model: &mut Model, feed: Feed) {
    update(model, Msg::Feed(feed));
}

pub fn at(model: &mut Model, now_ms: u64) {
    update(model, Msg::Tick(now_ms));
}

pub fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    let press = |key| update(model, Msg::Key(key));
    keys.chars().map(Key::Char).flat_map(press).collect()
}

pub fn key(model: &mut Model, key: Key) -> Vec<Effect> {
    update(model, Msg::Key(key))
}

pub fn connecting(attempts: u32) -> Link {
    Link::Connecting {
        attempts,
        last: if attempts == 0 {
            ""
        } else {
            "Connection refused"
        }
        .to_owned(),
        next_in_ms: 1700,
    }
}

/// The demo after so many steps of 100 ms; a second of it is a second of the model's clock.
pub fn played(steps: u64) -> Model {
    let mut model = empty();
    let mut demo = Demo::default();
    at(&mut model, 1000);
    for one in demo.begin() {
        feed(&mut model, one);
    }
    play(&mut model, &mut demo, 0, steps);
    model
}

pub fn play(model: &mut Model, demo: &mut Demo, from: u64, steps: u64) {
    for step in from..from + steps {
        at(model, 1000 + step * 100);
        for one in demo.step() {
            feed(model, one);
        }
    }
}

pub fn counts() -> ServerCounts {
    let operation = protocol::Operation::Read;
    ServerCounts {
        uptime_ms: 65_000,
        connections: 3,
        refused: 1,
        counts: vec![OperationCount {
            session: 0x1234,
            name: b"files".to_vec(),
            ago_ms: 2500,
            operation,
            calls: 12_345,
            errors: 2,
            bytes: 9_876_543,
        }],
    }
}

pub fn place(machine: Option<u32>, file: RunFile) -> Place {
    Place {
        run: "demo".to_owned(),
        machine,
        file,
    }
}

pub fn data(offset: u64, bytes: &[u8]) -> FileEvent {
    FileEvent::Data {
        offset,
        bytes: bytes.to_vec(),
    }
}

pub fn screen(model: &mut Model, width: u16, height: u16, theme: &Theme) -> String {
    update(
        model,
        Msg::Rows(usize::from(height.saturating_sub(FRAME_ROWS))),
    );
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(model, theme, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

pub const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (40, 12)];

/// The three sizes, one below the other.
pub fn screens(model: &mut Model) -> String {
    let theme = Theme::new(Depth::None, false);
    let one = |(width, height)| {
        let rule = format!("{width}x{height} {}\n", "=".repeat(usize::from(width) - 7));
        rule + &screen(model, width, height, &theme)
    };
    SIZES.map(one).concat()
}
