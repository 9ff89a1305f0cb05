//! The ledger as a transparency log, on the command line: sign, prove, rotate, redact, prune,
//! with a daemon and without, and a checkpoint kept elsewhere.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::support::{Agent, Scene, is_installed, is_root};

fn lines(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap().to_owned()
}

/// Each command works on the running daemon's ledger and leaves one that verifies with what was
/// kept elsewhere.
fn keep_the_log(scene: &Scene) {
    let key = scene.osmoda("ledger key").exits(0).out;
    let key = key.trim_end();
    let signed = scene.osmoda("ledger checkpoint -o json").exits(0).json();
    let size = signed["size"].as_u64().unwrap();
    assert!(size > 0);
    fs::write(scene.path().join("kept.note"), lines(&signed, "note")).unwrap();
    let verify = format!("ledger verify --checkpoint kept.note --key {key} -o json");
    let report = scene.osmoda(&verify).exits(0).json();
    assert_eq!(report["key"], key);
    assert!(report["checkpoints"].as_u64().unwrap() > 0);
    assert!(report["checkpoint"]["size"].as_u64().unwrap() >= size);
    assert_eq!(
        report["unanchored"],
        report["size"].as_u64().unwrap() - size
    );
    let head = scene.json("ledger head");
    assert!(head["checkpoint"]["size"].as_u64().unwrap() >= size);

    let proof = scene.osmoda("ledger prove 0").exits(0).out;
    fs::write(scene.path().join("entry.tlog-proof"), &proof).unwrap();
    let check = format!("ledger verify-proof entry.tlog-proof --key {key}");
    let proved = scene.osmoda(&check).exits(0).out;
    assert!(proved.starts_with("ok: entry 0 is in "), "{proved}");
    fs::write(
        scene.path().join("bent.tlog-proof"),
        proof.replace("index 0", "index 1"),
    )
    .unwrap();
    let bent = check.replace("entry.tlog-proof", "bent.tlog-proof");
    let refused = scene.osmoda(&bent).exits(1).out;
    assert!(refused.starts_with("FAILED: "), "{refused}");
    scene
        .osmoda("ledger prove 999999")
        .exits(2)
        .saying(&["has no entry 999999"]);
    scene
        .osmoda("ledger verify-proof kept.note --key bad")
        .exits(2);

    let rotated = scene.osmoda("ledger key --rotate -o json").exits(0).json();
    assert_ne!(lines(&rotated, "key"), key);
    let named = scene
        .osmoda(&format!("ledger show {} -o json", rotated["seq"]))
        .exits(0)
        .json();
    assert_eq!(named["entry"]["kind"], "KeyRotated");
    assert_eq!(named["entry"]["actor"]["type"], "Operator");
    let report = scene.osmoda(&verify).exits(0).json();
    assert_eq!(report["key"], rotated["key"]);

    let started = scene.entry("the start of the node", |entry| {
        entry.kind() == "NodeStarted"
    });
    let seq = started.seq;
    let redact = format!("ledger redact {seq} --reason secret -o json");
    let dropped = scene.osmoda(&redact).exits(0).json();
    assert_eq!(
        (&dropped["firstSeq"], &dropped["lastSeq"]),
        (&json!(seq), &json!(seq))
    );
    scene.osmoda(&redact).exits(2).saying(&["has no body"]);
    let gone = scene
        .osmoda(&format!("ledger show {seq} -o json"))
        .exits(0)
        .json();
    assert_eq!(gone["entry"], Value::Null);
    scene
        .osmoda("ledger prune --before 2020-01-01T00:00:00Z")
        .exits(2);
    let pruned = scene
        .osmoda("ledger prune --before 2999-01-01T00:00:00Z -o json")
        .exits(0)
        .json();
    assert_eq!(pruned["logEmptied"], true);
    let report = scene.osmoda(&verify).exits(0).json();
    assert!(report["withoutBody"].as_u64().unwrap() > 2);
}

#[test]
fn an_operator_keeps_the_log_while_the_daemon_writes_it() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let daemon = scene.daemon();
    scene.pid("a");
    keep_the_log(&scene);
    daemon.stops();
    scene.has_no_agents();
}

#[test]
fn an_operator_keeps_the_log_while_no_daemon_runs() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let daemon = scene.daemon();
    scene.pid("a");
    daemon.stops();
    keep_the_log(&scene);
    // The next daemon goes on with the key that the operator has made.
    let key = scene.osmoda("ledger key").exits(0).out;
    let daemon = scene.daemon();
    assert_eq!(scene.osmoda("ledger key").exits(0).out, key);
    scene.osmoda("ledger checkpoint").exits(0);
    daemon.stops();
    let report = scene.osmoda("ledger verify -o json").exits(0).json();
    assert_eq!(report["key"], key.trim_end());
    assert_eq!(
        report["checkpoint"]["size"], report["size"],
        "signed to its end"
    );
}

#[test]
fn a_ledger_that_was_cut_short_fails_against_the_checkpoint_kept_elsewhere() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let daemon = scene.daemon();
    scene.pid("a");
    scene.osmoda("ledger backup old.db").exits(0);
    let note = {
        scene.osmoda("restart a --wait").exits(0);
        scene.osmoda("ledger checkpoint").exits(0).out
    };
    fs::write(scene.path().join("kept.note"), note).unwrap();
    daemon.stops();
    scene
        .osmoda("ledger verify --checkpoint kept.note")
        .exits(0);
    // Whoever puts an old copy back gets by with the file alone.
    scene.osmoda("ledger verify old.db").exits(0);
    let report = scene
        .osmoda("ledger verify old.db --checkpoint kept.note -o json")
        .exits(1)
        .json();
    assert!(
        lines(&report, "reason").contains("its end was cut off"),
        "{report}"
    );
}

#[test]
fn who_may_not_act_neither_signs_nor_drops_and_the_attempt_is_on_record() {
    /// A group that no machine has.
    const GROUP: &str = "424243";
    if !is_root() || !is_installed("setpriv") {
        return;
    }
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let mut command = Command::new("setpriv");
    command.args([
        "--regid",
        GROUP,
        "--clear-groups",
        env!("CARGO_BIN_EXE_osmoda"),
    ]);
    let run = scene.in_place(command, "run specs --runtime native");
    let _daemon = crate::support::Daemon::start(&scene, run);
    scene.pid("a");
    for (words, verb) in [
        ("ledger checkpoint", "ledger checkpoint"),
        ("ledger key --rotate", "ledger key --rotate"),
        ("ledger redact 1", "ledger redact"),
        ("ledger prune --before 1s", "ledger prune"),
    ] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--groups", GROUP]);
        command.arg(scene.binary_for_all());
        let output = scene.in_place(command, words).output().unwrap();
        crate::support::Ran::from(output)
            .exits(4)
            .saying(&["you may look, but not act"]);
        let entry = scene.entry(words, |entry| {
            entry.kind() == "OperatorCommand" && entry.body()["verb"] == verb
        });
        assert_eq!(entry.body()["accepted"], false);
    }
}
