//! The text that a Prometheus server reads.
//!
//! Sources: OpenMetrics 1.0 (github.com/prometheus/OpenMetrics, specification/OpenMetrics.md) and
//! the Prometheus text format 0.0.4. They differ in few places, all of them here: OpenMetrics
//! names a counter's family without `_total`, has units and an info type, and ends with `# EOF`.

use std::fmt::Write as _;

use super::histogram::Histogram;

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4, for readers that do not ask for the other.
    Prometheus,
}

impl Form {
    /// What a reader asks for in `Accept`: OpenMetrics is what contract and documents speak of,
    /// and is given to everyone who does not ask for plain text alone.
    pub fn wanted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept)
                if !accept.contains("application/openmetrics-text")
                    && accept.contains("text/plain") =>
            {
                Self::Prometheus
            }
            _ => Self::OpenMetrics,
        }
    }

    /// Its Content-Type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, but for a new start.
    Counter,
    /// Durations in buckets, in seconds.
    Histogram,
    /// Labels and nothing else.
    Info,
}

/// Labels of a series: names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A text in the making.
#[derive(Debug)]
pub struct Text {
    form: Form,
    written: String,
    family: String,
    kind: Kind,
}

impl Text {
    /// An empty one.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            written: String::new(),
            family: String::new(),
            kind: Kind::Gauge,
        }
    }

    /// Begins a family. `name` is without `_total` and `_info`; `unit`, if not empty, is its end.
    pub fn family(&mut self, name: &str, kind: Kind, unit: &str, help: &str) {
        debug_assert!(unit.is_empty() || name.ends_with(&format!("_{unit}")));
        name.clone_into(&mut self.family);
        self.kind = kind;
        let (shown, word) = match (self.form, kind) {
            (_, Kind::Gauge) => (name.to_owned(), "gauge"),
            (_, Kind::Histogram) => (name.to_owned(), "histogram"),
            (Form::OpenMetrics, Kind::Counter) => (name.to_owned(), "counter"),
            (Form::Prometheus, Kind::Counter) => (format!("{name}_total"), "counter"),
            (Form::OpenMetrics, Kind::Info) => (name.to_owned(), "info"),
            (Form::Prometheus, Kind::Info) => (format!("{name}_info"), "gauge"),
        };
        self.line(format_args!("# TYPE {shown} {word}"));
        if self.form == Form::OpenMetrics && !unit.is_empty() {
            self.line(format_args!("# UNIT {shown} {unit}"));
        }
        let help = escaped(help, self.form == Form::OpenMetrics);
        self.line(format_args!("# HELP {shown} {help}"));
    }

    /// A series of the family.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Into<Value>) {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.series(suffix, labels, None, value.into());
    }

    /// The family's only histogram.
    pub fn histogram(&mut self, seen: &Histogram) {
        for (bound, count) in seen.cumulative() {
            let bound = bound.map_or("+Inf".to_owned(), |us| float(us as f64 / 1e6));
            self.series("_bucket", &[], Some(&bound), count.into());
        }
        self.series("_sum", &[], None, (seen.sum_us() as f64 / 1e6).into());
        self.series("_count", &[], None, seen.count().into());
    }

    /// The whole text.
    pub fn end(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.written.push_str("# EOF\n");
        }
        self.written
    }

    fn series(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: Value) {
        self.written.push_str(&self.family);
        self.written.push_str(suffix);
        let all = labels.iter().copied().chain(bound.map(|le| ("le", le)));
        let mut open = false;
        for (name, text) in all {
            self.written.push(if open { ',' } else { '{' });
            open = true;
            let text = escaped(text, true);
            // Writing to a String cannot fail, here and below.
            let _ = write!(self.written, "{name}=\"{text}\"");
        }
        self.written.push_str(if open { "} " } else { " " });
        match value {
            Value::Whole(number) => _ = write!(self.written, "{number}"),
            Value::Float(number) => self.written.push_str(&float(number)),
        }
        self.written.push('\n');
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = self.written.write_fmt(line);
        self.written.push('\n');
    }
}

/// Value of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number of things.
    Whole(u64),
    /// A measure.
    Float(f64),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Value {
    fn from(holds: bool) -> Self {
        Self::Whole(holds.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

/// A float with its point, as canonical bucket bounds have it (`1.0`, not `1`).
fn float(number: f64) -> String {
    format!("{number:?}")
}

/// Backslash and line feed are escaped everywhere, quotes where they could end something.
fn escaped(text: &str, quotes: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '"' if quotes => shown.push_str("\\\""),
            other => shown.push(other),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form) -> String {
        let mut text = Text::new(form);
        text.family("a_seconds", Kind::Counter, "seconds", "It says \"so\".");
        text.sample(&[("agent", "x"), ("odd", "a\"b\\c\nd")], 1.5);
        text.family("b", Kind::Info, "", "Who.");
        text.sample(&[("version", "1")], 1u64);
        text.family("c_seconds", Kind::Histogram, "seconds", "How long.");
        let mut seen = Histogram::new(&[1_000_000]);
        seen.observe_us(500_000);
        text.histogram(&seen);
        text.end()
    }

    #[test]
    fn open_metrics_has_units_an_info_type_and_an_end() {
        let expected = r##"# TYPE a_seconds counter
# UNIT a_seconds seconds
# HELP a_seconds It says \"so\".
a_seconds_total{agent="x",odd="a\"b\\c\nd"} 1.5
# TYPE b info
# HELP b Who.
b_info{version="1"} 1
# TYPE c_seconds histogram
# UNIT c_seconds seconds
# HELP c_seconds How long.
c_seconds_bucket{le="1.0"} 1
c_seconds_bucket{le="+Inf"} 1
c_seconds_sum 0.5
c_seconds_count 1
# EOF
"##;
        assert_eq!(written(Form::OpenMetrics), expected);
    }

    #[test]
    fn the_older_text_names_a_counter_as_its_series() {
        let text = written(Form::Prometheus);
        assert!(text.starts_with(
            "# TYPE a_seconds_total counter\n# HELP a_seconds_total It says \"so\".\n"
        ));
        assert!(text.contains("# TYPE b_info gauge\n"));
        assert!(!text.contains("EOF") && !text.contains("UNIT"), "{text}");
    }

    #[test]
    fn a_reader_gets_what_it_asks_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;q=0.3";
        assert_eq!(Form::wanted(Some(prometheus)), Form::OpenMetrics);
        assert_eq!(Form::wanted(Some("text/plain")), Form::Prometheus);
        assert_eq!(Form::wanted(Some("*/*")), Form::OpenMetrics);
        assert_eq!(Form::wanted(None), Form::OpenMetrics);
    }
}
