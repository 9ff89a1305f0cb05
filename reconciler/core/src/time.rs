//! Two clocks, as values: one to measure with and one to show to people.
//!
//! Decisions use [`Mono`] only, so that a clock set by hand or by NTP never restarts an agent.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Microseconds of CLOCK_BOOTTIME: since boot, suspend included, never set back.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Mono(pub u64);

impl Mono {
    /// This instant moved later by `duration` (saturating).
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// The last multiple of `step` that is not after this instant; itself if that is zero.
    #[must_use]
    pub fn rounded_down(self, step: Duration) -> Self {
        let over = self.0.checked_rem(micros(step)).unwrap_or(0);
        Self(self.0 - over)
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Wall(pub i64);

impl fmt::Display for Wall {
    /// RFC 3339 in UTC with microseconds: `2026-01-31T12:00:00.000000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: i64 = 86_400_000_000;
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let us = self.0.rem_euclid(DAY);
        let s = us / 1_000_000;
        // Every entry has a time and every status many: digit by digit takes a quarter of what the
        // formatting of seven numbers does.
        let mut text = *b"yyyy-mm-ddThh:mm:ss.uuuuuuZ";
        let (date, time) = text.split_at_mut(10);
        put_digits(&mut date[5..7], month);
        put_digits(&mut date[8..10], day);
        put_digits(&mut time[1..3], s / 3600);
        put_digits(&mut time[4..6], s / 60 % 60);
        put_digits(&mut time[7..9], s % 60);
        put_digits(&mut time[10..16], us % 1_000_000);
        if (0..10_000).contains(&year) {
            put_digits(&mut date[..4], year);
            return f.write_str(std::str::from_utf8(&text).unwrap_or_default());
        }
        // No RFC 3339 any more, and yet it says when.
        write!(f, "{year:04}")?;
        f.write_str(std::str::from_utf8(&text[4..]).unwrap_or_default())
    }
}

/// Writes the last digits of a number that is not negative, as many as there is room for.
fn put_digits(room: &mut [u8], mut number: i64) {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

/// Days since 1970-01-01 to (year, month, day) of the proleptic Gregorian calendar.
///
/// The arithmetic counts years from March, so that the leap day is a year's last.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let era = shifted.div_euclid(146_097); // days in 400 years
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Where time and boot identity come from. The real one reads the kernel, a test's is set by hand.
pub trait Clock: Send + Sync + 'static {
    /// Now, for measuring.
    fn mono(&self) -> Mono;
    /// Now, for people.
    fn wall(&self) -> Wall;
    /// Identity of this boot: /proc/sys/kernel/random/boot_id, 36 characters.
    fn boot_id(&self) -> &str;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_reads_as_rfc_3339() {
        let shown = |us| Wall(us).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(shown(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(shown(1_767_225_599_999_999), "2025-12-31T23:59:59.999999Z");
        assert_eq!(shown(1_767_323_045_060_708), "2026-01-02T03:04:05.060708Z");
        assert_eq!(shown(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(
            shown(253_402_300_799_999_999),
            "9999-12-31T23:59:59.999999Z"
        );
        assert_eq!(
            shown(253_402_300_800_000_000),
            "10000-01-01T00:00:00.000000Z"
        );
        assert_eq!(
            shown(-62_167_219_200_000_000),
            "0000-01-01T00:00:00.000000Z"
        );
        assert_eq!(
            shown(-62_167_219_200_000_001),
            "-001-12-31T23:59:59.999999Z"
        );
    }

    #[test]
    fn mono_saturates_instead_of_wrapping() {
        assert_eq!(Mono(1).since(Mono(5)), Duration::ZERO);
        assert_eq!(Mono(u64::MAX).after(Duration::from_secs(1)), Mono(u64::MAX));
        assert_eq!(
            Mono(5)
                .after(Duration::from_micros(2))
                .since(Mono(5))
                .as_micros(),
            2
        );
    }
}
