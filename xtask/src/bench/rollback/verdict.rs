//! From the crash that condemns a new generation to the first act of the old one, in a daemon.
//!
//! Each deploy is killed as soon as it reports, until what reports is the old generation again.
//! The time counts from the last kill: it holds the news of the end, the verdict, the durable
//! intent, the switch and the start, but no waiting for a process that does not want to end.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use crate::{
    bench::restart::records::{Records, monotonic},
    node::{self, Node},
    process, project,
};

/// Longest wait for an agent.
const COME_BOUND: Duration = Duration::from_secs(60);

/// Kills after which a bad deploy has to be condemned; its budget is one restart.
const KILLS_MAX: usize = 10;
/// Deploys of one agent that are gone back from in a day; a further one is held.
pub const BUDGET: usize = 3;

/// Nanoseconds of each way back.
///
/// # Errors
/// A deploy is not gone back from, or another agent comes than the old one.
pub fn measure(osmoda: &Path, agent: &Path, place: &Path, rounds: u64) -> anyhow::Result<Vec<u64>> {
    let records = Records::listen()?;
    let manifest = |version: u64| manifest(agent, records.socket_name(), version);
    let node = Node::start(osmoda, place, &manifest(0))?;
    let said = || format!("the daemon said:\n{}", node.log());
    let first = records.next(COME_BOUND).with_context(said)?;
    ensure!(first.index == 0, "another agent than the declared one came");
    let mut samples = Vec::new();
    for version in 1..=rounds {
        until_good(&node).with_context(said)?;
        replace(&place.join("specs/agents.yaml"), &manifest(version))?;
        samples.push(go_back(&records, version).with_context(said)?);
    }
    node.stop()?;
    node.verifies()?;
    Ok(samples)
}

/// Kills a deploy until the old generation is back.
fn go_back(records: &Records, version: u64) -> anyhow::Result<u64> {
    let mut record = records.next(COME_BOUND).context("the deploy")?;
    for _ in 0..KILLS_MAX {
        let index = u64::try_from(record.index)?;
        ensure!(
            index == version,
            "version {index} came instead of {version}"
        );
        let killed = monotonic();
        process::kill(record.life.pid, Signal::KILL);
        record = records.next(COME_BOUND).context("after a kill")?;
        if record.index == 0 {
            return Ok(record.life.began - killed);
        }
    }
    bail!("version {version} was killed {KILLS_MAX} times and not gone back from")
}

/// Waits until what is active runs, and is known to be good.
fn until_good(node: &Node) -> anyhow::Result<()> {
    node::until("the old generation to be good", || {
        let status = node.ask(&["status"])?.unwrap_or_default();
        let agent = &status["items"][0]["status"];
        let good = agent["ready"] == true && agent["generation"]["verdict"] == "Good";
        Ok(good.then_some(()))
    })
}

/// In one step, so that nobody reads half of it.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    project::write_file(&new, text)?;
    fs::rename(&new, path).with_context(|| format!("replacing {}", path.display()))
}

/// Versions differ in what they call themselves.
fn manifest(agent: &Path, socket: &str, version: u64) -> String {
    format!(
        "apiVersion: osmoda/v1\nkind: Agent\nmetadata: {{name: agent}}\nspec:\n  \
         command: [{:?}, {socket:?}, \"{version}\"]\n  \
         restart: {{backoff: {{initial: 10ms, factor: 1, max: 10ms}}, maxRestarts: 1}}\n  \
         rollout: {{minReady: 2s}}\n",
        agent.display().to_string()
    )
}
