//! Plots: one bar for each value on a logarithmic scale, as SVG written by hand.

use std::fmt::Write;

use super::goal::{Bound, Goal, Verdict};

const WIDTH: f64 = 720.0;
const VALUE_WIDTH: f64 = 90.0;
const ROW_HEIGHT: f64 = 26.0;
const BAR_HEIGHT: f64 = 16.0;
const HEAD_HEIGHT: f64 = 34.0;
const FOOT_HEIGHT: f64 = 26.0;
/// Of one letter of a label, about.
const LETTER_WIDTH: f64 = 6.2;

/// A plot.
pub struct Plot {
    pub title: String,
    pub bars: Vec<Bar>,
}

/// One bar.
pub struct Bar {
    pub label: String,
    /// Where it ends.
    pub value: f64,
    /// Where a tick beyond it stands.
    pub tick: Option<f64>,
    /// What is written beside it.
    pub text: String,
    pub colour: &'static str,
}

/// How much of each target is used up: a bar that ends at 1 or before has met it.
pub fn of_goals(name: &str, goals: &[Goal]) -> Plot {
    let bar = |goal: &Goal| {
        let measured = goal.measured?;
        let share = match goal.bound {
            Bound::AtMost(bound) | Bound::Below(bound) => measured / bound,
            Bound::AtLeast(bound) => bound / measured,
        };
        Some(Bar {
            label: format!("{} {}", goal.id, goal.what),
            value: share,
            tick: None,
            text: format!("{share:.2}"),
            colour: match goal.verdict() {
                Verdict::Met => "#0a7d4f",
                Verdict::Missed | Verdict::NotMeasured => "#b3402a",
            },
        })
    };
    Plot {
        title: format!("bench {name}: share of the target that is used (1: just met)"),
        bars: goals.iter().filter_map(bar).collect(),
    }
}

impl Plot {
    /// The picture.
    pub fn svg(&self) -> String {
        let longest = self.bars.iter().map(|bar| bar.label.chars().count()).max();
        let longest = u32::try_from(longest.unwrap_or(0)).unwrap_or(u32::MAX);
        let left = (f64::from(longest) * LETTER_WIDTH + 16.0).clamp(120.0, WIDTH / 1.6);
        let values = self.bars.iter().map(|bar| bar.value);
        let scale = Scale::over(
            left,
            values.chain(self.bars.iter().filter_map(|bar| bar.tick)),
        );
        let mut body = String::new();
        let mut y = HEAD_HEIGHT;
        for bar in &self.bars {
            draw(&mut body, bar, &scale, y);
            y += ROW_HEIGHT;
        }
        for decade in scale.decades() {
            let x = scale.x(decade);
            // Writing to a String cannot fail.
            let _ = writeln!(
                body,
                r##"<path d="M{x:.1} {HEAD_HEIGHT} V{y}" stroke="#ccc"/>
<text x="{x:.1}" y="{foot}" text-anchor="middle">{decade}</text>"##,
                foot = y + 16.0,
            );
        }
        let height = y + FOOT_HEIGHT;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
<text x="8" y="20" font-size="14">{title}</text>
{body}</svg>
"##,
            title = escape(&self.title),
        )
    }
}

fn draw(body: &mut String, bar: &Bar, scale: &Scale, y: f64) {
    let end = scale.x(bar.value);
    let tick = bar.tick.map_or(end, |tick| scale.x(tick));
    let middle = y + BAR_HEIGHT / 2.0;
    let text = middle + 4.0;
    // Writing to a String cannot fail.
    let _ = writeln!(
        body,
        r##"<text x="{label}" y="{text}" text-anchor="end">{name}</text>
<rect x="{left}" y="{y}" width="{width:.1}" height="{BAR_HEIGHT}" fill="{colour}"/>"##,
        label = scale.left - 8.0,
        name = escape(&bar.label),
        left = scale.left,
        width = end - scale.left,
        colour = bar.colour,
    );
    if bar.tick.is_some() {
        let _ = writeln!(
            body,
            r##"<path d="M{end:.1} {middle} H{tick:.1} m0 -5 v10" stroke="#333" fill="none"/>"##
        );
    }
    let _ = writeln!(
        body,
        r##"<text x="{value:.1}" y="{text}">{words}</text>"##,
        value = tick + 6.0,
        words = escape(&bar.text),
    );
}

/// Values to pixels, logarithmic, over whole decades.
struct Scale {
    /// Where bars begin.
    left: f64,
    /// Exponents of ten at the ends.
    low: f64,
    high: f64,
}

impl Scale {
    fn over(left: f64, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (0.0_f64, 1.0_f64);
        for exponent in values.filter(|value| *value > 0.0).map(f64::log10) {
            low = low.min(exponent.floor());
            high = high.max(exponent.ceil());
        }
        Self { left, low, high }
    }

    fn x(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.left + share.clamp(0.0, 1.0) * (WIDTH - self.left - VALUE_WIDTH)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        let (low, high) = (self.low, self.high);
        let exponents = std::iter::successors(Some(low), |exponent| Some(exponent + 1.0));
        exponents
            .take_while(move |exponent| *exponent <= high)
            .map(|exponent| 10_f64.powf(exponent))
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(svg: &str) -> Vec<f64> {
        let bars = svg
            .lines()
            .filter(|line| line.contains("fill=\"#") && line.contains("<rect x="));
        let width = |line: &str| {
            let (_, after) = line.split_once("width=\"")?;
            after.split_once('"')?.0.parse().ok()
        };
        bars.filter_map(width).collect()
    }

    #[test]
    fn every_value_has_a_bar_and_the_larger_one_the_longer() {
        let bar = |value| Bar {
            label: "one".to_owned(),
            value,
            tick: Some(value * 2.0),
            text: String::new(),
            colour: "#000",
        };
        let plot = Plot {
            title: "bars".to_owned(),
            bars: [0.5, 3.0, 40.0].map(bar).into(),
        };
        let bars = widths(&plot.svg());
        assert_eq!(bars.len(), 3);
        assert!(bars.is_sorted(), "{bars:?}");
    }

    #[test]
    fn a_target_is_used_up_from_either_side() {
        let goal = |bound, value| Goal::new("P0", "x", bound, "", Some(value));
        let goals = [
            goal(Bound::AtMost(50.0), 25.0),
            goal(Bound::AtLeast(12.0), 24.0),
            goal(Bound::AtLeast(12.0), 6.0),
        ];
        let plot = of_goals("x", &goals);
        let shares: Vec<f64> = plot.bars.iter().map(|bar| bar.value).collect();
        assert_eq!(shares, [0.5, 0.5, 2.0]);
        assert_ne!(plot.bars[1].colour, plot.bars[2].colour);
    }

    #[test]
    fn a_name_cannot_break_the_markup() {
        assert_eq!(escape("a<b & c"), "a&lt;b &amp; c");
    }
}
