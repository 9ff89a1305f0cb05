//! `cargo xtask bench` without a name: every benchmark in sequence, and one table that holds the
//! targets P1 to P12 against what was measured.

use std::time::Instant;

use anyhow::bail;
use clap::Parser;
use serde::Serialize;

use super::{
    Benchmark,
    build::Common,
    goal::{self, Goal, Verdict},
    machine::Machine,
    output, plot,
};
use crate::{process, project};

/// Every benchmark, with the settings of a whole run: the longest first, so that what goes wrong
/// there is seen early.
const SEQUENCE: &[&[&str]] = &[
    &["restart"],
    &["ledger"],
    &["idle"],
    &["hang"],
    &["cli"],
    &["rollback"],
    &["scale"],
    &["start"],
    &["systemd", "--vm"],
];

/// A benchmark and its settings, as somebody would type them.
#[derive(Parser)]
struct Typed {
    #[command(subcommand)]
    benchmark: Benchmark,
}

/// A whole run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    machine: Machine,
    /// Whole minutes, of everything.
    minutes: u64,
    goals: Vec<Goal>,
    /// Benchmarks that did not come to their end, and why.
    failures: Vec<String>,
}

/// Runs everything, and writes target/bench/summary.{json,md,svg} beside the results of each.
///
/// # Errors
/// A benchmark cannot be run, or a contender did not do what it was measured for; the others ran
/// all the same.
pub fn run(common: &Common) -> anyhow::Result<()> {
    let begun = Instant::now();
    let machine = Machine::look();
    let common = Common {
        osmoda: Some(common.osmoda()?),
        ..common.clone()
    };
    let (mut goals, mut failures) = (Vec::new(), Vec::new());
    for words in SEQUENCE {
        let shown = words.join(" ");
        println!("\n== bench {shown}");
        let typed = Typed::try_parse_from(std::iter::once(&"bench").chain(*words))?;
        match typed.benchmark.run(&common) {
            Ok(measured) => goals.extend(measured),
            Err(error) => {
                process::give_way_to_signal();
                println!("bench {shown} failed: {error:#}");
                failures.push(format!("bench {shown}: {error:#}"));
            }
        }
    }
    let report = Report {
        machine,
        minutes: begun.elapsed().as_secs() / 60,
        goals: in_order(goals),
        failures,
    };
    publish(&report, &common)?;
    if !report.failures.is_empty() {
        bail!(
            "not everything was measured: {}",
            report.failures.join("; ")
        );
    }
    Ok(())
}

/// By the number of the target; those of one benchmark stay together.
fn in_order(mut goals: Vec<Goal>) -> Vec<Goal> {
    let number = |goal: &Goal| goal.id.trim_start_matches('P').parse().unwrap_or(u32::MAX);
    goals.sort_by_key(number);
    goals
}

fn publish(report: &Report, common: &Common) -> anyhow::Result<()> {
    let table = report.markdown();
    println!("\n{table}");
    let file = |suffix: &str| output::directory().join(format!("summary.{suffix}"));
    let json = serde_json::to_string_pretty(report)?;
    project::write_file(&file("json"), json + "\n")?;
    project::write_file(&file("md"), &table)?;
    let plot = plot::of_goals("summary", &report.goals).svg();
    project::write_file(&file("svg"), plot)?;
    println!(
        "written: {}/summary.{{json,md,svg}}",
        output::directory().display()
    );
    if common.update_docs {
        // Where this checkout lies is nobody's business.
        let root = format!("{}/", project::root().display());
        output::update_docs("summary", &table.replace(&root, ""))?;
    }
    Ok(())
}

impl Report {
    fn markdown(&self) -> String {
        let mut text = goal::markdown(&self.goals);
        let count = |verdict| {
            let of_it = self.goals.iter().filter(|goal| goal.verdict() == verdict);
            of_it.count()
        };
        text.push_str(&format!(
            "\n- {} met, {} missed, {} not measured, in {} minutes.\n- Machine: {}.\n",
            count(Verdict::Met),
            count(Verdict::Missed),
            count(Verdict::NotMeasured),
            self.minutes,
            self.machine.describe()
        ));
        for failure in &self.failures {
            text.push_str(&format!("- Failed: {failure}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::goal::Bound;
    use std::fs;

    #[test]
    fn every_benchmark_of_the_sequence_can_be_typed_and_has_its_place_in_the_document() {
        let document = fs::read_to_string(output::document()).unwrap();
        for words in SEQUENCE {
            assert!(Typed::try_parse_from(std::iter::once(&"bench").chain(*words)).is_ok());
            output::replace_section(&document, words[0], "").unwrap();
        }
        output::replace_section(&document, "summary", "").unwrap();
    }

    #[test]
    fn targets_come_in_the_order_of_their_numbers() {
        let goal = |id, what: &str| Goal::new(id, what, Bound::AtMost(1.0), "ms", Some(2.0));
        let goals = [goal("P11", "a"), goal("P2", "b"), goal("P11", "c")];
        let order = in_order(goals.into()).into_iter().map(|goal| goal.what);
        assert_eq!(order.collect::<Vec<_>>(), ["b", "a", "c"]);
    }

    #[test]
    fn a_benchmark_that_failed_is_in_the_summary() {
        let report = Report {
            machine: Machine::look(),
            minutes: 3,
            goals: vec![Goal::new("P1", "x", Bound::AtMost(2.0), "x", Some(3.0))],
            failures: vec!["bench idle: no agent came".to_owned()],
        };
        let text = report.markdown();
        assert!(text.contains("0 met, 1 missed, 0 not measured"), "{text}");
        assert!(
            text.contains("- Failed: bench idle: no agent came\n"),
            "{text}"
        );
    }
}
