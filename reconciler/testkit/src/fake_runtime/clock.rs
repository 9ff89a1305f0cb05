//! A clock that follows tokio's, which a test can pause.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use osmoda_core::time::{Clock, Mono, Wall};
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z in microseconds.
const WALL_AT_START: i64 = 1_767_225_600_000_000;

/// Time since boot at which every test begins: not zero, so that a forgotten addition shows.
const MONO_AT_START: Mono = Mono(1_000_000_000);

/// Follows `tokio::time`; the wall clock can be set by hand on top.
#[derive(Debug)]
pub struct PausedClock {
    began: Instant,
    wall_offset: AtomicI64,
    boot_id: String,
}

impl PausedClock {
    /// Begins now. Has to be called inside a tokio runtime with a clock.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            wall_offset: AtomicI64::new(0),
            boot_id: "00000000-0000-4000-8000-000000000001".to_owned(),
        }
    }

    /// Sets the wall clock back or forth, as a person or NTP would; the other one is unmoved.
    pub fn jump_wall(&self, microseconds: i64) {
        self.wall_offset.fetch_add(microseconds, Ordering::Relaxed);
    }

    fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.began)
    }
}

impl Default for PausedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for PausedClock {
    fn mono(&self) -> Mono {
        MONO_AT_START.after(self.elapsed())
    }

    fn wall(&self) -> Wall {
        let elapsed = i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX);
        let offset = self.wall_offset.load(Ordering::Relaxed);
        Wall(WALL_AT_START.saturating_add(elapsed).saturating_add(offset))
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_clocks_follow_tokio_and_only_the_wall_clock_jumps() {
        let clock = PausedClock::new();
        let (mono, wall) = (clock.mono(), clock.wall());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.mono().since(mono), Duration::from_secs(3));
        clock.jump_wall(-5_000_000);
        assert_eq!(clock.wall(), Wall(wall.0 - 2_000_000));
        assert_eq!(clock.mono().since(mono), Duration::from_secs(3));
    }
}
