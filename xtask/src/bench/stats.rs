//! Numbers from samples: medians, 99th percentiles, and when a median is steady.

/// A median is steady when one more batch moves it by less than this share.
const STEADY_SHARE: f64 = 0.03;

/// The middle of the samples; between the two middle ones if their number is even. `None`
/// without samples.
pub fn median(samples: &[u64]) -> Option<f64> {
    let sorted = sorted(samples);
    let middle = sorted.len() / 2;
    let upper = as_float(*sorted.get(middle)?);
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(as_float(sorted[middle - 1]), upper))
}

/// The smallest sample that is at least as large as 99 % of them (nearest rank; of fewer than
/// 100 samples the largest). `None` without samples.
pub fn p99(samples: &[u64]) -> Option<f64> {
    let sorted = sorted(samples);
    let rank = (sorted.len() * 99).div_ceil(100);
    Some(as_float(*sorted.get(rank.checked_sub(1)?)?))
}

/// Whether the last `batch` samples barely moved the median.
pub fn is_steady(samples: &[u64], batch: usize) -> bool {
    let before = &samples[..samples.len().saturating_sub(batch)];
    match (median(before), median(samples)) {
        (Some(before), Some(now)) => (now - before).abs() <= now * STEADY_SHARE,
        _ => false,
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds and bytes of a benchmark are far below 2^53"
)]
pub fn as_float(value: u64) -> f64 {
    value as f64
}

fn sorted(samples: &[u64]) -> Vec<u64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7]), Some(7.0));
        assert_eq!(median(&[9, 1, 5]), Some(5.0));
        assert_eq!(median(&[4, 1, 9, 6]), Some(5.0));
    }

    #[test]
    fn the_99th_percentile_is_a_sample() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(p99(&hundred), Some(99.0));
        assert_eq!(p99(&[3, 8]), Some(8.0));
        assert_eq!(p99(&[]), None);
    }

    #[test]
    fn a_median_that_still_moves_is_not_steady() {
        assert!(!is_steady(&[10, 10, 10], 3));
        assert!(is_steady(&[100, 100, 100, 101], 2));
        assert!(!is_steady(&[100, 100, 150, 150, 150], 3));
    }
}
