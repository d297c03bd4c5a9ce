//! The trace of a run: a bounded window of records, and those of them that a filter lets through.

use std::collections::VecDeque;
use std::rc::Rc;

use trace_record::Record;

use super::filter::Filter;

/// Records kept of each run; older ones leave and are counted.
pub const KEPT: usize = 50_000;

/// A record and where it came from.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// Counts the records of the run in the order of arrival.
    pub number: u64,
    /// Which boot.
    pub machine: u32,
    /// Nanoseconds since the boot's trace file began, negative before; 0 if the TSC's frequency is unknown.
    pub since_ns: i64,
    /// The record.
    pub record: Record<'static>,
}

/// The window. Cheap to clone, so a pause can keep a picture of it.
#[derive(Clone, Debug, Default)]
pub struct TraceLog {
    rows: VecDeque<Rc<Row>>,
    total: u64,
    filter: Filter,
    matches: VecDeque<u64>,
}

impl TraceLog {
    /// Adds a record; the oldest leaves when the window is full.
    pub fn push(&mut self, row: Row) {
        debug_assert_eq!(row.number, self.total);
        if self.rows.len() == KEPT {
            self.rows.pop_front();
            let first = self.first();
            while self.matches.front().is_some_and(|number| *number < first) {
                self.matches.pop_front();
            }
        }
        self.total += 1;
        if !self.filter.is_empty() && self.filter.admits(&row) {
            self.matches.push_back(row.number);
        }
        self.rows.push_back(Rc::new(row));
    }

    /// Records so far, those that left included.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Records that left the window.
    pub fn forgotten(&self) -> u64 {
        self.first()
    }

    fn first(&self) -> u64 {
        self.total - self.rows.len() as u64
    }

    /// The record with this number, if it is still here.
    pub fn row(&self, number: u64) -> Option<&Rc<Row>> {
        let index = number.checked_sub(self.first())?;
        self.rows.get(usize::try_from(index).ok()?)
    }

    /// The filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Looks through another filter from now on.
    pub fn set_filter(&mut self, filter: Filter) {
        self.matches.clear();
        if !filter.is_empty() {
            let admitted = self.rows.iter().filter(|row| filter.admits(row));
            self.matches.extend(admitted.map(|row| row.number));
        }
        self.filter = filter;
    }

    /// How many records of the window the filter lets through.
    pub fn shown(&self) -> usize {
        if self.filter.is_empty() {
            self.rows.len()
        } else {
            self.matches.len()
        }
    }

    /// The number of the `index`-th record that the filter lets through.
    pub fn shown_number(&self, index: usize) -> Option<u64> {
        if self.filter.is_empty() {
            (index < self.rows.len()).then(|| self.first() + index as u64)
        } else {
            self.matches.get(index).copied()
        }
    }

    /// Where a record stands among those the filter lets through: its index, or that of the next one.
    pub fn index_of(&self, number: u64) -> usize {
        let index = if self.filter.is_empty() {
            usize::try_from(number.saturating_sub(self.first())).unwrap_or(usize::MAX)
        } else {
            self.matches
                .partition_point(|candidate| *candidate < number)
        };
        index.min(self.shown().saturating_sub(1))
    }

    /// The records with these indices among those the filter lets through: what a screen shows.
    pub fn page(&self, from: usize, count: usize) -> impl Iterator<Item = &Rc<Row>> {
        let until = from.saturating_add(count).min(self.shown());
        (from..until).filter_map(|index| self.row(self.shown_number(index)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_record::{Class, Payload, RecordMeta};

    fn row(number: u64) -> Row {
        let payload = if number.is_multiple_of(3) {
            Payload::Interrupt { vector: 32 }
        } else {
            Payload::Switch { from: 1, to: 2 }
        };
        Row {
            number,
            machine: 0,
            since_ns: number as i64,
            record: Record {
                meta: RecordMeta::default(),
                class: payload.class(),
                payload,
            },
        }
    }

    #[test]
    fn the_window_is_bounded_and_counts_what_left() {
        let mut log = TraceLog::default();
        log.set_filter(Filter::parse("class:interrupt").unwrap());
        for number in 0..KEPT as u64 + 10 {
            log.push(row(number));
        }
        assert_eq!((log.forgotten(), log.total()), (10, KEPT as u64 + 10));
        assert!(log.row(9).is_none() && log.row(10).is_some());
        assert_eq!(
            log.shown_number(0),
            Some(12),
            "matches that left are gone, too"
        );
        assert!(
            log.page(0, KEPT)
                .all(|row| row.record.class == Class::Interrupt)
        );
        log.set_filter(Filter::default());
        assert_eq!(log.shown(), KEPT);
        assert_eq!(log.shown_number(0), Some(10));
    }

    #[test]
    fn a_filter_set_later_finds_the_same_as_one_set_before() {
        let (mut before, mut after) = (TraceLog::default(), TraceLog::default());
        before.set_filter(Filter::parse("irq").unwrap());
        for number in 0..100 {
            before.push(row(number));
            after.push(row(number));
        }
        after.set_filter(Filter::parse("irq").unwrap());
        let numbers = |log: &TraceLog| log.page(0, 100).map(|row| row.number).collect::<Vec<_>>();
        assert_eq!(numbers(&before), numbers(&after));
        assert_eq!(numbers(&after).len(), 34);
        assert_eq!(after.index_of(4), 2, "the next one that is shown");
    }
}
