//! What a person sees while a run goes on: a line per result, and one line that tells what runs and how long is left.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use experiments::table::one_line;
use harness::escaped;
use trace_record::verdict::Verdict;

/// How often the live line is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// Where the words go.
#[derive(Debug)]
enum Place {
    /// Standard error is a terminal: a live line can be drawn over and over.
    Terminal,
    /// Standard error goes to a file or a pipe.
    Lines,
    /// Nowhere: of many runs only what came out is told.
    Nowhere,
    /// Somebody else draws on the terminal and shows our lines.
    Monitor(Sender<String>),
}

/// Tells the person. Everything goes to standard error; standard output is for the table.
#[derive(Debug)]
pub struct Reporter {
    place: Place,
    total: usize,
    done: usize,
    spent: Duration,
    drawn: Option<Instant>,
}

impl Reporter {
    /// For a run of `total` experiments. Without a terminal there is no live line.
    #[must_use]
    pub fn new(total: usize) -> Reporter {
        let place = if std::io::stderr().is_terminal() {
            Place::Terminal
        } else {
            Place::Lines
        };
        Reporter {
            place,
            total,
            done: 0,
            spent: Duration::ZERO,
            drawn: None,
        }
    }

    /// For one of many runs: tells no results, only notes.
    #[must_use]
    pub fn silent() -> Reporter {
        Reporter {
            place: Place::Nowhere,
            ..Reporter::new(0)
        }
    }

    /// The same, while a monitor has the terminal: it gets the lines.
    #[must_use]
    pub fn beside_monitor(total: usize, notes: Sender<String>) -> Reporter {
        Reporter {
            place: Place::Monitor(notes),
            ..Reporter::new(total)
        }
    }

    /// Something worth knowing happened. It is told even where results are not.
    pub fn note(&mut self, text: &str) {
        if matches!(self.place, Place::Nowhere) {
            eprintln!("hv: {}", escaped(text));
        }
        self.line(&format!("hv: {}", escaped(text)));
    }

    /// An experiment began.
    pub fn started(&mut self, id: &str) {
        self.drawn = None;
        self.tick(Some((id, Duration::ZERO)));
    }

    /// An experiment ended.
    pub fn finished(&mut self, verdict: Verdict, id: &str, took: Duration, reason: &str) {
        self.done += 1;
        self.spent += took;
        let (done, total, word) = (self.done, self.total.max(self.done), verdict.word());
        let reason = one_line(reason, 100);
        let line = format!(
            "[{done:>3}/{total}] {word:7} {:36} {:6.1} s  {reason}",
            one_line(id, 36),
            took.as_secs_f32()
        );
        self.line(&line);
    }

    /// Time passed; `running` is what runs, and since when.
    pub fn tick(&mut self, running: Option<(&str, Duration)>) {
        if !matches!(self.place, Place::Terminal)
            || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW)
        {
            return;
        }
        self.drawn = Some(Instant::now());
        let what = match running {
            Some((id, since)) => format!("{} since {} s", escaped(id), since.as_secs()),
            None => "booting".to_owned(),
        };
        let left = self.left().map_or_else(String::new, |left| {
            format!(", about {} s left", left.as_secs().max(1))
        });
        eprint!("\r\x1b[K[{:>3}/{}] {what}{left}", self.done, self.total);
        let _ = std::io::stderr().flush();
    }

    /// From the mean of what is done.
    fn left(&self) -> Option<Duration> {
        let done = u32::try_from(self.done).ok().filter(|&done| done > 0)?;
        let open = u32::try_from(self.total.saturating_sub(self.done)).ok()?;
        Some(self.spent / done * open)
    }

    fn line(&mut self, text: &str) {
        match &self.place {
            Place::Terminal => eprintln!("\r\x1b[K{text}"),
            Place::Lines => eprintln!("{text}"),
            Place::Nowhere => {}
            // The monitor may have been left: then nobody wants to know.
            Place::Monitor(notes) => drop(notes.send(text.to_owned())),
        }
        self.drawn = None;
    }
}
