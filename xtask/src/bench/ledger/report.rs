//! The results of the ledger's benchmark: JSON for programs, Markdown for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Append, FirstAgent, Settings, Start, Verify};
use crate::bench::{
    machine::Machine,
    restart::stats::{as_float, median, p99},
};

/// A whole run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub machine: Machine,
    pub settings: Settings,
    /// Of the large ledger.
    pub file_system: String,
    pub verify: Verify,
    pub start: Start,
    pub first_agent: FirstAgent,
    /// On the large ledger.
    pub append: Append,
    pub append_to_empty: Append,
}

impl Report {
    /// The table and what one has to know to read it.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| | empty | large | target |\n|---|--:|--:|--:|\n");
        let mut row = |name: &str, empty: String, large: String, target: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {name} | {empty} | {large} | {target} |");
        };
        let (empty, large) = (&self.append_to_empty, &self.append);
        row(
            "entries before",
            empty.entries_before.to_string(),
            large.entries_before.to_string(),
            "",
        );
        let milliseconds = |samples: &[u64]| fixed(median(samples).map(|ns| ns / 1e6), 3);
        row(
            "plain append and fdatasync, ms",
            milliseconds(&empty.floor_ns),
            milliseconds(&large.floor_ns),
            "",
        );
        row(
            "one durable commit, ms",
            milliseconds(&empty.single_ns),
            milliseconds(&large.single_ns),
            "",
        );
        let slow = |samples: &[u64]| fixed(p99(samples).map(|ns| ns / 1e6), 3);
        row(
            "one durable commit, ms, p99",
            slow(&empty.single_ns),
            slow(&large.single_ns),
            "",
        );
        let single = |append: &Append| fixed(speed(append), 2);
        row(
            "one commit, x plain append",
            single(empty),
            single(large),
            "0.85",
        );
        let many = |append: &Append| fixed(many_speed(append), 1);
        row(
            "64 writers, commits, x plain append",
            many(empty),
            many(large),
            "12",
        );
        let head = |append: &Append| fixed(median(&append.head_ns).map(|ns| ns / 1e3), 2);
        row("head (what status asks), µs", head(empty), head(large), "");
        let dash = || "-".to_owned();
        let rate =
            median(&self.verify.verify_ns).map(|ns| as_float(self.verify.entries) / ns * 1e3);
        row(
            "verify, million entries a second",
            dash(),
            fixed(rate, 2),
            "1",
        );
        let hash = ratio(median(&self.verify.hash_ns), median(&self.verify.verify_ns));
        row("verify, x hashing in memory", dash(), fixed(hash, 2), "0.4");
        let verify = median(&self.verify.verify_cpu_ns);
        let each = verify.map(|ns| ns / as_float(self.verify.entries.max(1)) / 1e3);
        row(
            "verify, processor time of an entry, µs",
            dash(),
            fixed(each, 2),
            "",
        );
        let hash = ratio(median(&self.verify.hash_cpu_ns), verify);
        row(
            "verify, x hashing, by processor time",
            dash(),
            fixed(hash, 2),
            "",
        );
        let peak = as_float(self.verify.peak_kib) / 1024.0;
        row("verify, most memory, MiB", dash(), fixed(Some(peak), 1), "");
        row(
            "open for writing, ms",
            dash(),
            milliseconds(&self.start.open_ns),
            "100",
        );
        let first = &self.first_agent;
        row(
            "exec of the daemon to its first agent, ms",
            milliseconds(&first.without_ledger_ns),
            milliseconds(&first.on_large_ns),
            "50",
        );
        row(
            "prove an entry, ms",
            dash(),
            milliseconds(&self.start.prove_ns),
            "",
        );
        let _ = writeln!(
            text,
            "\n- A commit is 3 entries, {} bytes; entries to verify have {} bytes on average.\n\
             - {} s of appending each way, {} rounds of verifying, opening and starting; medians. \
             Ratios are of speeds: 1 is as fast. A daemon whose ledger is empty has to make it, and \
             its key.\n- Machine: {}; ledgers on {}.",
            large.bytes_per_commit,
            self.verify.bytes_per_entry,
            self.settings.seconds,
            self.settings.rounds,
            self.machine.describe(),
            self.file_system
        );
        text
    }
}

/// Speed of one commit against that of the plain append of as many bytes.
fn speed(append: &Append) -> Option<f64> {
    ratio(median(&append.floor_ns), median(&append.single_ns))
}

/// Commits a second of many writers against plain appends a second.
fn many_speed(append: &Append) -> Option<f64> {
    let each = as_float(append.many_ns) / as_float(append.many_commits.max(1));
    ratio(median(&append.floor_ns), Some(each))
}

fn ratio(above: Option<f64>, below: Option<f64>) -> Option<f64> {
    Some(above? / below?)
}

fn fixed(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(floor: u64, single: u64, many: u64) -> Append {
        Append {
            entries_before: 0,
            bytes_per_commit: 1800,
            floor_ns: vec![floor; 3],
            single_ns: vec![single; 3],
            head_ns: vec![100],
            many_writers: 64,
            many_commits: many,
            many_ns: 1_000_000_000,
        }
    }

    #[test]
    fn ratios_are_speeds_against_the_floor() {
        // Twice as slow, and twenty times as many a second.
        let append = append(100_000, 200_000, 200_000);
        assert_eq!(fixed(speed(&append), 2), "0.50");
        assert_eq!(fixed(many_speed(&append), 1), "20.0");
    }

    #[test]
    fn the_table_holds_the_targets_beside_what_was_measured() {
        let report = Report {
            machine: Machine::look(),
            settings: Settings {
                entries: 1000,
                seconds: 1,
                rounds: 1,
            },
            file_system: "ext4".to_owned(),
            verify: Verify {
                entries: 1_000_000,
                bytes_per_entry: 575,
                verify_ns: vec![800_000_000],
                hash_ns: vec![400_000_000],
                verify_cpu_ns: vec![1_500_000_000],
                hash_cpu_ns: vec![750_000_000],
                peak_kib: 10_240,
            },
            start: Start {
                entries: 1_000_000,
                open_ns: vec![8_000_000],
                prove_ns: vec![300_000],
                peak_kib: 6000,
            },
            first_agent: FirstAgent {
                without_ledger_ns: vec![30_000_000],
                on_large_ns: vec![20_000_000],
            },
            append: append(100_000, 100_000, 1),
            append_to_empty: append(100_000, 200_000, 1),
        };
        let text = report.markdown();
        for line in [
            "| one commit, x plain append | 0.50 | 1.00 | 0.85 |",
            "| verify, million entries a second | - | 1.25 | 1 |",
            "| verify, x hashing in memory | - | 0.50 | 0.4 |",
            "| verify, processor time of an entry, µs | - | 1.50 |  |",
            "| open for writing, ms | - | 8.000 | 100 |",
            "| exec of the daemon to its first agent, ms | 30.000 | 20.000 | 50 |",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
