//! kill -9 of the daemon: agents work on, and the next daemon adopts them.

use anyhow::ensure;
use rustix::process::Signal;

use super::Memory;
use crate::{
    demo::{
        agents,
        scene::{Scene, until},
        view,
    },
    process,
};

/// Kills the daemon, looks at the agents, and starts another one.
pub fn tell(scene: &mut Scene, memory: &mut Memory) -> anyhow::Result<()> {
    let since = scene.status()?.node.ledger.size;
    scene.signal_daemon(Signal::KILL, "-9")?;
    scene.show(&["status"], 2, 3)?;
    for (name, agent) in &memory.agents {
        ensure!(process::is_alive(agent.pid), "{name} died with the daemon");
    }
    ensure!(
        agents::researcher_is_healthy(scene) && agents::toolbox_answers(scene),
        "an agent no longer answers"
    );
    scene
        .story
        .verified("nobody watches, and every agent still runs and answers");

    let daemon = scene.start_daemon()?;
    let adopted = until("the adopted agents", || {
        if let Some(status) = scene.daemon_ended()? {
            anyhow::bail!("the daemon ended by itself ({status})");
        }
        Ok(scene
            .status()
            .ok()
            .and_then(|status| status.all_ready(&agents::NAMES)))
    })?;
    scene.show(&["status"], 6, 0)?;
    ensure!(
        adopted == memory.agents,
        "they were {:?} and are {adopted:?}",
        memory.agents
    );
    for name in agents::NAMES {
        let copies = agents::copies_running(name);
        ensure!(copies == 1, "{name} runs {copies} times");
    }
    scene
        .story
        .verified("the new daemon kept the same processes and started no second copy");
    recorded(scene, memory, since, daemon)
}

fn recorded(scene: &Scene, memory: &Memory, since: u64, daemon: u32) -> anyhow::Result<()> {
    let entries = scene.entries(since)?;
    let started = view::find(&entries, "NodeStarted", |entry| entry.body["pid"] == daemon)?;
    ensure!(
        started.body["adopted"] == memory.agents.len(),
        "recorded: {}",
        started.body
    );
    for (name, agent) in &memory.agents {
        view::find(&entries, "Adopted", |entry| {
            entry.agent.as_deref() == Some(name)
                && entry.body["pid"] == agent.pid
                && entry.body["invocation"] == agent.invocation
        })?;
    }
    let acted = entries.iter().find(|entry| entry.kind == "ActionIntended");
    ensure!(acted.is_none(), "something was done: {acted:?}");
    let text = since.to_string();
    scene.show(&["events", "--since", &text], 5, 0)?;
    scene
        .story
        .verified("recorded: each adoption, and no action");
    Ok(())
}
