//! Part `programs`: real programs, unmodified and installed by name, kept alive by osmoda.
//!
//! Each [`Program`] is started, has to do its work, is killed, is frozen, and has to be back both
//! times, verified by osmoda and at work again. Invariant: a program that cannot be installed is
//! skipped with its reason; one that is there and does not come back is a failure.
//!
//! Where to start: [`trial`].

mod mcp;
mod nginx;
mod postgres;
mod redis;
mod sdnotify;
mod stage;
mod talk;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Context, Verdict};
use crate::{node, process, project};
use stage::Stage;

/// A program that knows nothing of osmoda.
trait Program {
    /// Name of its agent.
    fn name(&self) -> &'static str;

    /// Gives what has to be executed, installed where it is missing.
    ///
    /// # Errors
    /// It cannot be installed here: a reason to skip it.
    fn install(&self) -> anyhow::Result<PathBuf>;

    /// Prepares `place`, an empty directory, and says how the program is run there.
    ///
    /// # Errors
    /// What it needs cannot be prepared.
    fn agent(&self, program: &Path, place: &Path, port: u16) -> anyhow::Result<Agent>;
}

/// How a program is run, and how one sees that it works.
struct Agent {
    /// `spec` of its manifest.
    spec: Value,
    /// Reason of the failure that osmoda has to find when every process of it is frozen.
    frozen: &'static str,
    /// Uses the program; gets `message` of its status. An error means that it does not work.
    works: Box<Use>,
}

/// One use of a program.
type Use = dyn Fn(&str) -> anyhow::Result<()>;

const PROGRAMS: [&dyn Program; 5] = [
    &redis::Redis,
    &nginx::Nginx,
    &postgres::Postgres,
    &sdnotify::Sdnotify,
    &mcp::Everything,
];

/// Tries every program with this `osmoda`; prints and logs a line for each.
///
/// # Errors
/// A program is installed and did not do what it should.
pub fn run(context: &Context, osmoda: &Path) -> anyhow::Result<Verdict> {
    let ground = std::env::temp_dir().join(format!("osmoda-programs-{}", std::process::id()));
    let mut tally = Tally::default();
    for program in PROGRAMS {
        let place = ground.join(program.name());
        let line = tally.count(program.name(), &try_one(program, osmoda, &place));
        println!("  {line}");
        tally.log.push_str(&line);
        tally.log.push('\n');
    }
    project::write_file(&context.log, &tally.log)?;
    if tally.failed > 0 {
        bail!("{} programs failed; see {}", tally.failed, ground.display());
    }
    fs::remove_dir_all(&ground).with_context(|| format!("removing {}", ground.display()))?;
    let Tally {
        passed, skipped, ..
    } = tally;
    if passed == 0 {
        return Ok(Verdict::Skipped("no program could be installed".to_owned()));
    }
    Ok(Verdict::Passed(format!(
        "{passed} passed, {skipped} skipped"
    )))
}

/// How the trial of one program went.
enum Outcome {
    /// What was seen.
    Passed(String),
    /// Why it was not tried.
    Skipped(String),
}

#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    failed: usize,
    log: String,
}

impl Tally {
    fn count(&mut self, name: &str, outcome: &anyhow::Result<Outcome>) -> String {
        match outcome {
            Ok(Outcome::Passed(seen)) => {
                self.passed += 1;
                format!("{name}: passed: {seen}")
            }
            Ok(Outcome::Skipped(reason)) => {
                self.skipped += 1;
                format!("{name}: skipped: {reason}")
            }
            Err(error) => {
                self.failed += 1;
                format!("{name}: FAILED: {error:#}")
            }
        }
    }
}

fn try_one(program: &dyn Program, osmoda: &Path, place: &Path) -> anyhow::Result<Outcome> {
    let found = match program.install() {
        Ok(found) => found,
        Err(reason) => return Ok(Outcome::Skipped(format!("{reason:#}"))),
    };
    let files = place.join("files");
    fs::create_dir_all(&files).with_context(|| format!("creating {}", files.display()))?;
    open_to_all(place)?;
    let agent = program.agent(&found, &files, free_port()?)?;
    let stage = Stage::start(osmoda, place, program.name(), &agent.spec)?;
    trial(&stage, &agent)
        .with_context(|| format!("the daemon said:\n{}", stage.log()))
        .map(Outcome::Passed)
}

/// Ready, killed, back, frozen, back, stopped: at work and on record each time.
fn trial(stage: &Stage, agent: &Agent) -> anyhow::Result<String> {
    let mut seen = String::new();
    let mut status = stage.until_ready(0)?;
    (agent.works)(&status.message).context("after its start")?;
    let blows = [
        ("killed", Signal::KILL, "Crashed"),
        ("frozen", Signal::STOP, agent.frozen),
    ];
    for (blow, signal, reason) in blows {
        let before = stage.entries()?.len();
        let tree = tree_of(status.pid);
        strike(signal, status.pid, &tree);
        status = stage.until_ready(status.pid)?;
        let recovery = stage.recovery_since(before, reason)?;
        (agent.works)(&status.message).with_context(|| format!("after it was {blow}"))?;
        let left = process::wait_for_end(&tree, node::BOUND);
        ensure!(left.is_empty(), "of the {blow} tree {left:?} still runs");
        let (detect, back) = (recovery.detect_ms, recovery.back_ms);
        // Writing to a String cannot fail.
        let _ = write!(
            seen,
            "{blow}: {reason} found after {detect} ms, verified {back} ms later; "
        );
    }
    let tree = tree_of(status.pid);
    stage.stop()?;
    let left = process::wait_for_end(&tree, node::BOUND);
    ensure!(left.is_empty(), "{left:?} outlived the daemon's stop");
    stage.verifies()?;
    seen.push_str("stopped, ledger verified");
    Ok(seen)
}

/// A kill hits the main process, as the kernel's would; a freeze hits all there is, or those
/// who serve would go on.
fn strike(signal: Signal, main: u32, tree: &BTreeSet<u32>) {
    if signal == Signal::KILL {
        process::kill(main, signal);
    } else {
        tree.iter().for_each(|pid| process::kill(*pid, signal));
    }
}

fn tree_of(main: u32) -> BTreeSet<u32> {
    let mut tree = process::descendants(main);
    tree.insert(main);
    tree
}

/// A port that nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    let address = listener.local_addr().context("looking for a free port")?;
    Ok(address.port())
}

/// Programs that run as another user look for their files there.
fn open_to_all(place: &Path) -> anyhow::Result<()> {
    for directory in place.ancestors().take(2) {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("opening {}", directory.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_be_installed_is_skipped_and_one_that_fails_is_not() {
        let mut tally = Tally::default();
        let skipped = tally.count("a", &Ok(Outcome::Skipped("no apt".to_owned())));
        assert_eq!(skipped, "a: skipped: no apt");
        let failed = tally.count(
            "b",
            &Err(anyhow::anyhow!("gone").context("after its start")),
        );
        assert_eq!(failed, "b: FAILED: after its start: gone");
        assert_eq!((tally.passed, tally.skipped, tally.failed), (0, 1, 1));
    }

    #[test]
    fn names_of_programs_are_unique() {
        let names: BTreeSet<&str> = PROGRAMS.iter().map(|program| program.name()).collect();
        assert_eq!(names.len(), PROGRAMS.len());
    }
}
