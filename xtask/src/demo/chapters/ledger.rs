//! The ledger is what it was, a forged copy is not, and everything ends in order.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::Memory;
use crate::{
    demo::scene::{BOUND, Scene, until},
    process,
};

const COPY: &str = "copy.db";

/// In the entry of the agent's death: the signal, which becomes another one.
const TRUTH: &str = "\"signal\":9";
/// The digit 8 differs from 9 in its lowest bit (ASCII 0x38 and 0x39).
const BIT: u8 = 1;

/// Verifies, flips one bit in a copy, verifies that.
pub fn tell(scene: &mut Scene, memory: &mut Memory) -> anyhow::Result<()> {
    scene.show(&["ledger", "verify"], 5, 0)?;
    let (code, verdict) = scene.json(&["ledger", "verify"])?;
    ensure!(
        code == Some(0) && verdict["ok"] == true,
        "the ledger does not verify: {verdict}"
    );
    let open = &verdict["openIntents"];
    ensure!(
        *open == serde_json::json!([]),
        "intents without an outcome: {open}"
    );
    scene.story.verified(&format!(
        "all {} entries are what was recorded, and no intent is open",
        verdict["size"]
    ));

    scene.show(&["ledger", "backup", COPY], 1, 0)?;
    let (_, copied) = scene.json(&["ledger", "verify", COPY])?;
    ensure!(
        copied["ok"] == true,
        "the copy is damaged before it is: {copied}"
    );
    scene.story.says(&format!(
        "Somebody wants entry {} to say that the agent died of signal 8, not 9. One bit of the copy:",
        memory.failure
    ));
    let place = flip(scene, memory.failure)?;
    scene
        .story
        .says(&format!("(the lowest bit of byte {place}: 9 became 8)"));
    scene.show(&["ledger", "verify", COPY], 4, 1)?;
    let (code, verdict) = scene.json(&["ledger", "verify", COPY])?;
    ensure!(
        code == Some(1) && verdict["ok"] == false && verdict["firstBad"] == memory.failure,
        "the forgery was not found: {verdict}"
    );
    scene.story.verified(&format!(
        "the copy is refused, and the forged entry named: {}",
        memory.failure
    ));
    Ok(())
}

/// Flips the bit in the file; gives the byte's place.
fn flip(scene: &Scene, seq: u64) -> anyhow::Result<usize> {
    let export = scene.run(&["ledger", "export", "--ledger", COPY])?;
    let beginning = format!("{{\"seq\":{seq},");
    let line = export.out.lines().find(|line| line.starts_with(&beginning));
    let line = line.context("the export misses the entry")?;
    let (before, _) = line
        .split_once(TRUTH)
        .context("the entry tells of no signal 9")?;
    // With what stands before it - the time of death among it - it occurs once in the file.
    let exit = before
        .rfind("\"exit\":")
        .context("the entry tells of no exit")?;
    let needle = format!("{}{TRUTH}", &before[exit..]);

    let path = scene.ground.directory.join(COPY);
    let mut bytes = fs::read(&path).context("reading the copy")?;
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle.as_bytes())
        .map(|(place, _)| place)
        .collect();
    ensure!(
        places.len() == 1,
        "{needle} is in the copy {} times",
        places.len()
    );
    let place = places[0] + needle.len() - 1;
    bytes[place] ^= BIT;
    fs::write(&path, bytes).context("writing the copy")?;
    Ok(place)
}

/// Stops the daemon in order: agents first, the ledger last.
pub fn end(scene: &mut Scene, memory: &mut Memory) -> anyhow::Result<()> {
    let pids: BTreeSet<u32> = memory.agents.values().map(|agent| agent.pid).collect();
    let status = scene.signal_daemon(Signal::TERM, "-TERM")?;
    ensure!(status.success(), "the daemon ended with {status}");
    let left = process::wait_for_end(&pids, BOUND);
    ensure!(left.is_empty(), "agents {left:?} still run");
    process::reap(&pids);
    let (code, verdict) = scene.json(&["ledger", "verify"])?;
    ensure!(code == Some(0), "the ledger does not verify: {verdict}");
    let last = verdict["size"]
        .as_u64()
        .context("no size")?
        .saturating_sub(1);
    let (_, entry) = scene.json(&["ledger", "show", &last.to_string()])?;
    ensure!(
        entry["entry"]["kind"] == "NodeStopped",
        "the last entry is {entry}"
    );
    until("the end of every process", || {
        let running = process::descendants(std::process::id());
        Ok(running.is_empty().then_some(()))
    })?;
    scene.story.verified(&format!(
        "every agent ended, nothing runs any more, and entry {last} of a sound ledger says so"
    ));
    Ok(())
}
