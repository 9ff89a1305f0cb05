//! Secrets reach their agent and nobody else.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{Agent, Scene, kill};

const SECRET: &str = "correct-horse-battery-staple-4711";

fn credentials_ready(status: &Value) -> &Value {
    let mut all = status["conditions"].as_array().unwrap().iter();
    &all.find(|c| c["type"] == "CredentialsReady").unwrap()["status"]
}

#[test]
fn without_its_credential_an_agent_is_not_started_and_with_it_it_is() {
    let scene = Scene::new();
    let token = scene.path().join("token");
    let agent = Agent::test("a", "print-file $CREDENTIALS_DIRECTORY/token then sleep")
        .with("credentials", json!({"token": {"path": token}}))
        .with(
            "restart",
            json!({"backoff": {"initial": "50ms", "max": "200ms"}}),
        );
    scene.declare(&agent);
    let _daemon = scene.daemon();
    let status = scene.until("a", "lacks its credential", |status| {
        status["phase"] == "Failed" && credentials_ready(status) == "False"
    });
    assert_eq!(status["pid"], Value::Null);
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("token") && message.contains("No such file"),
        "{message}"
    );
    scene.has_no_agents();
    let failed = scene.entry("recorded", |e| e.is_about("ActionFailed", "Start", "a"));
    assert_eq!(failed.body()["message"], message);

    fs::write(&token, "public").unwrap(); // the spec stays as it is
    let pid = scene.pid("a");
    let status = scene.until("a", "has it", |status| credentials_ready(status) == "True");
    assert_eq!(status["generation"]["active"]["number"], 1);
    fs::write(&token, "renewed").unwrap();
    kill(pid);
    scene.other_pid("a", pid);
    crate::support::eventually("the new value is read afresh", || {
        (scene.osmoda("logs a").out == "renewed\n").then_some(())
    });
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let below = entries.flat_map(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => files(&entry.path()),
        kind if kind.is_file() => vec![entry.path()],
        _ => Vec::new(), // links lead to what is found anyway
    });
    below.collect()
}

fn holds_secret(bytes: &[u8]) -> bool {
    bytes
        .windows(SECRET.len())
        .any(|part| part == SECRET.as_bytes())
}

#[test]
fn a_credentials_value_is_nowhere_but_with_its_agent_even_if_that_prints_it_and_crashes() {
    let scene = Scene::new();
    let token = scene.path().join("token");
    fs::write(&token, format!("{SECRET}\n")).unwrap();
    let script = "cat \"$CREDENTIALS_DIRECTORY/token\"; echo \"key=$KEY\" >&2; exit 1";
    let slow = json!({"backoff": {"initial": "1h", "max": "1h"}});
    let credential = json!({"token": {"path": token, "environmentVariable": "KEY"}});
    let agent = Agent::script("a", script)
        .with("restart", slow)
        .with("credentials", credential);
    scene.declare(&agent);
    let daemon = scene.daemon();
    scene.until("a", "has crashed twice", |status| {
        status["phase"] == "Backoff"
    });

    let failures = scene.entries_of("a");
    let failure = failures
        .iter()
        .find(|e| e.kind() == "FailureDetected")
        .unwrap();
    let output = failure.body()["lastOutput"].as_array().unwrap();
    assert_eq!(
        output.len(),
        2,
        "the lines are there, without the value: {output:?}"
    );
    assert!(
        output[1].as_str().unwrap().starts_with("key="),
        "{output:?}"
    );
    for words in [
        "status -o json",
        "status a",
        "describe a",
        "describe a -o json",
        "events -n 1000",
        "events -n 1000 -o json",
        "ledger export",
        "plan",
        "status --diff -o json",
    ] {
        let said = scene.osmoda(words);
        assert!(
            !holds_secret(said.out.as_bytes()) && !said.out.is_empty(),
            "{words}"
        );
    }
    let state = files(&scene.state());
    assert!(
        state.iter().any(|f| f.ends_with("ledger.db-wal")),
        "{state:?}"
    );
    let logs = scene.state().join("logs"); // what the agent wrote is the agent's
    let run = scene.run_dir().join("instances");
    let searched = state
        .into_iter()
        .filter(|file| !file.starts_with(&logs))
        .chain(files(&run));
    for file in searched {
        assert!(
            !holds_secret(&fs::read(&file).unwrap()),
            "{}",
            file.display()
        );
    }
    assert!(!scene.daemon_log().contains(SECRET));
    daemon.stops();
    assert!(!holds_secret(
        &fs::read(scene.state().join("ledger.db")).unwrap()
    ));
    assert!(!scene.daemon_log().contains(SECRET));
    // The search can find it: the agent's own output has it.
    assert!(
        files(&logs)
            .iter()
            .any(|file| holds_secret(&fs::read(file).unwrap()))
    );
}
