//! What the product is for: specs become running agents, and an agent that dies comes back.

use std::{fs, os::unix::net::UnixStream};

use crate::support::{Agent, Scene, is_alive, is_installed, kill, kinds, test_agent};

#[test]
fn a_yaml_a_json_and_a_nix_spec_run() {
    let scene = Scene::new();
    let program = test_agent();
    scene.write_spec(
        "yaml.yaml",
        &format!(
            "apiVersion: osmoda/v1\nkind: Agent\nmetadata:\n  name: yaml\nspec:\n  \
             command: [{program}, sleep]\n"
        ),
    );
    scene.write_spec("json.json", &Agent::test("json", "sleep").manifest());
    let mut names = vec!["yaml", "json"];
    if is_installed("nix-instantiate") {
        scene.write_spec(
            "nix.nix",
            &format!("{{ command = [ \"{program}\" \"sleep\" ]; }}\n"),
        );
        names.push("nix");
    }
    let _daemon = scene.daemon();
    for name in &names {
        let pid = scene.pid(name);
        let executed = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(executed, fs::canonicalize(program).unwrap());
    }
    let list = scene.json("status");
    assert_eq!(list["kind"], "AgentList");
    assert_eq!(list["items"].as_array().unwrap().len(), names.len());
    assert_eq!(scene.processes().len(), names.len());
}

#[test]
fn a_killed_agent_is_healed_and_every_step_is_on_record() {
    // Not proven before the kill, however late that comes on a busy machine.
    let agent = Agent::test("worker", "print first second then sleep");
    let scene = Scene::with(&[agent.with("rollout", serde_json::json!({"minReady": "5s"}))]);
    let daemon = scene.daemon();
    let before = scene.pid("worker");
    let invocation = scene.look("worker").unwrap()["invocation"].clone();
    kill(before);
    let after = scene.other_pid("worker", before);
    assert!(!is_alive(before) && is_alive(after));
    scene.entry("the deploy is proven", |e| e.is("GenerationGood", "worker"));

    let entries = scene.entries_of("worker");
    let failed = entries.iter().position(|e| e.kind() == "FailureDetected");
    let story = &entries[failed.unwrap()..];
    assert_eq!(
        kinds(story),
        [
            "FailureDetected",
            "Diff",
            "ActionIntended Start",
            "ActionSucceeded Start",
            "HealthVerified",
            "GenerationGood",
        ]
    );
    let [failure, diff, intent, success, verified, good] = story else {
        panic!("{story:?}")
    };
    assert_eq!(failure.body()["exit"]["status"]["signal"], 9);
    assert_eq!(failure.body()["reason"], "Crashed");
    assert_eq!(failure.body()["invocation"], invocation);
    assert_eq!(
        failure.body()["lastOutput"],
        serde_json::json!(["first", "second"])
    );
    assert_eq!(diff.body()["differences"][0]["path"], "instance.running");
    assert_eq!(diff.cause(), Some(failure.seq));
    assert_eq!(intent.cause(), Some(diff.seq));
    assert_eq!(success.cause(), Some(intent.seq));
    assert_eq!(success.body()["pid"], after);
    assert_eq!(verified.body()["reason"], "Recovered");
    assert_eq!(verified.cause(), Some(failure.seq));
    assert_eq!(good.body()["generation"]["number"], 1);
    let incidents: Vec<_> = story[..5].iter().map(|e| &e.fields["incident"]).collect();
    assert_eq!(incidents, [&failure.fields["incident"]; 5], "one incident");
    assert_ne!(
        verified.body()["invocation"],
        invocation,
        "another instance"
    );

    assert_eq!(scene.look("worker").unwrap()["restarts"], 1);
    scene.verifies();
    daemon.stops();
    scene.verifies();
    scene.has_no_agents();
    assert!(!is_alive(after));
    assert!(UnixStream::connect(scene.socket()).is_err());
}

#[test]
fn an_agent_that_keeps_crashing_is_restarted_slower_and_never_given_up() {
    let restart = serde_json::json!({
        "maxRestarts": 2, "within": "1m",
        "backoff": {"initial": "20ms", "max": "200ms", "jitter": 0},
    });
    let scene =
        Scene::with(&[Agent::test("bad", "print why then exit 7").with("restart", restart)]);
    let _daemon = scene.daemon();
    let exhausted = scene.entry("the budget is spent", |e| {
        e.is("EscalationExhausted", "bad")
    });
    scene.entry("and still it is restarted", |e| {
        e.is_about("ActionSucceeded", "Start", "bad") && e.seq > exhausted.seq
    });
    let failures = scene.entries_of("bad");
    let failures: Vec<_> = failures
        .iter()
        .filter(|e| e.kind() == "FailureDetected")
        .collect();
    assert_eq!(failures[0].body()["exit"]["status"]["code"], 7);
    let waits: Vec<_> = failures
        .iter()
        .take(3)
        .map(|e| &e.body()["restartAfterMs"])
        .collect();
    assert_eq!(
        waits,
        [0, 20, 200],
        "at once, then backoff, then at its maximum"
    );
    let status = scene.look("bad").unwrap();
    let degraded = status["conditions"].as_array().unwrap().iter();
    let degraded = degraded.clone().find(|c| c["type"] == "Degraded").unwrap();
    assert_eq!(degraded["status"], "True");
    let said = scene.osmoda("wait bad --for Ready --timeout 1s");
    assert!(said.code == 1 || said.code == 0, "{said:?}");
    scene.verifies();
}
