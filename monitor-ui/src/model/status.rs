//! What the status line says. It never claims more than is known.

use super::Model;
use crate::feed::Link;

/// Silence that is still called live.
const LIVE_MS: u64 = 2_000;

/// How things are with the run on the screen and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not connected yet.
    Connecting {
        /// Attempts so far.
        attempts: u32,
        /// What the last one said, escaped.
        last: String,
    },
    /// It was connected; tries again in so many seconds.
    Reconnecting {
        /// Until the next attempt.
        next_in_s: u64,
        /// What the last one said, escaped.
        last: String,
    },
    /// Nothing more will come, and not because it is over.
    Failed(String),
    /// Connected, and there is no run.
    NoRun,
    /// What is there is still being read.
    Reading,
    /// Bytes came a moment ago.
    Live,
    /// Connected and read to the end, and nothing has come for so many seconds.
    Quiet(u64),
    /// The run is over and was read to its end.
    Ended,
}

impl State {
    /// One or two words.
    pub fn word(&self) -> String {
        match self {
            Self::Connecting { attempts: 0, .. } => "connecting".to_owned(),
            Self::Connecting { attempts, .. } => format!("connecting, attempt {}", attempts + 1),
            Self::Reconnecting { next_in_s: 0, .. } => "reconnecting now".to_owned(),
            Self::Reconnecting { next_in_s, .. } => format!("reconnecting in {next_in_s} s"),
            Self::Failed(_) => "error".to_owned(),
            Self::NoRun => "no run yet".to_owned(),
            Self::Reading => "reading".to_owned(),
            Self::Live => "live".to_owned(),
            Self::Quiet(seconds) => format!("quiet {seconds} s"),
            Self::Ended => "ended".to_owned(),
        }
    }
}

/// Everything the status line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// How things are.
    pub state: State,
    /// The picture stands still, so many records behind.
    pub paused: Option<u64>,
    /// Records lost.
    pub lost: u64,
    /// Records that were shown and are no longer kept.
    pub forgotten: u64,
}

/// How things are.
pub fn status(model: &Model) -> Status {
    let live = model.live_run();
    let state = match &model.link {
        Link::Failed(why) => State::Failed(trace_record::escape(why.as_bytes())),
        Link::Connecting {
            attempts,
            last,
            next_in_ms,
        } => {
            let last = trace_record::escape(last.as_bytes());
            if model.was_up {
                let since = model.now_ms.saturating_sub(model.link_ms);
                State::Reconnecting {
                    next_in_s: next_in_ms.saturating_sub(since).div_ceil(1000),
                    last,
                }
            } else {
                State::Connecting {
                    attempts: *attempts,
                    last,
                }
            }
        }
        Link::Up => match live {
            None => State::NoRun,
            Some(run) if run.ended() => State::Ended,
            Some(run) if run.behind > 0 => State::Reading,
            Some(run) => {
                let since = run.last_ms.unwrap_or(model.link_ms);
                match model.now_ms.saturating_sub(since) {
                    silence if silence < LIVE_MS => State::Live,
                    silence => State::Quiet(silence / 1000),
                }
            }
        },
    };
    let shown = model.run();
    let total = |run: Option<&super::run::Run>| run.map_or(0, |run| run.trace.total());
    Status {
        state,
        paused: model
            .is_paused()
            .then(|| total(live).saturating_sub(total(shown))),
        lost: live.map_or(0, |run| run.loss.total()),
        forgotten: shown.map_or(0, |run| run.trace.forgotten()),
    }
}
