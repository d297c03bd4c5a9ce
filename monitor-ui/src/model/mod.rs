//! Everything the monitor knows, and how it changes: [`update`] takes a message and says what to do.
//! No terminal, no socket and no clock in here; time is a message.

pub mod calls;
pub mod experiments;
pub mod filter;
pub mod histogram;
pub mod logs;
mod navigate;
pub mod rate;
pub mod remote;
pub mod run;
pub mod status;
pub mod trace;
pub mod warnings;

use std::collections::{BTreeMap, VecDeque};

use crate::command::{self, Action, Key};
use crate::feed::{Feed, Link, Place, RunFile, ServerCounts};
use filter::Filter;
use logs::Origin;
use run::{Intake, Run};

/// Notes of `hv` that are kept.
const NOTES: usize = 100;

/// What is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A bit of everything.
    Overview,
    /// Records.
    Trace,
    /// Histograms.
    Latency,
    /// Experiments.
    Experiments,
    /// Consoles and the hypervisor's log.
    Log,
    /// Remote operations.
    Remote,
    /// The server.
    Server,
}

impl View {
    /// All, in the order of the tabs.
    pub const ALL: [View; 7] = [
        Self::Overview,
        Self::Trace,
        Self::Latency,
        Self::Experiments,
        Self::Log,
        Self::Remote,
        Self::Server,
    ];

    /// Its name on the tab.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Trace => "Trace",
            Self::Latency => "Latency",
            Self::Experiments => "Experiments",
            Self::Log => "VMM log",
            Self::Remote => "Remote",
            Self::Server => "Server",
        }
    }

    /// Whether it is a list with a chosen line.
    pub const fn is_list(self) -> bool {
        !matches!(self, Self::Overview)
    }

    /// Whether the newest line is the interesting one.
    const fn has_tail(self) -> bool {
        matches!(self, Self::Trace | Self::Log | Self::Remote)
    }
}

/// Which logs the log view shows.
pub const LOG_CHOICES: [(&str, &[Origin]); 3] = [
    ("hypervisor", &[Origin::Vmm, Origin::VmmTraced]),
    ("guest console", &[Origin::Guest]),
    ("both", &[Origin::Vmm, Origin::VmmTraced, Origin::Guest]),
];

/// What happened.
#[derive(Debug)]
pub enum Msg {
    /// The monitor's clock, milliseconds since it started.
    Tick(u64),
    /// A key was pressed.
    Key(Key),
    /// The screen has so many rows for a view.
    Rows(usize),
    /// A source said something.
    Feed(Feed),
    /// Whoever started the monitor says something.
    Note(String),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End.
    Quit,
    /// Stop until the shell lets us go on.
    Suspend,
}

/// The picture.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// Runs, oldest first.
    pub runs: Vec<Run>,
    /// The server's counters and when they came.
    pub server: Option<(u64, ServerCounts)>,
    /// Runs that are not followed.
    pub not_followed: usize,
    /// Notes of `hv`, escaped.
    pub notes: VecDeque<String>,
}

/// Everything.
#[derive(Debug)]
pub struct Model {
    /// Where it comes from, for the title.
    pub source: String,
    /// The monitor's clock.
    pub now_ms: u64,
    /// The connection; never frozen.
    pub link: Link,
    /// When the link said so.
    pub link_ms: u64,
    /// It was up once.
    pub was_up: bool,
    data: Data,
    frozen: Option<Box<Data>>,
    intakes: BTreeMap<String, Intake>,
    /// What is on the screen.
    pub view: View,
    /// The help is on the screen; its first line.
    pub help: Option<usize>,
    /// The details are open, in each view.
    details: [bool; View::ALL.len()],
    /// The filter being typed.
    pub typing: Option<String>,
    /// What a command had to say.
    pub answer: Option<String>,
    /// An index of [`LOG_CHOICES`].
    pub log_choice: usize,
    /// The run chosen by hand; else the newest.
    chosen: Option<String>,
    /// The chosen line of each view; none means the tail, or the first where there is no tail.
    cursors: [Option<u64>; View::ALL.len()],
    rows: usize,
}

impl Model {
    /// Nothing known yet.
    pub fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            now_ms: 0,
            link: Link::Connecting {
                attempts: 0,
                last: String::new(),
                next_in_ms: 0,
            },
            link_ms: 0,
            was_up: false,
            data: Data::default(),
            frozen: None,
            intakes: BTreeMap::new(),
            view: View::Overview,
            help: None,
            details: [false; View::ALL.len()],
            typing: None,
            answer: None,
            log_choice: 0,
            chosen: None,
            cursors: [None; View::ALL.len()],
            rows: 20,
        }
    }

    /// The picture to draw: the frozen one while paused.
    pub fn data(&self) -> &Data {
        self.frozen.as_deref().unwrap_or(&self.data)
    }

    /// The picture as it is now, whatever the screen shows.
    pub fn live(&self) -> &Data {
        &self.data
    }

    /// Whether the picture stands still.
    pub fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    /// The run on the screen.
    pub fn run(&self) -> Option<&Run> {
        self.run_of(self.data())
    }

    /// The same run as it is now.
    pub fn live_run(&self) -> Option<&Run> {
        match (&self.frozen, self.run()) {
            (Some(_), Some(shown)) => self.data.runs.iter().find(|run| run.id == shown.id),
            _ => self.run_of(&self.data),
        }
    }

    fn run_of<'a>(&self, data: &'a Data) -> Option<&'a Run> {
        let chosen = self.chosen.as_ref();
        chosen
            .and_then(|id| data.runs.iter().find(|run| run.id == *id))
            .or(data.runs.last())
    }

    /// The chosen line of the view, as the view counts lines.
    pub fn cursor(&self) -> Option<u64> {
        self.cursors[self.view as usize]
    }

    /// Whether the view's details are open.
    pub fn details(&self) -> bool {
        self.details[self.view as usize]
    }

    fn feed(&mut self, feed: Feed) {
        match feed {
            Feed::Link(link) => {
                self.was_up |= link == Link::Up;
                self.link = link;
                self.link_ms = self.now_ms;
            }
            Feed::Run(id) => self.expect(&id, None, &RunFile::OF_RUN),
            Feed::Boot(id, machine) => self.expect(&id, Some(machine), &RunFile::OF_BOOT),
            Feed::NotFollowed(count) => self.data.not_followed = count,
            Feed::File(place, event) => {
                let now_ms = self.now_ms;
                let (run, intake) = self.entry(&place.run);
                intake.take(run, &place, event, now_ms);
            }
            Feed::Server(counts) => self.data.server = Some((self.now_ms, counts)),
            Feed::Finished => {
                for run in &mut self.data.runs {
                    run.read_out = true;
                }
            }
        }
    }

    fn expect(&mut self, id: &str, machine: Option<u32>, files: &[RunFile]) {
        let (run, intake) = self.entry(id);
        if let Some(machine) = machine {
            run.boots.entry(machine).or_default();
        }
        for file in files {
            let place = Place {
                run: id.to_owned(),
                machine,
                file: *file,
            };
            intake.expect(run, &place);
        }
    }

    fn entry(&mut self, id: &str) -> (&mut Run, &mut Intake) {
        let index = match self
            .data
            .runs
            .binary_search_by(|run| run.id.as_str().cmp(id))
        {
            Ok(index) => index,
            Err(index) => {
                let mut run = Run::new(id);
                if let Some(filter) = self.data.runs.first().map(|run| run.trace.filter().clone()) {
                    run.trace.set_filter(filter);
                }
                self.data.runs.insert(index, run);
                index
            }
        };
        let intake = self.intakes.entry(id.to_owned()).or_default();
        (&mut self.data.runs[index], intake)
    }

    fn set_filter(&mut self, filter: &Filter) {
        let frozen = self.frozen.iter_mut().flat_map(|data| &mut data.runs);
        for run in self.data.runs.iter_mut().chain(frozen) {
            run.trace.set_filter(filter.clone());
        }
    }
}

/// Takes in a message and says what to do.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Tick(now_ms) => model.now_ms = now_ms.max(model.now_ms),
        Msg::Rows(rows) => model.rows = rows,
        Msg::Feed(feed) => model.feed(feed),
        Msg::Note(text) => {
            let notes = &mut model.data.notes;
            notes.push_back(trace_record::escape(text.as_bytes()));
            if notes.len() > NOTES {
                notes.pop_front();
            }
        }
        Msg::Key(key) => return model.key(key).into_iter().collect(),
    }
    Vec::new()
}

impl Model {
    fn key(&mut self, key: Key) -> Option<Effect> {
        self.answer = None;
        if self.typing.is_some() && key != Key::Ctrl('c') {
            self.type_filter(key);
            return None;
        }
        match command::find(key, self.view) {
            Some(action) => self.act(action),
            None => {
                self.answer = Some(format!(
                    "{} does nothing here; ? shows what does",
                    key.label()
                ));
                None
            }
        }
    }

    fn type_filter(&mut self, key: Key) {
        let Some(text) = &mut self.typing else { return };
        match key {
            Key::Char(letter) => text.push(letter),
            Key::Backspace => drop(text.pop()),
            Key::Esc => self.typing = None,
            Key::Enter => match Filter::parse(text) {
                Ok(filter) => {
                    self.set_filter(&filter);
                    self.cursors[View::Trace as usize] = None;
                    self.typing = None;
                }
                Err(why) => self.answer = Some(why),
            },
            _ => {}
        }
    }

    fn act(&mut self, action: Action) -> Option<Effect> {
        match action {
            Action::Quit => return Some(Effect::Quit),
            Action::Suspend => return Some(Effect::Suspend),
            Action::Help => {
                self.help = match self.help {
                    None => Some(0),
                    Some(_) => None,
                }
            }
            Action::Close => self.close(),
            Action::Pause => {
                self.frozen = match self.frozen {
                    None => Some(Box::new(self.data.clone())),
                    Some(_) => None,
                }
            }
            Action::NextView => self.show_next(1),
            Action::PreviousView => self.show_next(View::ALL.len() - 1),
            Action::Show(view) => self.show(view),
            Action::Details => self.details[self.view as usize] ^= true,
            Action::Filter => {
                let now = self.run().map(|run| run.trace.filter().text().to_owned());
                self.typing = Some(now.unwrap_or_default());
            }
            Action::Logs => {
                self.log_choice = (self.log_choice + 1) % LOG_CHOICES.len();
                self.cursors[View::Log as usize] = None;
            }
            Action::NextRun => self.choose_run(1),
            Action::PreviousRun => self.choose_run(-1),
            Action::Up
            | Action::Down
            | Action::PageUp
            | Action::PageDown
            | Action::First
            | Action::Last => self.go(action),
        }
        None
    }

    fn close(&mut self) {
        let filtered = self.run().is_some_and(|run| !run.trace.filter().is_empty());
        if self.help.take().is_some() {
        } else if self.details() {
            self.details[self.view as usize] = false;
        } else if self.view == View::Trace && filtered {
            self.set_filter(&Filter::default());
        } else {
            self.cursors[self.view as usize] = None;
        }
    }

    fn show_next(&mut self, by: usize) {
        self.show(View::ALL[(self.view as usize + by) % View::ALL.len()]);
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.help = None;
    }

    fn choose_run(&mut self, by: isize) {
        let ids: Vec<&str> = self.data.runs.iter().map(|run| run.id.as_str()).collect();
        let now = self.live_run().map(|run| run.id.as_str());
        let at = ids.iter().position(|id| Some(*id) == now).unwrap_or(0);
        match at.checked_add_signed(by).and_then(|index| ids.get(index)) {
            // The newest is followed: a newer one takes its place.
            Some(id) if Some(id) == ids.last() => self.chosen = None,
            Some(id) => self.chosen = Some((*id).to_owned()),
            None => {
                self.answer = Some("there is no other run on this side".to_owned());
                return;
            }
        }
        self.cursors = [None; View::ALL.len()];
    }
}
