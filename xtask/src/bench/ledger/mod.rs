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

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    machine::{self, Machine},
    restart,
};
use crate::{process, project};
use begin::Begin;
use report::Report;

/// Between these lines of docs/performance.md stands the last table.
const MARKS: (&str, &str) = (
    "<!-- cargo xtask bench ledger --update-docs: begin -->",
    "<!-- cargo xtask bench ledger --update-docs: end -->",
);

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// A large ledger that is there already and is kept (default: made, and removed).
    #[arg(long)]
    large: Option<PathBuf>,
    /// An osmoda that is built already (default: build it now, release profile).
    #[arg(long)]
    osmoda: Option<PathBuf>,
    /// Put the table into docs/performance.md.
    #[arg(long)]
    update_docs: bool,
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

/// Measures, prints, and writes target/bench/ledger.{json,md}.
///
/// # Errors
/// The program cannot be built, or a ledger does not do what is measured.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let output = project::target().join("bench");
    let ground = output.join("ledger-work");
    // What a run that was interrupted has left would be measured instead.
    let _ = fs::remove_dir_all(&ground);
    fs::create_dir_all(&ground).with_context(|| format!("creating {}", ground.display()))?;
    process::adopt_orphans()?;
    process::end_descendants_on_signal()?;
    let agent = restart::compile("agent", &output)?;
    let osmoda = match &args.osmoda {
        Some(program) => program.clone(),
        None => restart::build_osmoda()?,
    };
    let machine = Machine::look();
    println!("{}", machine.describe());
    let bench = Bench {
        program: build()?,
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
    write(&report, &output, args.update_docs)
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

fn build() -> anyhow::Result<PathBuf> {
    println!("building ...");
    let arguments = [
        "build",
        "--release",
        "--locked",
        "--package",
        "osmoda-ledger",
        "--example",
    ];
    let mut command = project::cargo();
    project::output(command.args(arguments).arg("ledger-bench"))
        .context("building ledger-bench")?;
    let program = project::build_directory().join("release/examples/ledger-bench");
    ensure!(program.exists(), "{} was not built", program.display());
    Ok(program)
}

fn write(report: &Report, output: &Path, update_docs: bool) -> anyhow::Result<()> {
    let table = report.markdown();
    println!("\n{table}");
    let json = serde_json::to_string_pretty(report).context("writing JSON")?;
    project::write_file(&output.join("ledger.json"), json + "\n")?;
    project::write_file(&output.join("ledger.md"), &table)?;
    println!("written: {}/ledger.{{json,md}}", output.display());
    if update_docs {
        let path = project::root().join("docs/performance.md");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        project::write_file(&path, restart::replace_between(&text, MARKS, &table)?)?;
        println!("updated: {}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_document_has_its_marks() {
        let path = project::root().join("docs/performance.md");
        let document = fs::read_to_string(path).unwrap();
        assert!(restart::replace_between(&document, MARKS, "").is_ok());
    }
}
