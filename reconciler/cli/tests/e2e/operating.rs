//! What operators do: pause, resume, restart, wait.

use serde_json::json;

use crate::support::{Agent, Scene, eventually, is_alive, kill};

#[test]
fn a_pause_is_recorded_with_who_and_why_and_a_crash_in_it_is_seen_and_not_healed() {
    let scene = Scene::with(&[Agent::test("a", "print here then sleep")]);
    let daemon = scene.daemon();
    let before = scene.pid("a");
    let accepted = scene.json("pause a --reason maintenance");
    let seq = accepted["seq"].as_u64().unwrap();
    let entries = scene.entries();
    let command = &entries[usize::try_from(seq).unwrap()];
    assert!(command.is("OperatorCommand", "a"), "{command:?}");
    let actor = &command.fields["actor"];
    assert_eq!(actor["uid"], rustix::process::geteuid().as_raw());
    assert_eq!(
        (&actor["type"], &actor["command"]),
        (&json!("Operator"), &json!("osmoda"))
    );
    assert_eq!(command.body()["verb"], "pause");
    assert_eq!(command.body()["reason"], "maintenance");
    assert_eq!(command.body()["accepted"], true);
    assert!(
        entries
            .iter()
            .any(|e| e.is("Paused", "a") && e.body()["reason"] == "maintenance")
    );

    kill(before);
    scene.entry("the crash is recorded", |e| e.is("FailureDetected", "a"));
    let status = scene.until("a", "is paused without a process", |status| {
        status["phase"] == "Paused" && status["pid"].is_null()
    });
    assert!(
        status["message"].as_str().unwrap().contains("maintenance"),
        "{status}"
    );
    assert_eq!(status["ready"], false);
    scene.osmoda("wait a --for Stopped --timeout 30s").exits(0);

    // The pause outlives the daemon, in order or not.
    daemon.stops();
    let daemon = scene.daemon();
    scene.until("a", "is still paused", |status| status["phase"] == "Paused");
    daemon.kill();
    let _daemon = scene.daemon();
    scene.until("a", "is still paused", |status| status["phase"] == "Paused");
    scene.declare(&Agent::test("b", "sleep"));
    scene.pid("b"); // the loop has gone on since
    scene.has_none_of("a");
    let starts = scene.entries_of("a");
    let starts = starts
        .iter()
        .filter(|e| e.is_about("ActionIntended", "Start", "a"));
    assert_eq!(starts.count(), 1, "only the first start");

    scene.osmoda("resume a").exits(0);
    scene.pid("a");
    scene.entry("resumed", |e| e.is("Resumed", "a"));
    scene.verifies();
}

#[test]
fn a_pause_of_all_holds_for_agents_that_come_later() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let daemon = scene.daemon();
    let a = scene.pid("a");
    scene.osmoda("pause --reason everything").exits(0);
    scene.declare(&Agent::test("late", "sleep"));
    scene.until("late", "is paused", |status| status["phase"] == "Paused");
    daemon.kill();
    let _daemon = scene.daemon();
    assert_eq!(scene.json("status")["node"]["paused"], "everything");
    scene.until("late", "is still paused", |status| {
        status["phase"] == "Paused"
    });
    scene.has_none_of("late");
    assert!(is_alive(a), "what runs, runs on");
    scene.osmoda("resume").exits(0);
    scene.pid("late");
    assert_eq!(scene.pid("a"), a);
    scene.verifies();
}

#[test]
fn a_restart_is_another_process_and_counts_as_no_failure() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let _daemon = scene.daemon();
    for _ in 0..7 {
        let before = scene.pid("a");
        scene.osmoda("restart a --wait --timeout 40s").exits(0);
        let after = scene.pid("a");
        assert_ne!(after, before);
        assert!(!is_alive(before));
    }
    let status = scene.look("a").unwrap();
    assert_eq!(status["restarts"], 0);
    assert_eq!(status["lastExit"]["reason"], "Stopped");
    let entries = scene.entries_of("a");
    let count = |kind| entries.iter().filter(|e| e.kind() == kind).count();
    assert_eq!(count("OperatorCommand"), 7);
    assert_eq!(count("FailureDetected") + count("EscalationExhausted"), 0);
    scene.osmoda("restart nobody").exits(2).saying(&["nobody"]);
    scene.verifies();
}

#[test]
fn a_restart_does_not_wait_for_the_backoff() {
    let patient = json!({"backoff": {"initial": "1h", "max": "1h"}});
    let agent = Agent::script("a", "test -f \"$HOME/ok\" && exec sleep 300; exit 3");
    let scene = Scene::with(&[agent.with("restart", patient)]);
    let _daemon = scene.daemon();
    scene.until("a", "waits", |status| status["phase"] == "Backoff");
    let next = scene.look("a").unwrap()["nextAction"].clone();
    assert_eq!(next["what"], "Start");
    assert!(next["inMs"].as_u64().unwrap() > 3_000_000, "{next}");
    std::fs::write(scene.state().join("agents/a/ok"), "").unwrap();
    scene.osmoda("restart a --wait --timeout 40s").exits(0);
    scene.pid("a");
}

#[test]
fn waiting_ends_when_it_comes_or_when_it_cannot() {
    let never = json!({"policy": "Never"});
    let scene = Scene::with(&[
        Agent::test("runs", "sleep"),
        Agent::test("done", "exit 0").with("restart", json!({"policy": "OnFailure"})),
        Agent::test("failed", "exit 3").with("restart", never),
    ]);
    let _daemon = scene.daemon();
    for agent in ["runs", "done", "failed"] {
        eventually("it is known", || scene.look(agent));
    }
    scene.osmoda("wait runs --for Ready --timeout 40s").exits(0);
    scene.osmoda("wait done --for Ready --timeout 40s").exits(0);
    scene
        .osmoda("wait done --for Stopped --timeout 40s")
        .exits(0);
    scene
        .osmoda("wait failed --for Ready --timeout 40s")
        .exits(1)
        .saying(&["failed"]);
    scene
        .osmoda("wait runs --for Stopped --timeout 100ms")
        .exits(1)
        .saying(&["time is up"]);
    scene.osmoda("wait nobody --for Ready").exits(2);
    assert_eq!(scene.look("done").unwrap()["phase"], "Succeeded");
    assert_eq!(scene.look("failed").unwrap()["phase"], "Failed");
    let mut removal = scene
        .command("wait runs --for Stopped --timeout 40s")
        .spawn()
        .unwrap();
    scene.withdraw("runs");
    let ended = eventually("the wait ends with the agent", || {
        removal.try_wait().unwrap()
    });
    assert_eq!(ended.code(), Some(0));
}
