//! Numbers, durations, sizes and words, each within its bounds.
//!
//! A value out of bounds is told apart from one of the wrong type and from one that cannot be
//! read, so that every mistake has its own sentence.

use std::{fmt::Display, ops::RangeInclusive};

use super::{
    did_you_mean,
    reader::{Reader, Slot, alternatives},
};
use crate::{
    spec::{
        error::{SpecError, SpecErrorKind},
        nearest::nearest,
        tree::Value,
    },
    units::{ByteSize, CpuPercent, Period, UnitError},
};

impl Reader {
    /// A whole number within `range`.
    pub fn integer<T>(&mut self, slot: &Slot<'_>, range: &RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let Value::Int(number) = slot.tree.value else {
            self.wrong_type(slot, "a whole number", &range.start().to_string());
            return None;
        };
        match T::try_from(number) {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                self.out_of_range(slot, number, range);
                None
            }
        }
    }

    /// A decimal number in thousandths, within `range` (in thousandths too).
    pub fn thousandths(&mut self, slot: &Slot<'_>, range: &RangeInclusive<u32>) -> Option<u32> {
        let number = match slot.tree.value {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53 or out of range")]
            Value::Int(number) => number as f64,
            Value::Float(number) => number,
            _ => {
                self.wrong_type(slot, "a number", &decimal(*range.start()));
                return None;
            }
        };
        let (least, most) = (f64::from(*range.start()), f64::from(*range.end()));
        let scaled = (number * 1000.0).round();
        if !(least..=most).contains(&scaled) {
            let bounds = decimal(*range.start())..=decimal(*range.end());
            self.out_of_range(slot, number, &bounds);
            return None;
        }
        if (scaled - number * 1000.0).abs() > 1e-6 {
            self.invalid(slot, "must not have more than three decimals");
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, and between two u32"
        )]
        Some(scaled as u32)
    }

    /// A duration within `range`.
    pub fn duration(&mut self, slot: &Slot<'_>, range: &RangeInclusive<Period>) -> Option<Period> {
        let wanted = "a duration";
        match &slot.tree.value {
            Value::String(text) => self.unit(slot, text, Period::parse(text), range),
            Value::Int(number) if *number >= 0 => {
                let hint = format!("name the unit, for example \"{number}s\"");
                self.wrong_type_because(slot, wanted, hint);
                None
            }
            _ => {
                self.wrong_type(slot, wanted, "15s");
                None
            }
        }
    }

    /// A number of bytes within `range`.
    pub fn size(&mut self, slot: &Slot<'_>, range: &RangeInclusive<ByteSize>) -> Option<ByteSize> {
        match &slot.tree.value {
            Value::String(text) => self.unit(slot, text, ByteSize::parse(text), range),
            Value::Int(number) => match u64::try_from(*number).map(ByteSize) {
                Ok(size) if range.contains(&size) => Some(size),
                _ => {
                    self.out_of_range(slot, number, range);
                    None
                }
            },
            _ => {
                self.wrong_type(slot, "a size", "512Mi");
                None
            }
        }
    }

    /// A share of CPU within `range`.
    pub fn percent(
        &mut self,
        slot: &Slot<'_>,
        range: &RangeInclusive<CpuPercent>,
    ) -> Option<CpuPercent> {
        match &slot.tree.value {
            Value::String(text) => self.unit(slot, text, CpuPercent::parse(text), range),
            Value::Int(number) if *number > 0 => {
                let hint = format!("write percent of one CPU, for example \"{number}%\"");
                self.wrong_type_because(slot, "a share of CPU", hint);
                None
            }
            _ => {
                self.wrong_type(slot, "a share of CPU", "\"150%\"");
                None
            }
        }
    }

    fn unit<T: PartialOrd + Display>(
        &mut self,
        slot: &Slot<'_>,
        text: &str,
        parsed: Result<T, UnitError>,
        range: &RangeInclusive<T>,
    ) -> Option<T> {
        match parsed {
            Ok(value) if range.contains(&value) => return Some(value),
            Ok(_) => self.out_of_range(slot, text, range),
            Err(error) => {
                let found = text.to_owned();
                let kind = SpecErrorKind::Unit { found, error };
                self.note(SpecError::new(kind, &slot.path, slot.tree.span));
            }
        }
        None
    }

    fn out_of_range<T: Display>(
        &mut self,
        slot: &Slot<'_>,
        found: impl Display,
        range: &RangeInclusive<T>,
    ) {
        let kind = SpecErrorKind::OutOfRange {
            found: found.to_string(),
            least: range.start().to_string(),
            most: range.end().to_string(),
        };
        self.note(SpecError::new(kind, &slot.path, slot.tree.span));
    }

    /// One word of a table.
    pub fn choice<T: Copy>(&mut self, slot: &Slot<'_>, table: &[(&'static str, T)]) -> Option<T> {
        let words = || table.iter().map(|(word, _)| *word);
        let Value::String(text) = &slot.tree.value else {
            let words: Vec<_> = words().collect();
            let hint = format!("write {}", alternatives(&words));
            self.wrong_type_because(slot, "a word", hint);
            return None;
        };
        let found = table.iter().find(|(word, _)| word == text);
        if found.is_none() {
            self.unknown_value(slot, text, &words().collect::<Vec<_>>());
        }
        found.map(|(_, value)| *value)
    }

    /// Notes a word that is none of `words`.
    pub fn unknown_value(&mut self, slot: &Slot<'_>, found: &str, words: &[&'static str]) {
        let kind = SpecErrorKind::UnknownValue {
            found: found.to_owned(),
            allowed: alternatives(words),
        };
        let mut error = SpecError::new(kind, &slot.path, slot.tree.span);
        error.hint = nearest(found, words.iter().copied()).map(did_you_mean);
        self.note(error);
    }
}

/// Thousandths as a decimal number: 1500 is `1.5`.
fn decimal(thousandths: u32) -> String {
    (f64::from(thousandths) / 1000.0).to_string()
}
