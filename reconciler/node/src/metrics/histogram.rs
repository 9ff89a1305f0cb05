//! A histogram of durations with fixed buckets.

use std::time::Duration;

/// Upper bounds of recoveries, in microseconds: from an immediate restart to a slow retry.
pub const RECOVERY_BOUNDS_US: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
];

/// Upper bounds of one turn of the loop, in microseconds.
pub const TURN_BOUNDS_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
];

/// How often which durations were seen. Microseconds are exact; sums saturate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    bounds_us: &'static [u64],
    /// For each bound, those that lie within it and beyond the one before; the last: beyond all.
    counts: Vec<u64>,
    sum_us: u64,
}

impl Histogram {
    /// Nothing seen yet. `bounds_us` rise.
    pub fn new(bounds_us: &'static [u64]) -> Self {
        Self {
            bounds_us,
            counts: vec![0; bounds_us.len() + 1],
            sum_us: 0,
        }
    }

    /// Counts one, in microseconds. A duration at a bound lies within it, as `le` says.
    pub fn observe_us(&mut self, us: u64) {
        let place = self.bounds_us.partition_point(|bound| *bound < us);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Counts one.
    pub fn observe(&mut self, duration: Duration) {
        self.observe_us(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Upper bounds in microseconds (`None`: infinity), each with how many lie within it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = self.bounds_us.iter().map(|bound| Some(*bound));
        let counts = self.counts.iter().scan(0, |within, count| {
            *within += count;
            Some(*within)
        });
        bounds.chain([None]).zip(counts)
    }

    /// Sum of all, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_every_bucket_that_holds_it() {
        let mut seen = Histogram::new(&[10, 100]);
        for us in [10, 11, 100, 5000] {
            seen.observe_us(us);
        }
        let buckets: Vec<_> = seen.cumulative().collect();
        assert_eq!(buckets, [(Some(10), 1), (Some(100), 3), (None, 4)]);
        assert_eq!((seen.sum_us(), seen.count()), (5121, 4));
    }

    #[test]
    fn bounds_rise() {
        for bounds in [RECOVERY_BOUNDS_US, TURN_BOUNDS_US] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
