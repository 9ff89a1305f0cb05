//! `cargo xtask bench ledger`: what the ledger costs, beside what it cannot do without.
//!
//! An append is measured in turns with writing the same bytes to a plain file and fdatasync;
//! verification in turns with hashing as many such entries in memory; opening, appending and
//! proving on a large ledger beside the same on an empty one. The program that does this is an
//! example of the ledger's own crate (reconciler/ledger/examples/ledger-bench.rs), since only
//! that may use it; here it is built, run, and its samples become a table ([`report`]).

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
use crate::project;
use report::Report;

/// Entries of the commits that are measured: one, and what a crash and restart records.
const COMMITS: [&str; 2] = ["1", "3"];

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
    pub entries_per_commit: u64,
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

/// Measures, prints, and writes target/bench/ledger.{json,md,svg}.
///
/// # Errors
/// The program cannot be built, or a ledger does not do what is measured.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let ground = output::directory().join("ledger-work");
    // What a run that was interrupted has left would be measured instead.
    let _ = fs::remove_dir_all(&ground);
    fs::create_dir_all(&ground).with_context(|| format!("creating {}", ground.display()))?;
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
        generate(&bench.program, &large, args.settings.entries)?;
    }
    let empty = ground.join("empty.db");
    let rounds = args.settings.rounds.to_string();
    let seconds = args.settings.seconds.to_string();
    let report = Report {
        file_system: machine::file_system(&large),
        machine,
        settings: args.settings.clone(),
        start: bench.ask("start", &large, &[&rounds])?,
        verify: bench.ask("verify", &large, &[&rounds])?,
        appends: [&empty, &large]
            .into_iter()
            .flat_map(|ledger| COMMITS.map(|entries| (ledger, entries)))
            .map(|(ledger, entries)| bench.ask("append", ledger, &[&seconds, entries]))
            .collect::<anyhow::Result<_>>()?,
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
        numbers: &[&str],
    ) -> anyhow::Result<T> {
        let said = numbers.join(" ");
        println!(
            "{what} {} {said} ({:?}) ...",
            ledger.display(),
            self.settings
        );
        ask(&self.program, what, ledger, numbers)
    }
}

/// Makes a ledger of so many entries, with its key beside it.
///
/// # Errors
/// The disk is full, or `ledger-bench` is another one.
pub fn generate(program: &Path, ledger: &Path, entries: u64) -> anyhow::Result<()> {
    println!("making {entries} entries ...");
    ask::<serde_json::Value>(program, "generate", ledger, &[&entries.to_string()]).map(drop)
}

fn ask<T: DeserializeOwned>(
    program: &Path,
    what: &str,
    ledger: &Path,
    numbers: &[&str],
) -> anyhow::Result<T> {
    let mut command = Command::new(program);
    command.arg(what).arg(ledger).args(numbers);
    let printed = project::output(&mut command)?;
    let last = printed.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("reading what {what} has printed"))
}
