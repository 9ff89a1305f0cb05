//! `cargo xtask bench idle`: what the daemon costs while nothing fails.
//!
//! Two fleets, one after the other: agents that only wait, and as many of which each is asked by
//! HTTP once a second. The [`target`] that answers belongs to this program, so its processor
//! time is not the daemon's; it also counts, so that a probe is believed only if it was asked.

mod target;
mod usage;

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use serde::Serialize;

use super::{
    build::{self, Common},
    goal::{Bound, Goal},
    machine::{self, Machine},
    output,
    restart::cost,
    stats::as_float,
};
use crate::node::{self, Node};
use target::Target;
use usage::Usage;

/// Least share of the probes asked for that must have come.
const PROBED_SHARE_MIN: f64 = 0.95;

/// Wakeups a second of a daemon that nobody asks anything: a look at everything each minute
/// wakes a few threads a few times.
const QUIET_WAKEUPS: f64 = 1.0;

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
    /// Agents of each fleet.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Seconds in which usage is taken; over 60, so that a periodic resync is among them.
    #[arg(long, default_value_t = 70)]
    seconds: u64,
    /// Seconds between the last agent's readiness and the beginning of that.
    #[arg(long, default_value_t = 10)]
    settle: u64,
}

/// One fleet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    fleet: &'static str,
    usage: Usage,
    probes_per_second: f64,
    /// P5: most processor milliseconds a second.
    target: f64,
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

/// Measures, prints, and writes target/bench/idle.{json,md,svg}.
///
/// # Errors
/// It cannot be set up, or an agent or a probe is missing.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let agent = build::c_program("agent", &output::directory())?;
    let osmoda = common.osmoda()?;
    let machine = Machine::look();
    println!("{}", machine.describe());
    let ground = output::Ground::new("idle")?;
    let target = Target::start()?;
    let measure = |name: &str, port: Option<u16>| {
        println!("{} agents, {name} ...", args.settings.agents);
        let manifests = manifests(&agent, args.settings.agents, port);
        let place = ground.path().join(name);
        measure(&osmoda, &place, &manifests, &target, &args.settings)
    };
    let (quiet, uncalled) = measure("quiet", None)?;
    ensure!(uncalled == 0.0, "agents without probes were probed");
    let (probed, probes) = measure("probed", Some(target.port()))?;
    let asked = as_float(u64::try_from(args.settings.agents)?);
    ensure!(
        probes >= asked * PROBED_SHARE_MIN,
        "{asked} probes a second were to be sent, {probes:.0} came"
    );
    let report = Report {
        machine,
        settings: args.settings.clone(),
        file_system: machine::file_system(ground.path()),
        version: output::version(&osmoda)?,
        rows: vec![
            Row {
                fleet: "without probes",
                usage: quiet,
                probes_per_second: 0.0,
                target: 1.0,
            },
            Row {
                fleet: "each with an HTTP probe a second",
                usage: probed,
                probes_per_second: probes,
                target: 100.0,
            },
        ],
    };
    let table = report.markdown();
    let goals = report.goals();
    output::publish("idle", &report, &table, &goals, common)?;
    Ok(goals)
}

/// The daemon's usage, and the probes that came a second.
fn measure(
    osmoda: &Path,
    place: &Path,
    manifests: &str,
    target: &Target,
    settings: &Settings,
) -> anyhow::Result<(Usage, f64)> {
    let node = Node::start(osmoda, place, manifests)?;
    until_ready(&node, settings.agents)
        .with_context(|| format!("the daemon said:\n{}", node.log()))?;
    cost::pause(Duration::from_secs(settings.settle));
    let (answered, begun) = (target.answered(), usage::begin(node.pid())?);
    cost::pause(Duration::from_secs(settings.seconds));
    let usage = begun.end()?;
    let probes = as_float(target.answered() - answered) / usage.seconds;
    until_ready(&node, settings.agents).context("afterwards")?;
    let restarted = node
        .entries()?
        .iter()
        .any(|e| e["kind"] == "FailureDetected");
    ensure!(!restarted, "an agent failed; see {}", place.display());
    node.stop()?;
    Ok((usage, probes))
}

/// Waits until this many agents are ready.
///
/// # Errors
/// They are not, in reasonable time.
pub fn until_ready(node: &Node, agents: usize) -> anyhow::Result<()> {
    node::until("all agents to be ready", || {
        let status = node.ask(&["status"])?.unwrap_or_default();
        let items = status["items"].as_array();
        let ready = items.map_or(0, |items| {
            let ready = items.iter().filter(|item| item["status"]["ready"] == true);
            ready.count()
        });
        Ok((ready == agents).then_some(()))
    })
}

/// One manifest for each agent, in one file; asked on this port once a second, if there is one.
pub fn manifests(agent: &Path, agents: usize, port: Option<u16>) -> String {
    let probes = port.map_or_else(String::new, |port| {
        format!("  probes: {{liveness: {{httpGet: {{port: {port}}}, period: 1s}}}}\n")
    });
    let manifest = |index: usize| {
        format!(
            "---\napiVersion: osmoda/v1\nkind: Agent\nmetadata: {{name: agent-{index}}}\nspec:\n  \
             command: [{:?}, nobody, \"{index}\"]\n  rollout: {{minReady: 1s}}\n{probes}",
            agent.display().to_string()
        )
    };
    (0..agents).map(manifest).collect()
}

impl Report {
    fn goals(&self) -> Vec<Goal> {
        let agents = self.settings.agents;
        let processor = self.rows.iter().map(|row| {
            Goal::new(
                "P5",
                format!("processor time, {agents} agents, {}", row.fleet),
                Bound::AtMost(row.target),
                "ms/s",
                Some(row.usage.processor_ms_per_second),
            )
        });
        let quiet = self.rows.first().map(|row| row.usage.wakeups_per_second);
        let wakeups = Goal::new(
            "P5",
            format!("wakeups, {agents} agents without probes: the resync alone"),
            Bound::AtMost(QUIET_WAKEUPS),
            "/s",
            quiet,
        );
        processor.chain([wakeups]).collect()
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "| {} agents | CPU ms/s | wakeups/s | probes answered/s |\n\
             |---|--:|--:|--:|\n",
            self.settings.agents
        );
        for row in &self.rows {
            text.push_str(&format!(
                "| {} | {:.2} | {:.1} | {:.0} |\n",
                row.fleet,
                row.usage.processor_ms_per_second,
                row.usage.wakeups_per_second,
                row.probes_per_second
            ));
        }
        text.push_str(&format!(
            "\n- osmoda {}: native runtime, ledger durable; {} s each, begun {} s after the last \
             agent was ready.\n- Machine: {}; state on {}.\n",
            self.version,
            self.settings.seconds,
            self.settings.settle,
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
    fn only_the_probed_fleet_has_probes() {
        let agent = Path::new("/agent");
        assert!(!manifests(agent, 2, None).contains("probes"));
        let probed = manifests(agent, 2, Some(8080));
        assert_eq!(probed.matches("httpGet: {port: 8080}").count(), 2);
        assert_eq!(probed.matches("kind: Agent\n").count(), 2);
    }

    #[test]
    fn usage_is_held_against_its_target() {
        let report = Report {
            machine: Machine::look(),
            settings: Settings {
                agents: 1000,
                seconds: 70,
                settle: 10,
            },
            file_system: "ext4".to_owned(),
            version: "0.1.0".to_owned(),
            rows: vec![Row {
                fleet: "without probes",
                usage: Usage {
                    seconds: 70.0,
                    processor_ms_per_second: 0.126,
                    wakeups_per_second: 0.51,
                },
                probes_per_second: 0.0,
                target: 1.0,
            }],
        };
        let text = report.markdown();
        assert!(
            text.contains("| without probes | 0.13 | 0.5 | 0 |"),
            "{text}"
        );
        let measured = report.goals().into_iter().map(|goal| goal.measured);
        assert_eq!(measured.collect::<Vec<_>>(), [Some(0.126), Some(0.51)]);
    }
}
