//! When a checkpoint is due: after so many entries, or so long after the first that is not
//! signed. Pure: it is told the time.

use std::time::{Duration, Instant};

/// When checkpoints are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// As soon as so many entries are not signed.
    pub entries: u64,
    /// So long after the first entry that is not signed.
    pub after: Duration,
    /// If nothing was signed for so long, the log appends CheckpointSigned and signs that, so
    /// that silence can be told from an end.
    pub heartbeat: Duration,
}

impl Default for Cadence {
    /// Every 256 entries, after 30 s, and once an hour when idle.
    fn default() -> Self {
        Self {
            entries: 256,
            after: Duration::from_secs(30),
            heartbeat: Duration::from_secs(3600),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing, until then.
    At(Instant),
    /// Sign the log.
    Sign,
    /// Say that the log is alive, and sign that.
    Heartbeat,
}

/// Follows a log and knows when it is to be signed.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// When the first entry that is not signed was seen.
    first_unsigned: Option<Instant>,
    last_signed: Instant,
}

impl Pacer {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            first_unsigned: None,
            last_signed: now,
        }
    }

    /// What is to be done for a log with so many entries that are not signed.
    pub(crate) fn due(&mut self, cadence: &Cadence, unsigned: u64, now: Instant) -> Due {
        if unsigned == 0 {
            self.first_unsigned = None;
            let at = self.last_signed + cadence.heartbeat;
            return if now >= at {
                Due::Heartbeat
            } else {
                Due::At(at)
            };
        }
        let at = *self.first_unsigned.get_or_insert(now) + cadence.after;
        match unsigned >= cadence.entries || now >= at {
            true => Due::Sign,
            false => Due::At(at),
        }
    }

    /// The log was signed, or that failed and is tried again after the usual time.
    pub(crate) fn signed(&mut self, now: Instant) {
        self.first_unsigned = None;
        self.last_signed = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CADENCE: Cadence = Cadence {
        entries: 256,
        after: Duration::from_secs(30),
        heartbeat: Duration::from_secs(3600),
    };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_busy_log_is_signed_by_count() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        assert_eq!(
            pacer.due(&CADENCE, 255, start),
            Due::At(start + seconds(30))
        );
        assert_eq!(pacer.due(&CADENCE, 256, start), Due::Sign);
        assert_eq!(pacer.due(&CADENCE, 300, start), Due::Sign);
    }

    #[test]
    fn a_slow_log_is_signed_so_long_after_its_first_entry() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        let first = start + seconds(100);
        assert_eq!(pacer.due(&CADENCE, 1, first), Due::At(first + seconds(30)));
        // More entries do not put it off.
        let later = first + seconds(29);
        assert_eq!(pacer.due(&CADENCE, 9, later), Due::At(first + seconds(30)));
        assert_eq!(pacer.due(&CADENCE, 9, first + seconds(30)), Due::Sign);
        pacer.signed(first + seconds(30));
        let next = first + seconds(50);
        assert_eq!(pacer.due(&CADENCE, 1, next), Due::At(next + seconds(30)));
    }

    #[test]
    fn an_idle_log_shows_once_an_hour_that_it_is_alive() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        assert_eq!(
            pacer.due(&CADENCE, 0, start),
            Due::At(start + seconds(3600))
        );
        assert_eq!(
            pacer.due(&CADENCE, 0, start + seconds(3600)),
            Due::Heartbeat
        );
        pacer.signed(start + seconds(3601));
        let next = start + seconds(3601 + 3600);
        assert_eq!(pacer.due(&CADENCE, 0, start + seconds(3700)), Due::At(next));
    }
}
