//! The results: JSON for programs, Markdown for people.

use std::fmt::Write;

use super::{
    Settings,
    contenders::Role,
    measure::{Entrant, Measures},
    stats::{as_float, median, p99},
};
use crate::{bench::machine::Machine, project};

/// A whole run.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// How.
    pub settings: Settings,
    /// File system of the state directories.
    pub file_system: String,
    /// Who, in the order of the table.
    pub rows: Vec<Row>,
}

/// One contender.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub name: String,
    pub role: Role,
    pub version: String,
    pub settings: String,
    pub measures: Measures,
    /// Why it was not measured, or not to the end.
    pub failure: Option<String>,
}

impl From<Entrant> for Row {
    fn from(entrant: Entrant) -> Self {
        Self {
            name: entrant.contender.name(),
            role: entrant.contender.role(),
            version: entrant.version,
            settings: entrant.contender.settings(),
            measures: entrant.measures,
            // The table may go into the documentation: where this checkout lies does not.
            failure: entrant
                .failure
                .map(|reason| reason.replace(&format!("{}/", project::root().display()), "")),
        }
    }
}

/// What a column of times is made of.
type Samples = fn(&Measures) -> &[u64];

const SETTLED: Samples = |measures| &measures.settled_ns;
const YOUNG: Samples = |measures| &measures.young_ns;
const BURST: Samples = |measures| &measures.burst_ns;

impl Report {
    /// Rows that were measured, fastest first, as the table and the plot show them.
    pub fn ranking(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| row.failure.is_none() && !row.measures.settled_ns.is_empty())
            .collect();
        rows.sort_by(|a, b| {
            let key = |row: &Row| median(&row.measures.settled_ns).unwrap_or(f64::INFINITY);
            key(a).total_cmp(&key(b))
        });
        rows
    }

    /// The median of a row's samples against the floor's.
    fn to_floor(&self, row: &Row, samples: Samples) -> Option<f64> {
        let floor = self.rows.iter().find(|other| other.role == Role::Floor)?;
        Some(median(samples(&row.measures))? / median(samples(&floor.measures))?)
    }

    /// The median of a row's samples against those of the fastest peer.
    fn to_best_peer(&self, row: &Row, samples: Samples) -> Option<f64> {
        let ranking = self.ranking();
        let peers = ranking.iter().filter(|other| other.role == Role::Peer);
        let medians = peers.filter_map(|other| median(samples(&other.measures)));
        let best = medians.min_by(f64::total_cmp)?;
        Some(median(samples(&row.measures))? / best)
    }

    /// Tables and what one has to know to read them.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let Settings { burst, many, .. } = &self.settings;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| | median ms | p99 ms | x floor | x best peer \
             | killed 0.1 s after start, ms | {burst} at once, ms | x floor | x best peer \
             | PSS, 1 to {many} agents, MiB | idle CPU at {many}, ms/s |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
        );
        for row in self.ranking() {
            let _ = writeln!(text, "{}", self.table_line(row));
        }
        text.push('\n');
        for row in self.rows.iter().filter(|row| row.failure.is_some()) {
            let reason = row.failure.as_deref().unwrap_or_default();
            let _ = writeln!(text, "- Not measured: {}: {reason}", row.name);
        }
        for row in self.ranking() {
            let Measures {
                settled_ns,
                young_ns,
                burst_ns,
                ..
            } = &row.measures;
            let _ = writeln!(
                text,
                "- {} {}: {} ({} + {} kills, {} bursts)",
                row.name,
                row.version,
                row.settings,
                settled_ns.len(),
                young_ns.len(),
                burst_ns.len()
            );
        }
        let _ = writeln!(
            text,
            "- Machine: {}; state on {}.",
            self.machine.describe(),
            self.file_system
        );
        text
    }

    fn table_line(&self, row: &Row) -> String {
        let measures = &row.measures;
        let name = match row.role {
            Role::Osmoda => "**osmoda**",
            Role::Floor | Role::Peer => &row.name,
        };
        let memory = match (measures.memory_one, measures.memory_many) {
            (Some(one), Some(many)) => format!("{} to {}", mebibytes(one), mebibytes(many)),
            _ => "-".to_owned(),
        };
        let cells = [
            name.to_owned(),
            milliseconds(median(&measures.settled_ns)),
            milliseconds(p99(&measures.settled_ns)),
            ratio(self.to_floor(row, SETTLED)),
            ratio(self.to_best_peer(row, SETTLED)),
            milliseconds(median(YOUNG(measures))),
            milliseconds(median(BURST(measures))),
            ratio(self.to_floor(row, BURST)),
            ratio(self.to_best_peer(row, BURST)),
            memory,
            number(measures.idle_ms_per_s, 3),
        ];
        format!("| {} |", cells.join(" | "))
    }
}

fn milliseconds(nanoseconds: Option<f64>) -> String {
    number(nanoseconds.map(|value| value / 1e6), 2)
}

fn ratio(value: Option<f64>) -> String {
    number(value, 2)
}

fn mebibytes(bytes: u64) -> String {
    number(Some(as_float(bytes) / 1_048_576.0), 1)
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn row(name: &str, role: Role, milliseconds: &[u64]) -> Row {
        Row {
            name: name.to_owned(),
            role,
            version: "1".to_owned(),
            settings: "none".to_owned(),
            measures: Measures {
                settled_ns: milliseconds.iter().map(|ms| ms * 1_000_000).collect(),
                ..Measures::default()
            },
            failure: None,
        }
    }

    /// A made-up run: a floor of 1 ms, peers of 2 and 4 ms, osmoda of 3 ms.
    pub fn example() -> Report {
        let mut absent = row("nosv", Role::Peer, &[]);
        absent.failure = Some("is not installed".to_owned());
        Report {
            machine: Machine::look(),
            settings: Settings {
                kills: 3,
                burst: 50,
                many: 200,
            },
            file_system: "ext4".to_owned(),
            rows: vec![
                row("floor", Role::Floor, &[1, 1, 1]),
                row("slow", Role::Peer, &[4, 4, 4]),
                row("osmoda", Role::Osmoda, &[3, 3, 9]),
                row("fast", Role::Peer, &[2, 2, 2]),
                absent,
            ],
        }
    }

    #[test]
    fn ratios_are_to_the_floor_and_to_the_fastest_peer() {
        let text = example().markdown();
        let line = text.lines().find(|line| line.contains("osmoda")).unwrap();
        assert!(
            line.starts_with("| **osmoda** | 3.00 | 9.00 | 3.00 | 1.50 |"),
            "{line}"
        );
    }

    #[test]
    fn who_leads_is_still_compared_with_the_fastest_peer() {
        let mut report = example();
        report.rows[2] = row("osmoda", Role::Osmoda, &[1, 1, 1]);
        let text = report.markdown();
        assert!(
            text.contains("| **osmoda** | 1.00 | 1.00 | 1.00 | 0.50 |"),
            "{text}"
        );
    }

    #[test]
    fn the_fastest_comes_first_and_who_is_missing_is_told_why() {
        let report = example();
        let names: Vec<&str> = report.ranking().iter().map(|row| &*row.name).collect();
        assert_eq!(names, ["floor", "fast", "osmoda", "slow"]);
        assert!(
            report
                .markdown()
                .contains("- Not measured: nosv: is not installed")
        );
    }
}
