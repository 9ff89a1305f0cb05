//! kill -9 of an agent: how fast it is found and back, told by the ledger and seen from outside.

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::Memory;
use crate::{
    demo::{
        agents,
        scene::{Scene, boottime, until},
        view::{self, Agent, Entry},
    },
    process,
};

const VICTIM: &str = "researcher";

/// Kills it, waits for the new one, and compares what was seen with what was recorded.
pub fn tell(scene: &mut Scene, memory: &mut Memory) -> anyhow::Result<()> {
    let before = memory.agents.get(VICTIM).context("no researcher")?.clone();
    let since = scene.status()?.node.ledger.size;
    ensure!(agents::researcher_is_healthy(scene), "{VICTIM} is not well");

    scene.story.command(&format!("kill -9 {}", before.pid));
    let killed = boottime();
    process::kill(before.pid, Signal::KILL);
    until("the victim's end", || {
        Ok((!process::is_alive(before.pid)).then_some(()))
    })?;
    // The old process answers nothing any more: whoever answers is the new one.
    until("an answer of the new process", || {
        Ok(agents::researcher_is_healthy(scene).then_some(()))
    })?;
    let answered = boottime();
    let after = until("a ready researcher", || Ok(scene.status()?.ready(VICTIM)))?;
    ensure!(
        after.pid != before.pid && after.invocation != before.invocation,
        "no new instance"
    );
    scene.story.verified(&format!(
        "process {} answers on /healthz, {} after the kill (Python's own start included)",
        after.pid,
        millis(answered - killed)
    ));
    agents::summarizer_works(scene, "second")?;

    scene.story.says(
        "It counts as recovered once it has stayed healthy; the ledger then has the whole story:",
    );
    let entries = until("HealthVerified", || verified(scene, since, &after))?;
    let text = since.to_string();
    scene.show(&["events", VICTIM, "--since", &text], 8, 0)?;
    compare(scene, &entries, &after, killed, answered)?;
    memory.failure = view::find(&entries, "FailureDetected", of_victim)?.seq;
    memory.agents.insert(VICTIM.to_owned(), after);
    Ok(())
}

fn of_victim(entry: &Entry) -> bool {
    entry.agent.as_deref() == Some(VICTIM)
}

/// The entries since the kill, once one says that this instance is healthy.
fn verified(scene: &Scene, since: u64, after: &Agent) -> anyhow::Result<Option<Vec<Entry>>> {
    let entries = scene.entries(since)?;
    let found = view::find(&entries, "HealthVerified", |entry| {
        entry.body["invocation"] == after.invocation
    })
    .is_ok();
    Ok(found.then_some(entries))
}

/// What the ledger says has to be what happened, in an order that can be.
fn compare(
    scene: &Scene,
    entries: &[Entry],
    after: &Agent,
    killed: u64,
    answered: u64,
) -> anyhow::Result<()> {
    let failure = view::find(entries, "FailureDetected", of_victim)?;
    let exit = &failure.body["exit"]["status"];
    ensure!(exit["signal"] == 9, "recorded is another end: {exit}");
    let start = |entry: &Entry| {
        entry.body["action"] == "Start" && entry.body["invocation"] == after.invocation
    };
    let intent = view::find(entries, "ActionIntended", start)?;
    let started = view::find(entries, "ActionSucceeded", start)?;
    let healthy = view::find(entries, "HealthVerified", of_victim)?;
    ensure!(
        started.body["pid"] == after.pid,
        "recorded is another process"
    );
    let times = [killed, failure.mono()?, intent.mono()?, started.mono()?];
    ensure!(times.is_sorted(), "the ledger's times cannot be: {times:?}");
    ensure!(
        intent.mono()? <= answered,
        "it answered before it was to be started"
    );
    ensure!(
        failure.seq < intent.seq && intent.seq < started.seq && started.seq < healthy.seq,
        "the entries are not in order"
    );
    let recorded = |name: &str| {
        let micros = healthy.body[name].as_u64();
        micros
            .map(millis)
            .with_context(|| format!("no {name} recorded"))
    };
    scene.story.verified(&format!(
        "recorded: found after {}, restarted after {}, verified after {}; the intent came before the act",
        recorded("timeToDetectUs")?,
        recorded("timeToRestartUs")?,
        recorded("timeToVerifyUs")?,
    ));
    Ok(())
}

fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}
