//! From specs to running agents.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Memory;
use crate::demo::{
    agents,
    scene::{Scene, until},
};

/// The specs are valid, and amount to one agent a file.
pub fn evaluate(scene: &mut Scene, _: &mut Memory) -> anyhow::Result<()> {
    scene.story.command("ls specs/*.nix");
    let files = spec_files(scene)?;
    scene.story.output(&files.join("  "), 1);
    scene.show(&["validate", "specs"], 3, 0)?;
    let ran = scene.run(&["render", "specs", "-o", "json"])?;
    let names = manifest_names(&ran.out)?;
    ensure!(
        names == BTreeSet::from(agents::NAMES.map(str::to_owned)),
        "the specs render to {names:?}"
    );
    scene.story.verified(&format!(
        "nix evaluates them to the manifests of {}",
        Vec::from_iter(names).join(", ")
    ));
    Ok(())
}

/// The daemon starts them, and they do their work.
pub fn converge(scene: &mut Scene, memory: &mut Memory) -> anyhow::Result<()> {
    let daemon = scene.start_daemon()?;
    memory.agents = until("every agent", || {
        if let Some(status) = scene.daemon_ended()? {
            anyhow::bail!("the daemon ended by itself ({status})");
        }
        // Until its socket is there, it cannot be asked.
        Ok(scene
            .status()
            .ok()
            .and_then(|status| status.all_ready(&agents::NAMES)))
    })?;
    until("the researcher's answer", || {
        agents::matches(scene, agents::WORD_OF_PROGRAM)
    })?;
    until("the toolbox's answer", || {
        Ok(agents::toolbox_answers(scene).then_some(()))
    })?;
    scene.show(&["status"], 9, 0)?;
    let status = scene.status()?;
    ensure!(
        status.node.pid == daemon,
        "another daemon answers: process {}",
        status.node.pid
    );
    for (name, agent) in &memory.agents {
        ensure!(
            agents::copies_running(name) == 1,
            "{name} runs more than once"
        );
        ensure!(
            agent.generation == 1,
            "{name} is not at its first generation"
        );
    }
    scene.story.verified(&format!(
        "researcher answers at http://127.0.0.1:{}/healthz, toolbox answers an MCP ping",
        scene.ground.researcher_port
    ));
    agents::summarizer_works(scene, "first")
}

/// Names of the files of specs that are agents, in order.
fn spec_files(scene: &Scene) -> anyhow::Result<Vec<String>> {
    let directory = scene.ground.directory.join("specs");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).context("listing the specs")? {
        let name = entry.context("listing the specs")?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(".nix") && !name.starts_with('_') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Names in what `render -o json` prints: one manifest, or a list of them.
fn manifest_names(text: &str) -> anyhow::Result<BTreeSet<String>> {
    let value: Value = serde_json::from_str(text).context("reading the rendered manifests")?;
    let manifests = match &value["items"] {
        Value::Array(items) => items.as_slice(),
        _ => std::slice::from_ref(&value),
    };
    let name = |manifest: &Value| manifest["metadata"]["name"].as_str().map(str::to_owned);
    let names: Option<BTreeSet<String>> = manifests.iter().map(name).collect();
    names.context("a manifest without a name")
}
