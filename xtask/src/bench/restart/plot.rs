//! The plot: one bar for each contender on a logarithmic scale, as SVG written by hand.
//!
//! A bar ends at the median; the tick beyond it is the 99th percentile.

use std::fmt::Write;

use super::{
    contenders::Role,
    report::Report,
    stats::{median, p99},
};

const WIDTH: f64 = 720.0;
const LABEL_WIDTH: f64 = 170.0;
const VALUE_WIDTH: f64 = 70.0;
const ROW_HEIGHT: f64 = 26.0;
const BAR_HEIGHT: f64 = 16.0;
const HEAD_HEIGHT: f64 = 34.0;
const FOOT_HEIGHT: f64 = 26.0;

/// Draws the medians of one killed agent.
pub fn svg(report: &Report) -> String {
    let rows = report.ranking();
    let values = rows.iter().filter_map(|row| {
        let samples = &row.measures.settled_ns;
        Some((row, median(samples)? / 1e6, p99(samples)? / 1e6))
    });
    let values: Vec<_> = values.collect();
    let scale = Scale::over(values.iter().flat_map(|(_, median, p99)| [*median, *p99]));
    let mut body = String::new();
    let mut y = HEAD_HEIGHT;
    for (row, median, p99) in &values {
        let (end, tick) = (scale.x(*median), scale.x(*p99));
        let colour = match row.role {
            Role::Osmoda => "#0a7d4f",
            Role::Floor => "#9a9a9a",
            Role::Peer => "#5b7fa6",
        };
        let middle = y + BAR_HEIGHT / 2.0;
        let text = middle + 4.0;
        // Writing to a String cannot fail.
        let _ = writeln!(
            body,
            r##"<text x="{label}" y="{text}" text-anchor="end">{name}</text>
<rect x="{LABEL_WIDTH}" y="{y}" width="{width:.1}" height="{BAR_HEIGHT}" fill="{colour}"/>
<path d="M{end:.1} {middle} H{tick:.1} m0 -5 v10" stroke="#333" fill="none"/>
<text x="{value:.1}" y="{text}">{median:.2} ms</text>"##,
            label = LABEL_WIDTH - 8.0,
            name = escape(&row.name),
            width = end - LABEL_WIDTH,
            value = tick + 6.0,
        );
        y += ROW_HEIGHT;
    }
    for decade in scale.decades() {
        let x = scale.x(decade);
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
<text x="8" y="20" font-size="14">Crash to restart: median, tick at the 99th percentile (ms, logarithmic)</text>
{body}</svg>
"##
    )
}

/// Milliseconds to pixels, logarithmic, over whole decades.
struct Scale {
    /// Exponents of ten at the ends.
    low: f64,
    high: f64,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (0.0_f64, 1.0_f64);
        for exponent in values.filter(|value| *value > 0.0).map(f64::log10) {
            low = low.min(exponent.floor());
            high = high.max(exponent.ceil());
        }
        Self { low, high }
    }

    fn x(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        LABEL_WIDTH + share.clamp(0.0, 1.0) * (WIDTH - LABEL_WIDTH - VALUE_WIDTH)
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
    use crate::bench::restart::report;

    #[test]
    fn every_measured_contender_has_a_bar_and_the_slower_one_the_longer() {
        let text = svg(&report::tests::example());
        let bars: Vec<f64> = text
            .lines()
            .filter(|line| line.contains("fill=\"#") && line.contains("<rect x="))
            .filter_map(|line| {
                let (_, after) = line.split_once("width=\"")?;
                after.split_once('"')?.0.parse().ok()
            })
            .collect();
        assert_eq!(bars.len(), 4);
        assert!(bars.is_sorted(), "{bars:?}");
    }

    #[test]
    fn a_name_cannot_break_the_markup() {
        assert_eq!(escape("a<b & c"), "a&lt;b &amp; c");
    }
}
