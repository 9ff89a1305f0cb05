//! `cargo xtask bench hang`: how long after its deadline a silent agent is told to stop.
//!
//! The agent (xtask/bench/beat.c) notes the clock before each heartbeat, falls silent, and notes
//! it again when SIGTERM is there. What lies between its last heartbeat plus `heartbeat.timeout`
//! and SIGTERM is the delay: receiving, the timer, the decision, the durable intent, and the
//! agent's own waking. [`floor`] does the same with a sleep and a kill, and records nothing.

mod floor;
mod record;

use std::path::Path;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::{
    build::{self, Common},
    goal::{Bound, Goal},
    machine::{self, Machine},
    output,
    stats::{as_float, median, p99},
};
use crate::node::Node;
use record::Records;

/// Heartbeats before the silence.
const BEATS: u32 = 3;

/// Milliseconds between two heartbeats.
const BEAT_EVERY_MS: u64 = 20;

/// P6: milliseconds from the deadline to the stop signal.
const STOP_BOUND_MS: f64 = 50.0;

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
    /// Hangs of each agent.
    #[arg(long, default_value_t = 20)]
    hangs: usize,
    /// How many agents hang at about the same time, in the second part.
    #[arg(long, default_value_t = 50)]
    many: usize,
    /// `heartbeat.timeout` in milliseconds.
    #[arg(long, default_value_t = 500)]
    timeout_ms: u64,
}

/// Delays of one contender.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    contender: &'static str,
    agents: usize,
    delays_ns: Vec<u64>,
}

/// A whole run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    machine: Machine,
    settings: Settings,
    file_system: String,
    version: String,
    rows: Vec<Row>,
}

/// Measures, prints, and writes target/bench/hang.{json,md,svg}.
///
/// # Errors
/// It cannot be set up, an agent was stopped before its deadline, or the ledger does not tell
/// of every hang.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let beat = build::c_program("beat", &output::directory())?;
    let osmoda = common.osmoda()?;
    let machine = Machine::look();
    println!("{}", machine.describe());
    let ground = output::Ground::new("hang")?;
    let mut rows = Vec::new();
    for agents in [1, args.settings.many] {
        println!("{agents} agents ...");
        rows.push(Row {
            contender: "floor",
            agents,
            delays_ns: floor::measure(&beat, ground.path(), agents, &args.settings)?,
        });
        let place = ground.path().join(agents.to_string());
        rows.push(Row {
            contender: "osmoda",
            agents,
            delays_ns: measure(&osmoda, &beat, &place, agents, &args.settings)?,
        });
    }
    let report = Report {
        machine,
        settings: args.settings.clone(),
        file_system: machine::file_system(ground.path()),
        version: output::version(&osmoda)?,
        rows,
    };
    let table = report.markdown();
    let goals = report.goals();
    output::publish("hang", &report, &table, &goals, common)?;
    Ok(goals)
}

/// Delays of as many hangs under osmoda.
fn measure(
    osmoda: &Path,
    beat: &Path,
    place: &Path,
    agents: usize,
    settings: &Settings,
) -> anyhow::Result<Vec<u64>> {
    let records = Records::bind(&format!("osmoda-{agents}"))?;
    let manifests = manifests(beat, records.name(), agents, settings.timeout_ms);
    let node = Node::start(osmoda, place, &manifests)?;
    let wanted = agents * settings.hangs;
    let delays = records
        .delays(wanted, settings.timeout_ms)
        .with_context(|| format!("the daemon said:\n{}", node.log()))?;
    node.stop()?;
    node.verifies()?;
    let entries = node.entries()?;
    let is_hang = |entry: &&serde_json::Value| {
        entry["kind"] == "FailureDetected" && entry["body"]["reason"] == "Hang"
    };
    let hangs = entries.iter().filter(is_hang).count();
    ensure!(
        hangs >= wanted,
        "there were {wanted} hangs, and the ledger tells of {hangs}"
    );
    Ok(delays)
}

/// One manifest for each agent, in one file. Hanging every half second is what backoff is there
/// to slow down, and rollback to undo; here neither is wanted.
fn manifests(beat: &Path, socket: &str, agents: usize, timeout_ms: u64) -> String {
    let manifest = |index: usize| {
        format!(
            "---\napiVersion: osmoda/v1\nkind: Agent\nmetadata: {{name: agent-{index}}}\nspec:\n  \
             command: [{:?}, {socket:?}, \"{BEATS}\", \"{BEAT_EVERY_MS}\"]\n  \
             heartbeat: {{source: Notify, timeout: {timeout_ms}ms}}\n  \
             restart: {{backoff: {{initial: 50ms, factor: 1, max: 50ms}}, maxRestarts: 1000}}\n  \
             rollout: {{rollback: Never, minReady: 100ms}}\n",
            beat.display().to_string()
        )
    };
    (0..agents).map(manifest).collect()
}

impl Report {
    /// Each stop signal has to come in time, not only the usual one.
    fn goals(&self) -> Vec<Goal> {
        let own = self.rows.iter().filter(|row| row.contender == "osmoda");
        let goal = |row: &Row| {
            let slowest = row.delays_ns.iter().max();
            Goal::new(
                "P6",
                format!("deadline to stop signal, slowest of {} agents", row.agents),
                Bound::AtMost(STOP_BOUND_MS),
                "ms",
                slowest.map(|ns| as_float(*ns) / 1e6),
            )
        };
        own.map(goal).collect()
    }

    fn markdown(&self) -> String {
        let mut text = String::from(
            "| | agents | hangs | median ms | p99 ms | slowest ms |\n\
             |---|--:|--:|--:|--:|--:|\n",
        );
        for row in &self.rows {
            let milliseconds = |ns: Option<f64>| {
                ns.map_or_else(|| "-".to_owned(), |ns| format!("{:.2}", ns / 1e6))
            };
            text.push_str(&format!(
                "| {} | {} | {} | {} | {} | {} |\n",
                row.contender,
                row.agents,
                row.delays_ns.len(),
                milliseconds(median(&row.delays_ns)),
                milliseconds(p99(&row.delays_ns)),
                milliseconds(row.delays_ns.iter().max().map(|ns| as_float(*ns))),
            ));
        }
        let Settings { timeout_ms, .. } = self.settings;
        text.push_str(&format!(
            "\n- osmoda {}: native runtime, ledger durable; heartbeat.timeout {timeout_ms} ms, \
             restart.backoff 50 ms throughout, maxRestarts 1000, rollout.rollback Never.\n\
             - Machine: {}; state on {}.\n",
            self.version,
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
    fn the_slowest_hang_is_held_against_the_target() {
        let report = Report {
            machine: Machine::look(),
            settings: Settings {
                hangs: 3,
                many: 50,
                timeout_ms: 500,
            },
            file_system: "ext4".to_owned(),
            version: "0.1.0".to_owned(),
            rows: vec![Row {
                contender: "osmoda",
                agents: 1,
                delays_ns: vec![1_500_000, 2_000_000, 9_000_000],
            }],
        };
        let text = report.markdown();
        assert!(
            text.contains("| osmoda | 1 | 3 | 2.00 | 9.00 | 9.00 |"),
            "{text}"
        );
        assert_eq!(report.goals()[0].measured, Some(9.0));
    }

    #[test]
    fn each_agent_gets_a_manifest_of_its_own() {
        let text = manifests(Path::new("/beat"), "@socket", 2, 500);
        assert_eq!(text.matches("kind: Agent\n").count(), 2);
        let command = r#"command: ["/beat", "@socket", "3", "20"]"#;
        assert!(text.contains(command), "{text}");
    }
}
