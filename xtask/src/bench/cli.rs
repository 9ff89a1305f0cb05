//! `cargo xtask bench cli`: how long a person waits for an answer.
//!
//! Commands take turns: ones that ask nobody (`osmoda --version` beside `true`, the least that a
//! program can take, and beside the same question to git and nix), and ones that ask a daemon
//! with many agents. An answer counts only if it is one: an exit code of 0, and every agent in it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use serde::Serialize;

use super::{
    build::{self, Common},
    goal::{Bound, Goal},
    idle,
    machine::{self, Machine},
    output,
    stats::{median, p99},
};
use crate::{node::Node, project};

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
    /// Agents of the daemon that is asked.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Runs of each command.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
}

/// One command and what it took.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    command: String,
    /// Milliseconds of the target, if it has one.
    target: Option<u32>,
    samples_ns: Vec<u64>,
    /// Why there are no samples.
    missing: Option<String>,
    #[serde(skip)]
    run: Run,
}

#[derive(Debug, Default)]
struct Run {
    program: PathBuf,
    arguments: Vec<&'static str>,
    /// What the answer must hold.
    holds: String,
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

/// Measures, prints, and writes target/bench/cli.{json,md,svg}.
///
/// # Errors
/// It cannot be set up, or a command does not answer.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let agent = build::c_program("agent", &output::directory())?;
    let osmoda = common.osmoda()?;
    let machine = Machine::look();
    println!("{}", machine.describe());
    let ground = output::Ground::new("cli")?;
    println!("starting {} agents ...", args.settings.agents);
    let manifests = idle::manifests(&agent, args.settings.agents, None);
    // A daemon that hashes a thousand new closures meanwhile would not be the one to measure.
    let place = ground.path().join("node");
    let node = Node::start_with(&osmoda, &place, &manifests, &["--bundles", "directory"])?;
    idle::until_ready(&node, args.settings.agents)
        .with_context(|| format!("the daemon said:\n{}", node.log()))?;

    println!("asking ...");
    let mut rows = commands(&osmoda, args.settings.agents);
    for _ in 0..args.settings.rounds {
        for row in rows.iter_mut().filter(|row| row.missing.is_none()) {
            let took = row.run.once(&node)?;
            row.samples_ns.push(took);
        }
    }
    node.stop()?;
    let report = Report {
        machine,
        settings: args.settings.clone(),
        file_system: machine::file_system(ground.path()),
        version: output::version(&osmoda)?,
        rows,
    };
    let table = report.markdown();
    let goals = report.goals();
    output::publish("cli", &report, &table, &goals, common)?;
    Ok(goals)
}

fn commands(osmoda: &Path, agents: usize) -> Vec<Row> {
    let peer = |name: &'static str, arguments: &[&'static str]| {
        let program = project::find_program(name);
        let missing = program
            .is_none()
            .then(|| format!("{name} is not installed"));
        let program = program.unwrap_or_default();
        row(name, &program, arguments, String::new(), None, missing)
    };
    let own = |arguments: &[&'static str], holds: &str, target| {
        let holds = holds.to_owned();
        row("osmoda", osmoda, arguments, holds, Some(target), None)
    };
    let last = format!("agent-{}", agents.saturating_sub(1));
    vec![
        peer("true", &[]),
        own(&["--version"], "osmoda", 5),
        peer("git", &["--version"]),
        peer("nix", &["--version"]),
        own(&["status"], &last, 30),
        own(&["status", "-o", "json"], &last, 30),
    ]
}

fn row(
    name: &str,
    program: &Path,
    arguments: &[&'static str],
    holds: String,
    target: Option<u32>,
    missing: Option<String>,
) -> Row {
    let words: Vec<_> = [&[name], arguments].concat();
    Row {
        command: words.join(" "),
        target,
        samples_ns: Vec::new(),
        missing,
        run: Run {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            holds,
        },
    }
}

impl Run {
    /// Nanoseconds from before the fork to the end of the answer.
    fn once(&self, node: &Node) -> anyhow::Result<u64> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        node.address(&mut command);
        let begun = Instant::now();
        let answer = command
            .output()
            .with_context(|| format!("running {}", project::show(&command)))?;
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&answer.stdout);
        ensure!(
            answer.status.success() && text.contains(&self.holds),
            "{}: {}, {} bytes without {:?}, and\n{}",
            project::show(&command),
            answer.status,
            text.len(),
            self.holds,
            String::from_utf8_lossy(&answer.stderr)
        );
        u64::try_from(took.as_nanos()).context("a command took centuries")
    }
}

impl Report {
    fn goals(&self) -> Vec<Goal> {
        let goal = |row: &Row| {
            let target = row.target?;
            Some(Goal::new(
                "P9",
                format!("`{}`", row.command),
                Bound::Below(f64::from(target)),
                "ms",
                median(&row.samples_ns).map(|ns| ns / 1e6),
            ))
        };
        self.rows.iter().filter_map(goal).collect()
    }

    fn markdown(&self) -> String {
        let floor = self.rows.first().and_then(|row| median(&row.samples_ns));
        let mut text = String::from("| | median ms | p99 ms | x `true` |\n|---|--:|--:|--:|\n");
        for row in &self.rows {
            if let Some(reason) = &row.missing {
                text.push_str(&format!("| `{}` | {reason} | | |\n", row.command));
                continue;
            }
            let middle = median(&row.samples_ns);
            let ratio = middle.zip(floor).map(|(middle, floor)| middle / floor);
            text.push_str(&format!(
                "| `{}` | {} | {} | {} |\n",
                row.command,
                fixed(middle.map(|ns| ns / 1e6)),
                fixed(p99(&row.samples_ns).map(|ns| ns / 1e6)),
                fixed(ratio),
            ));
        }
        text.push_str(&format!(
            "\n- osmoda {}: {} agents; {} runs of each command, in turns, of a daemon at rest; the time to \
             fork, run and read the answer.\n- Machine: {}; state on {}.\n",
            self.version,
            self.settings.agents,
            self.settings.rounds,
            self.machine.describe(),
            self.file_system
        ));
        text
    }
}

fn fixed(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_missing_says_so_and_the_others_have_ratios() {
        let mut rows = commands(Path::new("/osmoda"), 3);
        rows[0].samples_ns = vec![1_000_000; 3];
        rows[1].samples_ns = vec![3_500_000; 3];
        rows[2].missing = Some("git is not installed".to_owned());
        rows[3].missing = None;
        let report = Report {
            machine: Machine::look(),
            settings: Settings {
                agents: 3,
                rounds: 3,
            },
            file_system: "ext4".to_owned(),
            version: "0.1.0".to_owned(),
            rows,
        };
        let text = report.markdown();
        assert!(
            text.contains("| `osmoda --version` | 3.50 | 3.50 | 3.50 |"),
            "{text}"
        );
        assert_eq!(report.goals()[0].measured, Some(3.5));
        assert!(
            text.contains("| `git --version` | git is not installed | | |"),
            "{text}"
        );
    }
}
