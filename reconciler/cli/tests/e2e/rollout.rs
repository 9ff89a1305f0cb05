//! Deploys: proven, gone back from, or held; with real processes and real links.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{Agent, Scene, eventually, kill};

/// A spec that is told from others by `version`, and does `actions`.
fn version(version: &str, actions: &str) -> Agent {
    Agent::test("a", actions)
        .with("environment", json!({"VERSION": version}))
        .with(
            "restart",
            json!({"backoff": {"initial": "10ms", "max": "200ms"}}),
        )
}

fn generations(scene: &Scene) -> Vec<Value> {
    let list = scene.json("generations a");
    list["items"].as_array().unwrap().clone()
}

fn verdicts(scene: &Scene) -> Vec<String> {
    let items = generations(scene);
    let verdict = |item: &Value| item["verdict"].as_str().unwrap().to_owned();
    items.iter().map(verdict).collect()
}

/// With what will be generation 1.
fn first() -> Scene {
    Scene::with(&[version("1", "sleep")])
}

fn active(scene: &Scene) -> u64 {
    let items = generations(scene);
    let active = items.iter().find(|item| item["active"] == true).unwrap();
    active["number"].as_u64().unwrap()
}

fn link(scene: &Scene) -> PathBuf {
    fs::read_link(scene.state().join("profiles/a")).unwrap()
}

#[test]
fn a_good_deploy_is_proven_and_becomes_the_last_known_good() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven --timeout 30s").exits(0);
    scene.declare(&version("2", "sleep"));
    scene.entry("the second is good", |e| {
        e.is("GenerationGood", "a") && e.body()["generation"]["number"] == 2
    });
    assert_eq!(verdicts(&scene), ["Good", "Good"]);
    let items = generations(&scene);
    assert_eq!(items[1]["lastKnownGood"], true);
    assert_eq!(
        (items[1]["active"].clone(), items[1]["desired"].clone()),
        (json!(true), json!(true))
    );
    scene.osmoda("wait a --for Proven").exits(0);
    scene.osmoda("status --diff").exits(0);
}

#[test]
fn a_deploy_that_crashes_goes_back_stays_back_and_a_fixed_one_goes_forward() {
    let scene = first();
    let daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    scene.declare(&version("2", "exit 3"));
    let back = scene.entry("it goes back", |e| e.is("RollbackSucceeded", "a"));
    assert_eq!(back.body()["to"]["number"], 1);
    scene.entry("health is verified after it", |e| {
        e.is("HealthVerified", "a") && e.seq > back.seq
    });
    let bad = scene.entry("the verdict", |e| e.is("GenerationBad", "a"));
    let intent = scene.entry("the intent", |e| e.is("RollbackIntended", "a"));
    assert!(bad.seq < intent.seq && intent.seq < back.seq);
    assert_eq!(back.cause(), Some(intent.seq));
    assert_eq!(bad.body()["generation"]["number"], 2);
    assert_eq!(
        (verdicts(&scene), active(&scene)),
        (vec!["Good".into(), "Bad".into()], 1)
    );
    assert_eq!(link(&scene), PathBuf::from("a-1-link"));
    scene.osmoda("wait a --for Proven").exits(1);
    let diff = scene.osmoda("status --diff").exits(1);
    assert!(
        diff.out.contains("the desired generation is Bad"),
        "{}",
        diff.out
    );

    // The same bad spec again, and a new daemon.
    let pid = scene.pid("a");
    daemon.kill();
    let _daemon = scene.daemon();
    scene.declare(&version("2", "exit 3"));
    scene.osmoda("plan").exits(0);
    assert_eq!((scene.pid("a"), active(&scene)), (pid, 1), "it stays");
    let diff = scene.osmoda("status --diff").exits(1);
    diff.telling(&["the desired generation is Bad"]);
    let described = scene.osmoda("describe a").exits(0);
    described.telling(&["What was deployed", "Bad (", "last known good"]);

    scene.declare(&version("3", "sleep"));
    scene.osmoda("wait a --for Proven --timeout 30s").exits(0);
    assert_eq!(active(&scene), 3);
    let rollbacks = scene.entries();
    let rollbacks = rollbacks.iter().filter(|e| e.is("RollbackIntended", "a"));
    assert_eq!(rollbacks.count(), 1);
    scene.osmoda("ledger verify").exits(0);
}

#[test]
fn a_deploy_that_runs_and_never_gets_ready_goes_back_at_its_deadline() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    let readiness = json!({"exec": {"command": ["/bin/false"]}, "period": "100ms"});
    let rollout = json!({"minReady": "300ms", "progressDeadline": "1s"});
    let ill = version("2", "sleep")
        .with("probes", json!({"readiness": readiness}))
        .with("rollout", rollout);
    scene.declare(&ill);
    let bad = scene.entry("the verdict", |e| e.is("GenerationBad", "a"));
    assert_eq!(bad.body()["reason"], "ProgressDeadlineExceeded");
    scene.until("a", "is ready again", |s| {
        s["ready"] == true && s["generation"]["active"]["number"] == 1
    });
}

#[test]
fn a_proven_deploy_is_blamed_while_it_is_suspect_and_not_after() {
    let crashing = |suspect: &str| {
        version("2", "crash-after 700")
            .with(
                "restart",
                json!({"maxRestarts": 0, "backoff": {"max": "100ms"}}),
            )
            .with(
                "rollout",
                json!({"minReady": "100ms", "suspectFor": suspect}),
            )
    };
    for (suspect, goes_back) in [("1h", true), ("1ms", false)] {
        let scene = first();
        let _daemon = scene.daemon();
        scene.osmoda("wait a --for Proven").exits(0);
        scene.declare(&crashing(suspect));
        scene.entry("the second is good", |e| {
            e.is("GenerationGood", "a") && e.body()["generation"]["number"] == 2
        });
        let kind = if goes_back {
            "RollbackSucceeded"
        } else {
            "EscalationExhausted"
        };
        let end = scene.entry("what follows", |e| e.is(kind, "a"));
        if goes_back {
            let bad = scene.entry("the verdict", |e| e.is("GenerationBad", "a"));
            assert_eq!(bad.body()["reason"], "FailedWhileSuspect");
        } else {
            assert_eq!(end.body()["noRollback"], "NotSuspect");
            assert_eq!(active(&scene), 2, "it is not the generation's fault");
        }
    }
}

#[test]
fn with_rollback_never_the_verdict_stands_and_nothing_is_switched() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    scene.declare(
        &version("2", "exit 3").with("rollout", json!({"rollback": "Never", "minReady": "300ms"})),
    );
    let bad = scene.entry("the verdict", |e| e.is("GenerationBad", "a"));
    assert_eq!(bad.body()["stays"], "RollbackOff");
    eventually("it is tried again", || {
        let tries = scene.entries();
        let tries = tries.iter().filter(|e| e.is("FailureDetected", "a"));
        (tries.count() >= 3).then_some(())
    });
    assert_eq!(active(&scene), 2);
    assert!(
        !scene
            .entries()
            .iter()
            .any(|e| e.is("RollbackIntended", "a"))
    );
}

#[test]
fn of_two_deploys_only_the_bad_one_goes_back() {
    let scene = first();
    scene.declare(&Agent::test("b", "sleep"));
    let _daemon = scene.daemon();
    scene.osmoda("wait --for Proven").exits(0);
    scene.declare(&version("2", "exit 3"));
    scene.declare(&Agent::test("b", "print two then sleep"));
    scene.entry("a goes back", |e| e.is("RollbackSucceeded", "a"));
    scene.osmoda("wait b --for Proven --timeout 30s").exits(0);
    let b = scene.look("b").unwrap();
    assert_eq!(b["generation"]["active"]["number"], 2);
    assert!(
        !scene
            .entries()
            .iter()
            .any(|e| e.is("RollbackIntended", "b"))
    );
}

#[test]
fn an_operator_goes_back_and_stays_there_until_the_spec_changes() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    scene.declare(&version("2", "sleep"));
    scene.entry("the second is good", |e| {
        e.is("GenerationGood", "a") && e.body()["generation"]["number"] == 2
    });
    let ran = scene.osmoda("rollback a --to 9").exits(2);
    ran.saying(&["a has no generation 9", "osmoda generations"]);
    scene.osmoda("rollback a --wait").exits(0);
    assert_eq!(active(&scene), 1);
    let refused = scene.osmoda("rollback a --to 1").exits(2);
    refused.saying(&["generation 1 of a is active"]);
    let command = scene.entry("who asked", |e| {
        e.is("OperatorCommand", "a") && e.body()["accepted"] == true
    });
    assert_eq!(command.body()["verb"], "rollback");
    scene.osmoda("plan").exits(0);
    scene.osmoda("rollback a --to 2 --wait").exits(0);
    assert_eq!(active(&scene), 2);
    scene.osmoda("rollback a --wait").exits(0);
    scene.declare(&version("3", "sleep"));
    scene.until("a", "goes forward", |s| {
        s["generation"]["active"]["number"] == 3
    });
}

#[test]
fn a_way_back_that_is_damaged_is_never_taken() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    let items = generations(&scene);
    let bundle = PathBuf::from(items[0]["storePath"].as_str().unwrap());
    for file in fs::read_dir(&bundle).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    scene.declare(&version("2", "exit 3"));
    let failed = scene.entry("it cannot go back", |e| e.is("RollbackFailed", "a"));
    assert_eq!(failed.body()["to"]["number"], 1);
    assert_eq!(active(&scene), 2);
}

#[test]
fn a_daemon_that_dies_between_verdict_and_switch_leaves_the_next_one_to_finish() {
    let scene = first();
    let daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    scene.declare(&version("2", "sleep").with("rollout", json!({"minReady": "1h"})));
    // Before its start is on record nobody but the dead daemon knows that the second has run at all,
    // and what runs may still be the first.
    let activated = scene.entry("the second is active", |e| {
        e.is("GenerationActivated", "a") && e.body()["generation"]["number"] == 2
    });
    scene.entry("its start is on record", |e| {
        e.is_about("ActionSucceeded", "Start", "a") && e.seq > activated.seq
    });
    let pid = scene.pid("a");
    daemon.kill();
    kill(pid);
    let _daemon = scene.daemon();
    scene.entry("it goes back", |e| e.is("RollbackSucceeded", "a"));
    scene.until("a", "is ready", |s| s["ready"] == true);
    let rollbacks = scene.entries();
    let rollbacks = rollbacks.iter().filter(|e| e.is("RollbackIntended", "a"));
    assert_eq!(rollbacks.count(), 1);
}

#[test]
fn history_is_pruned_but_never_the_last_known_good() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    for n in 2..=5_u64 {
        let rollout = json!({"historyLimit": 2, "minReady": "300ms"});
        scene.declare(&version(&n.to_string(), "sleep").with("rollout", rollout));
        scene.entry("it is good", |e| {
            e.is("GenerationGood", "a") && e.body()["generation"]["number"] == n
        });
    }
    let numbers: Vec<_> = generations(&scene)
        .iter()
        .map(|item| item["number"].as_u64().unwrap())
        .collect();
    assert!(numbers.len() <= 3 && numbers.contains(&5), "{numbers:?}");
}

/// Ready at once, and then `then`; on probation for an hour.
fn long_probation(then: &str) -> Agent {
    version("2", &format!("notify READY=1 then {then}"))
        .with("heartbeat", json!({"source": "Notify", "timeout": "1h"}))
        .with("rollout", json!({"minReady": "1h"}))
}

fn goes_back_for(scene: &Scene, reason: &str) {
    let bad = scene.entry("the verdict", |e| e.is("GenerationBad", "a"));
    assert_eq!(bad.body()["reason"], reason, "{}", bad.body());
    scene.until("a", "is back", |s| {
        s["ready"] == true && s["generation"]["active"]["number"] == 1
    });
}

#[test]
fn a_deploy_that_ends_after_it_was_ready_and_before_it_was_proven_goes_back_at_once() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    scene.declare(&long_probation("sleep 300 then exit 3"));
    goes_back_for(&scene, "FailedOnProbation");
    let failures = scene.entries();
    let failures = failures.iter().filter(|e| e.is("FailureDetected", "a"));
    assert_eq!(failures.count(), 1, "the first end is enough");
}

#[test]
fn a_deploy_that_is_up_but_found_unhealthy_goes_back_at_once() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    let sick = scene.path().join("sick");
    let liveness = json!({
        "exec": {"command": ["/usr/bin/test", "!", "-e", sick]},
        "period": "100ms",
        "failureThreshold": 1,
    });
    scene.declare(&long_probation("sleep").with("probes", json!({"liveness": liveness})));
    scene.until("a", "is ready and on probation", |s| {
        s["ready"] == true && s["generation"]["active"]["number"] == 2
    });
    fs::write(&sick, "").unwrap();
    goes_back_for(&scene, "FailedOnProbation");
}

#[test]
fn a_deploy_that_falls_silent_before_it_was_proven_goes_back_at_once() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    let silent = json!({"source": "Notify", "timeout": "1s"});
    scene.declare(&long_probation("deadlock").with("heartbeat", silent));
    goes_back_for(&scene, "FailedOnProbation");
    let hang = scene.entry("what it was", |e| e.is("FailureDetected", "a"));
    assert_eq!(hang.body()["reason"], "Hang");
}

#[test]
fn a_good_generation_is_kept_beyond_the_limit_of_history_while_bad_ones_come_and_go() {
    let scene = first();
    let _daemon = scene.daemon();
    scene.osmoda("wait a --for Proven").exits(0);
    for n in 2..=4_u64 {
        let rollout = json!({"historyLimit": 1, "minReady": "300ms"});
        scene.declare(&version(&n.to_string(), "exit 3").with("rollout", rollout));
        scene.entry("it is bad", |e| {
            e.is("GenerationBad", "a") && e.body()["generation"]["number"] == n
        });
        scene.until("a", "is back", |s| {
            s["ready"] == true && s["generation"]["active"]["number"] == 1
        });
    }
    let numbers = |scene: &Scene| -> Vec<_> {
        let items = generations(scene);
        items.iter().map(|item| item["number"].as_u64()).collect()
    };
    assert_eq!(numbers(&scene), [Some(1), Some(4)], "2 and 3 are gone");
    // Their verdicts are not: what was found bad once is refused, though it is in no profile.
    let rollout = json!({"historyLimit": 1, "minReady": "300ms"});
    scene.declare(&version("2", "exit 3").with("rollout", rollout));
    eventually("it is refused", || {
        let diff = scene.osmoda("status --diff");
        diff.out
            .contains("the desired generation is Bad")
            .then_some(())
    });
    assert_eq!(active(&scene), 1);
}
