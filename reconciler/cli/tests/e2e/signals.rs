//! What signals tell the daemon, and what becomes of its agents.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Agent, Daemon, Scene, eventually, is_alive, kill};

#[test]
fn sigterm_stops_agents_in_reverse_order_of_their_dependencies() {
    let scene = Scene::with(&[
        Agent::test("base", "exit-on-term 0"),
        Agent::test("middle", "exit-on-term 0").with("dependsOn", json!(["base"])),
        Agent::test("left", "exit-on-term 0").with("dependsOn", json!(["middle"])),
        Agent::test("right", "exit-on-term 0").with("dependsOn", json!(["middle", "base"])),
    ]);
    let daemon = scene.daemon();
    let names = ["left", "right", "middle", "base"];
    let pids = names.map(|name| scene.pid(name));
    for name in names {
        eventually("it listens to SIGTERM", || {
            (scene.osmoda(&format!("logs {name}")).out == "waiting\n").then_some(())
        });
    }
    daemon.stops();
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    scene.has_no_agents();
    let entries = scene.entries();
    let number = |kind: &str, name: &str| {
        let mut found = entries.iter().filter(|e| e.is_about(kind, "Stop", name));
        found.next().unwrap().seq
    };
    for (dependent, needed) in [
        ("left", "middle"),
        ("right", "middle"),
        ("right", "base"),
        ("middle", "base"),
    ] {
        let (gone, asked) = (
            number("ActionSucceeded", dependent),
            number("ActionIntended", needed),
        );
        assert!(
            gone < asked,
            "{dependent} was gone at {gone}, {needed} asked to go at {asked}"
        );
    }
    let stop = entries
        .iter()
        .find(|e| e.is_about("ActionSucceeded", "Stop", "base"))
        .unwrap();
    assert_eq!(
        stop.body()["exit"]["status"]["code"],
        0,
        "it ended by itself: {stop:?}"
    );
    let last = entries.last().unwrap();
    assert_eq!(
        (last.kind(), &last.body()["agentsKept"]),
        ("NodeStopped", &json!(false))
    );
    scene.verifies();
    // All of that was no failure: the next daemon starts them again.
    let _daemon = scene.daemon();
    for name in names {
        scene.pid(name);
    }
    assert!(
        scene
            .entries()
            .iter()
            .all(|e| e.kind() != "FailureDetected")
    );
}

#[test]
fn agents_that_are_kept_run_on_and_are_adopted() {
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let daemon = Daemon::start(&scene, scene.run_command("--keep-agents"));
    let pids = [scene.pid("a"), scene.pid("b")];
    daemon.stops();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    scene.osmoda("status").exits(3);
    kill(pids[1]); // nobody looks
    let _daemon = scene.daemon();
    assert_eq!(scene.pid("a"), pids[0]);
    scene.other_pid("b", pids[1]);
    let entries = scene.entries();
    assert!(
        entries
            .iter()
            .any(|e| e.is("Adopted", "a") && e.body()["pid"] == pids[0])
    );
    assert!(entries.iter().any(|e| e.is("FailureDetected", "b")));
    scene.verifies();
}

#[test]
fn sighup_reads_specs_that_nothing_else_tells_of() {
    let scene = Scene::new();
    // A file with two names: who watches one directory is not told of a change by the other.
    fs::create_dir(scene.path().join("elsewhere")).unwrap();
    let elsewhere = scene.path().join("elsewhere/a.yaml");
    fs::write(
        &elsewhere,
        Agent::test("a", "print one then sleep").manifest(),
    )
    .unwrap();
    fs::hard_link(&elsewhere, scene.specs().join("a.yaml")).unwrap();
    let daemon = scene.daemon();
    let before = scene.pid("a");
    fs::write(
        &elsewhere,
        Agent::test("a", "print two then sleep").manifest(),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    let after = scene.other_pid("a", before);
    assert!(is_alive(after) && is_alive(daemon.pid()));
    assert_eq!(
        scene.look("a").unwrap()["generation"]["active"]["number"],
        2
    );
}

#[test]
fn sigusr2_executes_the_daemon_in_place_and_disturbs_no_agent() {
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let daemon = scene.daemon();
    let pids = [scene.pid("a"), scene.pid("b")];
    for round in 2..=3 {
        daemon.signal(Signal::USR2);
        eventually("the next daemon has begun", || {
            let entries = scene.entries();
            let begun = entries.iter().filter(|e| e.kind() == "NodeStarted");
            (begun.count() == round && scene.osmoda("status").code == 0).then_some(())
        });
        assert_eq!([scene.pid("a"), scene.pid("b")], pids);
        assert_eq!(scene.json("status")["node"]["pid"], daemon.pid());
    }
    let entries = scene.entries();
    let stopped = entries.iter().find(|e| e.kind() == "NodeStopped").unwrap();
    assert_eq!(stopped.body()["reason"], "SIGUSR2");
    assert_eq!(stopped.body()["agentsKept"], true);
    // It is still their parent: how they end is known exactly.
    kill(pids[0]);
    scene.other_pid("a", pids[0]);
    let failure = scene.entry("the crash is seen", |e| e.is("FailureDetected", "a"));
    assert_eq!(failure.body()["exit"]["status"]["signal"], 9);
    daemon.stops();
    assert!(!is_alive(pids[1]));
    scene.verifies();
}

#[test]
fn a_second_signal_does_not_wait_for_agents_that_will_not_go() {
    let stubborn = Agent::test("a", "ignore-term then print deaf then sleep")
        .with("stop", json!({"gracePeriod": "1h"}));
    let scene = Scene::with(&[stubborn]);
    let daemon = scene.daemon();
    let pid = scene.pid("a");
    eventually("it is deaf", || {
        (scene.osmoda("logs a").out == "deaf\n").then_some(())
    });
    daemon.signal(Signal::TERM);
    scene.entry("it is asked to go", |e| {
        e.is_about("ActionIntended", "Stop", "a")
    });
    daemon.stops();
    assert!(is_alive(pid), "left to the next daemon");
    let _daemon = scene.daemon();
    assert_eq!(scene.pid("a"), pid);
    scene.verifies();
}
