//! A histogram of any u64, with an error of at most one eighth of the value.

use std::collections::BTreeMap;

/// Values in buckets: eight to each power of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: BTreeMap<u16, u64>,
    count: u64,
    min: u64,
    max: u64,
}

/// One more than the bucket of the largest value.
const BUCKETS: u16 = 496;

fn bucket(value: u64) -> u16 {
    if value < 8 {
        return value as u16;
    }
    let exponent = 63 - value.leading_zeros();
    let eighth = (value >> (exponent - 3)) & 7;
    (exponent as u16 - 2) * 8 + eighth as u16
}

/// The smallest value of a bucket.
fn floor(bucket: u16) -> u64 {
    if bucket < 8 {
        return u64::from(bucket);
    }
    if bucket >= BUCKETS {
        return u64::MAX;
    }
    (8 + u64::from(bucket % 8)) << (bucket / 8 - 1)
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        *self.buckets.entry(bucket(value)).or_default() += 1;
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.count += 1;
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest value.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// The largest value.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that so many per cent of all do not exceed, as its bucket's floor.
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return floor(*index).clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// Bars for a screen of so many rows: (from, to, count), neighbouring buckets joined until they fit.
    pub fn bars(&self, rows: usize) -> Vec<(u64, u64, u64)> {
        let (Some((&low, _)), Some((&high, _))) = (
            self.buckets.first_key_value(),
            self.buckets.last_key_value(),
        ) else {
            return Vec::new();
        };
        let span = usize::from(high - low) + 1;
        let joined = span.div_ceil(rows.max(1)).max(1) as u16;
        let mut bars = Vec::new();
        let mut from = low;
        while from <= high {
            let to = from + joined;
            let count = self.buckets.range(from..to).map(|(_, count)| count).sum();
            bars.push((floor(from), floor(to) - 1, count));
            from = to;
        }
        bars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_touch_and_never_overlap() {
        for index in 0..bucket(u64::MAX) {
            assert!(floor(index) < floor(index + 1), "{index}");
            assert_eq!(bucket(floor(index)), index);
            assert_eq!(bucket(floor(index + 1) - 1), index);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_within_an_eighth() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.add(value));
        for (percent, exact) in [(5, 50), (50, 500), (99, 990)] {
            let found = histogram.percentile(percent);
            assert!(
                found <= exact && exact - found <= exact / 8,
                "{percent}: {found}"
            );
        }
        assert_eq!(
            (histogram.min(), histogram.max(), histogram.count()),
            (1, 1000, 1000)
        );
    }

    #[test]
    fn bars_hold_every_value_and_fit() {
        let mut histogram = Histogram::default();
        for value in [1, 100, 101, 5000, 1 << 40, u64::MAX] {
            histogram.add(value);
        }
        for rows in 1..40 {
            let bars = histogram.bars(rows);
            assert!(bars.len() <= rows, "{rows}: {bars:?}");
            assert_eq!(bars.iter().map(|(.., count)| count).sum::<u64>(), 6);
        }
    }
}
