//! The desired state changes: new generations, additions, removals, and mistakes.

use std::{fs, os::unix::fs::symlink};

use serde_json::{Value, json};

use crate::support::{Agent, Daemon, Scene, eventually, is_alive};

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let mut all = status["conditions"].as_array().unwrap().iter();
    all.find(|condition| condition["type"] == kind).unwrap()
}

#[test]
fn a_changed_spec_is_a_new_generation_in_a_new_process() {
    let scene = Scene::with(&[Agent::test("a", "print one then sleep")]);
    let _daemon = scene.daemon();
    let before = scene.pid("a");
    scene.declare(&Agent::test("a", "print two then sleep"));
    let after = scene.other_pid("a", before);
    assert!(!is_alive(before) && is_alive(after));
    let status = scene.until("a", "runs its second generation", |status| {
        status["generation"]["active"]["number"] == 2 && status["ready"] == true
    });
    assert_eq!(status["observedGeneration"], 2);
    assert_eq!(status["restarts"], 0, "a deployment is no failure");
    let link = fs::read_link(scene.state().join("profiles/a")).unwrap();
    assert_eq!(link.to_str(), Some("a-2-link"));
    let entries = scene.entries_of("a");
    let changed = entries
        .iter()
        .find(|e| e.body()["change"] == "Changed")
        .unwrap();
    let stop = entries
        .iter()
        .find(|e| e.is_about("ActionIntended", "Stop", "a"))
        .unwrap();
    assert_eq!(stop.body()["reason"], "GenerationChanged");
    assert!(changed.seq < stop.seq);
    assert!(entries.iter().all(|e| e.kind() != "FailureDetected"));
    assert_eq!(scene.processes()["a"], [after]);
    scene.verifies();
}

#[test]
fn a_spec_written_anew_without_a_change_changes_nothing() {
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let _daemon = scene.daemon();
    let (a, b) = (scene.pid("a"), scene.pid("b"));
    scene.declare(&Agent::test("a", "sleep"));
    scene.write_spec(
        "b.yaml",
        &format!("# a comment\n{}", Agent::test("b", "sleep").manifest()),
    );
    scene.declare(&Agent::test("c", "sleep"));
    scene.pid("c"); // what was written before it has been read
    assert_eq!((scene.pid("a"), scene.pid("b")), (a, b));
    let stops = scene.entries();
    assert!(stops.iter().all(|e| e.body()["action"] != "Stop"));
}

#[test]
fn a_removed_spec_takes_process_and_profile_with_it_and_an_added_one_starts() {
    let scene = Scene::with(&[Agent::test("stays", "sleep"), Agent::test("goes", "sleep")]);
    let _daemon = scene.daemon();
    let (stays, goes) = (scene.pid("stays"), scene.pid("goes"));
    scene.withdraw("goes");
    scene.declare(&Agent::test("comes", "sleep"));
    eventually("the removed agent is forgotten", || {
        scene.look("goes").is_none().then_some(())
    });
    assert!(!is_alive(goes));
    let profiles: Vec<_> = fs::read_dir(scene.state().join("profiles"))
        .unwrap()
        .flatten()
        .collect();
    let of_it = |name: &str| name.starts_with("goes");
    assert!(
        profiles
            .iter()
            .all(|p| !of_it(p.file_name().to_str().unwrap())),
        "{profiles:?}"
    );
    let comes = scene.pid("comes");
    assert!(is_alive(comes));
    assert_eq!(scene.pid("stays"), stays);
    let removal = scene.entries_of("goes");
    assert!(removal.iter().any(|e| e.body()["change"] == "Removed"));
    assert!(
        removal
            .iter()
            .any(|e| e.is_about("ActionSucceeded", "Remove", "goes"))
    );
    scene.verifies();
}

#[test]
fn specs_exchanged_as_a_whole_behind_a_link_are_followed() {
    let scene = Scene::new();
    fs::remove_dir(scene.specs()).unwrap();
    let systems = ["one", "two", "three"];
    for (number, system) in systems.iter().enumerate() {
        let directory = scene.path().join(system).join("agents");
        fs::create_dir_all(&directory).unwrap();
        let words = format!("print {number} then sleep");
        let manifest = Agent::test("a", &words).manifest();
        fs::write(directory.join("a.yaml"), manifest).unwrap();
    }
    // As on NixOS: /etc/osmoda/agents -> /etc/static/osmoda/agents, /etc/static -> the store.
    let etc = scene.path().join("etc");
    fs::create_dir(&etc).unwrap();
    symlink("../one", etc.join("static")).unwrap();
    symlink("etc/static/agents", scene.specs()).unwrap();
    let _daemon = scene.daemon();
    let mut pid = scene.pid("a");
    for (number, system) in systems.iter().enumerate().skip(1) {
        symlink(format!("../{system}"), etc.join("next")).unwrap();
        fs::rename(etc.join("next"), etc.join("static")).unwrap();
        pid = scene.other_pid("a", pid);
        let status = scene.until("a", "is ready", |status| status["ready"] == true);
        assert_eq!(status["generation"]["active"]["number"], number + 1);
    }
    scene.verifies();
}

#[test]
fn an_invalid_edit_keeps_the_agent_running_until_it_is_mended() {
    let good = Agent::test("a", "print one then sleep");
    let scene = Scene::with(&[good.clone(), Agent::test("b", "sleep")]);
    let daemon = scene.daemon();
    let (pid, other) = (scene.pid("a"), scene.pid("b"));
    scene.write_spec(
        "a.yaml",
        &good.manifest().replace("\"command\"", "\"comand\""),
    );
    let status = scene.until("a", "its spec is refused", |status| {
        condition(status, "SpecValid")["status"] == "False"
    });
    assert_eq!(
        (status["pid"].as_u64(), &status["ready"]),
        (Some(pid.into()), &json!(true))
    );
    let message = condition(&status, "SpecValid")["message"].as_str().unwrap();
    assert!(message.contains("command"), "{message}");
    let names_it = |errors: &Value| errors.to_string().contains("comand");
    let rejected = scene.entry("the refusal is recorded", |e| e.kind() == "SpecRejected");
    assert_eq!(rejected.body()["kept"], json!(["a"]));
    assert_eq!(
        rejected.body()["file"],
        scene.specs().join("a.yaml").to_str().unwrap()
    );
    assert!(names_it(&rejected.body()["errors"]), "{rejected:?}");
    let node = scene.json("status")["node"].clone();
    assert!(names_it(&node["specErrors"]), "{node}");

    // Not even a daemon that has never seen the valid spec stops it.
    daemon.kill();
    let _daemon = scene.daemon();
    let status = scene.until("a", "its spec is refused again", |status| {
        condition(status, "SpecValid")["status"] == "False" && status["phase"] == "Running"
    });
    assert_eq!(status["pid"], pid);

    scene.declare(&Agent::test("a", "print two then sleep"));
    scene.other_pid("a", pid);
    let status = scene.until("a", "the mended spec is in force", |status| {
        condition(status, "SpecValid")["status"] == "True" && status["ready"] == true
    });
    assert_eq!(status["generation"]["active"]["number"], 2);
    assert_eq!(scene.pid("b"), other);
    scene.verifies();
}

#[test]
fn a_file_that_is_garbage_now_is_known_by_any_name_as_the_one_that_declared_the_agent() {
    let scene = Scene::new();
    scene.write_spec("fleet.yaml", &Agent::test("a", "sleep").manifest());
    let daemon = scene.daemon();
    let pid = scene.pid("a");
    daemon.kill();
    // Nothing in it tells any more whose it was: only the file's name does.
    scene.write_spec("fleet.yaml", "{{{ not yaml\n");
    for specs in [scene.specs().to_str().unwrap(), "./specs/", "specs"] {
        let command = scene.command(&format!("run {specs} --runtime native"));
        let daemon = Daemon::start(&scene, command);
        let status = scene.until("a", "its spec is refused", |status| {
            condition(status, "SpecValid")["status"] == "False"
        });
        assert_eq!(
            (&status["phase"], status["pid"].as_u64()),
            (&json!("Running"), Some(pid.into()))
        );
        daemon.kill();
    }
    assert!(is_alive(pid));
    scene.verifies();
}
