//! What benchmarks share: a place to work in, and where results go.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use serde::Serialize;

use super::restart;
use crate::{process, project};

/// A directory below target/bench, new, and removed when it is dropped: on the file system of the
/// checkout, where a ledger is as durable as its disk.
pub struct Ground(PathBuf);

impl Ground {
    /// For the benchmark of this name. Whatever ends this program from now on, what it started
    /// ends with it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(benchmark: &str) -> anyhow::Result<Self> {
        process::adopt_orphans()?;
        process::end_descendants_on_signal()?;
        let path = project::target()
            .join("bench")
            .join(format!("{benchmark}-work"));
        // What a run that was interrupted has left would be measured, too.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // The next run begins with it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Version of an osmoda.
///
/// # Errors
/// It cannot be run.
pub fn version(osmoda: &Path) -> anyhow::Result<String> {
    let text = project::output(Command::new(osmoda).arg("--version"))?;
    Ok(text.trim_start_matches("osmoda ").to_owned())
}

/// Prints the table, writes target/bench/NAME.{json,md}, and puts the table between these marks
/// of docs/performance.md, if there are any.
///
/// # Errors
/// A file cannot be written, or the document has lost its marks.
pub fn publish(
    name: &str,
    report: &impl Serialize,
    table: &str,
    marks: Option<(&str, &str)>,
) -> anyhow::Result<()> {
    println!("\n{table}");
    let output = project::target().join("bench");
    let json = serde_json::to_string_pretty(report).context("writing JSON")?;
    project::write_file(&output.join(format!("{name}.json")), json + "\n")?;
    project::write_file(&output.join(format!("{name}.md")), table)?;
    println!("written: {}/{name}.{{json,md}}", output.display());
    if let Some(marks) = marks {
        let path = project::root().join("docs/performance.md");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        project::write_file(&path, restart::replace_between(&text, marks, table)?)?;
        println!("updated: {}", path.display());
    }
    Ok(())
}
