//! `--since`: points in time as people name them.

use std::time::{SystemTime, UNIX_EPOCH};

use osmoda_core::{time::Wall, units::Period};

use crate::failure::Failure;

const FORMS: &str = "write 10m for ten minutes ago, 2026-01-31T12:00:00Z, or an entry's number";

/// As the API takes it: an entry's number or RFC 3339.
///
/// # Errors
/// Exit code 2.
pub fn since(text: &str) -> Result<String, Failure> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Ok(time(text)?.to_string())
}

/// A time: RFC 3339, or so long ago.
///
/// # Errors
/// Exit code 2.
pub fn time(text: &str) -> Result<Wall, Failure> {
    time_before(text, now())
}

fn time_before(text: &str, now: Wall) -> Result<Wall, Failure> {
    if let Ok(ago) = Period::parse(text) {
        let ago = i64::try_from(ago.get().as_micros()).unwrap_or(i64::MAX);
        return Ok(Wall(now.0.saturating_sub(ago).max(0)));
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(Wall(time.as_microsecond())),
        Err(_) => Err(Failure::usage(format!("--since {text:?} is no point in time")).hint(FORMS)),
    }
}

fn now() -> Wall {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_has_three_forms() {
        let noon = Wall(1_769_860_800_000_000);
        let shown = |text| time_before(text, noon).map(|time| time.to_string());
        assert_eq!(shown("10m"), Ok("2026-01-31T11:50:00.000000Z".to_owned()));
        assert_eq!(shown("2026-01-31T14:00:00+02:00"), Ok(noon.to_string()));
        assert_eq!(shown("99999d"), Ok(Wall(0).to_string()));
        assert_eq!(since("17"), Ok("17".to_owned()));
        assert_eq!(since("yesterday").unwrap_err().code, 2);
        assert_eq!(since("").unwrap_err().code, 2);
    }
}
