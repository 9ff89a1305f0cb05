//! What an agent used over the last minutes, and how that looks in a line of text.

use std::collections::VecDeque;

/// Most samples that are kept of one agent, one a second.
pub const SAMPLES_MAX: usize = 120;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Samples, oldest first; absent where nothing was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    samples: VecDeque<Option<u64>>,
}

impl History {
    /// Takes the next sample.
    pub fn push(&mut self, sample: Option<u64>) {
        self.samples.push_back(sample);
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// The newest `width` samples as bars, aligned right. The highest bar is the greatest of
    /// them, and at least `scale`; what was not measured stays blank.
    pub fn sparkline(&self, width: usize, scale: u64) -> String {
        let shown = self.samples.len().min(width);
        let newest = self.samples.iter().skip(self.samples.len() - shown);
        let greatest = newest.clone().flatten().copied().max().unwrap_or(0);
        let scale = greatest.max(scale).max(1);
        let bar = |sample: &Option<u64>| match sample {
            None => ' ',
            Some(value) => {
                let height = u128::from(*value) * (BARS.len() as u128 - 1) / u128::from(scale);
                BARS[usize::try_from(height).unwrap_or(0).min(BARS.len() - 1)]
            }
        };
        let blank = std::iter::repeat_n(' ', width - shown);
        blank.chain(newest.map(bar)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(samples: &[Option<u64>]) -> History {
        let mut history = History::default();
        samples.iter().for_each(|sample| history.push(*sample));
        history
    }

    #[test]
    fn the_newest_samples_are_at_the_right_and_what_is_unknown_stays_blank() {
        let history = history(&[Some(0), Some(50), None, Some(100)]);
        assert_eq!(history.sparkline(6, 1), "  ▁▄ █");
        assert_eq!(history.sparkline(2, 1), " █");
        assert_eq!(history.sparkline(0, 1), "");
    }

    #[test]
    fn a_small_use_is_not_drawn_as_a_large_one() {
        assert_eq!(history(&[Some(3), Some(4)]).sparkline(2, 100), "▁▁");
        assert_eq!(history(&[Some(u64::MAX)]).sparkline(1, 1), "█");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let history = history(&vec![Some(1); SAMPLES_MAX * 2]);
        assert_eq!(history.samples.len(), SAMPLES_MAX);
    }
}
