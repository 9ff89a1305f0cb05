//! What an agent is born with: exactly what the contract lists.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{Agent, Daemon, Scene, eventually, kill};

/// The variables that the agent printed.
fn variables(scene: &Scene) -> BTreeMap<String, String> {
    let said = eventually("the agent has printed its environment", || {
        let said = scene.osmoda("logs a").out;
        said.contains("INVOCATION_ID=").then_some(said)
    });
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn its_environment_is_the_contracts_and_nothing_of_the_daemons() {
    let scene = Scene::new();
    let token = scene.path().join("token");
    std::fs::write(&token, "value\n").unwrap();
    let credential = json!({"token": {"path": token, "environmentVariable": "TOKEN"}});
    let agent = Agent::test("a", "print-env then print-fds then print-cwd then sleep")
        .with("environment", json!({"MODE": "test"}))
        .with("credentials", credential);
    scene.declare(&agent);
    let mut command = scene.run_command("");
    command
        .env("LEAKED", "yes")
        .env("OSMODA_LOG", "debug")
        .env("PATH", "/bin:/usr/bin");
    let _daemon = Daemon::start(&scene, command);
    let pid = scene.pid("a");
    let mut found = variables(&scene);

    let status = scene.look("a").unwrap();
    let home = scene.state().join("agents/a");
    let credentials = scene.run_dir().join("credentials/a");
    let exact = [
        ("OSMODA_AGENT", "a"),
        ("OSMODA_GENERATION", "1"),
        ("INVOCATION_ID", status["invocation"].as_str().unwrap()),
        ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()),
        ("HOME", home.to_str().unwrap()),
        ("MODE", "test"),
        ("TOKEN", "value"),
        ("LANG", "C.UTF-8"),
    ];
    for (name, value) in exact {
        assert_eq!(found.remove(name).as_deref(), Some(value), "{name}");
    }
    for name in ["PATH", "USER"] {
        assert!(
            found.remove(name).is_some_and(|value| !value.is_empty()),
            "{name}"
        );
    }
    found.remove("NOTIFY_SOCKET"); // where this version has one
    assert_eq!(found, BTreeMap::new(), "nothing else leaks in");
    let said = scene.osmoda("logs a").out;
    let said: Vec<_> = said.lines().collect();
    assert!(said.contains(&"0 1 2"), "its descriptors: {said:?}");
    assert!(
        said.contains(&home.to_str().unwrap()),
        "its directory: {said:?}"
    );

    kill(pid);
    scene.other_pid("a", pid);
    let again = eventually("the second run has printed", || {
        let again = variables(&scene)["INVOCATION_ID"].clone();
        (again != status["invocation"]).then_some(again)
    });
    assert_eq!(scene.look("a").unwrap()["invocation"], again.as_str());
}
