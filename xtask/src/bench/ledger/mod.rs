//! `cargo xtask bench ledger`: what the ledger costs, beside what it cannot do without.
//!
//! An append is measured in turns with writing the same bytes to a plain file and fdatasync;
//! verification in turns with hashing as many such entries in memory; opening, appending and
//! proving on a large ledger beside the same on an empty one. The program that does this is an
//! example of the ledger's own crate (reconciler/ledger/examples/ledger-bench.rs), since only
//! that may use it; here it is built, run, and its samples become a table ([`report`]). Daemons
//! are started without a ledger and on the large one ([`begin`]).

mod begin;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    build::{self, Common},
    goal::Goal,
    machine::{self, Machine},
    output,
};
use crate::{process, project};
use begin::Begin;
use report::Report;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// A large ledger that is there already and is kept (default: made, and removed).
    #[arg(long)]
    large: Option<PathBuf>,
}

/// How much is measured.
#[derive(Debug, Clone, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Entries of the large ledger; 650 bytes of disk each.
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Seconds of appending, each for one writer (in turns with the floor) and for many.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Rounds of verifying and of opening.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// What `ledger-bench append` prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Append {
    pub entries_before: u64,
    pub bytes_per_commit: u64,
    pub floor_ns: Vec<u64>,
    pub single_ns: Vec<u64>,
    pub head_ns: Vec<u64>,
    pub many_writers: u64,
    pub many_commits: u64,
    pub many_ns: u64,
}

/// What `ledger-bench verify` prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    pub entries: u64,
    pub bytes_per_entry: u64,
    pub verify_ns: Vec<u64>,
    pub hash_ns: Vec<u64>,
    pub verify_cpu_ns: Vec<u64>,
    pub hash_cpu_ns: Vec<u64>,
    #[serde(rename = "peakKiB")]
    pub peak_kib: u64,
}

/// What `ledger-bench start` prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    pub entries: u64,
    pub open_ns: Vec<u64>,
    pub prove_ns: Vec<u64>,
    #[serde(rename = "peakKiB")]
    pub peak_kib: u64,
}

/// From the exec of a daemon to the first act of its first agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FirstAgent {
    pub without_ledger_ns: Vec<u64>,
    pub on_large_ns: Vec<u64>,
}

/// Measures, prints, and writes target/bench/ledger.{json,md,svg}.
///
/// # Errors
/// The program cannot be built, or a ledger does not do what is measured.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let ground = output::directory().join("ledger-work");
    // What a run that was interrupted has left would be measured instead.
    let _ = fs::remove_dir_all(&ground);
    fs::create_dir_all(&ground).with_context(|| format!("creating {}", ground.display()))?;
    process::adopt_orphans()?;
    process::end_descendants_on_signal()?;
    let agent = build::c_program("agent", &output::directory())?;
    let osmoda = common.osmoda()?;
    let machine = Machine::look();
    println!("{}", machine.describe());
    let bench = Bench {
        program: build::example("osmoda-ledger", "ledger-bench")?,
        settings: args.settings.clone(),
    };
    let large = match &args.large {
        Some(path) => path.clone(),
        None => ground.join("large.db"),
    };
    if !large.exists() {
        println!("making {} entries ...", args.settings.entries);
        bench.ask::<serde_json::Value>("generate", &large, args.settings.entries)?;
    }
    let begin = Begin {
        osmoda: &osmoda,
        agent: &agent,
        ground: ground.join("begin"),
        rounds: args.settings.rounds,
    };
    let start: Start = bench.ask("start", &large, args.settings.rounds.into())?;
    let report = Report {
        file_system: machine::file_system(&large),
        machine,
        settings: args.settings.clone(),
        first_agent: FirstAgent {
            without_ledger_ns: begin.without_a_ledger()?,
            on_large_ns: begin.on(&large, start.entries)?,
        },
        start,
        verify: bench.ask("verify", &large, args.settings.rounds.into())?,
        append: bench.ask("append", &large, args.settings.seconds.into())?,
        append_to_empty: bench.ask(
            "append",
            &ground.join("empty.db"),
            args.settings.seconds.into(),
        )?,
    };
    fs::remove_dir_all(&ground).with_context(|| format!("removing {}", ground.display()))?;
    let (table, goals) = (report.markdown(), report.goals());
    output::publish("ledger", &report, &table, &goals, common)?;
    Ok(goals)
}

struct Bench {
    program: PathBuf,
    settings: Settings,
}

impl Bench {
    fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        ledger: &Path,
        number: u64,
    ) -> anyhow::Result<T> {
        println!("{what} {} ({:?}) ...", ledger.display(), self.settings);
        let mut command = Command::new(&self.program);
        command.arg(what).arg(ledger).arg(number.to_string());
        let printed = project::output(&mut command)?;
        let last = printed.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("reading what {what} has printed"))
    }
}
