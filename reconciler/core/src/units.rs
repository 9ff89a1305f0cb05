//! Durations, sizes and CPU shares as users write them.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A duration as users write it: `500ms`, `15s`, `2m`, `1h30m`, `7d`; whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Duration);

/// A number of bytes as users write it: a Kubernetes quantity (`512Mi`, `1G`) or plain bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// A share of CPU time in percent of one CPU: `150%` is one and a half CPUs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuPercent(pub u32);

/// Why a text is not a duration, a size or a percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum UnitError {
    #[error("is not a duration; write for example 500ms, 15s, 2m or 1h30m")]
    Duration,
    #[error("is not a size; write bytes or a quantity such as 512Mi or 1Gi")]
    Size,
    #[error("is not a share of CPU; write percent of one CPU, such as \"150%\"")]
    Percent,
    #[error("is too large")]
    TooLarge,
}

const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl Period {
    /// A period of whole seconds.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A period of whole milliseconds.
    pub const fn millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// As a standard duration.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Parses a sum of `NUMBER UNIT` terms, each unit at most once and from large to small.
    ///
    /// # Errors
    /// [`UnitError::Duration`] or [`UnitError::TooLarge`].
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut total: u64 = 0;
        let mut units = DURATION_UNITS.iter();
        while !rest.is_empty() {
            let (number, unit, tail) = take_term(rest).ok_or(UnitError::Duration)?;
            let (_, scale) = units
                .find(|(name, _)| *name == unit)
                .ok_or(UnitError::Duration)?;
            let millis = number.checked_mul(*scale).ok_or(UnitError::TooLarge)?;
            total = total.checked_add(millis).ok_or(UnitError::TooLarge)?;
            rest = tail;
        }
        if text.is_empty() {
            return Err(UnitError::Duration);
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

/// Splits `12ms3s` into (12, "ms", "3s").
fn take_term(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let letters = text[digits..]
        .find(|c: char| c.is_ascii_digit())
        .map_or(text.len(), |length| digits + length);
    Some((
        text[..digits].parse().ok()?,
        &text[digits..letters],
        &text[letters..],
    ))
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in DURATION_UNITS {
            if rest >= scale {
                write!(f, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Period {
    type Error = UnitError;
    fn try_from(text: String) -> Result<Self, UnitError> {
        Self::parse(&text)
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl ByteSize {
    /// Parses a Kubernetes resource quantity without fraction: `512Mi`, `1G`, `1048576`.
    ///
    /// # Errors
    /// [`UnitError::Size`] or [`UnitError::TooLarge`].
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let number: u64 = text[..end].parse().map_err(|_| UnitError::Size)?;
        let scale: u64 = match &text[end..] {
            "" => 1,
            "k" => 1000,
            "M" => 1000_u64.pow(2),
            "G" => 1000_u64.pow(3),
            "T" => 1000_u64.pow(4),
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            _ => return Err(UnitError::Size),
        };
        number
            .checked_mul(scale)
            .map(Self)
            .ok_or(UnitError::TooLarge)
    }
}

impl fmt::Display for ByteSize {
    /// The largest binary unit that divides the size: `512Mi`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
        let whole = units
            .iter()
            .find(|(_, bits)| self.0 != 0 && self.0.trailing_zeros() >= *bits);
        match whole {
            Some((unit, bits)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}", self.0),
        }
    }
}

impl CpuPercent {
    /// Parses `150%`.
    ///
    /// # Errors
    /// [`UnitError::Percent`].
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let number = text.strip_suffix('%').ok_or(UnitError::Percent)?;
        number.parse().map(Self).map_err(|_| UnitError::Percent)
    }
}

impl fmt::Display for CpuPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl TryFrom<String> for CpuPercent {
    type Error = UnitError;
    fn try_from(text: String) -> Result<Self, UnitError> {
        Self::parse(&text)
    }
}

impl From<CpuPercent> for String {
    fn from(share: CpuPercent) -> Self {
        share.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_falling_units() {
        let millis = |text| Period::parse(text).map(|p| p.get().as_millis());
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("15s"), Ok(15_000));
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("0"), Ok(0));
        assert_eq!(millis("0s"), Ok(0));
        for bad in [
            "", "5", "s", "5 s", "1.5s", "-1s", "1m1m", "1s1m", "1x", "5sec",
        ] {
            assert_eq!(millis(bad), Err(UnitError::Duration), "{bad}");
        }
        assert_eq!(millis("99999999999999999h"), Err(UnitError::TooLarge));
        for text in ["500ms", "15s", "1h30m", "2d", "1m1ms", "0s"] {
            assert_eq!(Period::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn sizes_are_kubernetes_quantities() {
        assert_eq!(ByteSize::parse("512Mi"), Ok(ByteSize(512 << 20)));
        assert_eq!(ByteSize::parse("1G"), Ok(ByteSize(1_000_000_000)));
        assert_eq!(ByteSize::parse("17"), Ok(ByteSize(17)));
        for bad in ["", "Mi", "1.5Gi", "1gb", "-1"] {
            assert_eq!(ByteSize::parse(bad), Err(UnitError::Size), "{bad}");
        }
        assert_eq!(ByteSize::parse("99999999Ti"), Err(UnitError::TooLarge));
        assert_eq!(ByteSize(512 << 20).to_string(), "512Mi");
        assert_eq!(ByteSize(1000).to_string(), "1000");
        assert_eq!(ByteSize(0).to_string(), "0");
    }

    #[test]
    fn cpu_is_percent_of_one_cpu() {
        assert_eq!(CpuPercent::parse("150%"), Ok(CpuPercent(150)));
        for bad in ["", "%", "1", "1.5%", "-1%"] {
            assert_eq!(CpuPercent::parse(bad), Err(UnitError::Percent), "{bad}");
        }
    }
}
