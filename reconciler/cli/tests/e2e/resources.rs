//! Memory and CPU of whole process trees: what is told of them, and who is restarted for them.

use serde_json::{Value, json};

use crate::support::{Agent, Entry, Scene, eventually, kinds, test_agent};

/// Waits for the first failure of an agent, and gives it with what followed up to its recovery.
#[track_caller]
fn first_incident(scene: &Scene, agent: &str) -> Vec<Entry> {
    scene.entry("its recovery is verified", |e| {
        e.is("HealthVerified", agent)
    });
    let mut entries = scene.entries_of(agent).into_iter();
    let failure = entries.find(|e| e.kind() == "FailureDetected").unwrap();
    let verified = |e: &Entry| e.kind() == "HealthVerified";
    let mut story = vec![failure];
    for entry in entries {
        let last = verified(&entry);
        story.push(entry);
        if last {
            break;
        }
    }
    story
}

/// It was asked to end, did so, and runs again: all of it in one incident.
#[track_caller]
fn is_a_graceful_restart(story: &[Entry]) {
    let told = kinds(story);
    let steps = ["Stop", "Start"].map(|action| format!("ActionSucceeded {action}"));
    assert!(steps.iter().all(|step| told.contains(step)), "{told:?}");
    let stop = story
        .iter()
        .find(|e| e.is_about("ActionSucceeded", "Stop", e.agent()));
    assert_eq!(stop.unwrap().body()["killed"], false);
    assert_eq!(stop.unwrap().body()["exit"]["status"]["signal"], 15);
    let incident = &story[0].fields["incident"];
    assert!(
        story.iter().all(|e| &e.fields["incident"] == incident),
        "{story:#?}"
    );
}

#[test]
fn a_leak_in_a_grandchild_has_its_agent_restarted_gracefully_at_the_threshold() {
    const HIGH: u64 = 64 << 20;
    // The main process waits for its child, and the child is what grows.
    let script = format!("{} leak --mib-per-s 40 & wait", test_agent());
    let resources = json!({"memory": {"high": HIGH}});
    let leaking = Agent::script("leaking", &script).with("resources", resources);
    let scene = Scene::with(&[leaking]);
    let daemon = scene.daemon();
    let story = first_incident(&scene, "leaking");
    let failure = story[0].body();
    assert_eq!(failure["reason"], "MemoryHigh");
    let memory = &failure["facts"]["memory"];
    assert_eq!(memory["thresholdBytes"], HIGH);
    let trajectory = memory["trajectory"].as_array().unwrap();
    let bytes = |sample: &Value| sample["memoryBytes"].as_u64().unwrap();
    assert!(trajectory.len() <= 60 && bytes(trajectory.last().unwrap()) >= HIGH);
    assert!(trajectory.is_sorted_by_key(bytes), "{trajectory:?}");
    is_a_graceful_restart(&story);
    daemon.stops();
    scene.verifies();
}

#[test]
fn a_steady_leak_is_called_before_it_reaches_the_threshold() {
    const HIGH: u64 = 100 << 20;
    let leaking = Agent::test("leaking", "leak --mib-per-s 3")
        .with("resources", json!({"memory": {"high": HIGH}}))
        .with("stop", json!({"gracePeriod": "10s"}));
    let scene = Scene::with(&[leaking]);
    let _daemon = scene.daemon();
    let failure = scene.entry("its failure", |e| e.is("FailureDetected", "leaking"));
    assert_eq!(failure.body()["reason"], "MemoryRising");
    let trajectory = &failure.body()["facts"]["memory"]["trajectory"];
    let last = trajectory.as_array().unwrap().last().unwrap();
    let bytes = last["memoryBytes"].as_u64().unwrap();
    assert!((HIGH / 100 * 80..HIGH).contains(&bytes), "{bytes}");
}

#[test]
fn a_program_that_spins_for_its_whole_window_is_restarted() {
    // A machine on which much else runs still gives it this share.
    let runaway = json!({"cpu": {"runaway": {"above": "3%", "for": "2s"}}});
    let spinning = Agent::test("spinning", "spin").with("resources", runaway.clone());
    let resting = Agent::test("resting", "sleep").with("resources", runaway);
    let scene = Scene::with(&[spinning, resting]);
    let _daemon = scene.daemon();
    let story = first_incident(&scene, "spinning");
    let failure = story[0].body();
    assert_eq!(failure["reason"], "CpuRunaway");
    let cpu = &failure["facts"]["cpu"];
    assert_eq!(
        (&cpu["thresholdPercent"], &cpu["windowMs"]),
        (&json!(3), &json!(2000))
    );
    let uptime = failure["uptimeMs"].as_u64().unwrap();
    assert!(uptime >= 2000, "{uptime} ms: the whole window");
    is_a_graceful_restart(&story);
    let calm = scene.look("resting").unwrap();
    assert_eq!(calm["restarts"], 0);
}

#[test]
fn status_tells_what_each_tree_uses_whether_it_is_judged_or_not() {
    let judged = json!({"memory": {"high": "1Gi"}});
    let scene = Scene::with(&[
        Agent::test("plain", "sleep"),
        Agent::test("judged", "sleep").with("resources", judged),
        Agent::test("ended", "sleep 1500 then exit 0")
            .with("resources", json!({"memory": {"high": "1Gi"}}))
            .with("restart", json!({"policy": "Never"})),
    ]);
    let _daemon = scene.daemon();
    for name in ["plain", "judged"] {
        let status = scene.until(name, "its use is told", |status| {
            status["resources"]["cpuPercent"].is_u64()
        });
        let bytes = status["resources"]["memoryBytes"].as_u64().unwrap();
        assert!((1 << 12..1 << 30).contains(&bytes), "{name}: {bytes}");
    }
    let ended = scene.until("ended", "it is done", |status| {
        status["phase"] == "Succeeded"
    });
    assert_eq!(ended["resources"], Value::Null);
    let described = scene.osmoda("describe plain").exits(0).out;
    assert!(described.contains("memory "), "{described}");
}

#[test]
fn a_limit_is_in_force_or_named_with_the_reason_why_not() {
    let limits = json!({"memory": {"max": "64Mi"}, "tasksMax": 50});
    let scene = Scene::with(&[Agent::test("a", "sleep").with("resources", limits)]);
    let _daemon = scene.daemon();
    scene.pid("a");
    let status = scene.look("a").unwrap();
    let named = status["notEnforced"].as_array().unwrap();
    let is_named = |field: &str| {
        let mut named = named.iter().filter_map(Value::as_str);
        named.any(|text| text.starts_with(&format!("{field} (")) && text.ends_with(')'))
    };
    let cgroup = scene.cgroup().map(|place| place.join("a"));
    for (field, file) in [
        ("resources.memory.max", "memory.max"),
        ("resources.tasksMax", "pids.max"),
    ] {
        let in_force = cgroup
            .as_ref()
            .is_some_and(|cgroup| cgroup.join(file).exists());
        assert_ne!(in_force, is_named(field), "{field}: {named:?}");
        let mut conditions = status["conditions"].as_array().unwrap().iter();
        let valid = conditions.find(|c| c["type"] == "SpecValid").unwrap();
        let message = valid["message"].as_str().unwrap();
        assert_ne!(
            in_force,
            message.contains(field),
            "a condition says so: {message}"
        );
    }
    eventually("nothing of it is a difference", || {
        let diff = scene.osmoda("status a --diff -o json");
        (diff.code == 0).then_some(())
    });
}
