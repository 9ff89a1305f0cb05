//! Dependencies: who waits for whom, and whose failure explains whose.

use std::fs;

use serde_json::json;

use crate::support::{Agent, Scene, eventually, kill};

/// Ready while the file `NAME.up` is there.
fn ready_while_up(scene: &Scene, name: &str) -> Agent {
    let up = scene.path().join(format!("{name}.up"));
    let readiness = json!({
        "exec": {"command": ["/bin/sh", "-c", format!("test -e {}", up.display())]},
        "period": "50ms", "retryInterval": "20ms", "failureThreshold": 1,
    });
    Agent::test(name, "sleep").with("probes", json!({"readiness": readiness}))
}

fn set_up(scene: &Scene, name: &str) {
    fs::write(scene.path().join(format!("{name}.up")), "").unwrap();
}

fn set_down(scene: &Scene, name: &str) {
    fs::remove_file(scene.path().join(format!("{name}.up"))).unwrap();
}

/// base <- middle <- top.
fn chain() -> Scene {
    let scene = Scene::new();
    scene.declare(&ready_while_up(&scene, "base"));
    let middle = Agent::test("middle", "sleep").with("dependsOn", json!(["base"]));
    let top = Agent::test("top", "sleep").with("dependsOn", json!(["middle"]));
    scene.declare(&middle);
    scene.declare(&top);
    scene
}

#[test]
fn dependents_are_held_until_the_last_of_their_dependencies_is_ready() {
    let scene = chain();
    let _daemon = scene.daemon();
    scene.pid("base");
    let held = scene.until("middle", "is held", |s| s["phase"] == "Held");
    assert_eq!(held["message"], "waits for base");
    scene.until("top", "is held", |s| s["message"] == "waits for middle");
    scene.has_none_of("middle");
    let diff = scene.osmoda("status --diff").exits(1);
    assert!(diff.out.contains("held: waits for base"), "{}", diff.out);
    set_up(&scene, "base");
    scene.pid("top");
    let started = |name: &str| {
        let entries = scene.entries_of(name);
        let started = entries
            .iter()
            .find(|e| e.is_about("ActionSucceeded", "Start", name));
        started.unwrap().seq
    };
    assert!(started("base") < started("middle"));
    assert!(started("middle") < started("top"));
}

#[test]
fn a_cascade_is_one_incident_and_only_its_root_is_blamed() {
    let scene = chain();
    set_up(&scene, "base");
    let _daemon = scene.daemon();
    let before = ["base", "middle", "top"].map(|name| scene.pid(name));
    scene.until("top", "is ready", |s| s["ready"] == true);

    set_down(&scene, "base");
    kill(before[0]);
    scene.until("base", "is not ready", |s| s["ready"] == false);
    scene.until("middle", "waits", |s| {
        s["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["type"] == "DependenciesReady" && c["status"] == "False")
    });
    assert_eq!(scene.pid("middle"), before[1], "who runs is left alone");
    kill(before[1]);
    let held = scene.until("middle", "is held", |s| s["phase"] == "Held");
    assert_eq!(held["restarts"], 1);
    set_up(&scene, "base");
    scene.other_pid("middle", before[1]);
    scene.until("top", "is ready", |s| s["ready"] == true);
    scene.entry("the dependent is verified", |e| {
        e.is("HealthVerified", "middle")
    });

    let root = scene.entry("the root", |e| e.is("FailureDetected", "base"));
    let effect = scene.entry("the effect", |e| e.is("FailureDetected", "middle"));
    assert_eq!(effect.body()["becauseOf"], json!(["base"]));
    assert_eq!(effect.cause(), Some(root.seq), "its cause is the root");
    assert_eq!(effect.fields["incident"], root.fields["incident"]);
    assert_eq!(effect.body()["consecutive"], 0, "it spends no budget");
    let verified = scene.entry("it is over", |e| e.is("HealthVerified", "middle"));
    assert_eq!(verified.fields["incident"], root.fields["incident"]);
    assert_eq!(scene.pid("top"), before[2], "nobody else was touched");
    scene.osmoda("ledger verify").exits(0);
}

#[test]
fn agents_are_stopped_in_the_order_opposite_to_their_start() {
    let scene = chain();
    set_up(&scene, "base");
    let daemon = scene.daemon();
    scene.pid("top");
    daemon.stops();
    let stopped = |name: &str| {
        let stop = scene.entry("its stop", |e| e.is_about("ActionSucceeded", "Stop", name));
        stop.seq
    };
    assert!(stopped("top") < stopped("middle"));
    assert!(stopped("middle") < stopped("base"));
}

#[test]
fn a_job_that_ended_well_is_a_dependency_that_is_met() {
    let scene = Scene::with(&[
        Agent::test("migrate", "exit 0").with("restart", json!({"policy": "OnFailure"})),
        Agent::test("serve", "sleep").with("dependsOn", json!(["migrate"])),
    ]);
    let _daemon = scene.daemon();
    scene.pid("serve");
    eventually("the job is over", || {
        scene.look("migrate").filter(|s| s["phase"] == "Succeeded")
    });
}
