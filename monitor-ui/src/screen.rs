//! The loop behind the screen: take everything that came, draw once, at most twenty times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::keyboard::{Input, Keyboard};
use crate::model::{Effect, Model, Msg, update};
use crate::source::Source;
use crate::terminal::Screen;
use crate::theme::Theme;
use crate::view::{FRAME_ROWS, view};

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(50);
/// How long feeds are taken before keys and the screen get their turn again.
const INTAKE: Duration = Duration::from_millis(25);

/// Signals that end the monitor. The flags go back when it ended.
pub(crate) struct Signals {
    ended: Arc<AtomicBool>,
    ids: Vec<signal_hook::SigId>,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let mut signals = Self {
            ended: Arc::clone(&ended),
            ids: Vec::new(),
        };
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let id = signal_hook::flag::register(signal, Arc::clone(&ended))
                .context("cannot listen to signals")?;
            signals.ids.push(id);
        }
        Ok(signals)
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Draws until somebody ends it.
pub(crate) fn show(
    mut model: Model,
    source: &Source,
    theme: &Theme,
    stop: Option<&AtomicBool>,
    notes: Option<&Receiver<String>>,
) -> Result<()> {
    let signals = Signals::listen()?;
    let mut screen = Screen::take()?;
    let keyboard = Keyboard::start()?;
    let started = Instant::now();
    let mut drawn = None::<Instant>;
    loop {
        if signals.ended() || stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let now = Instant::now();
        let now_ms = u64::try_from(now.duration_since(started).as_millis()).unwrap_or(u64::MAX);
        update(&mut model, Msg::Tick(now_ms));
        let until = now + INTAKE;
        while let Some(feed) = source.try_next() {
            update(&mut model, Msg::Feed(feed));
            if Instant::now() >= until {
                break;
            }
        }
        for note in notes.iter().flat_map(|notes| notes.try_iter()) {
            update(&mut model, Msg::Note(note));
        }
        if drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
            drawn = Some(Instant::now());
            let size = screen.terminal.size().context("the terminal is gone")?;
            let rows = usize::from(size.height.saturating_sub(FRAME_ROWS));
            update(&mut model, Msg::Rows(rows));
            let frame = screen.terminal.draw(|frame| view(&model, theme, frame));
            frame.context("the terminal is gone")?;
        }
        // A key is acted upon at once and seen with the next frame.
        let mut wait = drawn.map_or(Duration::ZERO, |drawn| {
            FRAME.saturating_sub(drawn.elapsed())
        });
        while let Some(input) = keyboard.next(wait) {
            wait = Duration::ZERO;
            let Input::Key(key) = input else {
                return Ok(());
            };
            for effect in update(&mut model, Msg::Key(key)) {
                match effect {
                    Effect::Quit => return Ok(()),
                    Effect::Suspend => screen.suspend()?,
                }
            }
        }
    }
}
