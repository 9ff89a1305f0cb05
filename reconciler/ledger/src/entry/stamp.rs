//! The `ts` of an entry: RFC 3339 in UTC with microseconds, always 27 bytes.
//!
//! `Wall` writes this form itself; here is the strict way back, and the range in which the
//! year has four digits.

use osmoda_core::time::Wall;

/// 9999-12-31T23:59:59.999999Z.
const LATEST: Wall = Wall(253_402_300_799_999_999);

/// The nearest time whose text has 27 bytes: years 1970 to 9999.
pub(crate) fn clamp(wall: Wall) -> Wall {
    wall.clamp(Wall(0), LATEST)
}

/// Reads what `Wall` displays; `None` for any other spelling.
pub(crate) fn parse(text: &[u8]) -> Option<Wall> {
    const SHAPE: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";
    let text: &[u8; SHAPE.len()] = text.try_into().ok()?;
    // Without a way out in the middle: every entry that is verified has a good one.
    let fits = text.iter().zip(SHAPE).fold(true, |fits, (byte, shape)| {
        let digit = byte.wrapping_sub(b'0') < 10;
        fits & if *shape == b'0' { digit } else { byte == shape }
    });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text[from..to].iter();
        digits.fold(0i64, |n, digit| n * 10 + i64::from(digit - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    let known = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    known.then(|| Wall(seconds * 1_000_000 + number(20, 26)))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, counting years from March so that
/// the leap day is a year's last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let months_from_march = (month + 9) % 12;
    let day_of_year = (153 * months_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_time_survives_its_text(us in 0..=LATEST.0) {
            let wall = Wall(us);
            prop_assert_eq!(parse(wall.to_string().as_bytes()), Some(wall));
        }
    }

    #[test]
    fn other_spellings_and_impossible_dates_are_refused() {
        for bad in [
            "2026-01-31T12:00:00Z",
            "2026-01-31 12:00:00.000000Z",
            "2026-02-29T12:00:00.000000Z",
            "2026-13-01T12:00:00.000000Z",
            "2026-01-00T12:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "2026-01-01T00:00:60.000000Z",
            "+026-01-01T00:00:00.000000Z",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert!(parse(b"2024-02-29T23:59:59.999999Z").is_some());
    }

    #[test]
    fn times_outside_four_digit_years_are_moved_to_the_edge() {
        assert_eq!(clamp(Wall(-5)), Wall(0));
        assert_eq!(clamp(Wall(i64::MAX)).to_string().len(), 27);
        assert_eq!(clamp(Wall(7)), Wall(7));
    }
}
