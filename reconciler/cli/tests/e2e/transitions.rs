//! When a condition changed is told as it happened, not as it was asked for.

use serde_json::Value;

use crate::support::{Agent, Scene, eventually, kill};

/// When the agent became ready last, as status tells it.
fn ready_since(scene: &Scene, agent: &str) -> String {
    let status = scene.until(agent, "is ready", |status| status["ready"] == true);
    let conditions = status["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|c| c["type"] == "Ready").unwrap();
    ready["lastTransitionTime"].as_str().unwrap().to_owned()
}

/// The only process of the agent, found without asking the daemon.
fn process_of(scene: &Scene, agent: &str) -> u32 {
    eventually("its process", || {
        let processes = scene.processes();
        processes.get(agent).and_then(|pids| pids.first().copied())
    })
}

fn time_of(entry: &Value) -> String {
    entry["ts"].as_str().unwrap().to_owned()
}

#[test]
fn conditions_tell_when_they_changed_though_nobody_looked_and_across_daemons() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let daemon = scene.daemon();
    let first = process_of(&scene, "a");
    kill(first);
    let back = scene.entry("it is healthy again", |e| e.is("HealthVerified", "a"));
    let crash = scene.entry("its crash", |e| e.is("FailureDetected", "a"));

    let since = ready_since(&scene, "a");
    let (crashed, verified) = (time_of(&crash.fields), time_of(&back.fields));
    assert!(
        crashed <= since && since <= verified,
        "{crashed} {since} {verified}"
    );

    daemon.kill();
    let _daemon = scene.daemon();
    assert_eq!(ready_since(&scene, "a"), since);
}
