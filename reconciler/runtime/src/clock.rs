//! The system's clocks, as core's [`Clock`].
//!
//! CLOCK_BOOTTIME measures (it counts suspend and is never set back), CLOCK_REALTIME is shown
//! to people, and the boot id tells one boot's measurements from another's.

use std::{fs, io, path::Path};

use osmoda_core::time::{Clock, Mono, Wall};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Where the kernel tells the identity of this boot (random(4)).
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    boot_id: String,
}

impl SystemClock {
    /// Reads the boot id once; the clocks are read at every call.
    ///
    /// # Errors
    /// The boot id cannot be read (is /proc mounted?) or is not 36 characters long.
    pub fn new() -> io::Result<Self> {
        Self::with_boot_id_from(Path::new(BOOT_ID_FILE))
    }

    fn with_boot_id_from(file: &Path) -> io::Result<Self> {
        let boot_id = fs::read_to_string(file)?.trim_end().to_owned();
        if boot_id.len() != 36 {
            let what = format!("{} does not hold a boot id", file.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Self { boot_id })
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> Mono {
        let micros = micros(clock_gettime(ClockId::Boottime));
        Mono(u64::try_from(micros).unwrap_or(0))
    }

    fn wall(&self) -> Wall {
        Wall(micros(clock_gettime(ClockId::Realtime)))
    }

    fn boot_id(&self) -> &str {
        &self.boot_id
    }
}

/// The instant that a program calls so many microseconds of CLOCK_MONOTONIC, which stands still
/// in suspend: exact for what happened since the machine slept last.
pub fn of_monotonic(us: u64) -> Mono {
    let monotonic = micros(clock_gettime(ClockId::Monotonic));
    let slept = micros(clock_gettime(ClockId::Boottime)).saturating_sub(monotonic);
    Mono(us.saturating_add(u64::try_from(slept).unwrap_or(0)))
}

fn micros(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_does_not_run_backwards_and_wall_time_is_after_2024() {
        let clock = SystemClock::new().unwrap();
        let first = clock.mono();
        assert!(clock.mono() >= first);
        assert!(first > Mono(0));
        assert!(clock.wall() > Wall(1_704_067_200_000_000));
        assert_eq!(clock.boot_id().len(), 36);
    }

    #[test]
    fn an_instant_of_the_monotonic_clock_lies_where_boot_time_has_it() {
        let clock = SystemClock::new().unwrap();
        let before = clock.mono();
        let told = u64::try_from(micros(clock_gettime(ClockId::Monotonic))).unwrap();
        let after = clock.mono();
        let moment = of_monotonic(told);
        // The two clocks are read one after the other: what lies between is in the difference.
        assert!(moment >= before, "{moment:?} {before:?}");
        assert!(moment.since(after) < std::time::Duration::from_secs(60));
        assert_eq!(of_monotonic(u64::MAX), Mono(u64::MAX));
    }

    #[test]
    fn a_file_without_a_boot_id_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(SystemClock::with_boot_id_from(file.path()).is_err());
    }
}
