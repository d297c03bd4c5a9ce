//! How many in each of the last seconds.

use std::collections::VecDeque;

/// Seconds kept.
pub const SECONDS: usize = 60;

/// Counts by second.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    // Second, count; ascending, seconds without any are left out.
    counts: VecDeque<(u64, u64)>,
}

impl Rate {
    /// So many came at this time.
    pub fn add(&mut self, now_ms: u64, count: u64) {
        let second = now_ms / 1000;
        match self.counts.back_mut() {
            Some((last, sum)) if *last == second => *sum += count,
            _ => self.counts.push_back((second, count)),
        }
        while self.counts.len() > SECONDS {
            self.counts.pop_front();
        }
    }

    /// The last full seconds before now, oldest first.
    pub fn history(&self, now_ms: u64, seconds: usize) -> Vec<u64> {
        let now = now_ms / 1000;
        let mut history = vec![0; seconds];
        for (second, count) in &self.counts {
            if let Some(ago) = now.checked_sub(*second + 1)
                && let Some(index) = seconds.checked_sub(ago as usize + 1)
            {
                history[index] = *count;
            }
        }
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_without_any_are_zero() {
        let mut rate = Rate::default();
        rate.add(1000, 5);
        rate.add(1999, 2);
        rate.add(4000, 9);
        assert_eq!(
            rate.history(4500, 4),
            [0, 7, 0, 0],
            "the present second is not over"
        );
        assert_eq!(rate.history(5000, 4), [7, 0, 0, 9]);
        assert_eq!(rate.history(100_000, 4), [0; 4]);
    }
}
