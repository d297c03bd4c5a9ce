//! Writes down what was found, at once, and tells the person.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use experiments::{Catalogue, Expectations, Raw, ResultLine, ResultWriter};
use trace_record::verdict::Verdict;

use super::progress::Reporter;
use crate::interrupt::Interrupt;

/// Who turns findings into results.
#[derive(Debug)]
pub struct Recorder {
    reporter: Reporter,
    book: Book,
    stop: Option<Stop>,
}

/// Stops a run at the first finding of some kind.
#[derive(Debug)]
struct Stop {
    at: fn(Verdict) -> bool,
    by: Interrupt,
}

/// What findings become.
#[derive(Debug)]
enum Book {
    /// Lines of results.jsonl, with what the catalogue says and the expectations applied.
    Results {
        catalogue: Catalogue,
        expectations: Expectations,
        writer: ResultWriter,
        lines: Vec<ResultLine>,
    },
    /// Just the findings: of tests in the guest, which no catalogue knows.
    Findings(Vec<Raw>),
}

impl Recorder {
    /// For a run of the catalogue's experiments.
    ///
    /// # Errors
    /// When results.jsonl cannot be created in the run folder.
    pub fn of_catalogue(
        reporter: Reporter,
        catalogue: Catalogue,
        expectations: Expectations,
        folder: &Path,
    ) -> Result<Recorder> {
        let writer = ResultWriter::create(folder)
            .with_context(|| format!("cannot create results.jsonl in {}", folder.display()))?;
        Ok(Recorder {
            reporter,
            stop: None,
            book: Book::Results {
                catalogue,
                expectations,
                writer,
                lines: Vec::new(),
            },
        })
    }

    /// For tests in the guest.
    #[must_use]
    pub fn of_tests(reporter: Reporter) -> Recorder {
        Recorder {
            reporter,
            stop: None,
            book: Book::Findings(Vec::new()),
        }
    }

    /// From now on the first verdict for which `at` holds stops the run, by `by`.
    pub fn stop_at(&mut self, at: fn(Verdict) -> bool, by: Interrupt) {
        self.stop = Some(Stop { at, by });
    }

    /// Whether a reset of the machine is how this experiment ends when all is well.
    #[must_use]
    pub fn ends_with_reset(&self, id: &str) -> bool {
        match &self.book {
            Book::Results { catalogue, .. } => catalogue
                .get(id)
                .is_some_and(|experiment| experiment.head.ends == engine::head::End::Reset),
            Book::Findings(_) => false,
        }
    }

    /// Something worth knowing happened.
    pub fn note(&mut self, text: &str) {
        self.reporter.note(text);
    }

    /// An experiment began.
    pub fn started(&mut self, id: &str) {
        self.reporter.started(id);
    }

    /// Time passed.
    pub fn tick(&mut self, running: Option<(&str, Duration)>) {
        self.reporter.tick(running);
    }

    /// An experiment ended, one way or another.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn finished(&mut self, raw: Raw) -> Result<()> {
        if let Some(stop) = self.stop.as_ref().filter(|stop| (stop.at)(raw.verdict)) {
            stop.by.request();
        }
        match &mut self.book {
            Book::Findings(findings) => {
                self.reporter
                    .finished(raw.verdict, &raw.item.id, raw.took, &raw.reason);
                findings.push(raw);
            }
            Book::Results {
                catalogue,
                expectations,
                writer,
                lines,
            } => {
                let Some(experiment) = catalogue.get(&raw.item.id) else {
                    bail!(
                        "the plan has an experiment `{}` that the catalogue has not",
                        raw.item.id
                    );
                };
                let took = raw.took;
                let line = ResultLine::new(experiment, raw, expectations);
                self.reporter
                    .finished(line.verdict, &line.id, took, &line.reason);
                writer.add(&line).context("cannot write results.jsonl")?;
                lines.push(line);
            }
        }
        Ok(())
    }

    /// The catalogue whose experiments run, if one does.
    #[must_use]
    pub fn catalogue(&self) -> Option<&Catalogue> {
        match &self.book {
            Book::Results { catalogue, .. } => Some(catalogue),
            Book::Findings(_) => None,
        }
    }

    /// The lines written so far.
    #[must_use]
    pub fn lines(&self) -> &[ResultLine] {
        match &self.book {
            Book::Results { lines, .. } => lines,
            Book::Findings(_) => &[],
        }
    }

    /// What was found so far, if no catalogue knows it.
    #[must_use]
    pub fn findings(&self) -> &[Raw] {
        match &self.book {
            Book::Results { .. } => &[],
            Book::Findings(findings) => findings,
        }
    }

    /// The verdicts so far, expectations applied.
    pub fn verdicts(&self) -> Vec<Verdict> {
        match &self.book {
            Book::Results { lines, .. } => lines.iter().map(|line| line.verdict).collect(),
            Book::Findings(findings) => findings.iter().map(|raw| raw.verdict).collect(),
        }
    }
}
