//! `cargo xtask bench start`: how soon after its exec a daemon has its first agent at work, on a
//! machine that osmoda was never on, and on a ledger of ten million entries ([`begin`]).

mod begin;

use std::path::PathBuf;

use serde::Serialize;

use super::{
    build::{self, Common},
    goal::{Bound, Goal},
    ledger,
    machine::{self, Machine},
    output,
    stats::{as_float, median, p99},
};
use begin::Begin;

/// P11: most milliseconds from the exec to the first agent.
const FIRST_AGENT_MS: f64 = 50.0;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// A long ledger that is there already and is kept (default: made, and removed).
    #[arg(long)]
    large: Option<PathBuf>,
}

/// How much is measured.
#[derive(Debug, Clone, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Entries of the long ledger; 650 bytes of disk each.
    #[arg(long, default_value_t = 10_000_000)]
    entries: u64,
    /// Starts of each kind.
    #[arg(long, default_value_t = 15)]
    rounds: u32,
}

/// A whole run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    machine: Machine,
    settings: Settings,
    file_system: String,
    version: String,
    without_ledger_ns: Vec<u64>,
    on_long_ns: Vec<u64>,
}

/// Measures, prints, and writes target/bench/start.{json,md,svg}.
///
/// # Errors
/// It cannot be set up, or a daemon or its agent does not start.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let ground = output::Ground::new("start")?;
    let agent = build::c_program("agent", &output::directory())?;
    let osmoda = common.osmoda()?;
    let program = build::example("osmoda-ledger", "ledger-bench")?;
    let machine = Machine::look();
    println!("{}", machine.describe());
    let large = match &args.large {
        Some(path) => path.clone(),
        None => ground.path().join("long.db"),
    };
    if !large.exists() {
        ledger::generate(&program, &large, args.settings.entries)?;
    }
    let begin = Begin {
        osmoda: &osmoda,
        agent: &agent,
        ground: ground.path().join("begin"),
        rounds: args.settings.rounds,
    };
    let report = Report {
        file_system: machine::file_system(ground.path()),
        machine,
        settings: args.settings.clone(),
        version: output::version(&osmoda)?,
        without_ledger_ns: begin.without_a_ledger()?,
        on_long_ns: begin.on(&large, args.settings.entries)?,
    };
    let (table, goals) = (report.markdown(), report.goals());
    output::publish("start", &report, &table, &goals, common)?;
    Ok(goals)
}

impl Report {
    fn goals(&self) -> Vec<Goal> {
        let millions = as_float(self.settings.entries) / 1e6;
        let goal = |what: String, samples: &[u64]| {
            let measured = median(samples).map(|ns| ns / 1e6);
            let bound = Bound::AtMost(FIRST_AGENT_MS);
            Goal::new("P11", what, bound, "ms", measured)
        };
        vec![
            goal(
                "exec to first agent, on a new machine".to_owned(),
                &self.without_ledger_ns,
            ),
            goal(
                format!("exec to first agent, with {millions} million entries"),
                &self.on_long_ns,
            ),
        ]
    }

    fn markdown(&self) -> String {
        let mut text =
            String::from("| exec to first agent | median ms | p99 ms |\n|---|--:|--:|\n");
        let long = format!("with {} entries", self.settings.entries);
        for (name, samples) in [
            ("on a new machine", &self.without_ledger_ns),
            (&*long, &self.on_long_ns),
        ] {
            let ms = |ns: Option<f64>| {
                ns.map_or_else(|| "-".to_owned(), |ns| format!("{:.1}", ns / 1e6))
            };
            text.push_str(&format!(
                "| {name} | {} | {} |\n",
                ms(median(samples)),
                ms(p99(samples))
            ));
        }
        text.push_str(&format!(
            "\n- osmoda {}: native runtime, ledger durable; {} starts of each kind. On a new machine \
             the ledger and its key have to be made first.\n- Machine: {}; state on {}.\n",
            self.version,
            self.settings.rounds,
            self.machine.describe(),
            self.file_system
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_starts_are_held_against_the_target() {
        let report = Report {
            machine: Machine::look(),
            settings: Settings {
                entries: 10_000_000,
                rounds: 3,
            },
            file_system: "ext4".to_owned(),
            version: "0".to_owned(),
            without_ledger_ns: vec![30_000_000; 3],
            on_long_ns: vec![60_000_000; 3],
        };
        let measured = report.goals().into_iter().map(|goal| goal.measured);
        assert_eq!(measured.collect::<Vec<_>>(), [Some(30.0), Some(60.0)]);
        let text = report.markdown();
        let line = "| with 10000000 entries | 60.0 | 60.0 |";
        assert!(text.contains(line), "{text}");
    }
}
