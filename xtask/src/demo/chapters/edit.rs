//! An edit of a spec: paused, it shows as a difference; resumed, it converges.

use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Memory;
use crate::demo::{
    agents::{self, WORD_OF_PROGRAM, WORD_OF_SPECS},
    scene::{Scene, boottime, show_tool, until},
    view,
};

const AGENT: &str = "researcher";
const FILE: &str = "specs/researcher.nix";
const REASON: &str = "look before it changes";

/// It searches its own programs only, instead of everything below specs.
const OLD: &str = "RESEARCHER_SOURCES = toString ./.;";
const NEW: &str = "RESEARCHER_SOURCES = toString ./programs;";

/// Pauses, edits, compares, resumes.
pub fn tell(scene: &mut Scene, memory: &mut Memory) -> anyhow::Result<()> {
    let before = memory.agents.get(AGENT).context("no researcher")?.clone();
    let since = scene.status()?.node.ledger.size;
    ensure!(
        agents::matches(scene, WORD_OF_SPECS)? > Some(0),
        "{AGENT} does not know {WORD_OF_SPECS}"
    );
    scene
        .story
        .says("It would converge within a moment. To look first, the agent is paused:");
    scene.show(&["pause", AGENT, "--reason", REASON], 2, 0)?;
    edit(scene)?;
    until("a difference", || Ok((!in_sync(scene)?).then_some(())))?;
    scene.show(&["status", "--diff"], 6, 1)?;
    unchanged_while_paused(scene, &before)?;

    scene.show(&["resume", AGENT], 2, 0)?;
    let resumed = boottime();
    until("agreement of desired and observed", || {
        Ok(in_sync(scene)?.then_some(()))
    })?;
    let found = until("the researcher's answer", || {
        agents::matches(scene, WORD_OF_PROGRAM)
    })?;
    let took = (boottime() - resumed) / 1000;
    scene.show(&["status", "--diff"], 3, 0)?;
    let after = until("a ready researcher", || Ok(scene.status()?.ready(AGENT)))?;
    ensure!(
        after.pid != before.pid && after.generation == before.generation + 1,
        "no new generation runs: {after:?}"
    );
    let forgotten = agents::matches(scene, WORD_OF_SPECS)?;
    ensure!(
        found > 0 && forgotten == Some(0),
        "{AGENT} does not search what the edited spec says"
    );
    scene.story.verified(&format!(
        "in sync: generation {} runs and searches the new sources, {took} ms after the resume",
        after.generation
    ));
    recorded(scene, since)?;
    memory.agents.insert(AGENT.to_owned(), after);
    Ok(())
}

fn edit(scene: &Scene) -> anyhow::Result<()> {
    let expression = format!("s|{OLD}|{NEW}|");
    show_tool(
        scene,
        &["sed", "-i", &expression, FILE],
        &format!("sed -i '{expression}' {FILE}"),
    )?;
    let text = fs::read_to_string(scene.ground.directory.join(FILE)).context("reading the edit")?;
    ensure!(text.contains(NEW), "{FILE} no longer holds {OLD}");
    Ok(())
}

fn in_sync(scene: &Scene) -> anyhow::Result<bool> {
    let (code, diff) = scene.json(&["status", "--diff"])?;
    let in_sync = diff["inSync"]
        .as_bool()
        .context("a difference without inSync")?;
    ensure!(
        code == Some(i32::from(!in_sync)),
        "status --diff exits with {code:?} and says inSync: {in_sync}"
    );
    Ok(in_sync)
}

/// The difference is the edited agent's alone, and nothing has been done about it.
fn unchanged_while_paused(scene: &Scene, before: &view::Agent) -> anyhow::Result<()> {
    let (_, diff) = scene.json(&["status", "--diff"])?;
    let all = diff["agents"]
        .as_array()
        .context("a difference without agents")?;
    let differs = |agent: &&Value| {
        agent["differences"]
            .as_array()
            .is_some_and(|d| !d.is_empty())
    };
    let differing: Vec<&Value> = all
        .iter()
        .filter(differs)
        .map(|agent| &agent["name"])
        .collect();
    ensure!(differing == [AGENT], "these differ: {differing:?}");
    let now = scene
        .status()?
        .ready(AGENT)
        .context("it stopped while paused")?;
    ensure!(now == *before, "it was changed while paused");
    ensure!(
        agents::matches(scene, WORD_OF_SPECS)? > Some(0),
        "it searches new sources while paused"
    );
    scene.story.verified(&format!(
        "only {AGENT} differs, and process {} works on as before",
        before.pid
    ));
    Ok(())
}

/// The ledger says who paused and why, and how the new generation came.
fn recorded(scene: &Scene, since: u64) -> anyhow::Result<()> {
    let entries = scene.entries(since)?;
    let of_agent = |entry: &view::Entry| entry.agent.as_deref() == Some(AGENT);
    let paused = view::find(&entries, "Paused", of_agent)?;
    let uid = rustix::process::getuid().as_raw();
    ensure!(
        paused.body["reason"] == REASON && paused.actor["uid"] == uid,
        "recorded is another pause: {} {}",
        paused.actor,
        paused.body
    );
    let kinds = ["SpecChanged", "Resumed", "GenerationActivated"];
    let mut last = paused.seq;
    for kind in kinds {
        let seq = view::find(&entries, kind, of_agent)?.seq;
        ensure!(last < seq, "{kind} is recorded too early");
        last = seq;
    }
    let stop = view::find(&entries, "ActionSucceeded", |entry| {
        of_agent(entry) && entry.body["action"] == "Stop"
    })?;
    ensure!(
        stop.body["killed"] == false,
        "the old process had to be killed"
    );
    let took = stop.body["tookUs"].as_u64().context("no tookUs recorded")?;
    scene.story.verified(&format!(
        "recorded: who paused it (uid {uid}) and why ({REASON:?})"
    ));
    scene.story.verified(&format!(
        "recorded: SIGTERM was enough, and the old process took {} ms to heed it",
        took / 1000
    ));
    Ok(())
}
