//! The results of the ledger's benchmark: JSON for programs, Markdown for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Append, Settings, Start, Verify};
use crate::bench::{
    goal::{Bound, Goal},
    machine::Machine,
    stats::{as_float, median, p99},
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
    /// On the empty and then on the large ledger, of one entry and of a crash's.
    pub appends: Vec<Append>,
}

impl Report {
    /// The table and what one has to know to read it.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| | empty | large |\n|---|--:|--:|\n");
        let mut row = |name: &str, empty: String, large: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {name} | {empty} | {large} |");
        };
        // An empty and a large ledger for each size of commit.
        let sizes = self.appends.len() / 2;
        for (empty, large) in self.appends.iter().zip(&self.appends[sizes..]) {
            let of = match large.entries_per_commit {
                1 => "one entry".to_owned(),
                entries => format!("a crash's {entries} entries"),
            };
            let mut both = |name: &str, value: fn(&Append) -> Option<f64>, digits| {
                row(
                    &format!("{of}: {name}"),
                    fixed(value(empty), digits),
                    fixed(value(large), digits),
                );
            };
            both("bytes", |a| Some(as_float(a.bytes_per_commit)), 0);
            both("entries before", |a| Some(as_float(a.entries_before)), 0);
            both(
                "plain append and fdatasync, ms",
                |a| middle_ms(&a.floor_ns),
                3,
            );
            both("durable commit, ms", |a| middle_ms(&a.single_ns), 3);
            let slow = |a: &Append| p99(&a.single_ns).map(|ns| ns / 1e6);
            both("durable commit, ms, p99", slow, 3);
            both("commit, x plain append", speed, 2);
            both("64 writers, commits, x plain append", many_speed, 1);
            let head = |a: &Append| median(&a.head_ns).map(|ns| ns / 1e3);
            both("head (what status asks), µs", head, 2);
        }
        let mut large = |name: &str, value, digits| {
            row(name, "-".to_owned(), fixed(value, digits));
        };
        large("verify, million entries a second", self.rate(), 2);
        large("verify, x hashing in memory", self.to_hashing(), 2);
        let verify = median(&self.verify.verify_cpu_ns);
        let each = verify.map(|ns| ns / as_float(self.verify.entries.max(1)) / 1e3);
        large("verify, processor time of an entry, µs", each, 2);
        let hash = ratio(median(&self.verify.hash_cpu_ns), verify);
        large("verify, x hashing, by processor time", hash, 2);
        let peak = as_float(self.verify.peak_kib) / 1024.0;
        large("verify, most memory, MiB", Some(peak), 1);
        large("open for writing, ms", middle_ms(&self.start.open_ns), 3);
        large("prove an entry, ms", middle_ms(&self.start.prove_ns), 3);
        let _ = writeln!(
            text,
            "\n- Entries to verify have {} bytes on average.\n\
             - {} s of appending each way, {} rounds of verifying and opening; medians. \
             Ratios are of speeds: 1 is as fast.\n- Machine: {}; ledgers on {}.",
            self.verify.bytes_per_entry,
            self.settings.seconds,
            self.settings.rounds,
            self.machine.describe(),
            self.file_system
        );
        text
    }

    /// Millions of entries a second.
    fn rate(&self) -> Option<f64> {
        let ns = median(&self.verify.verify_ns)?;
        Some(as_float(self.verify.entries) / ns * 1e3)
    }

    /// Verification's speed against that of hashing alone.
    fn to_hashing(&self) -> Option<f64> {
        ratio(median(&self.verify.hash_ns), median(&self.verify.verify_ns))
    }

    /// Appending one entry to the large ledger.
    fn append(&self) -> Option<&Append> {
        self.appends.get(self.appends.len() / 2)
    }

    /// P7, on the large ledger where there is a choice.
    pub fn goals(&self) -> Vec<Goal> {
        let verify = |what, bound, unit, value| Goal::new("P7", what, bound, unit, value);
        vec![
            verify(
                "one durable append, speed against append and fdatasync of the same bytes",
                Bound::AtLeast(0.85),
                "x",
                self.append().and_then(speed),
            ),
            verify(
                "64 writers, commits against single plain appends",
                Bound::AtLeast(12.0),
                "x",
                self.append().and_then(many_speed),
            ),
            verify(
                "verify, million entries a second",
                Bound::AtLeast(1.0),
                "",
                self.rate(),
            ),
            verify(
                "verify, speed against hashing in memory",
                Bound::AtLeast(0.4),
                "x",
                self.to_hashing(),
            ),
        ]
    }
}

/// The median of nanoseconds in milliseconds.
fn middle_ms(samples: &[u64]) -> Option<f64> {
    median(samples).map(|ns| ns / 1e6)
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
            entries_per_commit: 1,
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
    fn what_was_measured_is_held_against_the_targets() {
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
            appends: vec![append(100_000, 200_000, 1), append(100_000, 100_000, 1)],
        };
        let text = report.markdown();
        for line in [
            "| one entry: commit, x plain append | 0.50 | 1.00 |",
            "| verify, million entries a second | - | 1.25 |",
            "| verify, x hashing in memory | - | 0.50 |",
            "| verify, processor time of an entry, µs | - | 1.50 |",
            "| open for writing, ms | - | 8.000 |",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let goals = report.goals().into_iter().map(|goal| goal.measured);
        let measured = [1.0, 0.01, 1.25, 0.5].map(Some);
        assert_eq!(goals.collect::<Vec<_>>()[2..], measured[2..]);
    }
}
