//! A node daemon in a directory of its own, looked at as users look: `-o json` and the ledger's
//! file. The programs of `cargo xtask test --all` and some benchmarks run under it.
//!
//! Invariant: when a [`Node`] is dropped, neither its daemon nor anything below it runs.

use std::{
    cell::RefCell,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{process, project};

/// How long anything that is waited for may take, on a busy machine.
pub const BOUND: Duration = Duration::from_secs(90);

/// Pause between two looks.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// The daemon and its places.
pub struct Node {
    osmoda: PathBuf,
    directory: PathBuf,
    daemon: RefCell<Child>,
}

impl Node {
    /// Starts `osmoda run` with the native runtime on these manifests, in this directory. A
    /// Unix socket's path has at most 107 bytes, so its path has to be a short one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(osmoda: &Path, directory: &Path, manifests: &str) -> anyhow::Result<Self> {
        Self::start_with(osmoda, directory, manifests, &[])
    }

    /// As [`Node::start`], with more arguments for `osmoda run`.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_with(
        osmoda: &Path,
        directory: &Path,
        manifests: &str,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let specs = directory.join("specs");
        project::write_file(&specs.join("agents.yaml"), manifests)?;
        let log = project::create_file(&log_of(directory))?;
        let daemon = spawn(
            command(osmoda, directory)
                .arg("run")
                .arg(&specs)
                .args(["--runtime", "native"])
                .args(more),
            log,
        )?;
        Ok(Self {
            osmoda: osmoda.to_owned(),
            directory: directory.to_owned(),
            daemon: RefCell::new(daemon),
        })
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.daemon.borrow().id()
    }

    /// What `osmoda WORDS -o json` prints, whatever its exit code; `None` if that is no JSON: a
    /// daemon that has just begun does not answer yet.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn ask(&self, words: &[&str]) -> anyhow::Result<Option<Value>> {
        let mut command = command(&self.osmoda, &self.directory);
        let output = command
            .args(words)
            .args(["-o", "json"])
            .output()
            .with_context(|| format!("running osmoda {}", words.join(" ")))?;
        Ok(serde_json::from_slice(&output.stdout).ok())
    }

    /// Has a command find this daemon, if it is an osmoda.
    pub fn address(&self, command: &mut Command) {
        address(command, &self.directory);
    }

    /// Every entry, from the ledger's file.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn entries(&self) -> anyhow::Result<Vec<Value>> {
        let mut export = command(&self.osmoda, &self.directory);
        let text = project::output(export.args(["ledger", "export"]))?;
        let lines = text.lines().map(serde_json::from_str::<Value>);
        let lines: Result<Vec<Value>, _> = lines.collect();
        let lines = lines.context("reading the exported ledger")?;
        // The first line names the log and the last one its root; neither holds an entry.
        Ok(lines
            .into_iter()
            .filter_map(|mut line| Some(line.get_mut("entry")?.take()))
            .collect())
    }

    /// The ledger holds together.
    ///
    /// # Errors
    /// It does not.
    pub fn verifies(&self) -> anyhow::Result<()> {
        let mut verify = command(&self.osmoda, &self.directory);
        project::output(verify.args(["ledger", "verify"])).map(drop)
    }

    /// SIGTERM to the daemon, which stops its agents; it must end in order.
    ///
    /// # Errors
    /// It does not.
    pub fn stop(&self) -> anyhow::Result<()> {
        process::kill(self.pid(), Signal::TERM);
        let status = until("the daemon's end", || {
            Ok(self.daemon.borrow_mut().try_wait()?)
        })?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }

    /// What the daemon said.
    pub fn log(&self) -> String {
        fs::read_to_string(log_of(&self.directory)).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let daemon = self.daemon.get_mut();
        if matches!(daemon.try_wait(), Ok(Some(_))) {
            return;
        }
        // Held still, it starts nothing while what is below it ends.
        process::kill(daemon.id(), Signal::STOP);
        process::end_descendants(daemon.id());
        // Both fail only for a child that has been waited for.
        let _ = daemon.kill();
        let _ = daemon.wait();
    }
}

/// Looks again and again until there is something to see.
///
/// # Errors
/// A look fails, or [`BOUND`] has passed.
pub fn until<T>(
    what: &str,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look().with_context(|| format!("waiting for {what}"))? {
            return Ok(found);
        }
        if start.elapsed() > BOUND {
            bail!("{what} did not come within {} s", BOUND.as_secs());
        }
        thread::sleep(LOOK_PERIOD);
    }
}

/// Not beside the specs: that place is watched.
fn log_of(directory: &Path) -> PathBuf {
    directory.join("said/daemon.log")
}

/// `osmoda` in its own places, whatever the surroundings choose by variable.
fn command(osmoda: &Path, directory: &Path) -> Command {
    let mut command = Command::new(osmoda);
    address(&mut command, directory);
    command
}

fn address(command: &mut Command, directory: &Path) {
    command.current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"OSMODA_") {
            command.env_remove(name);
        }
    }
    command
        .env("OSMODA_STATE_DIR", directory.join("state"))
        .env("OSMODA_RUNTIME_DIR", directory.join("run"))
        // Nothing is left behind in the host's Nix store.
        .env("OSMODA_BUNDLES", "directory");
}

fn spawn(command: &mut Command, log: File) -> anyhow::Result<Child> {
    command
        .stdout(log.try_clone().context("duplicating the daemon's log")?)
        .stderr(log)
        .spawn()
        .context("starting the daemon")
}
