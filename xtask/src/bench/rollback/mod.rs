//! `cargo xtask bench rollback`: how long a switch to a recorded generation takes, beside
//! `nix-env --rollback`.
//!
//! The program that does both in turns is an example of the crate that knows Nix
//! (reconciler/nix/examples/nix-bench.rs); here it is built, run in an empty directory, and its
//! samples become a table. [`verdict`] measures the whole way back in a daemon.

mod verdict;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{
    build::{self, Common},
    goal::{Bound, Goal},
    machine::{self, Machine},
    output,
    stats::{as_float, median, p99},
};
use crate::project;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Rollbacks of each contender.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Deploys that a daemon goes back from.
    #[arg(long, default_value_t = 12)]
    verdicts: u64,
    /// A nix-bench that is built already (default: build it now, release profile).
    #[arg(long)]
    program: Option<PathBuf>,
}

/// What nix-bench prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    nix: String,
    store_ns: Vec<u64>,
    directory_ns: Vec<u64>,
    nix_env_ns: Vec<u64>,
    floor_ns: Vec<u64>,
}

/// A whole run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    machine: Machine,
    file_system: String,
    rounds: u64,
    samples: Samples,
    /// From the crash that condemns a deploy to the first act of the old one.
    verdict_ns: Vec<u64>,
}

/// Measures, prints, and writes target/bench/rollback.{json,md,svg}.
///
/// # Errors
/// The program cannot be built, or Nix is not there.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let ground = output::directory().join("rollback-work");
    // What a run that was interrupted has left.
    let _ = remove(&ground);
    fs::create_dir_all(&ground).with_context(|| format!("creating {}", ground.display()))?;
    let machine = Machine::look();
    println!("{}", machine.describe());
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build::example("osmoda-nix", "nix-bench")?,
    };
    let agent = build::c_program("agent", &output::directory())?;
    let osmoda = common.osmoda()?;
    println!("going back from {} deploys ...", args.verdicts);
    let mut verdict_ns = Vec::new();
    for begun in (0..args.verdicts).step_by(verdict::BUDGET) {
        let rounds = (args.verdicts - begun).min(verdict::BUDGET as u64);
        let daemon = output::Ground::new("verdict")?;
        verdict_ns.extend(verdict::measure(&osmoda, &agent, daemon.path(), rounds)?);
    }
    println!("{} rollbacks of each kind ...", args.rounds);
    let mut command = Command::new(program);
    command.arg(&ground).arg(args.rounds.to_string());
    let printed = project::output(&mut command).context("measuring needs nix-env (Nix)")?;
    let report = Report {
        machine,
        file_system: machine::file_system(&ground),
        rounds: args.rounds,
        samples: serde_json::from_str(printed.trim()).context("reading what nix-bench printed")?,
        verdict_ns,
    };
    remove(&ground)?;
    let (table, goals) = (report.markdown(), report.goals());
    output::publish("rollback", &report, &table, &goals, common)?;
    Ok(goals)
}

/// Removes a directory that holds a Nix store, whose directories nobody may write to.
fn remove(directory: &Path) -> anyhow::Result<()> {
    let mut chmod = Command::new("chmod");
    chmod.args(["-R", "u+w"]).arg(directory);
    project::output(&mut chmod)?;
    fs::remove_dir_all(directory).with_context(|| format!("removing {}", directory.display()))
}

impl Report {
    /// For the slower of the two ways in which osmoda keeps bundles.
    fn goals(&self) -> Vec<Goal> {
        let samples = &self.samples;
        let ways = [&samples.store_ns, &samples.directory_ns];
        let own = ways.into_iter().filter_map(|way| median(way));
        let own = own.max_by(f64::total_cmp);
        let theirs = median(&samples.nix_env_ns);
        vec![
            Goal::new(
                "P10",
                "the crash that condemns a deploy to the first act of the old one",
                Bound::Below(10.0),
                "ms",
                median(&self.verdict_ns).map(|ns| ns / 1e6),
            ),
            Goal::new(
                "P10",
                "speed against nix-env --rollback",
                Bound::AtLeast(10.0),
                "x",
                theirs.zip(own).map(|(theirs, own)| theirs / own),
            ),
        ]
    }

    fn markdown(&self) -> String {
        let samples = &self.samples;
        let floor = median(&samples.floor_ns);
        let theirs = median(&samples.nix_env_ns);
        let mut text = String::from(
            "| back to a recorded generation | median ms | p99 ms | x floor | nix-env / this |\n\
             |---|--:|--:|--:|--:|\n",
        );
        for (name, of) in [
            (
                "floor: link, rename, sync of the directory",
                &samples.floor_ns,
            ),
            ("osmoda, bundles in a directory", &samples.directory_ns),
            ("osmoda, bundles in the Nix store", &samples.store_ns),
            ("nix-env --rollback", &samples.nix_env_ns),
            (
                "osmoda, from the condemning crash to the old one's first act",
                &self.verdict_ns,
            ),
        ] {
            let middle = median(of);
            let ratio = |above: Option<f64>, below: Option<f64>| {
                fixed(above.zip(below).map(|(above, below)| above / below), 1)
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} |",
                fixed(middle.map(|ns| ns / 1e6), 3),
                fixed(p99(of).map(|ns| ns / 1e6), 3),
                ratio(middle, floor),
                ratio(theirs, middle),
            );
        }
        let _ = writeln!(
            text,
            "\n- {} rollbacks each, in turns, and {} deploys that a daemon went back from; {}.\n- Machine: {}; store and profiles on {}.",
            fixed(Some(as_float(self.rounds)), 0),
            self.verdict_ns.len(),
            samples.nix,
            self.machine.describe(),
            self.file_system
        );
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
    fn the_table_compares_with_the_floor_and_with_nix_env() {
        let report = Report {
            machine: Machine::look(),
            file_system: "ext4".to_owned(),
            rounds: 1,
            samples: Samples {
                nix: "nix-env (Nix) 2.8.0".to_owned(),
                store_ns: vec![2_000_000],
                directory_ns: vec![1_500_000],
                nix_env_ns: vec![30_000_000],
                floor_ns: vec![1_000_000],
            },
            verdict_ns: vec![4_000_000],
        };
        let text = report.markdown();
        let row = "| osmoda, bundles in the Nix store | 2.000 | 2.000 | 2.0 | 15.0 |";
        assert!(text.contains(row), "{text}");
        let measured = report.goals().into_iter().map(|goal| goal.measured);
        assert_eq!(measured.collect::<Vec<_>>(), [Some(4.0), Some(15.0)]);
    }
}
