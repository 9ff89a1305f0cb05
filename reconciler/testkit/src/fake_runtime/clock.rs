//! A clock that follows tokio's, which a test can pause.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use osmoda_core::time::{Clock, Mono, Wall};
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z in microseconds.
const WALL_AT_START: i64 = 1_767_225_600_000_000;

/// Time since boot at which every test begins: not zero, so that a forgotten addition shows.
const MONO_AT_START: Mono = Mono(1_000_000_000);

/// Time since boot when a machine that was booted again has come up.
const BOOT_TAKES: Mono = Mono(5_000_000);

/// Most boots that have an id of their own.
const BOOTS_MAX: usize = 256;

/// Follows `tokio::time`; the wall clock can be set by hand on top, and the machine be booted.
#[derive(Debug)]
pub struct PausedClock {
    began: Instant,
    wall_offset: AtomicI64,
    boots: Vec<String>,
    boot: AtomicUsize,
    /// When this boot began, in microseconds since `began`.
    booted_at: AtomicU64,
}

impl PausedClock {
    /// Begins now. Has to be called inside a tokio runtime with a clock.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            wall_offset: AtomicI64::new(0),
            boots: (1..=BOOTS_MAX)
                .map(|n| format!("00000000-0000-4000-8000-{n:012}"))
                .collect(),
            boot: AtomicUsize::new(0),
            booted_at: AtomicU64::new(0),
        }
    }

    /// The machine is booted: another boot id, and time since boot begins anew. At most
    /// [`BOOTS_MAX`] times; after that it stays in the last boot.
    pub fn reboot(&self) {
        let next = self.boot.load(Ordering::Relaxed) + 1;
        if next < self.boots.len() {
            self.boot.store(next, Ordering::Relaxed);
            let now = u64::try_from(self.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.booted_at.store(now, Ordering::Relaxed);
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
        let booted_at = Duration::from_micros(self.booted_at.load(Ordering::Relaxed));
        let first = match self.boot.load(Ordering::Relaxed) {
            0 => MONO_AT_START,
            _ => BOOT_TAKES,
        };
        first.after(self.elapsed().saturating_sub(booted_at))
    }

    fn wall(&self) -> Wall {
        let elapsed = i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX);
        let offset = self.wall_offset.load(Ordering::Relaxed);
        Wall(WALL_AT_START.saturating_add(elapsed).saturating_add(offset))
    }

    fn boot_id(&self) -> &str {
        &self.boots[self.boot.load(Ordering::Relaxed)]
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

    #[tokio::test(start_paused = true)]
    async fn a_reboot_begins_time_anew_under_another_id_and_moves_no_wall_clock() {
        let clock = PausedClock::new();
        tokio::time::advance(Duration::from_secs(100)).await;
        let (id, wall) = (clock.boot_id().to_owned(), clock.wall());
        clock.reboot();
        assert_ne!(clock.boot_id(), id);
        assert_eq!(clock.mono(), BOOT_TAKES);
        assert_eq!(clock.wall(), wall);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.mono().since(BOOT_TAKES), Duration::from_secs(1));
    }
}
