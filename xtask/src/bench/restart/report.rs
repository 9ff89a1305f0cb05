//! The results: JSON for programs, Markdown for people, and what they say to the targets.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    Settings,
    contenders::Role,
    measure::{Entrant, Measures, Part},
};
use crate::{
    bench::{
        goal::{Bound, Goal},
        machine::Machine,
        plot::{Bar, Plot},
        stats::{as_float, median, p99},
    },
    project,
};

/// P4: most memory with one agent.
const MEMORY_ONE_MIB: f64 = 12.0;

/// P4: most memory that another agent may add.
const MEMORY_EACH_KIB: f64 = 15.0;

/// P1 to P3: how many times the floor a restart may take.
const TIMES_FLOOR: f64 = 2.0;

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
    /// Type of the file system that everybody's other directories are on.
    pub directories: String,
    /// Who, in the order of their turns.
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
    /// Why it was not measured at all.
    pub absent: Option<String>,
    /// What it did not manage, and why.
    pub failures: BTreeMap<Part, String>,
}

impl From<Entrant> for Row {
    fn from(entrant: Entrant) -> Self {
        // The table may go into the documentation: where this checkout lies does not.
        let root = format!("{}/", project::root().display());
        let anywhere = |reason: String| reason.replace(&root, "").replace('\n', " ");
        let failures = entrant.failures.into_iter();
        Self {
            name: entrant.contender.name(),
            role: entrant.contender.role(),
            version: entrant.version,
            settings: entrant.contender.settings(),
            measures: entrant.measures,
            absent: entrant.absent.map(anywhere),
            failures: failures.map(|(part, why)| (part, anywhere(why))).collect(),
        }
    }
}

/// What a column of times is made of.
type Samples = fn(&Measures) -> &[u64];

const SETTLED: Samples = |measures| &measures.settled_ns;
const YOUNG: Samples = |measures| &measures.young_ns;
const BURST: Samples = |measures| &measures.burst_ns;
const FLOOD: Samples = |measures| &measures.flood_ns;

impl Report {
    /// Every row, fastest first; those without a time are last.
    pub fn ranking(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|a, b| {
            let key = |row: &Row| median(SETTLED(&row.measures)).unwrap_or(f64::INFINITY);
            key(a).total_cmp(&key(b))
        });
        rows
    }

    /// The median of a row's samples against the floor's.
    fn to_floor(&self, row: &Row, samples: Samples) -> Option<f64> {
        let floor = self.rows.iter().find(|other| other.role == Role::Floor)?;
        Some(median(samples(&row.measures))? / median(samples(&floor.measures))?)
    }

    /// The median of a row's samples against those of the fastest peer, as its manual has it.
    fn to_best_peer(&self, row: &Row, samples: Samples) -> Option<f64> {
        let peers = self.rows.iter().filter(|other| other.role == Role::Peer);
        let medians = peers.filter_map(|other| median(samples(&other.measures)));
        let best = medians.min_by(f64::total_cmp)?;
        Some(median(samples(&row.measures))? / best)
    }

    /// osmoda's median of one settled agent against that of the fastest peer.
    pub fn settled_to_best_peer(&self) -> Option<f64> {
        let own = self.rows.iter().find(|row| row.role == Role::Osmoda)?;
        self.to_best_peer(own, SETTLED)
    }

    /// Whether osmoda and the floor did all that they were measured for. What a peer did not do
    /// is in the table.
    ///
    /// # Errors
    /// One of them did not.
    pub fn demand_whole(&self) -> anyhow::Result<()> {
        for row in self.rows.iter().filter(|row| row.role != Role::Peer) {
            if let Some((part, reason)) = row.failures.first_key_value() {
                anyhow::bail!("{}, {}: {reason}", row.name, part.name());
            }
        }
        Ok(())
    }

    /// P1 to P4.
    pub fn goals(&self) -> Vec<Goal> {
        let Some(own) = self.rows.iter().find(|row| row.role == Role::Osmoda) else {
            return Vec::new();
        };
        let Settings { burst, flood, .. } = self.settings;
        let times = [
            ("P1", "crash to restart".to_owned(), SETTLED),
            ("P2", "first crash of a young agent".to_owned(), YOUNG),
            ("P3", format!("{burst} killed at once"), BURST),
            ("P3", format!("{flood} killed at once"), FLOOD),
        ];
        let mut goals = Vec::new();
        for (id, what, samples) in times {
            let (floor, peer) = (self.to_floor(own, samples), self.to_best_peer(own, samples));
            let against = |whom: &str| format!("{what}, against {whom}");
            let floor = (against("the floor"), Bound::AtMost(TIMES_FLOOR), floor);
            let peer = (against("the best peer"), Bound::Below(1.0), peer);
            for (what, bound, value) in [floor, peer] {
                goals.push(Goal::new(id, what, bound, "x", value));
            }
        }
        let one = own.measures.memory_one.map(as_float);
        goals.push(Goal::new(
            "P4",
            "memory with one agent (PSS)",
            Bound::AtMost(MEMORY_ONE_MIB),
            "MiB",
            one.map(|bytes| bytes / 1_048_576.0),
        ));
        let most = own.measures.memory_most.map(as_float);
        let others = u32::try_from(flood.saturating_sub(1)).unwrap_or(u32::MAX);
        goals.push(Goal::new(
            "P4",
            format!("memory for each further agent, up to {flood}"),
            Bound::AtMost(MEMORY_EACH_KIB),
            "KiB",
            most.zip(one)
                .map(|(most, one)| (most - one) / 1024.0 / f64::from(others.max(1))),
        ));
        goals
    }

    /// Tables and what one has to know to read them.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let Settings {
            burst, flood, many, ..
        } = &self.settings;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| | median ms | p99 ms | x floor | x best peer \
             | killed 0.1 s after start, ms | {burst} at once, ms | x floor | x best peer \
             | {flood} at once, ms | x floor | x best peer \
             | PSS with 1, {many}, {flood} agents, MiB | idle CPU at {many}, ms/s |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
        );
        for row in self.ranking() {
            let _ = writeln!(text, "{}", self.table_line(row));
        }
        text.push('\n');
        self.end(&mut text);
        text
    }

    /// What stands below a table.
    fn end(&self, text: &mut String) {
        for row in self.ranking() {
            text.push_str(&explain(row));
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "- Machine: {}; osmoda's ledger and daemontools' services on {}, everybody's other files on {}.",
            self.machine.describe(),
            self.file_system,
            self.directories
        );
    }

    /// A table of kills alone.
    pub fn short_markdown(&self) -> String {
        let mut text = format!(
            "| | median ms | p99 ms | x floor | x best peer | {} at once, ms | x floor |\n\
             |---|--:|--:|--:|--:|--:|--:|\n",
            self.settings.burst
        );
        for row in self.ranking() {
            let measures = &row.measures;
            let cells = [
                row.name.clone(),
                milliseconds(median(SETTLED(measures))),
                milliseconds(p99(SETTLED(measures))),
                ratio(self.to_floor(row, SETTLED)),
                ratio(self.to_best_peer(row, SETTLED)),
                milliseconds(median(BURST(measures))),
                ratio(self.to_floor(row, BURST)),
            ];
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text.push('\n');
        self.end(&mut text);
        text
    }

    fn table_line(&self, row: &Row) -> String {
        let measures = &row.measures;
        let name = match row.role {
            Role::Osmoda => "**osmoda**",
            Role::Floor | Role::Peer | Role::Bare => &row.name,
        };
        if row.absent.is_some() {
            return format!("| {name} | not measured{} |", " | see below".repeat(12));
        }
        let memory = [
            measures.memory_one,
            measures.memory_many,
            measures.memory_most,
        ]
        .map(|bytes| bytes.map_or_else(|| "-".to_owned(), mebibytes));
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
            milliseconds(median(FLOOD(measures))),
            ratio(self.to_floor(row, FLOOD)),
            ratio(self.to_best_peer(row, FLOOD)),
            memory.join(", "),
            number(measures.idle_ms_per_s, 3),
        ];
        format!("| {} |", cells.join(" | "))
    }

    /// One bar for each contender that has a time: it ends at the median of one killed agent, the
    /// tick beyond it is the 99th percentile.
    pub fn plot(&self) -> Plot {
        let bar = |row: &&Row| {
            let samples = SETTLED(&row.measures);
            let middle = median(samples)? / 1e6;
            Some(Bar {
                label: row.name.clone(),
                value: middle,
                tick: p99(samples).map(|ns| ns / 1e6),
                text: format!("{middle:.2} ms"),
                colour: match row.role {
                    Role::Osmoda => "#0a7d4f",
                    Role::Floor => "#9a9a9a",
                    Role::Peer => "#5b7fa6",
                    Role::Bare => "#a9bfd6",
                },
            })
        };
        Plot {
            title: "Crash to restart: median, tick at the 99th percentile (ms, logarithmic)"
                .to_owned(),
            bars: self.ranking().iter().filter_map(bar).collect(),
        }
    }
}

/// What stands below the table about a row: how it was run, and why a cell of it is empty.
fn explain(row: &Row) -> String {
    if let Some(reason) = &row.absent {
        return format!("- {} was not measured: {reason}\n", row.name);
    }
    let count = |samples: Samples| samples(&row.measures).len();
    let mut text = format!(
        "- {} {}: {} ({} + {} kills, {} + {} bursts)\n",
        row.name,
        row.version,
        row.settings,
        count(SETTLED),
        count(YOUNG),
        count(BURST),
        count(FLOOD)
    );
    for (part, reason) in &row.failures {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - {}: not measured: {reason}", part.name());
    }
    text
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
mod tests {
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
            absent: None,
            failures: BTreeMap::new(),
        }
    }

    /// A made-up run: a floor of 1 ms, peers of 2 and 4 ms, osmoda of 3 ms.
    fn example() -> Report {
        let mut absent = row("nosv", Role::Peer, &[]);
        absent.absent = Some("is not installed".to_owned());
        Report {
            machine: Machine::look(),
            settings: Settings {
                kills: 3,
                burst: 50,
                flood: 1000,
                many: 200,
            },
            file_system: "ext4".to_owned(),
            directories: "tmpfs".to_owned(),
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
    fn who_leaves_out_its_manuals_script_has_a_row_and_is_not_the_best_peer() {
        let mut report = example();
        report.rows.push(row("bare", Role::Bare, &[1, 1, 1]));
        let text = report.markdown();
        assert!(
            text.contains("| **osmoda** | 3.00 | 9.00 | 3.00 | 1.50 |"),
            "{text}"
        );
        assert!(
            text.contains("| bare | 1.00 | 1.00 | 1.00 | 0.50 |"),
            "{text}"
        );
    }

    #[test]
    fn the_fastest_comes_first_and_who_is_missing_is_told_why() {
        let report = example();
        let names: Vec<&str> = report.ranking().iter().map(|row| &*row.name).collect();
        assert_eq!(names, ["floor", "fast", "osmoda", "slow", "nosv"]);
        let text = report.markdown();
        assert!(text.contains("| nosv | not measured | see below"), "{text}");
        assert!(
            text.contains("- nosv was not measured: is not installed"),
            "{text}"
        );
        assert_eq!(report.plot().bars.len(), 4);
    }

    #[test]
    fn every_line_of_the_table_has_as_many_cells() {
        let text = example().markdown();
        let lines = text.lines().filter(|line| line.starts_with('|'));
        let cells: Vec<usize> = lines.map(|line| line.matches('|').count()).collect();
        assert!(cells.iter().all(|count| *count == cells[0]), "{text}");
    }

    #[test]
    fn an_empty_cell_has_its_reason_below() {
        let mut report = example();
        let reason = "no agent came".to_owned();
        report.rows[1].failures.insert(Part::Flood, reason);
        let text = report.markdown();
        let line = "  - a great many killed at once: not measured: no agent came\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn memory_of_a_further_agent_is_the_slope() {
        let mut report = example();
        report.rows[2].measures.memory_one = Some(10 << 20);
        report.rows[2].measures.memory_most = Some((10 << 20) + 999 * 4096);
        let goals = report.goals();
        let memory: Vec<_> = goals.iter().filter(|goal| goal.id == "P4").collect();
        assert_eq!(memory[0].measured, Some(10.0));
        assert_eq!(memory[1].measured, Some(4.0));
    }
}
