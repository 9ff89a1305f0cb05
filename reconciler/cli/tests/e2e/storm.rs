//! A host where almost everything fails at once and always: it answers, it goes quiet, and who is
//! well is not made to wait.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Agent, Entry, Scene, eventually, kill};

/// Agents that always fail.
const FAILING: usize = 100;

/// Restarts after which one of them is only retried slowly.
const RESTARTS_MAX: usize = 3;

/// As many agents that fail at once, and one that is well.
fn storm(restart: &Value) -> Scene {
    let scene = Scene::with(&[Agent::test("well", "sleep")]);
    let failing = |index: usize| {
        Agent::test(&format!("bad-{index}"), "exit 1").with("restart", restart.clone())
    };
    let manifests: String = (0..FAILING)
        .map(|index| format!("---\n{}", failing(index).manifest()))
        .collect();
    scene.write_spec("failing.yaml", &manifests);
    scene
}

fn is_failing(agent: &str) -> bool {
    agent.starts_with("bad-")
}

/// How many entries of these there are for each agent that always fails.
fn count(entries: &[Entry], is: impl Fn(&Entry) -> bool) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for entry in entries.iter().filter(|e| is_failing(e.agent()) && is(e)) {
        *counts.entry(entry.agent()).or_default() += 1;
    }
    counts
}

fn is_intended_start(entry: &Entry) -> bool {
    entry.kind() == "ActionIntended" && entry.body()["action"] == "Start"
}

#[test]
fn every_command_is_answered_while_everything_fails() {
    let scene = storm(&json!({
        "maxRestarts": 10_000, "backoff": {"initial": "500ms", "factor": 1, "max": "500ms"},
    }));
    let _daemon = scene.daemon();
    eventually("each of them has failed", || {
        let entries = scene.entries();
        let failures = count(&entries, |e| e.kind() == "FailureDetected");
        (failures.len() == FAILING).then_some(())
    });
    let status = scene.json("status");
    assert_eq!(status["items"].as_array().unwrap().len(), FAILING + 1);
    scene.osmoda("describe bad-7").exits(0);
    scene.osmoda("plan").exits(1);
    scene.osmoda("status --diff").exits(1);
    let accepted = scene.json("pause bad-7 --reason noise");
    assert_eq!(accepted["accepted"], true);
    scene.until("bad-7", "is paused", |s| s["phase"] == "Paused");
    let events = scene.json("events bad-8 -n 5");
    assert_ne!(events, Value::Null);
    scene.verifies();
}

#[test]
fn who_always_fails_is_retried_slowly_and_writes_no_more() {
    let scene = storm(&json!({
        "maxRestarts": RESTARTS_MAX, "backoff": {"initial": "50ms", "max": "1h"},
    }));
    let _daemon = scene.daemon();
    eventually("each of them is only retried slowly", || {
        let status = scene.json("status");
        let agents = status["items"].as_array().unwrap();
        let slow = agents.iter().filter(|a| is_retried_slowly(&a["status"]));
        (slow.count() == FAILING).then_some(())
    });
    let before = scene.entries();
    let starts = count(&before, is_intended_start);
    assert_eq!(starts.len(), FAILING);
    let most = 1 + RESTARTS_MAX;
    assert!(starts.values().all(|n| *n <= most), "{starts:?}");
    let spent = count(&before, |e| e.kind() == "EscalationExhausted");
    let once = |n: &usize| *n == 1;
    assert!(
        spent.len() == FAILING && spent.values().all(once),
        "{spent:?}"
    );

    let well = scene.pid("well");
    kill(well);
    scene.other_pid("well", well);
    scene.entry("who was well is well again", |e| {
        e.is("HealthVerified", "well")
    });
    let after = scene.entries();
    let written: BTreeSet<&str> = after[before.len()..].iter().map(Entry::agent).collect();
    assert_eq!(written, BTreeSet::from(["well"]));
    scene.verifies();
}

fn is_retried_slowly(status: &Value) -> bool {
    let conditions = status["conditions"].as_array();
    let degraded = |c: &Value| c["type"] == "Degraded" && c["status"] == "True";
    status["phase"] == "Backoff" && conditions.is_some_and(|all| all.iter().any(degraded))
}

#[test]
fn nobody_is_started_twice_while_a_healthy_agent_waits_for_its_restart() {
    let scene = storm(&json!({
        "maxRestarts": 10_000, "backoff": {"initial": "2s", "factor": 1, "max": "2s"},
    }));
    let _daemon = scene.daemon();
    let mut well = scene.pid("well");
    for round in 0..3 {
        eventually("each of them has failed once more", || {
            let entries = scene.entries();
            let failures = count(&entries, |e| e.kind() == "FailureDetected");
            let often = |n: &usize| *n > round;
            (failures.len() == FAILING && failures.values().all(often)).then_some(())
        });
        let before = scene.entries().len();
        kill(well);
        well = scene.other_pid("well", well);
        let started = eventually("its start is on record", || {
            let entries = scene.entries().split_off(before);
            let is_started = |e: &Entry| e.is_about("ActionSucceeded", "Start", "well");
            let end = entries.iter().position(is_started)?;
            Some(entries[..end].to_vec())
        });
        let failed = started
            .iter()
            .position(|e| e.is("FailureDetected", "well"))
            .unwrap();
        let others = count(&started[failed..], is_intended_start);
        assert!(others.values().all(|n| *n <= 1), "{others:?}");
    }
    scene.verifies();
}
