//! Moving through lists. A line is chosen by a number that stays with it while new lines come.

use super::{LOG_CHOICES, Model, View};
use crate::command::Action;

impl Model {
    /// How many lines the view's list has.
    pub fn list_len(&self) -> usize {
        let Some(run) = self.run() else {
            return match self.view {
                View::Server => self.server_lines(),
                _ => 0,
            };
        };
        match self.view {
            View::Overview => 0,
            View::Trace => run.trace.shown(),
            View::Latency => run.calls.stats().len(),
            View::Experiments => run.experiments.list().len(),
            View::Log => run.logs.of(LOG_CHOICES[self.log_choice].1).count(),
            View::Remote => (run.remote.total() - run.remote.forgotten()) as usize,
            View::Server => self.server_lines(),
        }
    }

    fn server_lines(&self) -> usize {
        let server = self.data().server.as_ref();
        server.map_or(0, |(_, counts)| counts.counts.len())
    }

    /// The index of the chosen line in the view's list.
    pub fn chosen_index(&self) -> usize {
        let len = self.list_len();
        let last = len.saturating_sub(1);
        match (self.cursor(), self.view, self.run()) {
            (None, view, _) if view.has_tail() => last,
            (None, ..) => 0,
            (Some(number), View::Trace, Some(run)) => run.trace.index_of(number),
            (Some(number), View::Remote, Some(run)) => {
                (number.saturating_sub(run.remote.forgotten()) as usize).min(last)
            }
            (Some(number), View::Log, Some(run)) => {
                // Lines that left were counted over all origins; near enough to stay in place.
                (number.saturating_sub(run.logs.forgotten()) as usize).min(last)
            }
            (Some(number), ..) => (number as usize).min(last),
        }
    }

    fn number_at(&self, index: usize) -> u64 {
        match (self.view, self.run()) {
            (View::Trace, Some(run)) => run.trace.shown_number(index).unwrap_or(0),
            (View::Remote, Some(run)) => run.remote.forgotten() + index as u64,
            (View::Log, Some(run)) => run.logs.forgotten() + index as u64,
            _ => index as u64,
        }
    }

    /// Moves the chosen line, or the help.
    pub(super) fn go(&mut self, action: Action) {
        let page = self.rows.saturating_sub(1).max(1);
        let step = |at: usize, last: usize| match action {
            Action::Up => at.saturating_sub(1),
            Action::Down => (at + 1).min(last),
            Action::PageUp => at.saturating_sub(page),
            Action::PageDown => (at + page).min(last),
            Action::First => 0,
            _ => last,
        };
        if let Some(line) = self.help {
            self.help = Some(step(line, crate::command::COMMANDS.len()));
            return;
        }
        let last = self.list_len().saturating_sub(1);
        let at = step(self.chosen_index(), last);
        // At the end of a growing list the screen goes on with it, and says so by not choosing a line.
        let tail = self.view.has_tail()
            && at == last
            && matches!(action, Action::Last | Action::Down | Action::PageDown);
        self.cursors[self.view as usize] = (!tail).then(|| self.number_at(at));
    }
}
