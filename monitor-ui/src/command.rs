//! The one table of commands: it feeds the keys, the footer, the help and the tests.

use crate::model::View;

/// A key, free of any terminal library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A letter.
    Char(char),
    /// Control and a letter.
    Ctrl(char),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Tab.
    Tab,
    /// Shift and tab.
    BackTab,
    /// Backspace.
    Backspace,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// The first.
    Home,
    /// The last.
    End,
}

impl Key {
    /// As the help shows it.
    pub fn label(self) -> String {
        match self {
            Self::Char(' ') => "Space".to_owned(),
            Self::Char(letter) => letter.to_string(),
            Self::Ctrl(letter) => format!("Ctrl-{}", letter.to_ascii_uppercase()),
            Self::Enter => "Enter".to_owned(),
            Self::Esc => "Esc".to_owned(),
            Self::Tab => "Tab".to_owned(),
            Self::BackTab => "Shift-Tab".to_owned(),
            Self::Backspace => "Backspace".to_owned(),
            Self::Up => "Up".to_owned(),
            Self::Down => "Down".to_owned(),
            Self::PageUp => "PgUp".to_owned(),
            Self::PageDown => "PgDn".to_owned(),
            Self::Home => "Home".to_owned(),
            Self::End => "End".to_owned(),
        }
    }
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ends the monitor.
    Quit,
    /// Shows or hides the help.
    Help,
    /// Closes what is open, else goes back to the newest.
    Close,
    /// Freezes the picture, or lets it go on.
    Pause,
    /// The next view.
    NextView,
    /// The view before.
    PreviousView,
    /// A view.
    Show(View),
    /// One up.
    Up,
    /// One down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the oldest.
    First,
    /// To the newest, and stay there.
    Last,
    /// Opens or closes the details.
    Details,
    /// Starts to type a filter.
    Filter,
    /// Another choice of logs.
    Logs,
    /// The run after this one.
    NextRun,
    /// The run before this one.
    PreviousRun,
    /// Stops the program until the shell lets it go on.
    Suspend,
}

/// Where a command is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Always,
    /// In views that are lists.
    Lists,
    /// In these views.
    Views(&'static [View]),
}

impl Scope {
    /// Whether it holds in a view.
    pub fn holds(self, view: View) -> bool {
        match self {
            Self::Always => true,
            Self::Lists => view.is_list(),
            Self::Views(views) => views.contains(&view),
        }
    }
}

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// What it does.
    pub action: Action,
    /// Its keys; the first one is shown in the footer.
    pub keys: &'static [Key],
    /// A word for the footer; empty: not there.
    pub label: &'static str,
    /// A sentence for the help.
    pub help: &'static str,
    /// Where it is valid.
    pub scope: Scope,
}

macro_rules! command {
    ($action:expr, [$($key:expr),+], $label:literal, $help:literal, $scope:expr) => {
        Command { action: $action, keys: &[$($key),+], label: $label, help: $help, scope: $scope }
    };
}

use Action as A;
use Key as K;
use Scope::{Always, Lists, Views};

/// All commands, in the order of footer and help.
pub const COMMANDS: &[Command] = &[
    command!(
        A::Quit,
        [K::Char('q'), K::Ctrl('c')],
        "quit",
        "end the monitor; what it watches goes on",
        Always
    ),
    command!(
        A::Help,
        [K::Char('?')],
        "help",
        "show or hide this help",
        Always
    ),
    command!(
        A::Pause,
        [K::Char(' ')],
        "pause",
        "freeze the picture or let it go on; nothing is missed meanwhile",
        Always
    ),
    command!(A::NextView, [K::Tab], "next", "the next view", Always),
    command!(
        A::Filter,
        [K::Char('/')],
        "filter",
        "type a filter: class:msr kind:request cpu:0 pid:3 boot:1 word !word",
        Views(&[View::Trace])
    ),
    command!(
        A::Details,
        [K::Enter],
        "details",
        "open or close the details of the chosen line",
        Views(&[View::Trace, View::Experiments])
    ),
    command!(
        A::Logs,
        [K::Char('o')],
        "which",
        "both logs, the hypervisor's, or the guest's console",
        Views(&[View::Log])
    ),
    command!(
        A::Last,
        [K::End, K::Char('G')],
        "newest",
        "to the newest line, and stay there",
        Lists
    ),
    command!(A::PreviousView, [K::BackTab], "", "the view before", Always),
    command!(
        A::Show(View::Overview),
        [K::Char('1')],
        "",
        "overview",
        Always
    ),
    command!(A::Show(View::Trace), [K::Char('2')], "", "trace", Always),
    command!(
        A::Show(View::Latency),
        [K::Char('3')],
        "",
        "latency of hypercalls, probes and exits",
        Always
    ),
    command!(
        A::Show(View::Experiments),
        [K::Char('4')],
        "",
        "experiments",
        Always
    ),
    command!(
        A::Show(View::Log),
        [K::Char('5')],
        "",
        "the hypervisor's log and console",
        Always
    ),
    command!(
        A::Show(View::Remote),
        [K::Char('6')],
        "",
        "operations on remote files",
        Always
    ),
    command!(
        A::Show(View::Server),
        [K::Char('7')],
        "",
        "the server's counters",
        Always
    ),
    command!(A::Up, [K::Up, K::Char('k')], "", "one line up", Lists),
    command!(A::Down, [K::Down, K::Char('j')], "", "one line down", Lists),
    command!(A::PageUp, [K::PageUp, K::Char('b')], "", "a page up", Lists),
    command!(
        A::PageDown,
        [K::PageDown, K::Char('f')],
        "",
        "a page down",
        Lists
    ),
    command!(
        A::First,
        [K::Home, K::Char('g')],
        "",
        "to the oldest line that is kept",
        Lists
    ),
    command!(
        A::Close,
        [K::Esc],
        "",
        "close what is open; drop the filter; else to the newest line",
        Always
    ),
    command!(
        A::PreviousRun,
        [K::Char('[')],
        "",
        "the run before this one",
        Always
    ),
    command!(
        A::NextRun,
        [K::Char(']')],
        "",
        "the run after this one",
        Always
    ),
    command!(
        A::Suspend,
        [K::Ctrl('z')],
        "",
        "stop the program until the shell's fg",
        Always
    ),
];

/// What a key does in a view.
pub fn find(key: Key, view: View) -> Option<Action> {
    let valid = |command: &&Command| command.keys.contains(&key) && command.scope.holds(view);
    COMMANDS.iter().find(valid).map(|command| command.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_a_view() {
        for view in View::ALL {
            let mut seen = Vec::new();
            for command in COMMANDS.iter().filter(|command| command.scope.holds(view)) {
                for key in command.keys {
                    assert!(!seen.contains(key), "{key:?} twice in {view:?}");
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn every_command_has_a_key_and_help_and_every_view_a_command() {
        for command in COMMANDS {
            assert!(
                !command.keys.is_empty() && !command.help.is_empty(),
                "{command:?}"
            );
        }
        for view in View::ALL {
            let shows = |command: &Command| command.action == Action::Show(view);
            assert!(COMMANDS.iter().any(shows), "{view:?}");
            assert!(find(Key::Char('?'), view) == Some(Action::Help), "{view:?}");
        }
    }
}
