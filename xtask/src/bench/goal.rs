//! The targets of the design (P1 to P12) and what was measured of each.
//!
//! A benchmark gives its goals with its table; whether a target is met is said in the document
//! and nowhere asserted.

use std::fmt::Write as _;

use serde::Serialize;

/// What a measured value must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    AtMost(f64),
    /// Less than: to be ahead of somebody.
    Below(f64),
    AtLeast(f64),
}

/// One target and what came out.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Goal {
    /// Its line in the design's table.
    pub id: &'static str,
    pub what: String,
    pub bound: Bound,
    pub unit: &'static str,
    /// `None`: it was not measured; the reason is with the table.
    pub measured: Option<f64>,
}

/// How a goal fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    NotMeasured,
}

impl Goal {
    pub fn new(
        id: &'static str,
        what: impl Into<String>,
        bound: Bound,
        unit: &'static str,
        measured: Option<f64>,
    ) -> Self {
        Self {
            id,
            what: what.into(),
            bound,
            unit,
            measured,
        }
    }

    pub fn verdict(&self) -> Verdict {
        match (self.measured, self.bound) {
            (None, _) => Verdict::NotMeasured,
            (Some(value), Bound::AtMost(bound)) if value <= bound => Verdict::Met,
            (Some(value), Bound::Below(bound)) if value < bound => Verdict::Met,
            (Some(value), Bound::AtLeast(bound)) if value >= bound => Verdict::Met,
            (Some(_), _) => Verdict::Missed,
        }
    }

    fn target(&self) -> String {
        let (word, value) = match self.bound {
            Bound::AtMost(value) => ("at most", value),
            Bound::Below(value) => ("below", value),
            Bound::AtLeast(value) => ("at least", value),
        };
        format!("{word} {value} {}", self.unit)
            .trim_end()
            .to_owned()
    }
}

/// A table of goals, for people.
pub fn markdown(goals: &[Goal]) -> String {
    let mut text = String::from("| | | target | measured | |\n|---|---|--:|--:|---|\n");
    for goal in goals {
        let measured = goal.measured.map_or_else(
            || "-".to_owned(),
            |value| {
                format!("{} {}", short(value), goal.unit)
                    .trim_end()
                    .to_owned()
            },
        );
        let verdict = match goal.verdict() {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::NotMeasured => "not measured",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {measured} | {verdict} |",
            goal.id,
            goal.what,
            goal.target()
        );
    }
    text
}

/// With as many digits as tell something, and never so few that a missed target looks met.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(bound: Bound, measured: Option<f64>) -> Goal {
        Goal::new("P0", "something", bound, "ms", measured)
    }

    #[test]
    fn a_bound_holds_up_to_itself_and_being_ahead_does_not() {
        assert_eq!(goal(Bound::AtMost(2.0), Some(2.0)).verdict(), Verdict::Met);
        assert_eq!(
            goal(Bound::AtMost(2.0), Some(2.1)).verdict(),
            Verdict::Missed
        );
        assert_eq!(
            goal(Bound::Below(1.0), Some(1.0)).verdict(),
            Verdict::Missed
        );
        assert_eq!(
            goal(Bound::AtLeast(12.0), Some(12.0)).verdict(),
            Verdict::Met
        );
        assert_eq!(
            goal(Bound::AtLeast(12.0), Some(11.9)).verdict(),
            Verdict::Missed
        );
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let goal = goal(Bound::AtMost(2.0), None);
        assert_eq!(goal.verdict(), Verdict::NotMeasured);
        let text = markdown(&[goal]);
        let line = "| P0 | something | at most 2 ms | - | not measured |";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn the_table_says_target_value_and_verdict() {
        let text = markdown(&[goal(Bound::AtMost(50.0), Some(62.25))]);
        let line = "| P0 | something | at most 50 ms | 62.2 ms | **missed** |";
        assert!(text.contains(line), "{text}");
    }
}
