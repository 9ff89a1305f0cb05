//! `cargo xtask test`: everything that is checked, part by part, as CI runs it.
//!
//! [`table`] lists the parts; a new one is a row there. Each part runs even if one before it
//! failed. What a part prints goes to target/test/PART.log and is shown only if it fails.

mod parts;
mod programs;
mod surface;
mod table;

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::project;
use table::{Part, When};

/// Variable that names parts to leave out, separated by commas; each is reported as skipped.
const SKIP_VARIABLE: &str = "OSMODA_SKIP";

/// Lines of a failed part's log that are shown.
const SHOWN_LINES: usize = 120;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Also run what takes too long for CI.
    #[arg(long)]
    all: bool,
    /// List the parts and what they check, and run nothing.
    #[arg(long)]
    list: bool,
    /// Run only these parts (default: those of CI).
    #[arg(value_name = "PART")]
    parts: Vec<String>,
}

/// How a part that did not fail ended.
pub enum Verdict {
    /// All is well; what was seen, in a few words.
    Passed(String),
    /// It could not run here, and why.
    Skipped(String),
}

/// What a part is given.
pub struct Context {
    /// Where its output goes.
    log: PathBuf,
    /// cargo-deny being built beside the other parts, where it was missing.
    deny: Option<parts::Building>,
}

/// Runs the parts.
///
/// # Errors
/// A part failed, or a name is not that of a part.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.list {
        print!("{}", table::describe());
        return Ok(());
    }
    let skipped = names_to_skip(std::env::var(SKIP_VARIABLE).ok().as_deref())?;
    let chosen = choose(args)?;
    let mut context = Context {
        log: PathBuf::new(),
        deny: None,
    };
    let wants_deny =
        |part: &&'static Part| part.name == table::DENY && !skipped.contains(part.name);
    if chosen.iter().any(wants_deny) {
        context.deny = parts::start_building_deny()?;
    }
    let mut tally = Tally::default();
    for part in &chosen {
        run_part(part, &mut context, &skipped, &mut tally);
    }
    tally.report();
    if tally.failed > 0 {
        bail!("the parts marked FAILED above do not pass");
    }
    Ok(())
}

fn choose(args: &Args) -> anyhow::Result<Vec<&'static Part>> {
    if args.parts.is_empty() {
        let wanted = |part: &&Part| args.all || matches!(part.when, When::Always);
        return Ok(table::PARTS.iter().filter(wanted).collect());
    }
    let named = args.parts.iter().map(|name| table::find(name));
    named.collect()
}

fn names_to_skip(variable: Option<&str>) -> anyhow::Result<BTreeSet<&'static str>> {
    let names = variable.unwrap_or_default().split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(|name| Ok(table::find(name).context(SKIP_VARIABLE)?.name))
        .collect()
}

fn run_part(
    part: &Part,
    context: &mut Context,
    skipped: &BTreeSet<&'static str>,
    tally: &mut Tally,
) {
    context.log = project::target()
        .join("test")
        .join(format!("{}.log", part.name));
    println!("{:<13} {} ...", part.name, part.about);
    let start = Instant::now();
    let result = if skipped.contains(part.name) {
        Ok(Verdict::Skipped(format!("{SKIP_VARIABLE} names it")))
    } else {
        // A log of an earlier run must not be taken for this one's; it may well not exist.
        let _ = fs::remove_file(&context.log);
        (part.run)(context)
    };
    let took = start.elapsed();
    match result {
        Ok(Verdict::Passed(seen)) => {
            tally.passed += 1;
            line(part, "passed", took, &seen);
        }
        Ok(Verdict::Skipped(reason)) => {
            line(part, "SKIPPED", took, &reason);
            tally.skipped.push((part.name, reason));
        }
        Err(error) => {
            tally.failed += 1;
            show_log(&context.log);
            line(part, "FAILED", took, &format!("{error:#}"));
        }
    }
}

fn line(part: &Part, result: &str, took: Duration, text: &str) {
    let name = part.name;
    let seconds = took.as_secs_f64();
    println!("{name:<13} {result} in {seconds:.1} s  {text}");
}

fn show_log(log: &PathBuf) {
    let Ok(bytes) = fs::read(log) else {
        return;
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let hidden = lines.len().saturating_sub(SHOWN_LINES);
    if hidden > 0 {
        println!("  | ({hidden} lines before this are in {})", log.display());
    }
    for text in &lines[hidden..] {
        println!("  | {text}");
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: Vec<(&'static str, String)>,
}

impl Tally {
    fn report(&self) {
        for (name, reason) in &self.skipped {
            println!("skipped: {name}: {reason}");
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed,
            self.skipped.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_to_leave_out_are_named_with_commas() {
        let names = names_to_skip(Some("format, doctest,")).unwrap();
        assert_eq!(Vec::from_iter(names), ["doctest", "format"]);
        assert!(names_to_skip(None).unwrap().is_empty());
    }

    #[test]
    fn a_misspelt_part_is_refused_and_the_real_ones_are_named() {
        let error = format!("{:#}", names_to_skip(Some("fromat")).unwrap_err());
        assert!(error.contains("there is no part \"fromat\""), "{error}");
        assert!(error.contains("format, architecture"), "{error}");
    }
}
