//! The daemon is killed again and again while much happens: no agent is lost, doubled or
//! disturbed, and what was acknowledged is on record.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{Agent, Entry, Scene, eventually, kill};

const ROUNDS: usize = 50;
/// Agents that have no reason to end.
const STEADY: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];
/// Agents that crash on their own, soon after each start.
const CRASHING: [&str; 3] = ["c1", "c2", "c3"];
/// The agent whose spec is edited.
const EDITED: &str = "edited";

fn fleet() -> Vec<Agent> {
    let quick = json!({
        "maxRestarts": 10_000, "backoff": {"initial": "20ms", "factor": 1, "max": "50ms"},
    });
    let steady = STEADY.map(|name| Agent::test(name, "sleep"));
    let crashing =
        CRASHING.map(|name| Agent::test(name, "crash-after 60").with("restart", quick.clone()));
    let edited = Agent::test(EDITED, "print 0 then sleep");
    steady.into_iter().chain(crashing).chain([edited]).collect()
}

/// The entries that somebody was told of: by the answer to a command, or as followed events.
#[derive(Default)]
struct Acknowledged {
    leaves: BTreeMap<u64, String>,
    commands: Vec<(u64, String)>,
}

impl Acknowledged {
    /// A command that was accepted and recorded; a daemon that is being killed accepts nothing.
    fn command(&mut self, scene: &Scene, verb: &str, agent: &str) {
        let ran = scene.osmoda(&format!("{verb} {agent} -o json"));
        if ran.code == 0 {
            let seq = ran.json()["seq"].as_u64().unwrap();
            self.commands.push((seq, verb.to_owned()));
        }
    }

    fn followed(&mut self, lines: &[String]) {
        for entry in lines.iter().filter_map(|line| Entry::of(line)) {
            self.leaves.insert(entry.seq, entry.leaf);
        }
    }

    #[track_caller]
    fn are_all_in(&self, entries: &[Entry]) {
        let at = |seq: u64| &entries[usize::try_from(seq).unwrap()];
        for (seq, leaf) in &self.leaves {
            assert_eq!(at(*seq).leaf, *leaf, "followed entry {seq}");
        }
        for (seq, verb) in &self.commands {
            assert_eq!(at(*seq).kind(), "OperatorCommand", "entry {seq}");
            assert_eq!(at(*seq).body()["verb"], verb.as_str(), "entry {seq}");
        }
    }
}

#[track_caller]
fn nobody_is_doubled(scene: &Scene, round: usize) {
    for (agent, pids) in scene.processes() {
        assert_eq!(pids.len(), 1, "round {round}: {agent} runs as {pids:?}");
    }
}

#[test]
fn a_daemon_that_is_killed_fifty_times_loses_no_agent_and_no_record() {
    let scene = Scene::with(&fleet());
    let daemon = scene.daemon();
    let pids = STEADY.map(|name| scene.pid(name));
    daemon.kill();
    let mut told = Acknowledged::default();
    for round in 1..=ROUNDS {
        let daemon = scene.daemon();
        let follower = (round % 2 == 0).then(|| scene.follow("events -f -o json -n 50"));
        match round % 5 {
            0 => {}
            1 => told.command(&scene, "restart", CRASHING[round % 3]),
            2 => scene.declare(&Agent::test(EDITED, &format!("print {round} then sleep"))),
            3 => {
                told.command(&scene, "pause", CRASHING[round % 3]);
                told.command(&scene, "resume", CRASHING[round % 3]);
            }
            _ => drop(
                follower
                    .as_ref()
                    .map(|follower| follower.line_with("FailureDetected")),
            ),
        }
        daemon.kill();
        if let Some(follower) = follower {
            told.followed(&follower.rest());
        }
        nobody_is_doubled(&scene, round);
    }

    let daemon = scene.daemon();
    assert_eq!(
        STEADY.map(|name| scene.pid(name)),
        pids,
        "undisturbed all the time"
    );
    scene.declare(&Agent::test(EDITED, "print last then sleep"));
    eventually("the last edit is in force", || {
        (scene.osmoda(&format!("logs {EDITED}")).out == "last\n").then_some(())
    });
    let edited = scene.pid(EDITED);
    kill(edited);
    scene.other_pid(EDITED, edited);
    let running = scene.processes();
    for (name, pid) in STEADY.into_iter().zip(pids) {
        assert_eq!(running[name], [pid]);
    }
    let entries = scene.entries();
    assert!(
        told.leaves.len() > 100 && told.commands.len() > 20,
        "something was at stake"
    );
    told.are_all_in(&entries);
    let begun = entries.iter().filter(|e| e.kind() == "NodeStarted").count();
    assert_eq!(begun, ROUNDS + 2);
    let of_steady = |e: &&Entry| STEADY.contains(&e.agent());
    let starts = entries.iter().filter(of_steady);
    let starts = starts.filter(|e| e.is_about("ActionIntended", "Start", e.agent()));
    assert_eq!(starts.count(), STEADY.len(), "each was started once");
    scene.verifies();
    daemon.stops();
    scene.has_no_agents();
    scene.verifies();
}
