//! What benchmarks run: osmoda and examples of its crates in release profile, and the small C
//! programs of xtask/bench.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::project;

/// What every benchmark takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// An osmoda that is built already (default: build it now, release profile).
    #[arg(long, global = true)]
    pub osmoda: Option<PathBuf>,
    /// Put the table into docs/performance.md.
    #[arg(long, global = true)]
    pub update_docs: bool,
}

impl Common {
    /// The osmoda to measure, built now unless one was named.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn osmoda(&self) -> anyhow::Result<PathBuf> {
        match &self.osmoda {
            Some(program) => fs::canonicalize(program)
                .with_context(|| format!("looking for {}", program.display())),
            None => release(&["--package", "osmoda", "--bin", "osmoda"], "osmoda"),
        }
    }
}

/// Builds an example of one of the crates: what only that crate may use is measured there.
///
/// # Errors
/// It cannot be built.
pub fn example(package: &str, name: &str) -> anyhow::Result<PathBuf> {
    let arguments = ["--package", package, "--example", name];
    release(&arguments, &format!("examples/{name}"))
}

/// Builds in release profile; gives the program at `place` below its directory.
fn release(arguments: &[&str], place: &str) -> anyhow::Result<PathBuf> {
    println!("building {place} ...");
    let mut command = project::cargo();
    command
        .args(["build", "--release", "--locked"])
        .args(arguments);
    project::output(&mut command).with_context(|| format!("building {place}"))?;
    let program = project::build_directory().join("release").join(place);
    ensure!(program.exists(), "{} was not built", program.display());
    Ok(program)
}

/// Compiles one of the C programs of xtask/bench.
///
/// # Errors
/// There is no compiler, or no static libc.
pub fn c_program(name: &str, output: &Path) -> anyhow::Result<PathBuf> {
    let source = project::root()
        .join("xtask/bench")
        .join(format!("{name}.c"));
    let program = output.join(name);
    // Renamed when it is whole: another benchmark may be running the one before.
    let new = output.join(format!("{name}.{}", std::process::id()));
    fs::create_dir_all(output).with_context(|| format!("creating {}", output.display()))?;
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-static", "-o"])
        .arg(&new)
        .arg(source);
    project::output(&mut compiler).context("compiling needs gcc and libc6-dev")?;
    fs::rename(&new, &program).with_context(|| format!("renaming {}", new.display()))?;
    Ok(program)
}
