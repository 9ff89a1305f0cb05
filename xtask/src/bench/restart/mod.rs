//! `cargo xtask bench restart`: how long a killed agent is away, under osmoda and under others.
//!
//! The agent (xtask/bench/agent.c) reads the clock as its first act; the time counts from just
//! before its kill. [`contenders`] are the supervisors, [`fleet`] runs one and believes only
//! what agents report, [`measure`] lets them take turns, [`report`] and [`plot`] write down what
//! came out.

mod contenders;
pub(super) mod cost;
mod fleet;
mod measure;
mod plot;
pub(super) mod records;
mod report;
pub(super) mod stats;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, anyhow, bail, ensure};

use super::machine::{self, Machine};
use crate::{process, project};
use contenders::Role;
use measure::{Entrant, Ground, Measures};
use report::{Report, Row};

/// Between these lines of docs/performance.md stands the last table.
const DOCS_BEGIN: &str = "<!-- cargo xtask bench restart --update-docs: begin -->";
const DOCS_END: &str = "<!-- cargo xtask bench restart --update-docs: end -->";

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Only contenders whose name begins with one of these (the floor always runs).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// An osmoda that is built already (default: build it now, release profile).
    #[arg(long)]
    osmoda: Option<PathBuf>,
    /// Put the table into docs/performance.md.
    #[arg(long)]
    update_docs: bool,
}

/// How much is measured.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Kills of one agent in a batch; batches repeat until the medians are steady.
    #[arg(long, default_value_t = 12)]
    kills: usize,
    /// How many agents are killed at once.
    #[arg(long, default_value_t = 50)]
    burst: usize,
    /// How many agents the idle cost is taken with.
    #[arg(long, default_value_t = 200)]
    many: usize,
}

/// Measures and writes target/bench/restart.{json,md,svg}.
///
/// # Errors
/// It cannot be set up, or a contender that is here did not do what it was measured for.
pub fn run(args: &Args) -> anyhow::Result<()> {
    process::adopt_orphans()?;
    process::end_descendants_on_signal()?;
    let output = project::target().join("bench");
    let ground = Ground {
        agent: compile("agent", &output)?,
        directory: output.join("work"),
    };
    let floor = compile("floor", &output)?;
    let machine = Machine::look();
    println!("{}", machine.describe());

    let mut entrants = enter(args, floor);
    let absent = |entrant: &&Entrant| entrant.failure.is_some();
    let missing: Vec<String> = entrants
        .iter()
        .filter(absent)
        .map(|entrant| entrant.contender.name())
        .collect();
    measure::all(&mut entrants, &ground, &args.settings);
    let left = process::descendants(std::process::id());
    process::end_descendants(std::process::id());

    let report = Report {
        file_system: machine::file_system(&ground.directory),
        machine,
        settings: args.settings.clone(),
        rows: entrants.into_iter().map(Row::from).collect(),
    };
    write(&report, &output, args.update_docs)?;
    ensure!(left.is_empty(), "contenders left processes {left:?} behind");
    let failed = |row: &&Row| row.failure.is_some() && !missing.contains(&row.name);
    let failed: Vec<&str> = report
        .rows
        .iter()
        .filter(failed)
        .map(|r| &*r.name)
        .collect();
    if !failed.is_empty() {
        bail!(
            "did not do what they were measured for: {}",
            failed.join(", ")
        );
    }
    Ok(())
}

/// Who takes part, with what is here and what is not.
fn enter(args: &Args, floor: PathBuf) -> Vec<Entrant> {
    let asked_for = |name: &str| {
        args.only.is_empty()
            || args
                .only
                .iter()
                .any(|prefix| name.starts_with(prefix.as_str()))
    };
    let osmoda = match &args.osmoda {
        Some(program) => Ok(program.clone()),
        None if asked_for("osmoda") => build_osmoda(),
        None => Err(anyhow!("not asked for")),
    };
    let all = contenders::all(floor, osmoda.map_err(|error| format!("{error:#}")));
    let mut entrants = Vec::new();
    for contender in all {
        if contender.role() != Role::Floor && !asked_for(&contender.name()) {
            continue;
        }
        let (version, failure) = match contender.version() {
            Ok(version) => (version, None),
            Err(reason) => (String::new(), Some(format!("{reason:#}"))),
        };
        match &failure {
            None => println!("{} {version}: {}", contender.name(), contender.settings()),
            Some(reason) => println!("{} is not measured: {reason}", contender.name()),
        }
        entrants.push(Entrant {
            contender,
            version,
            measures: Measures::default(),
            failure,
        });
    }
    entrants
}

pub(super) fn build_osmoda() -> anyhow::Result<PathBuf> {
    println!("building osmoda ...");
    let arguments = ["build", "--release", "--locked", "--package", "osmoda"];
    project::output(project::cargo().args(arguments)).context("building osmoda")?;
    let program = project::build_directory().join("release").join("osmoda");
    ensure!(program.exists(), "{} was not built", program.display());
    Ok(program)
}

/// Compiles one of the C programs of xtask/bench.
pub(super) fn compile(name: &str, output: &Path) -> anyhow::Result<PathBuf> {
    let source = project::root()
        .join("xtask/bench")
        .join(format!("{name}.c"));
    let program = output.join(name);
    fs::create_dir_all(output).with_context(|| format!("creating {}", output.display()))?;
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-static", "-o"])
        .arg(&program)
        .arg(source);
    project::output(&mut compiler).context("compiling needs gcc and libc6-dev")?;
    Ok(program)
}

fn write(report: &Report, output: &Path, update_docs: bool) -> anyhow::Result<()> {
    let table = report.markdown();
    println!("\n{table}");
    let json = serde_json::to_string_pretty(report).context("writing JSON")?;
    project::write_file(&output.join("restart.json"), json + "\n")?;
    project::write_file(&output.join("restart.md"), &table)?;
    project::write_file(&output.join("restart.svg"), plot::svg(report))?;
    println!("written: {}/restart.{{json,md,svg}}", output.display());
    if update_docs {
        let path = project::root().join("docs/performance.md");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        project::write_file(&path, replace_section(&text, &table)?)?;
        println!("updated: {}", path.display());
    }
    Ok(())
}

/// The document with what stands between the two marks replaced.
fn replace_section(document: &str, table: &str) -> anyhow::Result<String> {
    replace_between(document, (DOCS_BEGIN, DOCS_END), table)
}

/// The document with what stands between two marks replaced.
pub(super) fn replace_between(
    document: &str,
    (begin, end): (&str, &str),
    table: &str,
) -> anyhow::Result<String> {
    let (before, rest) = document
        .split_once(begin)
        .context("docs/performance.md has lost its begin mark")?;
    let (_, after) = rest
        .split_once(end)
        .context("docs/performance.md has lost its end mark")?;
    Ok(format!("{before}{begin}\n\n{table}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_replaced_and_the_rest_kept() {
        let document = format!("before\n{DOCS_BEGIN}\nold\n{DOCS_END}\nafter\n");
        let once = replace_section(&document, "new\n").unwrap();
        assert_eq!(
            once,
            format!("before\n{DOCS_BEGIN}\n\nnew\n\n{DOCS_END}\nafter\n")
        );
        assert_eq!(replace_section(&once, "new\n").unwrap(), once);
    }

    #[test]
    fn the_real_document_has_its_marks() {
        let path = project::root().join("docs/performance.md");
        let document = fs::read_to_string(path).unwrap();
        assert!(replace_section(&document, "").is_ok());
    }
}
