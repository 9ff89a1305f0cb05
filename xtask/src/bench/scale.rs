//! `cargo xtask bench scale`: what an event costs among few agents and among many.
//!
//! The program that measures is an example of the testkit (reconciler/testkit/examples/
//! loop-bench.rs): the real loop and a real ledger in memory, on a fake world whose time stands
//! still, so that nothing but the loop's own work is in its processor time. Few and many take
//! turns.

use std::{path::Path, process::Command};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{
    build::{self, Common},
    goal::{Bound, Goal},
    machine::Machine,
    output,
    stats::{as_float, median, p99},
};
use crate::project;

/// P8: how many times as much an event among many may cost.
const TIMES_FEW: f64 = 2.0;

/// P8: most processor milliseconds of a look at everything.
const RESYNC_MS: f64 = 20.0;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// How much is measured.
#[derive(Debug, Clone, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    #[arg(long, default_value_t = 10)]
    few: usize,
    #[arg(long, default_value_t = 10_000)]
    many: usize,
    /// Events of each kind in a round.
    #[arg(long, default_value_t = 400)]
    events: usize,
    /// Looks at everything in a round.
    #[arg(long, default_value_t = 10)]
    resyncs: usize,
    /// Rounds of few and of many.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// What loop-bench prints: nanoseconds of processor time.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    agents: usize,
    news_ns: Vec<u64>,
    crash_ns: Vec<u64>,
    resync_ns: Vec<u64>,
}

/// A whole run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    machine: Machine,
    settings: Settings,
    few: Samples,
    many: Samples,
}

/// Measures, prints, and writes target/bench/scale.{json,md,svg}.
///
/// # Errors
/// The program cannot be built, or an agent in it did not come back.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let program = build::example("osmoda-testkit", "loop-bench")?;
    let machine = Machine::look();
    println!("{}", machine.describe());
    let settings = &args.settings;
    let (mut few, mut many) = (Samples::default(), Samples::default());
    for round in 1..=settings.rounds {
        for (agents, samples) in [(settings.few, &mut few), (settings.many, &mut many)] {
            println!("round {round}: {agents} agents ...");
            samples.add(ask(&program, agents, settings)?);
        }
    }
    let report = Report {
        machine,
        settings: settings.clone(),
        few,
        many,
    };
    let (table, goals) = (report.markdown(), report.goals());
    output::publish("scale", &report, &table, &goals, common)?;
    Ok(goals)
}

fn ask(program: &Path, agents: usize, settings: &Settings) -> anyhow::Result<Samples> {
    let numbers = [agents, settings.events, settings.resyncs];
    let mut command = Command::new(program);
    command.args(numbers.map(|number| number.to_string()));
    let printed = project::output(&mut command)?;
    serde_json::from_str(printed.trim()).context("reading what loop-bench has printed")
}

/// One kind of samples.
type Of = fn(&Samples) -> &[u64];

impl Samples {
    fn add(&mut self, other: Self) {
        self.agents = other.agents;
        self.news_ns.extend(other.news_ns);
        self.crash_ns.extend(other.crash_ns);
        self.resync_ns.extend(other.resync_ns);
    }
}

impl Report {
    fn ratio(&self, of: Of) -> Option<f64> {
        Some(median(of(&self.many))? / median(of(&self.few))?)
    }

    fn goals(&self) -> Vec<Goal> {
        let Settings { few, many, .. } = self.settings;
        let event = |what: &str, of: Of| {
            Goal::new(
                "P8",
                format!("{what} among {many} agents, against among {few}"),
                Bound::AtMost(TIMES_FEW),
                "x",
                self.ratio(of),
            )
        };
        vec![
            event("planning one event", |samples| &samples.news_ns),
            event("one crash, to the verified recovery,", |samples| {
                &samples.crash_ns
            }),
            Goal::new(
                "P8",
                format!("a look at all of {many} agents, processor time"),
                Bound::Below(RESYNC_MS),
                "ms",
                median(&self.many.resync_ns).map(|ns| ns / 1e6),
            ),
        ]
    }

    fn markdown(&self) -> String {
        let Settings { few, many, .. } = self.settings;
        let mut text = format!(
            "| processor time, µs | {few} agents | p99 | {many} agents | p99 | x |\n\
             |---|--:|--:|--:|--:|--:|\n"
        );
        let kinds: [(&str, Of); 3] = [
            ("news of one agent, nothing to do", |s| &s.news_ns),
            ("one crash, to the verified recovery", |s| &s.crash_ns),
            ("a look at everything", |s| &s.resync_ns),
        ];
        for (name, of) in kinds {
            let cells = [&self.few, &self.many].map(|samples| {
                let microseconds = |ns: Option<f64>| fixed(ns.map(|ns| ns / 1e3), 1);
                let of = of(samples);
                format!("{} | {}", microseconds(median(of)), microseconds(p99(of)))
            });
            text.push_str(&format!(
                "| {name} | {} | {} |\n",
                cells.join(" | "),
                fixed(self.ratio(of), 2)
            ));
        }
        let each = median(&self.many.resync_ns);
        let each = each.map(|ns| ns / 1e3 / as_float(u64::try_from(many.max(1)).unwrap_or(1)));
        text.push_str(&format!(
            "\n- The loop on a fake world, profiles and ledger in memory; {} x {} events of each \
             kind, few and many in turns; {} µs of a look for each agent.\n- Machine: {}.\n",
            self.settings.rounds,
            self.settings.events,
            fixed(each, 2),
            self.machine.describe()
        ));
        text
    }
}

fn fixed(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_are_compared_and_a_look_is_held_against_its_bound() {
        let samples = |agents, scale: u64| Samples {
            agents,
            news_ns: vec![10_000 * scale; 3],
            crash_ns: vec![100_000; 3],
            resync_ns: vec![1_000_000 * scale * scale * scale; 3],
        };
        let report = Report {
            machine: Machine::look(),
            settings: Settings {
                few: 10,
                many: 10_000,
                events: 3,
                resyncs: 3,
                rounds: 1,
            },
            few: samples(10, 1),
            many: samples(10_000, 3),
        };
        let measured = report.goals().into_iter().map(|goal| goal.measured);
        let expected = [Some(3.0), Some(1.0), Some(27.0)];
        assert_eq!(measured.collect::<Vec<_>>(), expected);
        let text = report.markdown();
        let line = "| news of one agent, nothing to do | 10.0 | 10.0 | 30.0 | 30.0 | 3.00 |";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("2.70 µs of a look for each agent"), "{text}");
    }
}
