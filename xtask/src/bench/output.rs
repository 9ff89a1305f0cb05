//! What benchmarks share: a place to work in, and where results go.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use serde::Serialize;

use super::{
    build::Common,
    goal::{self, Goal},
    machine, plot,
};
use crate::{process, project};

/// Where results go.
pub fn directory() -> PathBuf {
    project::target().join("bench")
}

/// A directory below target/bench, new, and removed when it is dropped: on the file system of the
/// checkout, where a ledger is as durable as its disk.
pub struct Ground(PathBuf);

/// A directory in memory, as the /run of most machines is; removed when it is dropped. `None`: this
/// machine has none in which programs may lie.
pub fn in_memory(benchmark: &str) -> Option<Ground> {
    let shared = Path::new("/dev/shm");
    if machine::file_system(shared) != "tmpfs" {
        return None;
    }
    let path = shared.join(format!("osmoda-{benchmark}-{}", std::process::id()));
    fs::create_dir(&path).ok()?;
    let ground = Ground(path);
    can_execute(ground.path()).then_some(ground)
}

/// Some mount it without the right to execute what lies in it, and a service may be a script.
fn can_execute(directory: &Path) -> bool {
    let script = directory.join("run");
    fs::write(&script, "#!/bin/sh\n").is_ok()
        && fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).is_ok()
        && Command::new(&script)
            .status()
            .is_ok_and(|status| status.success())
        && fs::remove_file(&script).is_ok()
}

impl Ground {
    /// For the benchmark of this name. Whatever ends this program from now on, what it started
    /// ends with it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(benchmark: &str) -> anyhow::Result<Self> {
        process::adopt_orphans()?;
        process::end_descendants_on_signal()?;
        let path = directory().join(format!("{benchmark}-work"));
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

/// A report and the goals it speaks to, as JSON.
#[derive(Serialize)]
struct Published<'a, R> {
    #[serde(flatten)]
    report: &'a R,
    goals: &'a [Goal],
}

/// Prints the table and the goals, writes target/bench/NAME.{json,md,svg}, and puts the tables
/// into docs/performance.md if that is asked for. The plot is of the goals.
///
/// # Errors
/// A file cannot be written, or the document has lost its marks.
pub fn publish(
    name: &str,
    report: &impl Serialize,
    table: &str,
    goals: &[Goal],
    common: &Common,
) -> anyhow::Result<()> {
    let table = match goals {
        [] => table.to_owned(),
        goals => format!("{table}\n{}", goal::markdown(goals)),
    };
    println!("\n{table}");
    let json = serde_json::to_string_pretty(&Published { report, goals });
    let json = json.context("writing JSON")?;
    project::write_file(&directory().join(format!("{name}.json")), json + "\n")?;
    project::write_file(&directory().join(format!("{name}.md")), &table)?;
    let plot = plot::of_goals(name, goals).svg();
    project::write_file(&directory().join(format!("{name}.svg")), plot)?;
    println!("written: {}/{name}.{{json,md,svg}}", directory().display());
    if common.update_docs {
        update_docs(name, &table)?;
    }
    Ok(())
}

/// Puts a table between the marks of this name.
///
/// # Errors
/// The document has lost its marks, or cannot be written.
pub fn update_docs(name: &str, table: &str) -> anyhow::Result<()> {
    let path = document();
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    project::write_file(&path, replace_section(&text, name, table)?)?;
    println!("updated: {}", path.display());
    Ok(())
}

/// Where the last tables are kept.
pub fn document() -> PathBuf {
    project::root().join("docs/performance.md")
}

/// The document with what stands between the marks of this name replaced.
///
/// # Errors
/// It has lost them.
pub fn replace_section(document: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let mark = |word: &str| format!("<!-- cargo xtask bench {name} --update-docs: {word} -->");
    let (begin, end) = (mark("begin"), mark("end"));
    let (before, rest) = document
        .split_once(&begin)
        .with_context(|| format!("docs/performance.md has lost the mark {begin}"))?;
    let (_, after) = rest
        .split_once(&end)
        .with_context(|| format!("docs/performance.md has lost the mark {end}"))?;
    Ok(format!(
        "{before}{begin}\n\n{}\n\n{end}{after}",
        table.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_replaced_and_the_rest_kept() {
        let begin = "<!-- cargo xtask bench hang --update-docs: begin -->";
        let end = "<!-- cargo xtask bench hang --update-docs: end -->";
        let document = format!("before\n{begin}\nold\n{end}\nafter\n");
        let once = replace_section(&document, "hang", "new\n").unwrap();
        assert_eq!(once, format!("before\n{begin}\n\nnew\n\n{end}\nafter\n"));
        assert_eq!(replace_section(&once, "hang", "new\n").unwrap(), once);
        let error = replace_section(&once, "idle", "new\n").unwrap_err();
        assert!(error.to_string().contains("bench idle"), "{error}");
    }
}
