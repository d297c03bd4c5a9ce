//! Statistics of tick counts in integers: order statistics, never the mean alone.

use alloc::vec::Vec;

/// What is reported of a row of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// Number of samples.
    pub n: u64,
    /// Smallest: about the cost without disturbance.
    pub min: u64,
    /// 5th percentile.
    pub p5: u64,
    /// Median: the typical cost.
    pub median: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile: jitter.
    pub p99: u64,
    /// Largest.
    pub max: u64,
    /// Median absolute deviation from the median.
    pub mad: u64,
    /// Samples above ten times the median; counted, not thrown away.
    pub disturbed: u64,
}

/// Summarises samples; sorts them. `None` without samples.
pub fn summarise(samples: &mut [u64]) -> Option<Summary> {
    samples.sort_unstable();
    let (&min, &max) = (samples.first()?, samples.last()?);
    let median = percentile(samples, 50);
    let mut deviations: Vec<u64> = samples
        .iter()
        .map(|sample| sample.abs_diff(median))
        .collect();
    deviations.sort_unstable();
    let limit = median.saturating_mul(10);
    Some(Summary {
        n: samples.len() as u64,
        min,
        p5: percentile(samples, 5),
        median,
        p95: percentile(samples, 95),
        p99: percentile(samples, 99),
        max,
        mad: percentile(&deviations, 50),
        disturbed: samples.iter().filter(|sample| **sample > limit).count() as u64,
    })
}

/// The nearest-rank percentile of sorted, non-empty samples.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_statistics_of_one_to_hundred() {
        let mut samples: Vec<u64> = (1..=100).rev().collect();
        let summary = summarise(&mut samples).unwrap();
        assert_eq!(
            (summary.n, summary.min, summary.p5, summary.median),
            (100, 1, 5, 50)
        );
        assert_eq!(
            (summary.p95, summary.p99, summary.max, summary.mad),
            (95, 99, 100, 25)
        );
        assert_eq!(summary.disturbed, 0);
    }

    #[test]
    fn an_outlier_is_counted_and_kept() {
        let mut samples = [10, 10, 10, 10, 2000];
        let summary = summarise(&mut samples).unwrap();
        assert_eq!(
            (summary.median, summary.max, summary.disturbed),
            (10, 2000, 1)
        );
    }

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(summarise(&mut []), None);
    }

    #[test]
    fn one_sample_is_every_percentile() {
        let summary = summarise(&mut [7]).unwrap();
        assert_eq!((summary.p5, summary.median, summary.p99), (7, 7, 7));
    }
}
